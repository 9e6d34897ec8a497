//! Jobs that share one container: what they share, what each keeps for itself, and what is left.

use nixactions_harness::{
    CommandExt as _, Finished, Kind, Manager, Run, SOON, Signal, bash, on_managers, or_skip,
    wait_for, with,
};
use serde_json::{Value, json};

use super::{NONE, WAYS, digest, inside, nothing_is_left, plan};

on_managers!(jobs_share_the_files_of_one_container on embedded, embedded_262, system_252, system_257, system_262);
on_managers!(jobs_share_the_network_of_one_container on embedded, system_252, system_257, system_262);
on_managers!(jobs_in_one_container_stay_apart on embedded, system_252, system_257, system_262);
on_managers!(a_shared_container_is_denied_the_calls_of_any on embedded, system_252, system_257, system_262);
on_managers!(a_shared_container_stops_after_its_last_job on embedded, system_252, system_257, system_262);
on_managers!(a_shared_container_goes_however_the_run_ends on embedded, system_252, system_257, system_262);
on_managers!(a_shared_container_outlives_a_new_start_of_systemd on system_252, system_257, system_262);
on_managers!(a_lost_run_takes_its_shared_container_along on system_252, system_262);
on_managers!(jobs_need_their_shared_container on system_252, system_257, system_262);
on_managers!(a_shared_container_that_does_not_start_is_the_reason on system_252, system_262);
on_managers!(a_shared_container_needs_a_user_for_its_jobs on system_252, system_262);
on_managers!(a_cancelled_job_cleans_up_in_its_shared_container on system_252, system_262);
on_managers!(jobs_of_later_waves_join_the_same_container on system_252, system_262);
on_managers!(a_large_source_is_mounted_for_each_job on system_252, system_262);
on_managers!(each_job_in_a_shared_container_has_its_own_limits on system_252, system_257, system_262);

fn shared() -> Value {
    json!({ "mode": "shared" })
}

/// Waits until a unit of a run is, or is not, there.
fn wait_for_container(manager: &Manager, run: &Run<'_>, is_there: bool) {
    let unit = format!("nixactions-{}-box.container.service", run.id());
    wait_for(SOON, "the container's unit", || {
        let state = inside(manager, &["systemctl", "is-active", &unit]).output_within(SOON);
        let state = String::from_utf8_lossy(&state.stdout).into_owned();
        ((state.trim() == "active") == is_there).then_some(())
    });
}

fn jobs_share_the_files_of_one_container(manager: &Manager) {
    let first = bash(
        "echo first >/srv/of-first; echo mine >mine; echo mine >$HOME/mine; mkdir dist; echo made >dist/a
        echo temporary >/tmp/of-first; ls /run/nixactions/jobs 2>/dev/null || true; id -u",
    );
    let first = with(first, json!({ "outputs": { "dist": "dist" } }));
    let second = bash(
        "cat /srv/of-first /tmp/of-first dist/a; ls /run/nixactions/jobs; [ ! -e mine ]; [ ! -e $HOME/mine ]
        echo second >>/srv/of-first; cat /srv/of-first; id -u; ls",
    );
    let second = with(second, json!({ "needs": ["first"], "inputs": ["dist"] }));
    or_skip!(manager.image());
    let before = digest(manager);
    for way in WAYS {
        let jobs = json!({ "first": first, "second": second });
        let plan = plan(manager, way, shared(), jobs).expect("there is an image");
        let finished = manager.run(&plan, &NONE).exits(0);
        let first = finished.lines("first");
        let id = first.last().expect("it says so");
        let expected = [
            "first",
            "temporary",
            "made",
            "first",
            "first",
            "second",
            id,
            "dist",
        ];
        assert_eq!(finished.lines("second"), expected, "{way}");
        assert_eq!(*id == "0", way == "nspawn", "{id}");
        finished.leaves_nothing(manager);
        nothing_is_left(manager);
        assert_eq!(digest(manager), before, "{way}");
    }
}

fn jobs_share_the_network_of_one_container(manager: &Manager) {
    let serve = bash(
        "perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Listen => 1, LocalAddr => \"127.0.0.1:5000\") or die $!; open F, \">/srv/listens\"; close F; print {$s->accept} \"hello\\n\"'",
    );
    let ask = bash(
        "until [ -e /srv/listens ]; do sleep 0.05; done; read -r line </dev/tcp/127.0.0.1/5000; echo said=$line",
    );
    or_skip!(manager.image());
    for way in WAYS {
        let jobs = json!({ "serve": serve, "ask": ask });
        let executor = with(shared(), json!({ "network": "private" }));
        let mut plan = plan(manager, way, executor, jobs).expect("there is an image");
        plan["maxParallel"] = json!(2);
        let finished = manager.run(&plan, &NONE).exits(0);
        assert_eq!(finished.value("ask", "said"), "hello", "{way}");
        nothing_is_left(manager);
    }
}

