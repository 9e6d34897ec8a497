# Secrets come from outside the workflow, because everybody can read the workflow in the store.
#
# Look at: A secret is `***` in all output, and in the journal. `provider` runs a program.
# `credential` has a file of the host that only root can read. `caller` runs if you give it a
# secret: `--secret-env-file FILE`, with a line `API_TOKEN=…`. `envProviders` has more providers,
# for files, sops and others.
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
      # Stands for a provider that asks a vault: a new token for each run.
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
      # machine-id(5) calls it confidential.
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
