//! Jobs that end from outside: the record says so in systemd's words, whatever the runner could
//! still say of it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use nixactions_harness::{
    CommandExt as _, Kind, Manager, Run, SOON, Signal, Skip, bash, on_managers, or_skip, wait_for,
    with,
};
use rustix::fs::{XattrFlags, setxattr};
use serde_json::json;

on_managers!(a_job_that_runs_out_of_memory_says_so on system_252, system_257, system_262, user_262);
on_managers!(an_oom_kill_is_told_in_systemds_words on system_252, system_257, system_262, user_262);
on_managers!(a_runner_that_hangs_is_ended_by_systemd on system_252, system_257, system_262, user_262);
on_managers!(a_job_may_take_its_time_after_its_wait_for_a_slot on system_252, system_257);
on_managers!(a_runner_outlives_a_broken_pipe on embedded, system_252, user_262);
on_managers!(what_a_killed_runner_sent_is_shown on system_252, system_262, user_262);
on_managers!(a_run_whose_manager_is_killed_has_a_record on embedded, embedded_262);
on_managers!(a_crash_is_told_as_one on embedded, system_252, system_257, system_262, user_262);
on_managers!(a_run_whose_directory_is_removed_ends on embedded, system_252, system_262, user_262);
on_managers!(a_supervisor_that_finds_the_record_ends_well on system_252, system_262);

const NONE: [&str; 0] = [];

/// Returns the host's path of the control group of a job.
fn group_of(manager: &Manager, run: &Run<'_>, job: &str) -> PathBuf {
    fn find(directory: &Path, name: &str) -> Option<PathBuf> {
        let entries = fs::read_dir(directory)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path());
        entries.filter(|path| path.is_dir()).find_map(|path| {
            if path.ends_with(name) {
                Some(path)
            } else {
                find(&path, name)
            }
        })
    }
    let machine = manager.machine().expect("it is in a machine");
    let name = format!("nixactions-{}-{job}.service", run.id());
    find(&machine.cgroup(), &name).unwrap_or_else(|| panic!("no control group `{name}`"))
}

fn a_job_that_runs_out_of_memory_says_so(manager: &Manager) {
    let controllers = manager
        .command(&["cat", "/sys/fs/cgroup/cgroup.controllers"])
        .ok();
    let has_memory = controllers
        .split_whitespace()
        .any(|controller| controller == "memory");
    or_skip!(
        has_memory
            .then_some(())
            .ok_or_else(|| Skip::new("this machine's control groups have no memory controller"))
    );
    // Doubles a string for ever.
    let plan = json!({ "version": 1, "name": "memory", "jobs": {
        "j": with(bash("x=x; while :; do x=$x$x; done"), json!({ "properties": { "MemoryMax": "32M", "MemorySwapMax": "0" } })),
    } });
    let run = manager.run(&plan, &NONE).exits(1);
    assert_eq!(run.verdict("j"), "failure/failure", "{run}");
    assert!(run.reason("j").starts_with("oom-kill"), "{run}");
    run.leaves_nothing(manager);
}

/// Out of memory without a memory controller: what systemd-oomd(8) notes on a control group when it
/// has killed one of its processes. systemd reads it when a process of the group ends, and goes the
/// same way from there as after a kill by the kernel.
fn an_oom_kill_is_told_in_systemds_words(manager: &Manager) {
    let long = "(setsid sleep 98911 &); touch started; sleep 98912";
    let plan = json!({ "version": 1, "name": "oom", "jobs": {
        "victim": { "steps": [
            { "name": "it", "bash": long },
            { "name": "after", "bash": "echo after", "condition": "always()" },
        ] },
        "tolerated": with(bash("true"), json!({ "needs": ["victim"] })),
        "report": with(bash("echo $NEEDS_VICTIM_RESULT"), json!({ "needs": ["victim"], "condition": "always()" })),
    } });
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("victim", "started");
    let group = group_of(manager, &run, "victim");
    for name in ["user.oomd_kill", "user.oomd_ooms"] {
        setxattr(&group, name, b"1", XattrFlags::empty()).expect("a control group has attributes");
    }
    manager
        .command(&["pkill", "-KILL", "-f", "^sleep 98911"])
        .ok();
    let run = run.end().exits(1);
    assert_eq!(
        (run.verdict("victim"), run.reason("victim")),
        ("failure/failure".to_owned(), "oom-kill"),
        "{run}"
    );
    assert_eq!(
        run.steps("victim"),
        ["it cancelled/cancelled: cancelled", "after success/success"],
        "{run}"
    );
    assert_eq!(
        (run.lines("victim"), run.lines("report")),
        (vec!["after"], vec!["failure"]),
        "{run}"
    );
    assert_eq!(run.reason("tolerated"), "need `victim` failed", "{run}");
    run.leaves_nothing(manager);
}

fn a_runner_outlives_a_broken_pipe(manager: &Manager) {
    // To the steps it is what it is in any shell.
    let script = "kill -PIPE $PPID; sleep 0.1; { yes || echo \"yes: $?\" >&2; } | head -1; (kill -PIPE $BASHPID) || echo \"subshell: $?\"";
    let plan = json!({ "version": 1, "name": "pipe", "jobs": { "j": { "steps": [{ "bash": format!("set +o pipefail; {script}") }] } } });
    let run = manager.run(&plan, &NONE).exits(0);
    // If two streams are written at once, either may be read first.
    assert_eq!(
        BTreeSet::from_iter(run.lines("j")),
        BTreeSet::from(["y", "yes: 141", "subshell: 141"]),
        "{run}"
    );
}

