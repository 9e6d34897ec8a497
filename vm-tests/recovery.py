machine.fail("nixactions show missed-1")

with subtest("systemd restarts a killed supervisor, and the run goes on"):
    machine.succeed("systemctl start --no-block nixactions@long")
    wait_for_step("long-1")
    machine.succeed("systemctl kill --signal=KILL nixactions-long-1.service")
    machine.wait_until_succeeds(
        "[ $(grep -c supervisorStarted /var/lib/nixactions/runs/long-1/events.jsonl) = 2 ]"
    )
    release("long-1")
    wait_for_end("long-1")
    assert record("long-1")["jobs"]["late"]["conclusion"] == "success"

with subtest("systemd re-executes itself, and the run goes on"):
    machine.succeed("systemctl start --no-block nixactions@long")
    wait_for_step("long-2")
    machine.succeed("systemctl daemon-reexec")
    machine.succeed("systemctl daemon-reload")
    release("long-2")
    wait_for_end("long-2")
    assert record("long-2")["conclusion"] == "success"
    is_gone("long-2")

with subtest("a run that lost power has a failed record after the next boot"):
    machine.succeed("systemctl start --no-block nixactions@long")
    wait_for_step("long-3")
    machine.succeed("sync")
    machine.crash()
    machine.start(allow_reboot=True)
    # In a container, whose kernel goes on, systemd might still restart the supervisor for 10 s.
    machine.wait_until_succeeds("nixactions show long-3 --json | grep '\"reasonCode\": \"lost\"'")
    closed = record("long-3")
    assert closed["conclusion"] == "failure", closed
    assert closed["jobs"]["early"]["conclusion"] == "success", closed
    assert closed["jobs"]["wait"]["conclusion"] == "failure", closed
    assert closed["jobs"]["late"]["attempts"] == 0, closed
    is_gone("long-3")

with subtest("a shutdown cancels the run, and its record says so"):
    machine.succeed("systemctl start --no-block nixactions@long")
    wait_for_step("long-4")
    machine.reboot()
    closed = record("long-4")
    assert closed["conclusion"] == "cancelled", closed
    assert closed["jobs"]["wait"]["conclusion"] == "cancelled", closed
    is_gone("long-4")

with subtest("a run that a timer missed starts after the next boot"):
    machine.succeed("touch -d '3 days ago' /var/lib/systemd/timers/stamp-nixactions@missed.timer")
    machine.reboot()
    machine.wait_until_succeeds("nixactions show missed-1 --json | grep -q success")
    assert record("missed-1")["trigger"] == "schedule"

with subtest("the next run of the workflow succeeds"):
    machine.succeed("systemctl start --no-block nixactions@long")
    wait_for_step("long-5")
    release("long-5")
    wait_for_end("long-5")
    assert record("long-5")["conclusion"] == "success"
