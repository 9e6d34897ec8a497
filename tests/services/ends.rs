//! The end of services: one that is never ready, one that dies, and those of jobs that are over.

use nixactions_harness::{
    CommandExt as _, Manager, RUN_DEADLINE, Run, Signal, on_managers, wait_for, with,
};
use serde_json::{Value, json};

use super::{NONE, SOON, ask, job, make_hosts_file, no_service_is_left, plan, private, server};

on_managers!(a_service_that_is_never_ready_fails_its_job_with_its_last_lines on embedded, system_252, system_257, system_262, user_262);
on_managers!(a_service_that_dies_fails_no_job_and_is_reported on embedded, system_252, system_262, user_262);
on_managers!(a_killed_service_is_reported on system_252, system_262);
on_managers!(services_end_with_their_job_however_it_ends on embedded, system_252, system_257, system_262);
on_managers!(steps_that_clean_up_after_a_cancellation_have_their_services on embedded, system_252, system_257, system_262);
on_managers!(services_end_with_their_job_after_a_reexecution on system_252, system_257, system_262);
on_managers!(a_job_that_waits_for_a_port_is_cancelled on embedded, system_252, system_262);
on_managers!(a_skipped_job_starts_no_service on embedded, system_252, system_262);
on_managers!(a_port_in_use_is_the_reason on embedded, system_252, user_262);
on_managers!(steps_wait_for_health_commands_and_notifications on embedded, system_252, system_257, system_262, user_262);
on_managers!(a_service_that_cannot_start_is_the_reason on system_252, system_262);
on_managers!(services_do_not_count_as_running_jobs on system_252, system_262);

fn a_service_that_is_never_ready_fails_its_job_with_its_last_lines(manager: &Manager) {
    let never = |health: Value| {
        let run = ["sh", "-c", "echo begun; echo why not >&2; exec sleep 1000"];
        json!({ "db": { "run": run, "ports": [5440], "health": health } })
    };
    let health =
        json!({ "run": ["sh", "-c", "echo no answer; exit 3"], "interval": 0.1, "retries": 3 });
    let dies = json!({ "db": { "run": ["sh", "-c", "echo oh no >&2; exit 7"], "ports": [5441] } });
    let silent = json!({ "notify": true, "timeout": 0.5 });
    let missing = json!({ "run": ["no-such-command"], "interval": 0.1, "retries": 2 });
    let script = "echo unreached";
    let jobs = json!({
        "never": job(script, never(health)), "dies": job(script, dies),
        "silent": job(script, never(silent)), "missing": job(script, never(missing)),
        "after": with(nixactions_harness::bash("echo after"), json!({ "needs": ["dies"], "condition": "failure()" })),
    });
    let finished = manager.run(&plan(jobs), &NONE).exits(1);
    for (job, reasons) in [
        (
            "never",
            &[
                "service `db`",
                "3 times",
                "exit status 3",
                "no answer",
                "begun | why not",
            ][..],
        ),
        ("dies", &["service `db`: exit status 7", "oh no"]),
        ("silent", &["service `db`", "did not say so", "in 0.5 s"]),
        ("missing", &["service `db`", "no-such-command"]),
    ] {
        assert_eq!(finished.verdict(job), "failure/failure", "{finished}");
        for reason in reasons {
            assert!(finished.reason(job).contains(reason), "{job}: {finished}");
        }
        assert_eq!(finished.job(job)["reasonCode"], "serviceNotReady");
        assert!(!finished.lines(job).contains(&"unreached"), "{finished}");
    }
    assert_eq!(finished.verdict("after"), "success/success", "{finished}");
    no_service_is_left(manager);
    finished.leaves_nothing(manager);
}

