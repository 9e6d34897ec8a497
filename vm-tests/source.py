def commit(message):
    """Adds a commit to the project on the server. Returns its id."""
    server.succeed(
        f"cd /var/lib/git/project && echo {message} > message && git add message",
        "cd /var/lib/git/project && git -c user.name=a -c user.email=a@b commit --quiet --message=x",
    )
    return server.succeed("git -C /var/lib/git/project rev-parse HEAD").strip()

def status(unit):
    return machine.execute(f"systemctl status --no-pager --lines=20 {unit}")[1]

server.start()
server.succeed("git init --quiet /var/lib/git/project")
server.wait_for_unit("git-daemon.service")

with subtest("a run has the commit that the server has"):
    first = commit("one")
    machine.wait_until_succeeds("git ls-remote git://server/project")
    machine.succeed("systemctl start --wait nixactions@manual")
    assert record("manual-1")["commit"] == first, record("manual-1")
    assert "it says one" in machine.succeed("nixactions logs manual-1")

with subtest("the next run fetches the next commit"):
    second = commit("two")
    machine.succeed("systemctl start --wait nixactions@manual")
    assert record("manual-2")["commit"] == second, record("manual-2")
    assert "it says two" in machine.succeed("nixactions logs manual-2")

with subtest("without the server, the service fails and its status has the reason"):
    server.crash()
    machine.fail("systemctl start --wait nixactions@manual")
    reason = status("nixactions@manual.service")
    assert "unable to connect to server" in reason, reason
    assert "failed to fetch `git://server/project`" in reason, reason
    machine.fail("nixactions show manual-3")

with subtest("a schedule goes on after a failed fetch, as soon as the server is back"):
    machine.succeed("systemctl start nixactions@timed.timer")
    machine.wait_until_succeeds("systemctl is-failed nixactions@timed.service")
    machine.fail("nixactions show timed-1")
    server.start()
    server.wait_for_unit("git-daemon.service")
    machine.wait_until_succeeds("nixactions show timed-1 --json | grep -q success")
    machine.succeed("systemctl stop nixactions@timed.timer")
    assert record("timed-1")["commit"] == second, record("timed-1")
