//! The users of jobs: each its own, with a home and a shell, and of no rights but the sandbox's.

use std::{collections::BTreeSet, fs, path::Path};

use nixactions_harness::{CommandExt as _, Kind, Manager, bash, on_managers, with};
use serde_json::json;

on_managers!(a_job_has_its_home_and_a_shell on embedded_252, embedded_257, embedded_262, system_252, system_257, system_262, user_262);
on_managers!(openat2_and_setgid_directories_work on embedded_252, embedded_262, system_252, system_257, system_262, user_262);
on_managers!(ids_are_unique_and_given_back on embedded_262, system_252, system_257, system_262);
on_managers!(ids_of_services_are_not_taken on system_252, system_262);
on_managers!(runs_at_once_share_no_ids on embedded_252, embedded_262, system_252, system_262);
on_managers!(users_of_a_killed_manager_are_given_back on embedded_257, embedded_262);
on_managers!(files_of_the_engine_do_not_follow_an_umask on embedded_257, embedded_262, system_252, system_262, user_262);
on_managers!(lines_of_a_user_with_a_journal_are_shown on system_252, system_257, system_262);
on_managers!(without_nss_systemd_the_user_is_systemds on embedded_262, system_252, system_262);

const NONE: [&str; 0] = [];
const RECORDS: &str = "/run/userdb";