fn what_a_killed_runner_sent_is_shown(manager: &Manager) {
    let steps: Vec<_> = (0..60)
        .map(|number| json!({ "bash": format!("echo {number}") }))
        .chain([json!({ "bash": "touch here; sleep 98913" })])
        .collect();
    let plan = json!({ "version": 1, "name": "killed", "jobs": { "j": { "steps": steps } } });
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("j", "here");
    assert!(run.kill_runner("j"));
    let run = run.end().exits(1);
    assert_eq!(run.lines("j").len(), 60, "{run}");
}

fn a_runner_that_hangs_is_ended_by_systemd(manager: &Manager) {
    // The unit's own timeout is minutes longer than the job's.
    let units = if manager.kind() == Kind::User {
        ".config/systemd/user"
    } else {
        "/etc/systemd/system"
    };
    let home = manager.dir().parent().expect("it has a parent");
    manager.write(
        home.join(units)
            .join("nixactions-hangs-1-j.service.d/99-test.conf"),
        "[Service]\nTimeoutStartSec=3s\n",
    );
    manager.systemctl(&["daemon-reload"]).ok();
    let plan = json!({ "version": 1, "name": "hangs", "jobs": {
        "j": with(bash("touch started; sleep 98921"), json!({ "continueOnError": true })),
        "after": with(bash("echo $NEEDS_J_RESULT"), json!({ "needs": ["j"], "condition": "always()" })),
    } });
    let run = manager.start(&plan, &NONE);
    assert_eq!(run.id(), "hangs-1");
    run.wait_for_file("j", "started");
    assert!(run.signal_runner("j", Signal::SIGSTOP), "there is none");
    let run = run.end().exits(0);
    assert_eq!(
        (run.verdict("j"), run.reason("j")),
        ("failure/success".to_owned(), "timeout"),
        "{run}"
    );
    run.leaves_nothing(manager);
}

/// Before systemd 258, a job waits for its slot with its start begun. What PID 1 gives the start
/// then counts from the end of the wait, also where the runner is not the main process.
fn a_job_may_take_its_time_after_its_wait_for_a_slot(manager: &Manager) {
    for (name, retry) in [
        ("once", json!(null)),
        ("tried", json!({ "maxAttempts": 2 })),
    ] {
        for job in ["a", "b"] {
            manager.write(
                format!("/etc/systemd/system/nixactions-{name}-1-{job}.service.d/99-test.conf"),
                "[Service]\nTimeoutStartSec=5s\n",
            );
        }
        manager.systemctl(&["daemon-reload"]).ok();
        let plan = json!({ "version": 1, "name": name, "maxParallel": 1, "retry": retry, "jobs": {
            "a": bash("sleep 3"),
            "b": bash("sleep 3"),
        } });
        let run = manager.run(&plan, &NONE).exits(0);
        assert_eq!(run.id, format!("{name}-1"));
    }
}

fn a_crash_is_told_as_one(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "crash", "maxParallel": 2, "jobs": {
        "step": bash("kill -SEGV $$"),
        "runner": bash("touch started; sleep 98931"),
        "after": with(bash("true"), json!({ "needs": ["runner"] })),
    } });
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("runner", "started");
    assert!(
        run.signal_runner("runner", Signal::SIGABRT),
        "there is none"
    );
    let run = run.end().exits(1);
    // Whether a core is dumped is a matter of limits.
    let dumped = ["", ", core dumped"];
    assert!(
        dumped
            .map(|dumped| format!("step it: killed by SIGSEGV{dumped}"))
            .contains(&run.reason("step").to_owned()),
        "{run}"
    );
    let words = [
        "signal: killed by SIGABRT",
        "core-dump: killed by SIGABRT, core dumped",
    ];
    assert!(words.contains(&run.reason("runner")), "{run}");
    assert_eq!(
        (run.verdict("runner"), run.reason("after")),
        ("failure/failure".to_owned(), "need `runner` failed"),
        "{run}"
    );
    run.leaves_nothing(manager);
}

fn a_run_whose_directory_is_removed_ends(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "removed", "jobs": {
        "j": bash("touch started; sleep 98941"),
        "after": with(bash("true"), json!({ "needs": ["j"], "condition": "always()" })),
    } });
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("j", "started");
    // A job may be making a file just now.
    wait_for(SOON, "its directory to be gone", || {
        fs::remove_dir_all(run.dir()).is_ok().then_some(())
    });
    let run = run.end().exits(3);
    assert!(run.stderr.contains("was removed while it went on"), "{run}");
    run.leaves_nothing(manager);
    wait_for(SOON, "private managers to be gone", || {
        manager.private_managers().is_empty().then_some(())
    });
}

/// One that is killed between the record and its end is started again, once.
fn a_supervisor_that_finds_the_record_ends_well(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "over", "jobs": { "j": bash("true") } });
    let run = manager.run(&plan, &NONE).exits(0);
    let directory = manager.state_dir().join("runs").join(&run.id);
    let directory = directory.to_str().expect("it is text");
    let command = [
        "systemd-run",
        "--wait",
        "--service-type=notify",
        "/usr/bin/nixactions",
        "supervise",
        directory,
    ];
    manager.command(&command).ok();
}

fn a_run_whose_manager_is_killed_has_a_record(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "orphan", "jobs": {
        "j": bash("touch started; sleep 98951"),
        "after": with(bash("true"), json!({ "needs": ["j"] })),
    } });
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("j", "started");
    let killed = *manager.private_managers().last().expect("it has a manager");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(killed), Signal::SIGKILL)
        .expect("it is ours");
    let run = run.end().exits(3);
    assert_eq!(run.record["conclusion"], "failure", "{run}");
    let reason = "lost: the run's manager was killed";
    assert_eq!(run.record["reason"], reason, "{run}");
    assert_eq!(
        (run.reason("j"), run.verdict("after")),
        (reason, "cancelled/cancelled".to_owned()),
        "{run}"
    );
}
