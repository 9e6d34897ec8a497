//! Jobs that end from outside: the record says so in systemd's words, whatever the runner could
//! still say of it.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use nixactions_harness::{
    CommandExt as _, Finished, Manager, Run, SOON, Signal, Skip, bash, on_managers, or_skip,
    wait_for, with,
};
use rustix::fs::{XattrFlags, setxattr};
use serde_json::{Value, json};

on_managers!(a_job_that_runs_out_of_memory_says_so on system_252, system_257, system_262, user_262);
on_managers!(an_oom_kill_is_told_in_systemds_words on system_252, system_257, system_262, user_252, user_262);
on_managers!(a_runner_that_hangs_is_ended_by_systemd on system_252, system_257, system_262, user_262);
on_managers!(a_job_may_take_its_time_after_its_wait_for_a_slot on system_252, system_257);
on_managers!(a_run_with_damaged_files_ends_with_a_record on embedded, embedded_262, system_252, system_262, user_262);
on_managers!(a_lost_run_with_damaged_files_is_closed on system_252, system_262, user_262);
on_managers!(a_runner_outlives_a_broken_pipe on embedded, system_252, user_262);
on_managers!(lines_of_a_killed_runner_are_shown on system_252, system_262, user_262);
on_managers!(a_run_whose_manager_is_killed_has_a_record on embedded, embedded_262);
on_managers!(a_run_whose_supervisor_is_gone_gets_a_record_after_its_jobs on system_252, system_262, user_262);
on_managers!(a_unit_hears_of_a_lost_run_when_its_record_is_closed on system_252, system_262);
on_managers!(cancel_ends_jobs_whose_supervisor_is_gone on system_252, system_262, user_262);
on_managers!(a_run_whose_supervisor_restarts_is_never_closed on system_252, system_262, user_262);
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
        [
            "it failure/failure: killed by SIGKILL, out of memory",
            "after success/success"
        ],
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

fn lines_of_a_killed_runner_are_shown(manager: &Manager) {
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
    // systemd knows what the runner could not tell.
    let cpu = run.job("j")["usage"]["cpuSeconds"].as_f64();
    assert!(cpu.is_some_and(|seconds| seconds > 0.0), "{run}");
}

fn a_runner_that_hangs_is_ended_by_systemd(manager: &Manager) {
    // The unit's own timeout is minutes longer than the job's.
    manager.drop_in("nixactions-hangs-1-j.service", "TimeoutStartSec=3s");
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
        let plan = json!({ "version": 1, "name": name, "maxParallel": 1, "retry": retry, "jobs": {
            "a": with(bash("sleep 3"), json!({ "timeout": 5 })),
            "b": with(bash("sleep 3"), json!({ "timeout": 5 })),
        } });
        manager.run(&plan, &NONE).exits(0);
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

/// Lets a run look as if nothing had been heard of it for a minute.
fn age(run: &Run<'_>) {
    let events = File::options()
        .write(true)
        .open(run.dir().join("events.jsonl"));
    let old = SystemTime::now() - Duration::from_secs(60);
    events
        .and_then(|file| file.set_modified(old))
        .expect("the run's directory is ours");
}

/// Starts the first run of a workflow, kills its supervisor while job `j` runs, and waits until
/// the supervisor's unit has failed, which systemd does not start again.
fn orphaned<'a>(manager: &'a Manager, plan: &Value, arguments: &[&str]) -> Run<'a> {
    let id = format!("{}-1", plan["name"].as_str().expect("it has a name"));
    let unit = format!("nixactions-{id}.service");
    manager.drop_in(&unit, "Restart=no");
    let run = manager.detach(plan, arguments);
    assert_eq!(run.id(), id);
    run.wait_for_file("j", "started");
    assert!(run.kill_supervisor(), "it has a supervisor");
    wait_for(SOON, "the supervisor's unit to fail", || {
        let state = manager.systemctl(&["is-active", &unit]).output();
        let state = state.expect("systemctl runs").stdout;
        matches!(state.as_slice(), b"failed\n" | b"inactive\n").then_some(())
    });
    age(&run);
    run
}

fn a_run_whose_supervisor_is_gone_gets_a_record_after_its_jobs(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "alone", "jobs": {
        "j": bash("touch started; until [ -e go ]; do sleep 0.05; done"),
        "fails": with(bash("exit 7"), json!({ "needs": ["j"] })),
        "after": with(bash("true"), json!({ "needs": ["fails"] })),
    } });
    let run = orphaned(manager, &plan, &[]);
    for arguments in [vec!["list"], vec!["show", run.id()]] {
        let shown = manager.nixactions(&arguments).ok();
        assert!(shown.contains("lost"), "{shown}");
    }
    assert!(!run.has_ended(), "its jobs go on");
    run.release("j", "go");
    wait_for(SOON, "`list` to close the run", || {
        let listed = manager.nixactions(&["list"]).ok();
        (!listed.contains("lost")).then_some(())
    });
    let run = run.end();
    assert_eq!(run.record["conclusion"], "failure", "{run}");
    let reason = "lost: the run's supervisor is gone";
    assert_eq!(run.record["reason"], reason, "{run}");
    assert_eq!(
        ["j", "fails", "after"].map(|job| run.verdict(job)),
        ["success/success", "failure/failure", "cancelled/cancelled"],
        "{run}"
    );
    run.leaves_nothing(manager);
}

