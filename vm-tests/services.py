def service(run, job="wait"):
    """Returns the name of the unit of a job's service `db`."""
    return f"'nixactions-{run}-{job}:db.service'"


with subtest("steps reach their services by name and at 127.0.0.1, and not those of others"):
    machine.succeed("systemctl start --wait nixactions@healthy")
    assert "db said one" in machine.succeed("nixactions logs healthy-1 one")
    assert "127.0.0.1 said two" in machine.succeed("nixactions logs healthy-1 two")
    is_gone("healthy-1")

with subtest("a service that ends while steps run fails no job, and the record says how it ended"):
    machine.succeed("systemctl start --wait nixactions@ends")
    job = record("ends-1")["jobs"]["job"]
    assert job["conclusion"] == "success", job
    assert job["services"]["db"]["reason"] == "exit status 4", job
    assert job["annotations"][0]["level"] == "warning", job
    lines = machine.succeed("nixactions logs ends-1")
    assert "gives up" in lines and "the job goes on" in lines, lines
    is_gone("ends-1")

with subtest("a service that dies before it is ready fails its job, and no step runs"):
    machine.fail("systemctl start --wait nixactions@dies")
    assert conclusions("dies-1") == {"job": "failure", "after": "success"}, record("dies-1")
    job = record("dies-1")["jobs"]["job"]
    assert job["reasonCode"] == "serviceNotReady", job
    assert "exit status 7" in job["reason"] and "cannot begin" in job["reason"], job
    assert "unreached" not in machine.succeed("nixactions logs dies-1")
    is_gone("dies-1")

with subtest("a service that is never ready fails its job, and is stopped"):
    machine.fail("systemctl start --wait nixactions@never")
    job = record("never-1")["jobs"]["job"]
    assert job["reasonCode"] == "serviceNotReady", job
    assert "unreached" not in machine.succeed("nixactions logs never-1")
    is_gone("never-1")

with subtest("a service outlives its killed supervisor, and ends with its job"):
    machine.succeed("systemctl start --no-block nixactions@long")
    wait_for_step("long-1")
    machine.succeed("systemctl kill --signal=KILL nixactions-long-1.service")
    machine.wait_until_succeeds(
        "[ $(grep -c supervisorStarted /var/lib/nixactions/runs/long-1/events.jsonl) = 2 ]"
    )
    machine.succeed(runs(service("long-1")))
    release("long-1")
    wait_for_end("long-1")
    assert record("long-1")["conclusion"] == "success", record("long-1")
    is_gone("long-1")

with subtest("a killed service is told in the record, and its job goes on"):
    machine.wait_until_fails("systemctl is-active nixactions@long")
    machine.succeed("systemctl start --no-block nixactions@long")
    wait_for_step("long-2")
    machine.succeed(f"systemctl kill --signal=KILL {service('long-2')}")
    machine.wait_until_fails(runs(service("long-2")))
    release("long-2")
    wait_for_end("long-2")
    job = record("long-2")["jobs"]["wait"]
    assert job["conclusion"] == "success", job
    assert job["services"]["db"]["reason"] == "its processes were killed", job
    is_gone("long-2")

with subtest("a cancelled job takes its services with it"):
    machine.wait_until_fails("systemctl is-active nixactions@long")
    machine.succeed("systemctl start --no-block nixactions@long")
    wait_for_step("long-3")
    machine.succeed("nixactions cancel long-3")
    wait_for_end("long-3")
    assert record("long-3")["conclusion"] == "cancelled", record("long-3")
    is_gone("long-3")
