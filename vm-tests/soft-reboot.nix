# A soft-reboot in the midst of runs: systemd starts anew, and the kernel goes on
# (systemd-soft-reboot.service(8)).
{ pkgs }:
pkgs.testers.runNixOSTest {
  name = "nixactions-soft-reboot";

  nodes.machine =
    { lib, ... }:
    {
      imports = [ ../nixos ];

      systemd = {
        # The keys that the test's `machine.reboot()` presses.
        ctrlAltDelUnit = "soft-reboot.target";
        # Later releases have them.
        additionalUpstreamSystemUnits = lib.optionals (lib.versionOlder lib.trivial.release "26.05") [
          "soft-reboot.target"
          "systemd-soft-reboot.service"
        ];
      };

      services.nixactions = {
        enable = true;

        workflows = {
          again = {
            resume = true;
            settings.jobs = {
              wait.steps = [
                { bash = "until [ -e go ]; do sleep 0.1; done"; }
                {
                  condition = "always()";
                  bash = "echo the step cleans up";
                }
              ];
              late = {
                needs = [ "wait" ];
                steps = [ { bash = "true"; } ];
              };
            };
          };
          once.settings.jobs.wait.steps = [ { bash = "until [ -e go ]; do sleep 0.1; done"; } ];
        };
      };
    };

  testScript = builtins.readFile ./helpers.py + builtins.readFile ./soft-reboot.py;
}
