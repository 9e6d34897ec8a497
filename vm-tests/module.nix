# The NixOS module in a virtual machine: `nix-build -A checks.vm-module`, or `nix flake check`.
#
# Needs nixpkgs and KVM. Where there is neither, `python3 vm-tests/driver module` runs the same
# script on Debian.
{ pkgs }:
pkgs.testers.runNixOSTest {
  name = "nixactions-module";

  nodes.machine =
    { config, pkgs, ... }:
    {
      imports = [ ../nixos ];

      services.nixactions = {
        enable = true;
        workflows = {
          good = {
            schedule = "*-*-* 03:00:00";
            settings.jobs = {
              build = {
                outputs.greeting = "greeting";
                steps = [ { bash = "echo hello > greeting"; } ];
              };
              test = {
                needs = [ "build" ];
                inputs = [ "greeting" ];
                steps = [
                  {
                    bash = "grep hello greeting";
                    deps = [ pkgs.gnugrep ];
                  }
                ];
              };
            };
          };
          tick = {
            schedule = "*:*:0/2";
            settings.jobs.tick.steps = [ { bash = "true"; } ];
          };
          bad.package = config.lib.nixactions.mkWorkflow {
            name = "bad";
            jobs.test.steps = [ { bash = "exit 7"; } ];
          };
          long.settings.jobs = {
            wait.steps = [ { bash = "sleep infinity"; } ];
            clean = {
              needs = [ "wait" ];
              condition = "always()";
              steps = [ { bash = "echo cleaned up"; } ];
            };
          };
          # Needs things that a service does not have by itself: bash and git of the host or of the
          # package, and the user's files.
          source = {
            source = "/root/project";
            settings.jobs.look.steps = [ { bash = "test -f tracked && test ! -e ignored"; } ];
          };
        };
      };

      # By default, systemd may start a timer's service up to a minute late (systemd.timer(5)).
      systemd.timers."nixactions@tick".timerConfig.AccuracySec = "100ms";

      # The same machine without a workflow, to switch to while it runs.
      system.switch.enable = true;
      specialisation.without.configuration.services.nixactions.workflows = pkgs.lib.mkForce { };
      environment.systemPackages = [ pkgs.git ];
    };

  testScript = builtins.readFile ./helpers.py + builtins.readFile ./module.py;
}
