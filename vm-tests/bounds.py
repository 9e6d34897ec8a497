from datetime import datetime


def now():
    """Returns the machine's time in seconds."""
    return int(machine.succeed("date +%s"))


def power_off():
    """Asks for a shutdown. Checks that it waits for a run."""
    machine.succeed("systemctl poweroff --no-wall")
    preparing = "busctl get-property org.freedesktop.login1 /org/freedesktop/login1"
    assert "b true" in machine.succeed(f"{preparing} org.freedesktop.login1.Manager PreparingForShutdown")


with subtest("a job beyond those that may run at once waits, and the run says so"):
    machine.succeed("systemctl start --no-block nixactions@long")
    wait_for_step("long-1")
    machine.succeed("systemctl start --no-block nixactions@other")
    machine.wait_until_succeeds(
        "systemctl show --property=StatusText nixactions-other-1.service | grep 'waiting for a place: wait'"
    )
    machine.fail("grep stepStarted /var/lib/nixactions/runs/other-1/events.jsonl")

with subtest("it starts when there is a place"):
    release("long-1")
    wait_for_end("other-1")
    assert record("long-1")["conclusion"] == "success", record("long-1")
    assert record("other-1")["conclusion"] == "success", record("other-1")
    is_gone("other-1")

with subtest("a shutdown waits for the run that goes on"):
    machine.wait_until_fails("systemctl is-active nixactions@long")
    machine.succeed("systemctl start --no-block nixactions@long")
    wait_for_step("long-2")
    power_off()
    release("long-2")
    machine.wait_for_shutdown()
    machine.start(allow_reboot=True)
    assert record("long-2")["conclusion"] == "success", record("long-2")

with subtest("it cancels the run when its time is over"):
    machine.succeed("systemctl start --no-block nixactions@long")
    wait_for_step("long-3")
    asked = now()
    power_off()
    machine.wait_for_shutdown()
    machine.start(allow_reboot=True)
    ended = record("long-3")
    assert ended["conclusion"] == "cancelled", ended
    waited = datetime.fromisoformat(ended["finishedAt"]).timestamp() - asked
    assert 29 < waited < 90, ended
    is_gone("long-3")
