from datetime import datetime

with subtest("the kernel ends a job that takes more memory than it may, and the record says so"):
    machine.fail("systemctl start --wait nixactions@memory")
    jobs = record("memory-1")["jobs"]
    assert jobs["hog"]["conclusion"] == "failure", jobs
    assert jobs["hog"]["reasonCode"] == "oomKill", jobs
    assert jobs["after"]["conclusion"] == "success", jobs

with subtest("the kernel also ends a job in a container, alone or shared, and the record says so"):
    machine.succeed(
        "mkdir -p /srv/root",
        "mount -t tmpfs tmpfs /srv/root",
        """
        mkdir /srv/root/{bin,etc,usr,tmp,var,root,proc,sys,dev,run} && cd /srv/root
        bash=$(readlink -f "$(type -p bash)")
        cp --parents $bash .
        ln -s $bash bin/bash
        ldd $bash | grep -o '/[^ ]*' | xargs cp --parents --dereference --target-directory=.
        touch etc/os-release
        """,
    )
    machine.fail("systemctl start --wait nixactions@contained")
    jobs = record("contained-1")["jobs"]
    for job in ["box", "light", "one"]:
        assert jobs[job]["conclusion"] == "failure", (job, jobs)
        assert jobs[job]["reasonCode"] == "oomKill", (job, jobs)
        assert jobs[job]["steps"][0]["conclusion"] == "failure", (job, jobs)
    assert jobs["again"]["attempts"] == 2, jobs
    assert "out of memory" in jobs["again"]["reason"], jobs
    assert jobs["again"]["steps"][0]["reasonCode"] == "oomKill", jobs
    assert jobs["beside"]["conclusion"] == "success", jobs

with subtest("a job cannot start more processes than it may"):
    machine.fail("systemctl start --wait nixactions@processes")
    job = record("processes-1")["jobs"]["bomb"]
    assert job["conclusion"] == "failure", job
    machine.succeed("nixactions logs processes-1 | grep 'Resource temporarily unavailable'")

with subtest("a job takes no more CPU time than it may"):
    machine.fail("systemctl start --wait nixactions@time")
    job = record("time-1")["jobs"]["busy"]
    assert job["reasonCode"] == "timeout", job
    # 20 percent of the time that it had, which is more than its timeout on a busy host. A job without
    # a bound has nearly all of it.
    began, ended = (datetime.fromisoformat(job[time]) for time in ["startedAt", "finishedAt"])
    assert 1 < job["usage"]["cpuSeconds"] < 0.4 * (ended - began).total_seconds(), job

with subtest("a job that knows a secret leaves no core dump"):
    machine.fail("systemctl start --wait nixactions@cores")
    # The other job's dump shows that systemd-coredump works.
    machine.wait_until_succeeds("journalctl --sync; journalctl -o json | grep COREDUMP_EXE")
    machine.fail("journalctl -o export | grep -a canary")
    machine.fail("grep -ra canary /var/lib/systemd/coredump")

with subtest("nothing of the runs is left"):
    machine.fail("systemctl list-units --all --plain --no-legend 'nixactions-*-[0-9]*' | grep .")