fn a_unit_hears_of_a_lost_run_when_its_record_is_closed(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "alone", "jobs": {
        "j": bash("touch started; until [ -e go ]; do sleep 0.05; done"),
    } });
    let tell = "[Service]\nType=oneshot\nExecStart=/bin/touch /run/told-of-%i\n";
    manager.write("/etc/systemd/system/tell@.service", tell);
    let run = orphaned(manager, &plan, &["--notify=failure=tell@.service"]);
    let told = manager.file("/run/told-of-alone-1");
    assert!(!told.exists(), "its job goes on");
    run.release("j", "go");
    wait_for(SOON, "`list` to close the run", || {
        manager.nixactions(&["list"]).ok();
        told.exists().then_some(())
    });
    assert_eq!(run.record()["conclusion"], "failure");
    wait_for(SOON, "the journal", || {
        let lost = ["--output=cat", "NIXACTIONS_LOST=alone-1"];
        let said = manager.journal(&lost).ok();
        said.contains("run alone-1 was lost").then_some(())
    });
}

fn cancel_ends_jobs_whose_supervisor_is_gone(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "forsaken", "jobs": {
        "j": bash("touch started; sleep 98961"),
        "after": with(bash("true"), json!({ "needs": ["j"] })),
    } });
    let run = orphaned(manager, &plan, &[]);
    let said = manager.nixactions(&["cancel", run.id()]).ok();
    assert!(said.contains("it was lost; its jobs have ended"), "{said}");
    assert!(run.has_ended());
    let run = run.end();
    let reason = "lost: the run's supervisor is gone";
    assert_eq!(
        (&run.record["conclusion"], &run.record["reason"]),
        (&json!("failure"), &json!(reason)),
        "{run}"
    );
    assert_eq!(run.verdict("after"), "cancelled/cancelled", "{run}");
    run.leaves_nothing(manager);
}

/// Neither with running jobs nor before the first of them.
fn a_run_whose_supervisor_restarts_is_never_closed(manager: &Manager) {
    let script = "touch started; until [ -e go ]; do sleep 0.05; done";
    let plan = |name: &str| {
        json!({ "version": 1, "name": name, "concurrency": { "group": "restarts" },
            "jobs": { "j": bash(script) } })
    };
    let goes_on = manager.detach(&plan("goes-on"), &NONE);
    goes_on.wait_for_file("j", "started");
    let waits = manager.detach(&plan("waits"), &NONE);
    for _ in 0..5 {
        for run in [&goes_on, &waits] {
            wait_for(SOON, "a supervisor", || run.kill_supervisor().then_some(()));
            age(run);
            manager.nixactions(&["show", run.id()]).ok();
        }
        manager.nixactions(&["list"]).ok();
    }
    for run in [goes_on, waits] {
        assert!(!run.has_ended());
        run.wait_for_file("j", "started");
        run.release("j", "go");
        let run = run.end();
        assert_eq!(run.record["conclusion"], "success", "{run}");
    }
}

fn a_run_with_damaged_files_ends_with_a_record(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "damaged", "jobs": {
        "j": bash("touch started; sleep 98962"),
        "after": with(bash("true"), json!({ "needs": ["j"] })),
    } });
    for file in ["run.json", "plan.json"] {
        let run = manager.detach(&plan, &NONE);
        run.wait_for_file("j", "started");
        fs::write(run.dir().join(file), "{ \"version\": 1,").expect("it is ours");
        wait_for(SOON, "a supervisor", || run.kill_supervisor().then_some(()));
        let run = run.end();
        is_closed_as_damaged(manager, &run);
    }
}

fn a_lost_run_with_damaged_files_is_closed(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "wrecked", "jobs": {
        "j": bash("touch started; sleep 98963"),
        "after": with(bash("true"), json!({ "needs": ["j"] })),
    } });
    let run = orphaned(manager, &plan, &[]);
    let spec = run.dir().join("run.json");
    fs::remove_file(&spec)
        .and_then(|()| fs::create_dir(&spec))
        .expect("it is ours");
    let listed = manager.nixactions(&["list"]).ok();
    assert!(listed.contains("lost"), "its job goes on: {listed}");
    manager.nixactions(&["cancel", run.id()]).ok();
    is_closed_as_damaged(manager, &run.end());
}

fn is_closed_as_damaged(manager: &Manager, run: &Finished) {
    let reason = "lost: the run's `run.json` or plan is damaged";
    assert_eq!(
        (&run.record["conclusion"], &run.record["reason"]),
        (&json!("failure"), &json!(reason)),
        "{run}"
    );
    assert_eq!(run.verdict("after"), "cancelled/cancelled", "{run}");
    run.leaves_nothing(manager);
    let listed = manager.nixactions(&["list"]).ok();
    assert!(
        listed.contains("failure") && !listed.contains("running"),
        "{listed}"
    );
    let removed = manager.nixactions(&["clean", "--keep=0"]).ok();
    assert_eq!(removed.trim(), run.id);
}