/// Returns the records of jobs' users that the machine has.
fn records(manager: &Manager) -> BTreeSet<String> {
    fs::read_dir(manager.file(RECORDS))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// journald keeps a journal of its own for a user who may log in.
fn lines_of_a_user_with_a_journal_are_shown(manager: &Manager) {
    let job = with(
        bash("echo user=$(id -un)"),
        json!({ "properties": { "User": "tester" } }),
    );
    let plan = json!({ "version": 1, "name": "lines", "jobs": { "j": job } });
    let finished = manager.run(&plan, &NONE).exits(0);
    assert_eq!(finished.value("j", "user"), "tester");
}

fn a_job_has_its_home_and_a_shell(manager: &Manager) {
    let script = "echo HOME=$HOME; echo SHELL=$SHELL; $SHELL -c 'echo RUNS=yes'; echo TILDE=$(bash -c 'unset HOME; echo ~')
        echo USER=$USER=$(id -un)=$(id -gn); getent passwd $(id -u) || true";
    let plan = json!({ "version": 1, "name": "home",
        "executors": { "relaxed": { "type": "systemd", "sandbox": "relaxed" }, "none": { "type": "systemd", "sandbox": "none" } },
        "jobs": { "strict": bash(script), "relaxed": with(bash(script), json!({ "executor": "relaxed" })),
                  "none": with(bash("echo SHELL=$SHELL; $SHELL -c 'echo RUNS=yes'"), json!({ "executor": "none" })) } });
    let run = manager.run(&plan, &NONE).exits(0);
    for job in ["strict", "relaxed", "none"] {
        assert!(run.value(job, "SHELL").ends_with("/bash"), "{run}");
        assert_eq!(run.value(job, "RUNS"), "yes", "{run}");
    }
    if manager.kind() == Kind::User {
        // Its jobs are that user's, whose database entry is the host's.
        return;
    }
    let home = "/run/nixactions/job/work/home";
    for job in ["strict", "relaxed"] {
        assert_eq!(
            (run.value(job, "HOME"), run.value(job, "TILDE")),
            (home, home),
            "{run}"
        );
        let names: Vec<_> = run.value(job, "USER").split('=').collect();
        assert_eq!(names, [names[0]; 3], "{run}");
        let id = names[0].strip_prefix("nixactions-").expect("it is ours");
        let entry = format!("nixactions-{id}:x:{id}:{id}:nixactions-{id}:{home}:");
        assert!(
            run.lines(job).iter().any(|line| line.starts_with(&entry)),
            "{run}"
        );
    }
}

fn openat2_and_setgid_directories_work(manager: &Manager) {
    // tar would do, but only that of newer distributions calls openat2(2): perl has syscall().
    let openat2 = "perl -e '$path = \"/etc/passwd\"; $how = pack(\"QQQ\", 0, 0, 0); if (syscall(437, -100, $path, $how, 24) < 0) { die \"openat2: $!\" }'";
    let script = format!(
        "{openat2}; mkdir -m 2775 shared; echo MODE=$(stat -c %a shared); git init -q --bare --shared repository; echo GIT=$(stat -c %a repository)"
    );
    let plan = json!({ "version": 1, "name": "calls",
        "executors": { "relaxed": { "type": "systemd", "sandbox": "relaxed" } },
        "jobs": { "strict": bash(&script), "relaxed": with(bash(&script), json!({ "executor": "relaxed" })) } });
    let run = manager.run(&plan, &NONE).exits(0);
    for job in ["strict", "relaxed"] {
        assert_eq!(
            (run.value(job, "MODE"), run.value(job, "GIT")),
            ("2775", "2775"),
            "{run}"
        );
    }
}

fn ids_are_unique_and_given_back(manager: &Manager) {
    let jobs: serde_json::Map<_, _> = (0..40)
        .map(|job| {
            (
                format!("j{job}"),
                bash("echo ID=$(id -u)=$(stat -c %u $HOME)"),
            )
        })
        .collect();
    let plan = json!({ "version": 1, "name": "many", "maxParallel": 8, "jobs": jobs });
    let run = manager.run(&plan, &NONE).exits(0);
    let ids: BTreeSet<_> = jobs.keys().map(|job| run.value(job, "ID")).collect();
    assert_eq!(ids.len(), 40, "{run}");
    for id in ids {
        let (id, owner) = id.split_once('=').expect("there are two");
        assert_eq!(id, owner, "{run}");
        assert!((61184..=65519).contains(&id.parse::<u32>().expect("it is a number")));
    }
    assert_eq!(records(manager), BTreeSet::new(), "{run}");
}

fn ids_of_services_are_not_taken(manager: &Manager) {
    // All ids but a few: some are locked as those of systemd's own dynamic users are, some are of
    // users that the host has.
    let machine = manager.machine().expect("it is in a machine");
    let script = "mkdir -p /run/systemd/dynamic-uid; for id in $(seq 61300 65519); do echo \"u$id:x:$id:$id::/:/bin/sh\"; done >> /etc/passwd
        for id in $(seq 61184 61298); do echo x > /run/systemd/dynamic-uid/$id; done; touch /run/locked
        exec flock /run/locked bash -c 'for id in $(seq 61184 61298); do exec {fd}</run/systemd/dynamic-uid/$id; flock $fd; done; touch /run/ready; sleep infinity'";
    let mut child = machine
        .command(&["bash", "-ec", script])
        .spawn()
        .expect("bash can be started");
    nixactions_harness::wait_for(nixactions_harness::SOON, "the locks", || {
        manager.file("/run/ready").exists().then_some(())
    });
    let plan = json!({ "version": 1, "name": "few", "jobs": { "only": bash("echo ID=$(id -u)") } });
    let run = manager.run(&plan, &NONE).exits(0);
    assert_eq!(run.value("only", "ID"), "61299", "{run}");
    child.kill().expect("a child can be killed");
    child.wait().expect("a child can be waited for");
}

fn runs_at_once_share_no_ids(manager: &Manager) {
    let script = "echo ID=$(id -u); touch started; until [ -e stop ]; do sleep 0.05; done";
    let plan = json!({ "version": 1, "name": "at-once", "maxParallel": 2, "jobs": { "a": bash(script), "b": bash(script) } });
    let plan_file = manager.plan(&plan).display().to_string();
    let runs: Vec<_> = (0..3)
        .map(|number| {
            let state = format!("--state-dir=/srv/state-{number}");
            let run = manager.start_command(manager.nixactions(&[
                "run",
                &plan_file,
                "--output=json",
                &state,
            ]));
            (number, run)
        })
        .collect();
    let place = |number: usize, id: &str, job: &str, file: &str| {
        manager.file(Path::new(&format!(
            "/srv/state-{number}/runs/{id}/jobs/{job}/work/workspace/{file}"
        )))
    };
    for (number, run) in &runs {
        for job in ["a", "b"] {
            nixactions_harness::wait_for(nixactions_harness::SOON, "a job", || {
                place(*number, run.id(), job, "started")
                    .exists()
                    .then_some(())
            });
        }
    }
    let mut ids = BTreeSet::new();
    for (number, run) in runs {
        for job in ["a", "b"] {
            fs::write(place(number, run.id(), job, "stop"), "").expect("it is ours");
        }
        let run = run.end().exits(0);
        for job in ["a", "b"] {
            ids.insert(run.value(job, "ID").to_owned());
        }
    }
    assert_eq!(ids.len(), 6, "{ids:?}");
    assert_eq!(records(manager), BTreeSet::new());
}

fn users_of_a_killed_manager_are_given_back(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "killed", "jobs": { "j": bash("touch started; sleep 100") } });
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("j", "started");
    let left = records(manager);
    assert_eq!(left.len(), 4, "{left:?}");
    for pid in manager.private_managers() {
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        )
        .expect("it is there");
    }
    let directory = run.dir();
    drop(run);
    // The process that waits for the manager's end removes them.
    nixactions_harness::wait_for(nixactions_harness::SOON, "the records to go", || {
        records(manager).is_empty().then_some(())
    });
    fs::remove_dir_all(directory).expect("it is ours");
    // Where that was killed as well, the next run does, and the next rerun.
    let lost = json!({ "userName": "nixactions-61500", "uid": 61500, "gid": 61500, "homeDirectory": "/", "shell": "/bin/sh",
                       "locked": true, "nixactionsRun": "/var/lib/nixactions/runs/gone-1" });
    let leave = || {
        fs::write(
            manager.file(Path::new(RECORDS).join("nixactions-61500.user")),
            lost.to_string(),
        )
        .expect("the machine is writable");
    };
    let plan = json!({ "version": 1, "name": "next", "jobs": { "j": bash("true") } });
    leave();
    let run = manager.run(&plan, &NONE).exits(0);
    assert_eq!(records(manager), BTreeSet::new());
    leave();
    manager.nixactions(&["rerun", &run.id]).ok();
    assert_eq!(records(manager), BTreeSet::new());
}

