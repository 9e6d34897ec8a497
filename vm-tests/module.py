def result(unit):
    return machine.succeed(f"systemctl show --value --property=Result {unit}").strip()

with subtest("there is a timer, and it is the only thing that waits"):
    machine.succeed("systemctl is-active nixactions@good.timer")
    machine.fail("systemctl is-active nixactions@good.service")
    machine.succeed("systemd-analyze verify --man=no nixactions@good.service nixactions@good.timer")

with subtest("a service's result is the conclusion of its run"):
    machine.succeed("systemctl start --wait nixactions@good")
    assert record("good-1")["conclusion"] == "success"
    machine.fail("systemctl start --wait nixactions@bad")
    assert record("bad-1")["conclusion"] == "failure"
    assert result("nixactions@bad.service") == "exit-code"

with subtest("the timer starts one run after the other"):
    machine.wait_until_succeeds("nixactions show tick-2 --json | grep -q success")
    assert record("tick-2")["trigger"] == "schedule"
    assert record("good-1")["trigger"] == "manual"
    machine.succeed("systemctl stop nixactions@tick.timer")

with subtest("jobs get the source tree without what git ignores"):
    machine.succeed(
        "git init /root/project",
        "cd /root/project && echo ignored > .gitignore && touch tracked ignored && git add tracked .gitignore",
        "systemctl start --wait nixactions@source",
    )

with subtest("stopping the service cancels the run, and what cleans up is run"):
    machine.succeed("systemctl start nixactions@long")
    machine.wait_until_succeeds(
        "[ $(systemctl show --value --property=ActiveState nixactions-long-1-wait.service) = activating ]"
    )
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
    machine.fail(
        "systemctl list-units --all --plain --no-legend 'nixactions-*-[0-9]*' | grep ."
    )
    machine.fail("systemctl --failed --plain --no-legend | grep -v nixactions@")
