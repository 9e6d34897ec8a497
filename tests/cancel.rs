//! The early end of a run, by any of its users: the signals and their order, the jobs that still
//! run, and nothing is left.

use std::{process::Stdio, time::Duration};

use nixactions_harness::{
    CommandExt as _, Finished, Kind, Manager, Run, SOON, Signal, bash, on_managers,
    on_shared_managers, wait_for, with,
};
use serde_json::json;

on_shared_managers!(
    a_job_that_ignores_signals_gets_them_in_order,
    a_second_cancellation_kills,
    a_second_cancel_kills_at_once,
    the_timeout_of_a_workflow_is_the_reason_of_its_jobs,
    jobs_that_have_not_started_are_cancelled_and_cleaning_jobs_run,
    a_finished_run_cannot_be_cancelled,
);
on_managers!(of_two_cancels_at_one_instant_the_second_kills on embedded, system_252, system_257, system_262, user_262);
on_managers!(units_that_are_stopped_by_hand_end_truthfully on system_252, system_257, system_262, user_262);

on_managers!(a_stopped_runner_does_not_hold_a_cancel on embedded, system_252, system_262, user_262);

const NONE: [&str; 0] = [];

/// Ignores what can be ignored, and says when it came.
const STUBBORN: &str = "trap 'echo INT=$EPOCHREALTIME' INT; trap 'echo TERM=$EPOCHREALTIME' TERM; (trap '' INT TERM; exec sleep 98761) &
    touch started; while :; do sleep 98762 & wait $! || true; done";

fn a_job_that_ignores_signals_gets_them_in_order(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "stubborn", "maxParallel": 3, "jobs": {
        "stubborn": { "steps": [
            { "name": "it", "bash": STUBBORN },
            { "name": "usual", "bash": "true" },
            { "name": "failed", "bash": "true", "condition": "failure()" },
            { "name": "always", "bash": "echo AFTER=$EPOCHREALTIME", "condition": "always()" },
            { "name": "cancelled", "bash": "echo cleaned", "condition": "cancelled()" },
        ] },
        "polite": { "steps": [{ "name": "it", "bash": "trap 'echo bye; exit 0' INT; touch started; sleep 98763 & wait" }, { "bash": "echo no" }] },
    } });
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("stubborn", "started");
    run.wait_for_file("polite", "started");
    let said = manager.nixactions(&["cancel", run.id()]).ok();
    assert!(said.contains(run.id()), "{said}");
    let run = run.end().exits(130);
    assert_eq!(run.record["conclusion"], "cancelled");
    let time = |name: &str| {
        run.value("stubborn", name)
            .parse::<f64>()
            .expect("it is a time")
    };
    let (to_term, to_kill) = (time("TERM") - time("INT"), time("AFTER") - time("TERM"));
    // Not before their time; later only as far as the machine is loaded.
    assert!(
        (7.4..12.0).contains(&to_term),
        "SIGTERM came after {to_term} s: {run}"
    );
    assert!(
        (2.4..7.0).contains(&to_kill),
        "SIGKILL came after {to_kill} s: {run}"
    );
    assert_eq!(
        (run.verdict("stubborn"), run.verdict("polite")),
        (
            "cancelled/cancelled".to_owned(),
            "cancelled/cancelled".to_owned()
        ),
        "{run}"
    );
    assert_eq!(
        run.steps("stubborn"),
        [
            "it cancelled/cancelled: cancelled",
            "usual skipped/skipped: the job was cancelled",
            "failed skipped/skipped: condition `failure()` was false",
            "always success/success",
            "cancelled success/success"
        ],
        "{run}"
    );
    assert_eq!(run.lines("polite"), ["bye"], "{run}");
    run.leaves_nothing(manager);
}

fn a_second_cancellation_kills(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "twice", "jobs": {
        "stubborn": { "steps": [{ "name": "it", "bash": STUBBORN }, { "name": "always", "bash": "echo never", "condition": "always()" }] },
        "always": with(bash("echo never"), json!({ "needs": ["stubborn"], "condition": "always()" })),
    } });
    // Once by Ctrl-C at the client, once by the command.
    for by_client in [true, false] {
        let run = manager.start(&plan, &NONE);
        run.wait_for_file("stubborn", "started");
        let start = std::time::Instant::now();
        if by_client {
            run.signal_client(Signal::SIGINT);
            run.wait_for_event("cancelRequested", None);
            run.signal_client(Signal::SIGINT);
        } else {
            manager.nixactions(&["cancel", run.id()]).ok();
            manager.nixactions(&["cancel", "--kill", run.id()]).ok();
        }
        let run = run.end().exits(130);
        assert!(
            start.elapsed() < Duration::from_secs(7),
            "it waited for SIGTERM's time: {run}"
        );
        assert_eq!(run.verdict("stubborn"), "cancelled/cancelled", "{run}");
        assert!(!run.lines("stubborn").contains(&"never"), "{run}");
        assert_eq!(
            (run.verdict("always"), run.lines("always")),
            ("cancelled/cancelled".to_owned(), vec![]),
            "{run}"
        );
        run.leaves_nothing(manager);
    }
}

