machine.succeed(
    "mkdir -m 700 /etc/ci",
    "echo TOKEN=canary-of-the-environment > /etc/ci/secret.env",
    "echo LEVEL=plain > /etc/ci/plain.env",
    "printf canary-of-the-file > /etc/ci/key",
    "printf canary-that-was-sealed | systemd-creds encrypt --with-key=host --name=sealed - /etc/ci/sealed.cred",
)


def found(directory):
    """Returns the files in a directory that have a secret in them."""
    return machine.succeed(f"grep --recursive --text --files-with-matches canary- {directory} || true")


with subtest("jobs have the secrets, and while they run nothing else shows them"):
    machine.succeed("systemctl start --no-block nixactions@secrets")
    wait_for_step("secrets-1")
    shown = machine.succeed("systemctl show 'nixactions*'", "nixactions show secrets-1 --json")
    assert "canary" not in shown
    assert found("/var/lib/nixactions") == ""
    # The brackets keep this command from finding itself. Some processes end meanwhile.
    assert machine.succeed("cat /proc/[0-9]*/cmdline 2> /dev/null | grep --text '[c]anary-of' || true") == ""
    release("secrets-1")
    wait_for_end("secrets-1")
    assert record("secrets-1")["conclusion"] == "success", record("secrets-1")

with subtest("the log has stars in their place"):
    assert "the token is ***, the key is ***" in machine.succeed("nixactions logs secrets-1")
    assert "canary-" not in machine.succeed("journalctl --output=export --all")
    assert found("/var/lib/nixactions") == ""
    is_gone("secrets-1")

with subtest("a missing credential fails its job, and the reason names it"):
    machine.fail("systemctl start --wait nixactions@missing")
    failed = record("missing-1")["jobs"]["a"]
    assert failed["reason"] == "credential `key`: there is no file `/etc/ci/nowhere`", failed
    assert failed["reasonCode"] == "secretsFailed", failed
    status = machine.execute("systemctl status nixactions@missing")[1]
    assert "there is no file `/etc/ci/nowhere`" in status, status