/// Landlock scopes signals from Linux 6.12 on.
fn jobs_in_one_container_stay_apart(manager: &Manager) {
    let token = manager.write("token", "hunter2alpha");
    let victim = "export SECRET=swordfish; [ $(cat $CREDENTIALS_DIRECTORY/token) = hunter2alpha ]; cat $CREDENTIALS_DIRECTORY/token >/dev/null; echo $PPID >/srv/runner; echo private >file
        sh -c 'echo $$ >/srv/step; until [ -e /srv/done ]; do sleep 0.05; done'; echo unharmed";
    let victim = with(
        bash(victim),
        json!({ "credentials": { "token": token }, "outputs": { "out": "file" } }),
    );
    let evil = "set +e; until [ -s /srv/step ]; do sleep 0.05; done
        for pid in /proc/[0-9]*; do
            grep -z swordfish $pid/environ 2>/dev/null && echo LEAK environ of $pid
            cat $pid/root/run/nixactions/job/work/workspace/file 2>/dev/null && [ $(cat $pid/root/run/nixactions/job/work/workspace/file) != own ] && echo LEAK workspace of $pid
            cat $pid/root/run/credentials/*/* 2>/dev/null | grep hunter && echo LEAK credentials of $pid
            readlink $pid/fd/* 2>/dev/null | grep -E 'events.jsonl|slots' && echo LEAK descriptors of $pid
        done
        find / -xdev -name token 2>/dev/null | grep . && echo LEAK token
        mkdir -p /sys/fs/cgroup/x; cat /sys/fs/cgroup/cgroup.procs | grep -qx $(cat /srv/step) && echo LEAK control group
        for place in /run/nixactions/jobs/* /run/nixactions/job/../jobs; do [ ! -e $place ] || echo LEAK $place; done
        umount /run/nixactions 2>/dev/null && echo LEAK unmounted; touch /run/nixactions/x 2>/dev/null && echo LEAK written; true";
    let evil = json!({ "steps": [
        { "bash": "echo own >file" },
        { "bash": evil },
        // Its last attack may end its own runner.
        { "bash": "touch /srv/over; kill -9 $(cat /srv/step) $(cat /srv/runner) 2>/dev/null; kill -9 -1; exit 0" },
    ] });
    let after = with(
        bash("[ -e /srv/over ]; touch /srv/done"),
        json!({ "needs": ["evil"], "condition": "always()" }),
    );
    or_skip!(manager.image());
    for way in WAYS {
        let jobs = json!({ "victim": victim, "evil": evil, "after": after });
        let mut plan = plan(manager, way, shared(), jobs).expect("there is an image");
        plan["maxParallel"] = json!(2);
        let finished = manager.run(&plan, &NONE);
        super::has_no_leak(&finished, "evil");
        assert_eq!(finished.verdict("victim"), "success/success", "{finished}");
        assert!(finished.lines("victim").contains(&"unharmed"), "{way}");
        finished.leaves_nothing(manager);
        nothing_is_left(manager);
    }
}

/// The filter of systemd-nspawn does not hold for a process that joins its container. The calls for
/// keys are not compared: newer versions allow them.
fn a_shared_container_is_denied_the_calls_of_any(manager: &Manager) {
    // On x86-64: perf_event_open, fanotify_init, fanotify_mark,
    // open_by_handle_at, bpf, userfaultfd, modify_ldt, ptrace, process_vm_readv, quotactl,
    // quotactl_fd, swapon, reboot, mount, setns, unshare.
    let calls = "298 300 301 304 321 323 154 101 310 179 443 167 169 165 308 272";
    let script = format!(
        "perl -e 'for (qw({calls})) {{ $! = 0; my $r = syscall($_, -1, 0, 0, 0, 0, 0); print \"$_ \", $r == -1 ? $!+0 : \"ok\", \"\\n\" }}'
        grep -E '^(Cap|NoNewPrivs)' /proc/self/status; cat /proc/self/uid_map; umask; id; ls /proc/self/ns | wc -l"
    );
    or_skip!(manager.image());
    for way in WAYS {
        let lines = |mode: &str| {
            let executor = json!({ "mode": mode });
            let plan = plan(manager, way, executor, json!({ "j": bash(&script) }));
            let finished = manager.run(&plan.expect("an image"), &NONE).exits(0);
            let lines = finished.lines("j").into_iter();
            // The ids differ.
            let text = lines.map(|line| line.replace(char::is_whitespace, " "));
            text.filter(|line| !line.contains("nixactions-6") && !line.contains(" 6"))
                .collect::<Vec<_>>()
        };
        assert_eq!(lines("shared"), lines("isolated"), "{way}");
    }
}

fn a_shared_container_stops_after_its_last_job(manager: &Manager) {
    let open = manager.open_directory("open").display().to_string();
    or_skip!(manager.image());
    for way in WAYS {
        let mut jobs = json!({ "j": bash("touch here; until [ -e go ]; do sleep 0.05; done"), "k": bash("true") });
        jobs["k"]["needs"] = json!(["j"]);
        let mut plan = plan(manager, way, shared(), jobs).expect("there is an image");
        plan["executors"]["host"] = json!({ "type": "systemd", "sandbox": "none" });
        let wait = format!("touch {open}/{way}; until [ -e {open}/{way}-go ]; do sleep 0.05; done");
        plan["jobs"]["last"] = with(bash(&wait), json!({ "needs": ["k"], "executor": "host" }));
        let run = manager.start(&plan, &NONE);
        run.wait_for_file("j", "here");
        wait_for_container(manager, &run, true);
        run.release("j", "go");
        let at = manager.file(format!("{open}/{way}"));
        wait_for(SOON, "the last job", || at.exists().then_some(()));
        wait_for_container(manager, &run, false);
        let root = run.dir().join("roots/box.shared");
        wait_for(SOON, "its files to go", || (!root.exists()).then_some(()));
        nothing_is_left(manager);
        std::fs::write(manager.file(format!("{open}/{way}-go")), "").expect("it is there");
        run.end().exits(0).leaves_nothing(manager);
    }
}

fn a_shared_container_goes_however_the_run_ends(manager: &Manager) {
    or_skip!(manager.image());
    for way in WAYS {
        let begin = || {
            let jobs =
                json!({ "a": bash("touch here; sleep 1000"), "b": bash("touch here; sleep 1000") });
            let mut plan = plan(manager, way, shared(), jobs).expect("there is an image");
            plan["maxParallel"] = json!(2);
            let run = manager.start(&plan, &NONE);
            run.wait_for_file("a", "here");
            run.wait_for_file("b", "here");
            run
        };
        let run = begin();
        run.signal_client(Signal::SIGINT);
        let finished = run.end().exits(130);
        assert_eq!(finished.verdict("a"), "cancelled/cancelled", "{way}");
        finished.leaves_nothing(manager);
        nothing_is_left(manager);

        let run = begin();
        manager.nixactions(&["cancel", "--kill", run.id()]).ok();
        run.end().exits(130).leaves_nothing(manager);
        nothing_is_left(manager);

        // A runner that is killed fails its own job only.
        let run = begin();
        assert!(run.kill_runner("a"));
        run.wait_for_event("jobFinished", Some("a"));
        if manager.kind() != Kind::Embedded {
            assert!(run.kill_supervisor());
        }
        manager.nixactions(&["cancel", run.id()]).ok();
        let finished = run.end().exits(130);
        assert_eq!(finished.verdict("a"), "failure/failure", "{way}");
        assert!(finished.reason("a").contains("SIGKILL"), "{finished}");
        assert_eq!(finished.verdict("b"), "cancelled/cancelled", "{way}");
        finished.leaves_nothing(manager);
        nothing_is_left(manager);
    }
}

fn a_shared_container_outlives_a_new_start_of_systemd(manager: &Manager) {
    let job = bash(
        "touch here; until [ -e go ]; do sleep 0.05; done; [ ! -e /srv/kept ]; echo kept >/srv/kept",
    );
    or_skip!(manager.image());
    for way in WAYS {
        let jobs = json!({ "a": job, "b": with(bash("cat /srv/kept"), json!({ "needs": ["a"] })) });
        let plan = plan(manager, way, shared(), jobs).expect("there is an image");
        let run = manager.start(&plan, &NONE);
        run.wait_for_file("a", "here");
        manager.command(&["systemctl", "daemon-reexec"]).ok();
        manager.command(&["systemctl", "daemon-reload"]).ok();
        run.release("a", "go");
        let finished = run.end().exits(0);
        assert_eq!(finished.lines("b"), ["kept"], "{way}");
        finished.leaves_nothing(manager);
        nothing_is_left(manager);
    }
}

fn a_lost_run_takes_its_shared_container_along(manager: &Manager) {
    or_skip!(manager.image());
    for way in WAYS {
        let jobs = json!({ "a": bash("touch here; until [ -e go ]; do sleep 0.05; done") });
        let plan = plan(manager, way, shared(), jobs).expect("there is an image");
        let mut run = manager.start(&plan, &NONE);
        run.wait_for_file("a", "here");
        run.kill_client();
        let unit = format!("nixactions-{}.service", run.id());
        let kill = format!(
            "systemctl kill --kill-whom=main --signal=STOP {unit}; systemctl mask --runtime {unit} 2>/dev/null; systemctl kill --signal=KILL {unit}; systemctl stop {unit}; systemctl unmask --runtime {unit}"
        );
        manager.command(&["sh", "-c", &kill]).output_within(SOON);
        run.release("a", "go");
        wait_for(SOON, "the record to be closed", || {
            manager.nixactions(&["list"]).output_within(SOON);
            run.dir().join("record.json").exists().then_some(())
        });
        wait_for_container(manager, &run, false);
        nothing_is_left(manager);
        assert!(!run.dir().join("roots/box.shared").exists());
    }
}

fn jobs_need_their_shared_container(manager: &Manager) {
    or_skip!(manager.image());
    let jobs = json!({
        "a": bash("touch here; until [ -e go ]; do sleep 0.05; done"),
        "b": with(bash("true"), json!({ "needs": ["a"], "condition": "always()" })),
        "c": with(bash("true"), json!({ "needs": ["b"] })),
    });
    let plan = plan(manager, "nspawn", shared(), jobs).expect("there is an image");
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("a", "here");
    let unit = format!("nixactions-{}-box.container.service", run.id());
    let kill = [
        "systemctl",
        "kill",
        "--kill-whom=main",
        "--signal=KILL",
        &unit,
    ];
    manager.command(&kill).ok();
    let finished = run.end().exits(1);
    assert_eq!(finished.verdict("a"), "failure/failure");
    let expected = "signal: the container of executor `box` has ended";
    assert_eq!(finished.reason("a"), expected, "{finished}");
    assert_eq!(finished.job("a")["reasonCode"], "signal", "{finished}");
    let expected =
        "its root file system: failed to find the container: its first process has ended";
    assert_eq!(finished.reason("b"), expected, "{finished}");
    assert_eq!(finished.verdict("c"), "skipped/skipped");
    finished.leaves_nothing(manager);
    nothing_is_left(manager);
}

fn a_shared_container_that_does_not_start_is_the_reason(manager: &Manager) {
    or_skip!(manager.image());
    let fake = "mv /usr/bin/systemd-nspawn /usr/bin/nspawn.away
        printf '#!/bin/sh\\necho first >&2; echo Failed to do it >&2; exit 1\\n' >/usr/bin/systemd-nspawn; chmod 755 /usr/bin/systemd-nspawn";
    manager.command(&["sh", "-ec", fake]).ok();
    let jobs = json!({ "j": bash("true"), "k": with(bash("true"), json!({ "needs": ["j"] })),
        "l": with(bash("true"), json!({ "needs": ["j"], "condition": "always()" })) });
    let plan = plan(manager, "nspawn", shared(), jobs).expect("there is an image");
    let finished = manager.run(&plan, &NONE).exits(1);
    for job in ["j", "l"] {
        let reason = finished.reason(job);
        let begin = "its root file system: failed to run systemd-nspawn: ";
        assert!(
            reason.starts_with(begin) && reason.contains("Failed to do it"),
            "{job}: {reason}"
        );
        assert_eq!(finished.job(job)["reasonCode"], "rootFailed");
    }
    assert_eq!(finished.verdict("k"), "skipped/skipped");
    finished.leaves_nothing(manager);
}

fn a_shared_container_needs_a_user_for_its_jobs(manager: &Manager) {
    or_skip!(manager.image());
    let refused = |way: &str, executor: Value, job: Value| {
        let job = with(bash("true"), job);
        let executor = with(shared(), executor);
        let plan = plan(manager, way, executor, json!({ "j": job })).expect("an image");
        let path = manager.plan(&plan).display().to_string();
        let (code, said) = manager.refused(&["run", &path]);
        assert_eq!(code, 2, "{said}");
        said
    };
    let properties = json!({ "properties": { "User": "tester" } });
    let of_executor = refused("systemd", properties.clone(), json!({}));
    let path = "$.executors.box.properties.User: found `User` in a container that jobs share";
    assert!(of_executor.contains(path), "{of_executor}");
    let of_job = refused("systemd", json!({}), properties);
    assert!(of_job.contains("$.jobs.j.properties.User"), "{of_job}");
    let file = "/etc/nsswitch.conf";
    manager.command(&["sed", "-i", "s/ systemd//", file]).ok();
    let said = refused("systemd", json!({}), json!({}));
    assert!(said.contains("nss-systemd(8)"), "{said}");
    let plan = plan(manager, "nspawn", shared(), json!({ "j": bash("true") }));
    manager.run(&plan.expect("an image"), &NONE).exits(0);
}

fn a_cancelled_job_cleans_up_in_its_shared_container(manager: &Manager) {
    or_skip!(manager.image());
    for way in WAYS {
        let mut job = bash("touch here; sleep 1000");
        let clean = json!({ "bash": "cat /etc/os-release >/dev/null; echo cleaned up", "condition": "always()" });
        let steps = job["steps"].as_array_mut().expect("it has steps");
        steps.push(clean);
        let after = with(
            bash("echo after"),
            json!({ "needs": ["j"], "condition": "always()" }),
        );
        let jobs = json!({ "j": job, "after": after });
        let plan = plan(manager, way, shared(), jobs).expect("there is an image");
        let run = manager.start(&plan, &NONE);
        run.wait_for_file("j", "here");
        run.signal_client(Signal::SIGINT);
        let finished = run.end().exits(130);
        assert!(finished.lines("j").contains(&"cleaned up"), "{finished}");
        assert_eq!(finished.lines("after"), ["after"], "{way}");
        finished.leaves_nothing(manager);
        nothing_is_left(manager);
    }
}

/// More jobs than a wave has.
fn jobs_of_later_waves_join_the_same_container(manager: &Manager) {
    or_skip!(manager.image());
    for way in WAYS {
        let mut jobs = serde_json::Map::new();
        for number in 0..80 {
            let before = number - 1;
            let needs = if number == 0 {
                json!([])
            } else {
                json!([format!("j{before:02}")])
            };
            jobs.insert(
                format!("j{number:02}"),
                with(bash("echo x >>/srv/count"), json!({ "needs": needs })),
            );
        }
        jobs.insert(
            "last".to_owned(),
            with(bash("wc -l </srv/count"), json!({ "needs": ["j79"] })),
        );
        let mut plan = plan(manager, way, shared(), jobs.into()).expect("there is an image");
        plan["maxParallel"] = json!(1);
        let finished = manager.run(&plan, &NONE).exits(0);
        assert_eq!(finished.lines("last"), ["80"], "{way}");
        finished.leaves_nothing(manager);
        nothing_is_left(manager);
    }
}

fn a_large_source_is_mounted_for_each_job(manager: &Manager) {
    let state = manager.state_dir().display().to_string();
    let mount = "mkdir -p $1; mount -t tmpfs -o mode=755 tmpfs $1";
    manager.command(&["sh", "-ec", mount, "mount", &state]).ok();
    for number in 0..300 {
        manager.write(format!("many/{number}"), "");
    }
    let source = manager.dir().join("many").display().to_string();
    let script = "ls | wc -l; [ ! -e new ]; echo changed >7; rm 8; touch new; findmnt --noheadings --output FSTYPE --target .
        [ \"$(stat -c %u:%g 9)\" = \"$(id -u):$(id -g)\" ]";
    or_skip!(manager.image());
    for way in WAYS {
        let jobs = json!({ "a": bash(script), "b": with(bash(script), json!({ "needs": ["a"] })) });
        let plan = plan(manager, way, shared(), jobs).expect("there is an image");
        let finished = manager.run(&plan, &["--source", &source]).exits(0);
        for job in ["a", "b"] {
            assert_eq!(finished.lines(job), ["300", "overlay"], "{way}");
        }
        finished.leaves_nothing(manager);
        nothing_is_left(manager);
    }
}

fn each_job_in_a_shared_container_has_its_own_limits(manager: &Manager) {
    or_skip!(manager.image());
    let script =
        "ulimit -Sn; nice; cat /proc/self/oom_score_adj; grep -c . /sys/fs/cgroup/cgroup.procs";
    for way in WAYS {
        let job = |files: &str| {
            with(
                bash(script),
                json!({ "properties": { "LimitNOFILE": files } }),
            )
        };
        let jobs = json!({ "a": job("100:200"), "b": job("300:400") });
        let executor = with(shared(), json!({ "properties": { "Nice": "7" } }));
        let plan = plan(manager, way, executor, jobs).expect("there is an image");
        let finished = manager.run(&plan, &NONE).exits(0);
        let seen = |finished: &Finished, job: &str| finished.lines(job)[..3].join(" ");
        assert_eq!(seen(&finished, "a"), "100 7 500", "{way}");
        assert_eq!(seen(&finished, "b"), "300 7 500", "{way}");
    }
}