fn jobs_that_have_not_started_are_cancelled_and_cleaning_jobs_run(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "waiting", "maxParallel": 1, "jobs": {
        "done": bash("true"),
        "running": with(bash("touch started; sleep 98764"), json!({ "needs": ["done"] })),
        "waits-for-room": with(bash("touch started; sleep 98765"), json!({ "needs": ["done"] })),
        "after": with(bash("true"), json!({ "needs": ["running"] })),
        "on-failure": with(bash("true"), json!({ "needs": ["running"], "condition": "failure()" })),
        "always": with(bash("echo $NEEDS_RUNNING_RESULT"), json!({ "needs": ["running", "waits-for-room"], "condition": "always()" })),
        "on-cancel": with(bash("echo cleaned"), json!({ "needs": ["after"], "condition": "cancelled()" })),
        "after-cleaning": with(bash("true"), json!({ "needs": ["on-cancel"] })),
    } });
    let run = manager.start(&plan, &NONE);
    // One of the two has the only place.
    let started = wait_for(SOON, "a job that runs", || {
        ["running", "waits-for-room"]
            .into_iter()
            .find(|job| run.workspace(job, "started").exists())
    });
    run.signal_client(Signal::SIGINT);
    let run = run.end().exits(130);
    let waiting = if started == "running" {
        "waits-for-room"
    } else {
        "running"
    };
    assert_eq!(run.verdict("done"), "success/success", "{run}");
    assert_eq!(
        (run.verdict(started), run.verdict(waiting)),
        (
            "cancelled/cancelled".to_owned(),
            "cancelled/cancelled".to_owned()
        ),
        "{run}"
    );
    assert_eq!(run.job(waiting)["steps"], json!([]), "{run}");
    assert_eq!(
        (run.verdict("after"), run.reason("after")),
        ("skipped/skipped".to_owned(), "need `running` was cancelled"),
        "{run}"
    );
    assert_eq!(run.verdict("on-failure"), "cancelled/cancelled", "{run}");
    assert_eq!(
        (run.lines("always"), run.lines("on-cancel")),
        (vec!["cancelled"], vec!["cleaned"]),
        "{run}"
    );
    assert_eq!(
        run.verdict("after-cleaning"),
        "cancelled/cancelled",
        "{run}"
    );
    run.leaves_nothing(manager);
}

fn a_finished_run_cannot_be_cancelled(manager: &Manager) {
    let run = manager
        .run(
            &json!({ "version": 1, "name": "over", "jobs": { "j": bash("true") } }),
            &NONE,
        )
        .exits(0);
    let (code, stderr) = manager.refused(&["cancel", &run.id]);
    assert_eq!(code, 2, "{stderr}");
    assert!(
        stderr.contains(&format!("run `{}` is already finished: success", run.id)),
        "{stderr}"
    );
    assert!(!manager.run_dir(&run.id).join("control/cancel").exists());
}

fn units_that_are_stopped_by_hand_end_truthfully(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "stopped", "maxParallel": 4, "jobs": {
        "stopped": { "steps": [{ "name": "it", "bash": "touch started; sleep 98766" }, { "name": "after", "bash": "echo after", "condition": "always()" }] },
        "dependent": with(bash("true"), json!({ "needs": ["stopped"] })),
        "report": with(bash("echo $NEEDS_STOPPED_RESULT"), json!({ "needs": ["stopped"], "condition": "always()" })),
        "other": bash("touch started; until [ -e stop ]; do sleep 0.05; done"),
    } });
    let started = || -> Run<'_> {
        let run = manager.start(&plan, &NONE);
        run.wait_for_file("stopped", "started");
        run.wait_for_file("other", "started");
        run
    };

    // A job that a user stops has not done its work: a failure, of that job alone.
    let run = started();
    manager
        .systemctl(&["stop", &format!("nixactions-{}-stopped.service", run.id())])
        .ok();
    run.wait_for_event("jobFinished", Some("report"));
    run.release("other", "stop");
    let run = run.end().exits(1);
    assert_eq!(run.verdict("stopped"), "failure/failure", "{run}");
    assert_eq!(run.reason("stopped"), "its unit was stopped", "{run}");
    assert_eq!(
        (run.lines("stopped"), run.lines("report")),
        (vec!["after"], vec!["failure"]),
        "{run}"
    );
    assert_eq!(
        (run.verdict("dependent"), run.verdict("other")),
        ("skipped/skipped".to_owned(), "success/success".to_owned()),
        "{run}"
    );
    run.leaves_nothing(manager);

    // A supervisor that a user stops cancels its run first.
    let run = started();
    manager
        .systemctl(&["stop", &format!("nixactions-{}.service", run.id())])
        .ok();
    let run: Finished = run.end().exits(130);
    assert_eq!(run.record["conclusion"], "cancelled");
    assert_eq!(
        (run.verdict("stopped"), run.verdict("other")),
        (
            "cancelled/cancelled".to_owned(),
            "cancelled/cancelled".to_owned()
        ),
        "{run}"
    );
    assert_eq!(
        (run.lines("stopped"), run.lines("report")),
        (vec!["after"], vec!["cancelled"]),
        "{run}"
    );
    run.leaves_nothing(manager);

    // So does everything below the run's slice.
    let run = started();
    let slice = format!("nixactions-{}.slice", run.id().replace('-', "\\x2d"));
    manager.systemctl(&["stop", &slice]).ok();
    let run = run.end();
    assert_ne!(run.record["conclusion"], "success", "{run}");
    run.leaves_nothing(manager);

    assert_eq!(
        manager
            .systemctl(&["--failed", "--no-legend", "--plain"])
            .ok(),
        ""
    );
    if manager.kind() != Kind::User {
        assert_eq!(manager.systemctl(&["is-system-running"]).ok(), "running\n");
    }
}

