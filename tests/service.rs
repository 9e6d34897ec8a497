//! `nixactions run` as a service of its own: ready when the run has been started, stopped as Ctrl-C
//! stops it, ended as the run has.

use std::fs;

use nixactions_harness::{
    CommandExt as _, Kind, Manager, Run, Signal, bash, on_managers, wait_for,
};
use serde_json::{Value, json};

/// A run that waits for a file, started by a service `ci.service`.
fn start<'a>(manager: &'a Manager, plan: &Value) -> Run<'a> {
    let plan = manager.plan(plan);
    let mut argv = vec![
        "systemd-run",
        "--unit=ci",
        "--service-type=notify",
        "--remain-after-exit",
    ];
    let (kind, user) = if manager.kind() == Kind::User {
        ("user", Some("--user"))
    } else {
        ("system", None)
    };
    argv.extend(user);
    let plan = plan.display().to_string();
    argv.extend(["/usr/bin/nixactions", "run", &plan, "--manager", kind]);
    // It returns when the service is ready, which it is long before the run has ended.
    manager.command(&argv).ok();
    let mut runs = manager.runs();
    runs.sort();
    manager.run_of(runs.last().expect("it has been started"))
}

fn plan(end: &str) -> Value {
    json!({ "version": 1, "name": "ci", "jobs": { "j": bash(&format!("touch started; until [ -e go ]; do sleep 0.05; done; {end}")) } })
}

/// Returns systemd's properties of the service.
fn property(manager: &Manager, name: &str) -> String {
    let text = manager
        .systemctl(&["show", "--value", "--property", name, "ci.service"])
        .ok();
    text.trim_end().to_owned()
}

/// Waits until the service has ended, and returns its exit status and what it said last.
fn ended(manager: &Manager) -> (String, String) {
    let has_ended = || {
        ["exited", "failed", "dead"]
            .contains(&&*property(manager, "SubState"))
            .then_some(())
    };
    wait_for(
        nixactions_harness::RUN_DEADLINE,
        "the service to end",
        has_ended,
    );
    (
        property(manager, "ExecMainStatus"),
        property(manager, "StatusText"),
    )
}

on_managers!(a_service_is_ready_when_its_run_has_been_started_and_ends_as_it_does on system_252, system_257, system_262, user_262);

fn a_service_is_ready_when_its_run_has_been_started_and_ends_as_it_does(manager: &Manager) {
    for (id, end, status, conclusion) in [
        ("ci-1", "true", "0", "success"),
        ("ci-2", "false", "1", "failure"),
    ] {
        let run = start(manager, &plan(end));
        assert_eq!(run.id(), id);
        assert_eq!(property(manager, "ActiveState"), "active");
        assert_eq!(
            property(manager, "StatusText"),
            format!("{id} goes on; `nixactions attach {id}` follows it")
        );
        run.wait_for_file("j", "started");
        run.release("j", "go");
        assert_eq!(
            ended(manager),
            (status.to_owned(), format!("{id}: {conclusion}"))
        );
        assert_eq!(run.end().record["conclusion"], conclusion);
        manager
            .systemctl(&[
                if status == "0" {
                    "stop"
                } else {
                    "reset-failed"
                },
                "ci.service",
            ])
            .ok();
    }
}

on_managers!(a_client_that_is_no_service_leaves_its_run_alone on embedded, system_252, system_262, user_262);

fn a_client_that_is_no_service_leaves_its_run_alone(manager: &Manager) {
    const NONE: [&str; 0] = [];
    let run = manager.start(&plan("true"), &NONE);
    run.wait_for_file("j", "started");
    let go = run.workspace("j", "go");
    run.signal_client(Signal::SIGTERM);
    let left = run.end();
    assert_eq!(left.code, None, "the signal has ended it: {left}");
    assert_eq!(left.record, Value::Null, "{left}");
    fs::write(go, "").expect("it is ours");
    let run = manager.run_of(&left.id).end();
    assert_eq!(run.record["conclusion"], "success", "{run}");
    run.leaves_nothing(manager);
}

on_managers!(stopping_the_service_cancels_its_run on system_252, system_257, system_262, user_262);

fn stopping_the_service_cancels_its_run(manager: &Manager) {
    let run = start(manager, &plan("true"));
    run.wait_for_file("j", "started");
    manager.systemctl(&["stop", "ci.service"]).ok();
    let run = run.end();
    assert_eq!(run.record["conclusion"], "cancelled", "{run}");
    assert!(
        manager
            .nixactions(&["show", "ci-1"])
            .ok()
            .contains("cancelled")
    );
    // It waited for the run's end, and said so.
    assert_eq!(
        ended(manager),
        ("130".to_owned(), "ci-1: cancelled".to_owned())
    );
    run.leaves_nothing(manager);
}
