with subtest("a cancelled run cleans up, and its record and its service say so"):
    machine.succeed("systemctl start --no-block nixactions@long")
    wait_for_step("long-1")
    machine.succeed("nixactions cancel long-1")
    wait_for_end("long-1")
    ended = record("long-1")
    assert ended["conclusion"] == "cancelled", ended
    assert conclusions("long-1") == {"wait": "cancelled", "next": "skipped", "clean": "success"}, ended
    lines = machine.succeed("nixactions logs long-1")
    assert "the step cleans up" in lines and "the job cleans up" in lines, lines
    machine.wait_until_fails("systemctl is-active nixactions@long")
    assert machine.get_unit_property("nixactions@long.service", "ExecMainStatus") == "130"
    is_gone("long-1")

with subtest("stopping the service cancels its run"):
    machine.succeed("systemctl start --no-block nixactions@long")
    wait_for_step("long-2")
    machine.succeed("systemctl stop nixactions@long")
    assert conclusions("long-2")["clean"] == "success", record("long-2")
    is_gone("long-2")

with subtest("a second cancellation kills"):
    machine.succeed("systemctl start --no-block nixactions@stubborn")
    wait_for_step("stubborn-1")
    machine.succeed("nixactions cancel stubborn-1")
    assert "conclusion" not in record("stubborn-1"), record("stubborn-1")
    machine.succeed("nixactions cancel stubborn-1")
    wait_for_end("stubborn-1")
    assert record("stubborn-1")["conclusion"] == "cancelled", record("stubborn-1")
    is_gone("stubborn-1")

with subtest("a job and a step end when their time is over"):
    machine.fail("systemctl start --wait nixactions@late")
    jobs = record("late-1")["jobs"]
    assert conclusions("late-1") == {"job": "failure", "step": "failure", "after": "success"}, jobs
    assert jobs["job"]["reasonCode"] == "timeout", jobs
    assert "timeout" in jobs["step"]["reason"], jobs
    is_gone("late-1")