fn a_service_that_dies_fails_no_job_and_is_reported(manager: &Manager) {
    let run = [
        "perl",
        "-e",
        "print qq(begun\\n); sleep 1; print qq(I give up\\n); exit 4",
    ];
    let services = json!({ "db": { "run": run, "health": { "run": ["true"] } } });
    let script = "echo first; sleep 3";
    let mut jobs = json!({ "j": job(script, services) });
    let more = json!({ "name": "more", "bash": "echo second" });
    let steps = jobs["j"]["steps"].as_array_mut();
    steps.expect("it has steps").push(more);
    let finished = manager.run(&plan(jobs), &NONE).exits(0);
    let job = finished.job("j");
    assert_eq!(
        job["services"]["db"]["reason"], "exit status 4",
        "{finished}"
    );
    let annotation = &job["annotations"][0];
    assert_eq!(annotation["level"], "warning", "{finished}");
    let message = annotation["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("service `db` has ended: exit status 4"),
        "{finished}"
    );
    let ended = finished.events.iter().map(|event| &event["event"]);
    let mut ended = ended.filter(|event| event["type"] == "serviceEnded");
    let lines = &ended.next().expect("it is told")["lines"];
    assert!(lines.to_string().contains("I give up"), "{finished}");
    no_service_is_left(manager);
}

/// Returns the process id of a service's main process.
fn main_pid(manager: &Manager, run: &Run<'_>, service: &str) -> String {
    let unit = format!("nixactions-{}-j:{service}.service", run.id());
    let mut shown = manager.systemctl(&["show", "--property=MainPID", "--value", &unit]);
    shown.ok().trim().to_owned()
}

fn a_killed_service_is_reported(manager: &Manager) {
    let services = json!({ "db": server(5442, "x") });
    let run = manager.start(
        &plan(json!({ "j": job("touch here; sleep 3", services) })),
        &NONE,
    );
    run.wait_for_file("j", "here");
    let pid = main_pid(manager, &run, "db");
    manager.command(&["kill", "-KILL", &pid]).ok();
    let finished = run.end().exits(0);
    let reason = &finished.job("j")["services"]["db"]["reason"];
    assert_eq!(reason, "its processes were killed", "{finished}");
    no_service_is_left(manager);
}

fn steps_that_clean_up_after_a_cancellation_have_their_services(manager: &Manager) {
    make_hosts_file(manager);
    let clean_up = format!("sleep 1; {}", ask("db", 5446));
    let clean_up = json!({ "bash": clean_up, "condition": "always()" });
    let steps = json!({ "steps": [{ "bash": "touch here; sleep 1000" }, clean_up] });
    let of = with(job("true", json!({ "db": server(5446, "x") })), steps);
    let run = manager.start(&plan(json!({ "j": private(of) })), &NONE);
    run.wait_for_file("j", "here");
    run.signal_client(Signal::SIGINT);
    let finished = run.end().exits(130);
    assert_eq!(finished.value("j", "answer"), "x", "{finished}");
    no_service_is_left(manager);
    finished.leaves_nothing(manager);
}

fn services_end_with_their_job_however_it_ends(manager: &Manager) {
    let begin = |more: Value| {
        let services = json!({ "db": server(5443, "x"), "cache": server(5444, "y") });
        let of = with(private(job("touch here; sleep 1000", services)), more);
        let run = manager.start(&plan(json!({ "j": of })), &NONE);
        run.wait_for_file("j", "here");
        assert!(
            manager.units("nixactions-served-*:*").len() >= 4,
            "they run"
        );
        run
    };
    let run = begin(json!({}));
    run.signal_client(Signal::SIGINT);
    let finished = run.end().exits(130);
    assert_eq!(finished.verdict("j"), "cancelled/cancelled", "{finished}");
    no_service_is_left(manager);
    finished.leaves_nothing(manager);

    let run = begin(json!({}));
    assert!(run.kill_runner("j"));
    run.end().exits(1);
    no_service_is_left(manager);

    let run = begin(json!({ "timeout": 3 }));
    let finished = run.end().exits(1);
    assert!(finished.reason("j").starts_with("timeout"), "{finished}");
    no_service_is_left(manager);

    let run = begin(json!({}));
    assert!(run.kill_supervisor());
    manager.nixactions(&["cancel", "--kill", run.id()]).ok();
    run.end().exits(130);
    no_service_is_left(manager);

    // Another attempt has the same services.
    make_hosts_file(manager);
    let services = json!({ "db": server(5445, "z") });
    let script = format!("{}; [ $NIXACTIONS_ATTEMPT = 2 ] || exit 1", ask("db", 5445));
    let of = with(
        private(job(&script, services)),
        json!({ "retry": { "maxAttempts": 2, "minTime": 0 } }),
    );
    let finished = manager.run(&plan(json!({ "j": of })), &NONE).exits(0);
    assert_eq!(finished.job("j")["attempts"], 2, "{finished}");
    no_service_is_left(manager);
    finished.leaves_nothing(manager);
}

