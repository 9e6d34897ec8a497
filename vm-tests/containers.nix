# Jobs in containers: by systemd-nspawn, and as units with a root file system of their own.
{ pkgs }:
pkgs.testers.runNixOSTest {
  name = "nixactions-containers";

  nodes.machine =
    { config, lib, ... }:
    {
      imports = [ ../nixos ];

      services.nixactions = {
        enable = true;

        executors = {
          box = config.lib.nixactions.executors.nspawn { root = "/srv/root"; };
          light = config.lib.nixactions.executors.systemd { root = "/srv/root"; };
        };
        workflows = {
          both.settings.jobs =
            lib.mapAttrs
              (executor: _: {
                inherit executor;
                outputs."made-in-${executor}" = "made-in-${executor}";
                steps = [
                  {
                    bash = ''
                      read -r name < /etc/image
                      echo "in the image $name"
                      echo changed > /etc/image
                      echo made > made-in-${executor}
                      [ ! -e /root/private ] && [ ! -e /run/dbus ] && [ ! -e /home/tester ] && echo hidden
                    '';
                  }
                ];
              })
              {
                box = null;
                light = null;
              }
            // {
              after = {
                needs = [
                  "box"
                  "light"
                ];
                inputs = [
                  "made-in-box"
                  "made-in-light"
                ];
                steps = [ { bash = "[ $(< made-in-box) = $(< made-in-light) ]"; } ];
              };
            };
          stuck.settings.maxParallel = 2;
          stuck.settings.jobs =
            lib.mapAttrs
              (executor: _: {
                inherit executor;
                steps = [ { bash = "while :; do :; done"; } ];
              })
              {
                box = null;
                light = null;
              };
        };
      };
    };

  testScript = builtins.readFile ./helpers.py + builtins.readFile ./containers.py;
}
