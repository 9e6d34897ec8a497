def kept():
    """Returns the names of the runs that are kept."""
    return machine.succeed("ls /var/lib/nixactions/runs").split()


with subtest("a timer removes old runs"):
    machine.succeed("systemctl is-active nixactions-clean.timer")

with subtest("the newest runs stay, the newest failure, and a run that goes on"):
    machine.succeed("systemctl start --no-block nixactions@long")
    wait_for_step("long-1")
    machine.succeed("mkdir /etc/ci")
    for status in [1, 1, 0, 0, 0]:
        machine.succeed(f"echo STATUS={status} > /etc/ci/mixed.env")
        machine.execute("systemctl start --wait nixactions@mixed")
    assert len(kept()) == 6, kept()
    machine.succeed("systemctl start --wait nixactions-clean")
    assert sorted(kept()) == ["long-1", "mixed-2", "mixed-4", "mixed-5"], kept()
    assert record("mixed-2")["conclusion"] == "failure"

with subtest("the run that went on ends as if nothing had happened"):
    release("long-1")
    wait_for_end("long-1")
    assert record("long-1")["conclusion"] == "success"
    is_gone("long-1")

with subtest("the next run has a number of its own"):
    machine.succeed("systemctl start --wait nixactions@mixed")
    assert record("mixed-6")["conclusion"] == "success"
