def boot():
    """Returns the id of the kernel's boot."""
    return machine.succeed("cat /proc/sys/kernel/random/boot_id")


with subtest("a soft-reboot cancels the runs, and their records say so"):
    before = boot()
    for run in ["again", "once"]:
        machine.succeed(f"systemctl start --no-block nixactions@{run}")
        wait_for_step(f"{run}-1")
    # Ctrl+Alt+Delete starts a soft-reboot here: the kernel goes on.
    machine.reboot()
    assert boot() == before
    for run in ["again-1", "once-1"]:
        assert record(run)["conclusion"] == "cancelled", record(run)
        assert record(run)["jobs"]["wait"]["conclusion"] == "cancelled", record(run)
    assert record("again-1")["jobs"]["late"]["attempts"] == 0, record("again-1")
    assert "the step cleans up" in machine.succeed("nixactions logs again-1")

with subtest("a workflow that resumes starts again, and no other one"):
    wait_for_step("again-2")
    machine.fail("nixactions show once-2")
    # As after `systemctl stop`: the run did not end well, and systemd goes on with that.
    machine.succeed("systemctl is-failed nixactions@once")

with subtest("of the cancelled runs, nothing is left"):
    for run in ["again-1", "once-1"]:
        machine.fail(f"systemctl list-units --all --plain --no-legend 'nixactions-{run}*' | grep .")
        machine.fail(f"grep /var/lib/nixactions/runs/{run}/ /proc/mounts")

with subtest("the run that started again succeeds"):
    release("again-2")
    wait_for_end("again-2")
    assert record("again-2")["conclusion"] == "success", record("again-2")
    is_gone("again-2")
    machine.succeed("systemctl reset-failed nixactions@once")
    machine.fail("systemctl --failed --plain --no-legend | grep .")
