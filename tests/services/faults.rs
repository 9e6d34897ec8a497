//! Faults of the units that start services, and second attempts of a job after a service has ended.

use nixactions_harness::{
    CommandExt as _, Manager, RUN_DEADLINE, Run, on_managers, wait_for, with,
};
use serde_json::json;

use super::{NONE, ask, job, make_hosts_file, no_service_is_left, plan, server};

on_managers!(a_job_fails_if_the_process_that_waits_for_its_ports_is_killed on system_252, system_262);
on_managers!(services_end_with_the_process_that_holds_their_ports on system_252, system_262);
on_managers!(a_service_that_fails_before_it_begins_is_the_reason on system_252, system_262);
on_managers!(a_second_attempt_fails_if_a_service_has_ended on embedded, system_252, system_262, user_262);

/// Kills the process that holds the ports of a job's services, or waits for them.
fn kill_starter(manager: &Manager, run: &Run<'_>, job: &str) {
    let unit = format!("nixactions-{}-{job}:_services.service", run.id());
    let kill = ["kill", "--kill-who=main", "--signal=KILL", &unit];
    manager.systemctl(&kill).ok();
}

/// Starts two jobs with the same port of the host. Returns the job that has the port, then the job
/// that waits for it.
fn two_at_a_port<'a>(manager: &'a Manager, port: u16) -> (Run<'a>, &'static str, &'static str) {
    make_hosts_file(manager);
    let script = format!(
        "{}; touch here; while [ ! -e go ]; do sleep 0.1; done",
        ask("db", port)
    );
    let of = |own: &str| job(&script, json!({ "db": server(port, own) }));
    let mut plan = plan(json!({ "a": of("a"), "b": of("b") }));
    plan["maxParallel"] = json!(2);
    let run = manager.start(&plan, &NONE);
    for job in ["a", "b"] {
        run.wait_for_event("jobStarted", Some(job));
    }
    let first = wait_for(RUN_DEADLINE, "a job's steps", || {
        let mut jobs = ["a", "b"].into_iter();
        jobs.find(|job| run.workspace(job, "here").exists())
    });
    let other = if first == "a" { "b" } else { "a" };
    let unit = format!("nixactions-{}-{other}:_services.service", run.id());
    wait_for(RUN_DEADLINE, "the other job to wait for the port", || {
        let told = manager.journal(&["--unit", &unit]).ok();
        told.contains("waiting for its end").then_some(())
    });
    (run, first, other)
}

fn a_job_fails_if_the_process_that_waits_for_its_ports_is_killed(manager: &Manager) {
    let (run, first, other) = two_at_a_port(manager, 5490);
    kill_starter(manager, &run, other);
    let event = run.wait_for_event("jobFinished", Some(other));
    let reason = event["event"]["record"]["reason"].to_string();
    assert!(reason.contains("service `db`"), "{reason}");
    assert!(reason.contains("its ports"), "{reason}");
    run.release(first, "go");
    let finished = run.end().exits(1);
    assert_eq!(finished.verdict(first), "success/success", "{finished}");
    no_service_is_left(manager);
}

fn services_end_with_the_process_that_holds_their_ports(manager: &Manager) {
    let (run, first, other) = two_at_a_port(manager, 5491);
    kill_starter(manager, &run, first);
    // The port is free only when the service has ended.
    run.wait_for_file(other, "here");
    for job in [first, other] {
        run.release(job, "go");
    }
    let finished = run.end().exits(0);
    assert_eq!(finished.value(other, "answer"), other, "{finished}");
    let services = &finished.job(first)["services"];
    assert_eq!(services["db"]["reason"], "it was stopped", "{finished}");
    no_service_is_left(manager);
}

fn a_service_that_fails_before_it_begins_is_the_reason(manager: &Manager) {
    let mut service = server(5492, "x");
    // The runner's program needs a pair of sockets for its signals.
    service["properties"] =
        json!({ "SystemCallFilter": "~socketpair", "SystemCallErrorNumber": "EPERM" });
    let of = with(
        job("true", json!({ "db": service })),
        json!({ "timeout": 20 }),
    );
    let finished = manager.run(&plan(json!({ "j": of })), &NONE).exits(1);
    let reason = finished.reason("j");
    assert!(reason.contains("service `db`"), "{finished}");
    assert!(reason.contains("failed to catch signals"), "{finished}");
    no_service_is_left(manager);
}

fn a_second_attempt_fails_if_a_service_has_ended(manager: &Manager) {
    let run = ["sh", "-c", "sleep 1; exit 4"];
    let services = json!({ "db": { "run": run, "health": { "run": ["true"] } } });
    let more = json!({ "retry": { "maxAttempts": 3, "minTime": 0 } });
    let of = with(job("echo ran; sleep 3; exit 1", services), more);
    let finished = manager.run(&plan(json!({ "j": of })), &NONE).exits(1);
    let reason = finished.reason("j");
    assert_eq!(reason, "service `db`: exit status 4", "{finished}");
    assert_eq!(finished.job("j")["reasonCode"], "serviceNotReady");
    let ran = finished
        .lines("j")
        .iter()
        .filter(|line| **line == "ran")
        .count();
    assert_eq!(ran, 1, "{finished}");
    no_service_is_left(manager);
    finished.leaves_nothing(manager);
}