fn a_skipped_job_starts_no_service(manager: &Manager) {
    let services = json!({ "db": server(5446, "x") });
    let of = |condition: &str, needs: Value| {
        with(
            job("true", services.clone()),
            json!({ "condition": condition, "needs": needs }),
        )
    };
    let plan = plan(json!({
        "fails": nixactions_harness::bash("exit 1"),
        "dropped": of("success()", json!(["fails"])), "gated": of("success()", json!(["fails"])),
        "after": with(nixactions_harness::bash("true"), json!({ "needs": ["gated"], "condition": "always()" })),
        "asked": of("false", json!([])),
    }));
    let finished = manager.run(&plan, &NONE).exits(1);
    for job in ["dropped", "gated", "asked"] {
        assert_eq!(finished.verdict(job), "skipped/skipped", "{finished}");
        let told = finished
            .events
            .iter()
            .any(|event| event["event"]["service"] == "db");
        assert!(!told, "{finished}");
    }
    no_service_is_left(manager);
    finished.leaves_nothing(manager);
}

fn a_port_in_use_is_the_reason(manager: &Manager) {
    let script = r#"my $s = IO::Socket::INET->new(LocalAddr => "127.0.0.1:5447", Listen => 1, ReuseAddr => 1) or die; open my $f, ">", $ARGV[0] or die; close $f; sleep 60"#;
    let inside = manager.open_directory("ready").join("file");
    let ready = manager.file(&inside);
    let inside = inside.display().to_string();
    let argv = ["perl", "-MIO::Socket::INET", "-e", script, &inside];
    let mut other = manager.command(&argv).spawn().expect("perl is there");
    wait_for(SOON, "the port to be taken", || {
        ready.exists().then_some(())
    });
    let services = json!({ "db": server(5447, "x") });
    let finished = manager.run(&plan(json!({ "j": job("true", services) })), &NONE);
    let _ = other.kill();
    let _ = other.wait();
    let finished = finished.exits(1);
    let reason = finished.reason("j");
    assert!(reason.contains("port 5447 is in use"), "{finished}");
    no_service_is_left(manager);
}

fn steps_wait_for_health_commands_and_notifications(manager: &Manager) {
    let slow = "sleep 1; touch $HOME/ready; exec sleep 1000";
    let health = json!({ "run": ["sh", "-c", "test -e $HOME/ready"], "interval": 0.1 });
    let notify = r#"use Socket; sleep 1; socket(my $s, AF_UNIX, SOCK_DGRAM, 0) or die; connect($s, sockaddr_un($ENV{NOTIFY_SOCKET})) or die "no: $!";
        print "I am\n"; send($s, "READY=1\n", 0); sleep 1000"#;
    let services = json!({
        "slow": { "run": ["sh", "-c", slow], "health": health, "env": { "GREETING": "hello" } },
        "tells": { "run": ["perl", "-e", notify], "health": { "notify": true } },
    });
    let before = json!({ "j": job("echo begun", services) });
    let finished = manager.run(&plan(before), &NONE).exits(0);
    let job = finished.job("j");
    for service in ["slow", "tells"] {
        assert!(
            job["services"][service]["readyAt"].is_string(),
            "{finished}"
        );
    }
    let event = |kind: &str| {
        let found = finished
            .events
            .iter()
            .find(|event| event["event"]["type"] == kind);
        found.expect("it happened")["at"]
            .as_str()
            .map(str::to_owned)
    };
    assert!(event("serviceReady") < event("stepStarted"), "{finished}");
    no_service_is_left(manager);
}

