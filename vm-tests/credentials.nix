# Secrets of a workflow: jobs have them, and nothing else shows them.
{ pkgs }:
pkgs.testers.runNixOSTest {
  name = "nixactions-credentials";

  nodes.machine = {
    imports = [ ../nixos ];

    services.nixactions = {
      enable = true;

      workflows = {
        secrets = {
          secretFiles = [ "/etc/ci/secret.env" ];
          environmentFiles = [ "/etc/ci/plain.env" ];
          credentials.key = "/etc/ci/key";
          credentialsEncrypted.sealed = "/etc/ci/sealed.cred";
          settings.jobs.wait.steps = [
            {
              bash = ''
                until [ -e go ]; do sleep 0.1; done
                [ "$TOKEN" = canary-of-the-environment ]
                [ "$LEVEL" = plain ]
                [ "$(< "$CREDENTIALS_DIRECTORY/key")" = canary-of-the-file ]
                [ "$(< "$CREDENTIALS_DIRECTORY/sealed")" = canary-that-was-sealed ]
                echo "the token is $TOKEN, the key is $(< "$CREDENTIALS_DIRECTORY/key")"
              '';
            }
          ];
        };
        missing = {
          credentials.key = "/etc/ci/nowhere";
          settings.jobs.a.steps = [ { bash = "true"; } ];
        };
      };
    };
  };

  testScript = builtins.readFile ./helpers.py + builtins.readFile ./credentials.py;
}