fn a_second_cancel_kills_at_once(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "twice", "jobs": { "j": bash(STUBBORN) } });
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("j", "started");
    let said = manager.nixactions(&["cancel", run.id()]).ok();
    assert!(said.contains("cancelling"), "{said}");
    let begin = std::time::Instant::now();
    let said = manager.nixactions(&["cancel", run.id()]).ok();
    assert!(said.contains("killing"), "{said}");
    let run = run.end().exits(130);
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(7), "{took:?}: {run}");
    assert_eq!(run.verdict("j"), "cancelled/cancelled", "{run}");
}

/// Exactly one of two clients is the first, so the other one's request is the second.
fn of_two_cancels_at_one_instant_the_second_kills(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "instant", "jobs": {
        "j": bash(STUBBORN),
        "after": with(bash("true"), json!({ "needs": ["j"] })),
    } });
    for _ in 0..5 {
        let run = manager.start(&plan, &NONE);
        run.wait_for_file("j", "started");
        let begin = std::time::Instant::now();
        let clients: Vec<_> = (0..2)
            .map(|_| {
                let mut client = manager.nixactions(&["cancel", run.id()]);
                let client = client.stdout(Stdio::piped()).stderr(Stdio::piped());
                client.spawn().expect("a command can be started")
            })
            .collect();
        let mut said: Vec<String> = clients
            .into_iter()
            .map(|client| {
                let output = client.wait_with_output().expect("it is our child");
                assert!(output.status.success(), "{output:?}");
                String::from_utf8_lossy(&output.stdout).into_owned()
            })
            .collect();
        said.sort();
        assert!(
            said[0].contains("cancelling") && said[1].contains("killing"),
            "{said:?}"
        );
        let run = run.end().exits(130);
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(9), "{took:?}: {run}");
        assert_eq!(run.verdict("j"), "cancelled/cancelled", "{run}");
        assert_eq!(run.verdict("after"), "skipped/skipped", "{run}");
        run.leaves_nothing(manager);
    }
}

fn the_timeout_of_a_workflow_is_the_reason_of_its_jobs(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "late", "timeout": 3, "maxParallel": 2, "jobs": {
        "j": bash("sleep 98764"),
        "after": with(bash("true"), json!({ "needs": ["j"], "condition": "failure()" })),
    } });
    let run = manager.run(&plan, &NONE).exits(1);
    let reason = "timeout: the run took too long";
    assert_eq!(run.record["reason"], reason, "{run}");
    assert_eq!(
        (run.reason("j"), run.reason("after")),
        (reason, reason),
        "{run}"
    );
}

/// A step that stops its runner again and again: no signal but SIGKILL reaches that.
fn a_stopped_runner_does_not_hold_a_cancel(manager: &Manager) {
    let stop = "kill -STOP $PPID; touch stopped; while :; do kill -STOP $PPID; sleep 0.01; done";
    let plan = json!({ "version": 1, "name": "stopped", "maxParallel": 2, "jobs": {
        "j": bash(&format!("trap '' INT TERM; {stop}")),
        "always": with(bash("true"), json!({ "needs": ["j"], "condition": "always()" })),
    } });
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("j", "stopped");
    let begin = std::time::Instant::now();
    manager.nixactions(&["cancel", run.id()]).ok();
    let run = run.end().exits(130);
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(50), "{took:?}: {run}");
    assert_eq!(
        (run.verdict("j"), run.verdict("always")),
        (
            "cancelled/cancelled".to_owned(),
            "success/success".to_owned()
        ),
        "{run}"
    );
    run.leaves_nothing(manager);
}