fn without_nss_systemd_the_user_is_systemds(manager: &Manager) {
    let file = manager.file("/etc/nsswitch.conf");
    let text = fs::read_to_string(&file).expect("it is there");
    fs::write(&file, text.replace("systemd", "")).expect("it is ours");
    let plan = json!({ "version": 1, "name": "bare", "jobs": {
        "a": bash("echo ID=$(id -u); echo SHELL=$SHELL; touch x; [ $(stat -c %u x) = $(id -u) ]"), "b": bash("echo ID=$(id -u)") } });
    let run = manager.run(&plan, &NONE).exits(0);
    let ids: BTreeSet<_> = ["a", "b"].map(|job| run.value(job, "ID")).into();
    assert_eq!(ids.len(), 2, "{run}");
    assert!(!ids.contains("0"), "{run}");
    assert_eq!(records(manager), BTreeSet::new(), "{run}");
    let plan = manager.plan(&plan).display().to_string();
    let said = manager
        .nixactions(&["check", &plan])
        .output_within(nixactions_harness::SOON);
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("nss-systemd"), "{said}");
}

fn files_of_the_engine_do_not_follow_an_umask(manager: &Manager) {
    let make = "umask; mkdir -p dist/deep; echo made > dist/deep/file; stat -c %a dist/deep/file";
    let plan = json!({ "version": 1, "name": "umask", "jobs": {
        "make": with(bash(make), json!({ "outputs": { "dist": "dist" }, "properties": { "UMask": "0077" } })),
        "take": with(bash("cat dist/deep/file; stat -c %a dist/deep/file; cat source"), json!({ "needs": ["make"], "inputs": ["dist"] })),
    } });
    manager.write("tree/source", "given\n");
    let plan = manager.plan(&plan).display().to_string();
    let kind = match manager.kind() {
        Kind::System => "system",
        Kind::User => "user",
        Kind::Embedded => "embedded",
    };
    // The caller's is nobody else's business either.
    let script =
        "umask 077; exec nixactions run --manager=\"$1\" --output=json --source=tree \"$2\"";
    let run = manager
        .start_command(manager.command(&["bash", "-ec", script, "bash", kind, &plan]))
        .end()
        .exits(0);
    assert_eq!(run.lines("make"), ["0077", "600"], "{run}");
    assert_eq!(run.lines("take"), ["made", "600", "given"], "{run}");
}
