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

with subtest("the kernel also ends a service, which is told in the record"):
    layout = """
        mkdir -p /srv/image/blobs/sha256 && cd /srv/image
        put() { hex=$(sha256sum <$1 | cut -c-64); size=$(stat -c %s $1); mv $1 blobs/sha256/$hex; }
        type=application/vnd.oci.image
        tar -C /srv/root -cf layer .
        put layer
        layer=$(printf '{"mediaType":"%s.layer.v1.tar","digest":"sha256:%s","size":%s}' $type $hex $size)
        printf '{"architecture":"%s","os":"linux","config":{},' ARCHITECTURE >config
        printf '"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' $hex >>config
        put config
        config=$(printf '{"mediaType":"%s.config.v1+json","digest":"sha256:%s","size":%s}' $type $hex $size)
        printf '{"schemaVersion":2,"config":%s,"layers":[%s]}' "$config" "$layer" >manifest
        put manifest
        printf '{"mediaType":"%s.manifest.v1+json","digest":"sha256:%s","size":%s}' $type $hex $size >entry
        printf '{"schemaVersion":2,"manifests":[%s]}' "$(cat entry)" >index.json
        echo '{"imageLayoutVersion":"1.0.0"}' >oci-layout
    """
    architecture = machine.succeed("uname -m").strip()
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(architecture, architecture)
    machine.succeed(layout.replace("ARCHITECTURE", architecture))
    machine.succeed("systemctl start --no-block nixactions@served")
    machine.wait_for_file("/var/lib/nixactions/runs/served-1/events.jsonl")
    wait_for_step("served-1", "meanwhile")
    machine.wait_until_fails(runs("nixactions-served-1-meanwhile:db.service"))
    release("served-1", "meanwhile")
    wait_for_end("served-1")
    jobs = record("served-1")["jobs"]
    for job in ["host", "root", "image"]:
        assert jobs[job]["reasonCode"] == "serviceNotReady", (job, jobs)
        assert "service `db`" in jobs[job]["reason"], (job, jobs)
        assert "out of memory" in jobs[job]["reason"], (job, jobs)
    job = jobs["meanwhile"]
    assert job["conclusion"] == "success", job
    assert "out of memory" in job["services"]["db"]["reason"], job
    is_gone("served-1")

with subtest("what went on after a child ran out of memory did not run out of memory itself"):
    machine.succeed("systemctl start --no-block nixactions@goes-on")
    workspace = "/var/lib/nixactions/runs/goes-on-1/jobs/stopped/work/workspace"
    machine.wait_for_file(f"{workspace}/ended")
    machine.succeed("systemctl stop nixactions-goes-on-1-stopped.service")
    wait_for_end("goes-on-1")
    jobs = record("goes-on-1")["jobs"]
    assert jobs["service"]["conclusion"] == "success", jobs
    lines = machine.succeed("journalctl -o cat NIXACTIONS_RUN=goes-on-1 NIXACTIONS_SERVICE=db")
    assert "it ended" in lines and "out of memory" not in lines, lines
    assert jobs["stopped"]["steps"][0]["conclusion"] == "cancelled", jobs
    assert jobs["stopped"]["reasonCode"] == "unitStopped", jobs
    assert jobs["killed"]["steps"][1]["reasonCode"] == "signal", jobs
    is_gone("goes-on-1")

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