fn a_service_that_cannot_start_is_the_reason(manager: &Manager) {
    let mut service = server(5448, "x");
    service["properties"] = json!({ "BindReadOnlyPaths": "/nowhere/at/all" });
    let services = json!({ "db": service });
    let finished = manager
        .run(&plan(json!({ "j": job("true", services) })), &NONE)
        .exits(1);
    let reason = finished.reason("j");
    assert!(
        reason.contains("service `db`: exit-code: systemd could not start"),
        "{finished}"
    );
    assert!(reason.contains("226"), "{finished}");
    no_service_is_left(manager);
}

fn services_do_not_count_as_running_jobs(manager: &Manager) {
    let services = |n: u16| json!({ "a": server(5450, "a"), "b": server(5451 + n, "b") });
    let script = "echo at=$EPOCHREALTIME; sleep 1; echo end=$EPOCHREALTIME";
    let jobs: serde_json::Map<_, _> = (0..4u16)
        .map(|n| (format!("j{n}"), private(job(script, services(n)))))
        .collect();
    let mut plan = plan(json!(jobs));
    plan["maxParallel"] = json!(2);
    let finished = manager.run(&plan, &NONE).exits(0);
    let time = |job: &str, name: &str| finished.value(job, name).parse::<f64>().expect("a time");
    let mut spans: Vec<(f64, f64)> = (0..4)
        .map(|n| format!("j{n}"))
        .map(|job| (time(&job, "at"), time(&job, "end")))
        .collect();
    spans.sort_by(f64_pairs);
    let most = spans
        .iter()
        .map(|(at, _)| {
            spans
                .iter()
                .filter(|(from, to)| from <= at && at < to)
                .count()
        })
        .max();
    assert_eq!(most, Some(2), "{finished}");
    no_service_is_left(manager);
}

fn f64_pairs(a: &(f64, f64), b: &(f64, f64)) -> std::cmp::Ordering {
    a.0.total_cmp(&b.0)
}

fn services_end_with_their_job_after_a_reexecution(manager: &Manager) {
    let script = format!(
        "touch here; while [ ! -e go ]; do sleep 0.1; done; {}",
        ask("127.0.0.1", 5470)
    );
    for kills in [false, true] {
        let services = json!({ "db": server(5470, "still here") });
        let of = private(job(&script, services));
        let run = manager.start(&plan(json!({ "j": of })), &NONE);
        run.wait_for_file("j", "here");
        // systemd drops the connection of the caller.
        manager.systemctl(&["daemon-reexec"]).output_within(SOON);
        assert!(run.kill_supervisor());
        if kills {
            assert!(run.kill_runner("j"));
            run.end().exits(1);
        } else {
            run.release("j", "go");
            let finished = run.end().exits(0);
            assert_eq!(finished.value("j", "answer"), "still here", "{finished}");
        }
        no_service_is_left(manager);
    }
}

fn a_job_that_waits_for_a_port_is_cancelled(manager: &Manager) {
    let of = || job("touch here; sleep 1000", json!({ "db": server(5471, "x") }));
    let mut plan = plan(json!({ "a": of(), "b": of() }));
    plan["maxParallel"] = json!(2);
    let run = manager.start(&plan, &NONE);
    for job in ["a", "b"] {
        run.wait_for_event("jobStarted", Some(job));
    }
    // One of them has the port.
    wait_for(RUN_DEADLINE, "a job's steps", || {
        let began = ["a", "b"].map(|job| run.workspace(job, "here").exists());
        (began[0] != began[1]).then_some(())
    });
    run.signal_client(Signal::SIGINT);
    let finished = run.end().exits(130);
    for job in ["a", "b"] {
        assert_eq!(finished.verdict(job), "cancelled/cancelled", "{finished}");
    }
    no_service_is_left(manager);
    finished.leaves_nothing(manager);
}
