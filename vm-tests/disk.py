machine.succeed(
    "mkdir -p /var/lib/nixactions",
    "mount -t tmpfs -o size=64M,mode=755 tmpfs /var/lib/nixactions",
)

with subtest("a job that fills the disk fails, and the run has its record"):
    machine.fail("systemctl start --wait nixactions@fills")
    assert record("fills-1")["conclusion"] == "failure", record("fills-1")
    assert record("fills-1")["jobs"]["fill"]["conclusion"] == "failure", record("fills-1")
    is_gone("fills-1")

with subtest("a run waits for room on the disk, and the service says so"):
    machine.succeed("nixactions clean --keep=0")
    machine.succeed("fallocate --length 45M /var/lib/nixactions/other")
    machine.succeed("systemctl start --no-block nixactions@patient")
    machine.wait_until_succeeds(
        "systemctl show --property=StatusText nixactions@patient | grep 'waiting for 24.0M of free room'"
    )
    machine.fail("nixactions show patient-1")

with subtest("a waiting run starts when there is room"):
    machine.succeed("rm /var/lib/nixactions/other")
    machine.wait_until_succeeds("nixactions show patient-1 --json | grep success")
    machine.wait_until_fails("systemctl is-active nixactions@patient")
    is_gone("patient-1")
