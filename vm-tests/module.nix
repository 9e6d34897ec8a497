# The NixOS module in a virtual machine: `nix-build -A checks.vm-module`, or `nix flake check`.
#
# Needs nixpkgs and KVM. tests/module.rs runs the same units where there is neither, on a systemd of
# Debian's.
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

      # The same machine without a workflow, to switch to while it runs.
      system.switch.enable = true;
      specialisation.without.configuration.services.nixactions.workflows = pkgs.lib.mkForce { };
      environment.systemPackages = [ pkgs.git ];
    };

  testScript = ''
    import json

    def record(run):
        return json.loads(machine.succeed(f"nixactions show {run} --json"))

    def result(unit):
        return machine.succeed(f"systemctl show --value --property=Result {unit}").strip()

    machine.wait_for_unit("multi-user.target")

    with subtest("there is a timer, and it is the only thing that waits"):
        machine.succeed("systemctl is-active nixactions@good.timer")
        machine.fail("systemctl is-active nixactions@good.service")
        machine.succeed("systemd-analyze verify nixactions@good.service nixactions@good.timer")

    with subtest("a service's result is the conclusion of its run"):
        machine.succeed("systemctl start --wait nixactions@good")
        assert record("good-1")["conclusion"] == "success"
        machine.fail("systemctl start --wait nixactions@bad")
        assert record("bad-1")["conclusion"] == "failure"
        assert result("nixactions@bad.service") == "exit-code"

    with subtest("the timer starts a run"):
        machine.succeed("systemctl stop chronyd.service systemd-timesyncd.service || true")
        machine.succeed("date --set='tomorrow 02:59:58'")
        machine.wait_until_succeeds("nixactions show good-2 --json | grep -q success")

    with subtest("jobs get the source tree without what git ignores"):
        machine.succeed(
            "git init /root/project",
            "cd /root/project && echo ignored > .gitignore && touch tracked ignored && git add tracked .gitignore",
            "systemctl start --wait nixactions@source",
        )

    with subtest("stopping the service cancels the run, and what cleans up is run"):
        machine.succeed("systemctl start nixactions@long")
        machine.wait_until_succeeds("systemctl is-active nixactions-long-1-wait.service || systemctl status nixactions-long-1-wait.service | grep -q activating")
        machine.succeed("systemctl stop nixactions@long")
        assert record("long-1")["conclusion"] == "cancelled"
        assert record("long-1")["jobs"]["clean"]["conclusion"] == "success"

    with subtest("killing the client leaves the run alone"):
        machine.succeed("systemctl start nixactions@long")
        machine.wait_until_succeeds("nixactions list | grep -q long-2")
        machine.succeed("systemctl kill --signal=KILL nixactions@long")
        machine.wait_until_fails("systemctl is-active nixactions@long")
        machine.succeed("systemctl is-active nixactions-long-2.service")
        machine.succeed("nixactions cancel long-2")
        machine.wait_until_fails("systemctl is-active nixactions-long-2.service")

    with subtest("a switch disturbs no run, even when its workflow is gone"):
        machine.succeed("systemctl start nixactions@long")
        machine.wait_until_succeeds("nixactions list | grep -q long-3")
        machine.succeed("/run/booted-system/specialisation/without/bin/switch-to-configuration test")
        machine.succeed("systemctl is-active nixactions@long.service nixactions-long-3.service")
        machine.succeed("systemctl stop nixactions@long")
        assert record("long-3")["conclusion"] == "cancelled"

    with subtest("nothing of the runs is left"):
        machine.fail("systemctl list-units --all --plain --no-legend 'nixactions-*' | grep .")
  '';
}
