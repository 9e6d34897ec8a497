with subtest("jobs run in the order of their needs, and side by side where nothing orders them"):
    machine.succeed("systemctl start --wait nixactions@diamond")
    jobs = record("diamond-1")["jobs"]
    assert set(conclusions("diamond-1").values()) == {"success"}, jobs
    for job, need in [("left", "top"), ("right", "top"), ("bottom", "left"), ("bottom", "right")]:
        assert jobs[need]["finishedAt"] <= jobs[job]["startedAt"], (job, need, jobs)
    assert jobs["left"]["startedAt"] < jobs["right"]["finishedAt"], jobs
    assert jobs["right"]["startedAt"] < jobs["left"]["finishedAt"], jobs

with subtest("an artifact reaches the jobs after it with its content and its mode"):
    lines = machine.succeed("nixactions logs diamond-1 bottom")
    assert "bottom got hello with mode 750" in lines, lines

with subtest("a failure skips what needs it, and nothing else"):
    machine.fail("systemctl start --wait nixactions@failure")
    assert machine.get_unit_property("nixactions@failure.service", "Result") == "exit-code"
    assert conclusions("failure-1") == {
        "broken": "failure",
        "dependent": "skipped",
        "report": "success",
        "cleanup": "success",
        "tolerated": "success",
        "goes-on": "success",
    }, record("failure-1")
    broken = record("failure-1")["jobs"]["broken"]
    assert broken["reason"] == "step compile: exit status 3", broken
    assert broken["reasonCode"] == "stepFailed", broken

with subtest("a failed run leaves the machine running and not degraded"):
    assert machine.execute("systemctl --failed --plain --no-legend | grep -v nixactions@failure")[1] == ""

with subtest("conditions of jobs and steps decide what runs"):
    machine.succeed("systemctl start --wait nixactions@conditions")
    assert conclusions("conditions-1") == {"asked": "success", "unasked": "skipped"}
    steps = record("conditions-1")["jobs"]["asked"]["steps"]
    assert [step["conclusion"] for step in steps] == ["success", "skipped"], steps

with subtest("the journal has the lines of a job by its fields and by its unit"):
    fields = "NIXACTIONS_RUN=diamond-1 NIXACTIONS_JOB=bottom"
    assert "bottom got hello" in machine.succeed(f"journalctl --output=cat {fields}")
    # journald learns the unit from the process that sends a line, while the process lives.
    assert "left begins" in machine.succeed("journalctl --output=cat -u nixactions-diamond-1-left.service")
    entries = machine.succeed(f"journalctl --output=json {fields} | grep 'bottom got'").splitlines()
    assert len(entries) == 1, entries
    entry = json.loads(entries[0])
    assert entry["NIXACTIONS_WORKFLOW"] == "diamond", entry
    assert "no such file" in machine.succeed("journalctl --output=cat NIXACTIONS_WORKFLOW=failure")

with subtest("nothing of the runs is left"):
    for run in ["diamond-1", "failure-1", "conditions-1"]:
        is_gone(run)
