import json


def record(run):
    """Returns the record of a run, or what is known of a run that goes on."""
    return json.loads(machine.succeed(f"nixactions show {run} --json"))


def conclusions(run):
    """Returns the conclusion of each job of a run."""
    return {name: job["conclusion"] for name, job in record(run)["jobs"].items()}


def wait_for_step(run, job="wait"):
    """Waits until the first step of a run's job runs."""
    machine.wait_until_succeeds(
        f"grep -q '\"stepStarted\",\"job\":\"{job}\"' /var/lib/nixactions/runs/{run}/events.jsonl"
    )


def release(run, job="wait"):
    """Lets a job end whose step waits for the file `go` in its workspace."""
    machine.succeed(f"touch /var/lib/nixactions/runs/{run}/jobs/{job}/work/workspace/go")


def wait_for_end(run):
    """Waits until a run has its record and its supervisor is gone."""
    machine.wait_for_file(f"/var/lib/nixactions/runs/{run}/record.json")
    machine.wait_until_fails(f"systemctl is-active nixactions-{run}.service")


def runs(unit):
    """Returns a command that fails unless a unit is active, or starts as a job does all its life."""
    return f"systemctl list-units --plain --no-legend {unit} | grep ."


def is_gone(run):
    """Checks that nothing of a run is left but its record."""
    machine.fail(f"systemctl list-units --all --plain --no-legend 'nixactions-{run}*' | grep .")
    machine.fail("pgrep -x nixactions-runn")
    machine.fail("grep /var/lib/nixactions/ /proc/mounts")


# NixOS's machines otherwise stay off after a reboot.
machine.start(allow_reboot=True)
machine.wait_for_unit("multi-user.target")
