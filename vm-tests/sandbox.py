machine.succeed(
    "id tester || useradd --create-home tester",
    "for dir in /root /home/tester /tmp; do echo secret > $dir/private; chmod 644 $dir/private; done",
    "chmod 755 /home/tester",
)

with subtest("no attack of a step in the default sandbox succeeds"):
    machine.succeed("systemctl start --no-block nixactions@hostile")
    wait_for_step("hostile-1", "neighbour")
    machine.wait_until_succeeds("nixactions show hostile-1 --json | grep --quiet thief")
    machine.wait_until_fails("systemctl list-units --plain --no-legend | grep hostile-1-thief")
    lines = machine.succeed("nixactions logs hostile-1 thief").splitlines()
    print("\n".join(lines))
    assert not [line for line in lines if "ESCAPED" in line], lines
    assert len([line for line in lines if "held: " in line]) == 19, lines

with subtest("a step that kills all processes it may kill reaches none of its neighbours"):
    release("hostile-1", "neighbour")
    wait_for_end("hostile-1")
    assert conclusions("hostile-1") == {
        "neighbour": "success",
        "thief": "success",
        "orphan": "failure",
        "killer": "failure",
    }, record("hostile-1")
    is_gone("hostile-1")

with subtest("the host is as it was"):
    for directory in ["/etc", "/usr/bin", "/nix/store"]:
        machine.fail(f"test -e {directory}/written")
    machine.succeed("systemctl is-active dbus systemd-journald")
