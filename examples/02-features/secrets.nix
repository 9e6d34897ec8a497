# Where secrets come from: never from the workflow, which everybody can read in the store.
#
# Look at: a secret is `***` wherever it is printed, in the journal as well. `provider` runs a
# program, `credential` has a file of the host that is root's alone, and `caller` runs where you
# give it something: `--secret-env-file FILE`, with a line `API_TOKEN=…`. `envProviders` has more of
# the first kind: files, sops, ….
{
  pkgs ? import <nixpkgs> { },
  nixactions ? (import ../.. { inherit pkgs; }).lib,
}:
let
  inherit (nixactions) envProviders;
in
nixactions.mkWorkflow {
  name = "secrets";
  jobs = {
    provider = {
      # In the place of one that asks a vault: a token that is drawn anew for each run.
      envFrom = [
        (envProviders.command {
          name = "TOKEN";
          bash = "head -c 16 /dev/urandom | sha256sum | cut -c 1-32";
        })
      ];
      steps = [
        {
          name = "use";
          bash = ''
            [ "''${#TOKEN}" = 32 ]
            echo "the token is $TOKEN, also in the middle: x''${TOKEN}x"
          '';
        }
      ];
    };

    credential = {
      # "Confidential", says machine-id(5).
      credentials.machine = "/etc/machine-id";
      steps = [
        {
          name = "read";
          bash = ''
            [ -s "$CREDENTIALS_DIRECTORY/machine" ]
            cat "$CREDENTIALS_DIRECTORY/machine"
          '';
        }
      ];
    };

    caller = {
      condition = ''[ -n "''${API_TOKEN-}" ]'';
      envFrom = [ (envProviders.required [ "API_TOKEN" ]) ];
      steps = [
        {
          name = "use";
          bash = ''echo "Authorization: Bearer $API_TOKEN"'';
        }
      ];
    };
  };
}
