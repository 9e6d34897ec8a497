machine.succeed(
    # NixOS has them already.
    "getent group ci || groupadd ci",
    "id alice || useradd --create-home alice",
    "id carol || useradd --create-home --groups ci carol",
    "id bob || useradd --create-home bob",
)


def by(user, command):
    """Returns a command that a user runs."""
    return f"runuser -u {user} -- {command}"


with subtest("operators start runs, by their name or by their group"):
    machine.succeed(by("alice", "systemctl start --wait nixactions@quick"))
    machine.succeed(by("carol", "systemctl start --wait nixactions@quick"))
    assert record("quick-2")["conclusion"] == "success"

with subtest("operators read runs, cancel and rerun them"):
    assert "quick-1" in machine.succeed(by("alice", "nixactions --system list"))
    assert "said by" in machine.succeed(by("alice", "nixactions --system logs quick-1"))
    machine.succeed(by("alice", "systemctl start --no-block nixactions@long"))
    wait_for_step("long-1")
    machine.succeed(by("carol", "nixactions --system cancel long-1"))
    wait_for_end("long-1")
    assert record("long-1")["conclusion"] == "cancelled"
    machine.succeed(by("alice", "nixactions --system rerun quick-1"))
    assert "said by alice" in machine.succeed("nixactions logs quick-3")

with subtest("strangers are refused, and operators get no other unit"):
    machine.fail(by("bob", "systemctl --no-ask-password start nixactions@quick"))
    machine.fail(by("bob", "nixactions --system list"))
    machine.fail(by("alice", "systemctl --no-ask-password stop dbus"))
    machine.fail(by("alice", "systemd-run --no-ask-password --wait true"))
    machine.fail("nixactions show quick-4")
