//! Retries of steps and jobs: who tries again, after which wait, with what, and what ends a wait.

use std::time::{Duration, Instant};

use nixactions_harness::{
    CommandExt as _, Finished, Manager, SOON, Signal, Skip, bash, on_managers, on_shared_managers,
    or_skip, with,
};
use serde_json::{Value, json};

on_shared_managers!(
    a_step_is_tried_again_after_the_wait_of_its_backoff,
    the_innermost_retry_wins_and_null_switches_it_off,
    a_job_is_tried_again_in_a_fresh_workspace,
    timeouts_of_steps_are_retried_and_those_of_jobs_are_not,
    a_wait_ends_with_a_cancellation,
    a_jobs_retry_covers_all_that_fails_it,
    a_wait_outlives_the_supervisor,
    a_killed_runner_is_retried,
    a_runner_that_is_killed_each_time_fails_with_the_reason,
    a_killed_runner_of_a_cancelled_job_is_not_retried,
    a_runner_killed_before_its_job_began_is_retried,
    memory_that_ran_out_is_a_failure_to_retry,
);
on_managers!(a_step_cannot_end_the_process_above_its_runner on embedded, embedded_257, system_252, system_262, user_262);
on_managers!(a_wait_outlives_a_reexecuted_systemd on embedded, system_252, system_257, system_262);

const NONE: [&str; 0] = [];

fn attempts(record: &Value) -> u64 {
    record["attempts"].as_u64().expect("it is a number")
}

/// Returns how often a job was tried, and each of its steps.
fn tried(run: &Finished, job: &str) -> (u64, Vec<u64>) {
    let job = run.job(job);
    (
        attempts(job),
        job["steps"]
            .as_array()
            .into_iter()
            .flatten()
            .map(attempts)
            .collect(),
    )
}

fn a_step_is_tried_again_after_the_wait_of_its_backoff(manager: &Manager) {
    let step = |backoff: &str| {
        let retry = json!({ "maxAttempts": 4, "backoff": backoff, "minTime": 0.2, "maxTime": 0.5 });
        json!({ "name": backoff, "bash": "echo $NIXACTIONS_STEP=$EPOCHREALTIME; [ $NIXACTIONS_ATTEMPT = 4 ]", "retry": retry })
    };
    let plan = json!({ "version": 1, "name": "backoff", "jobs": {
        "j": { "steps": [step("exponential"), step("linear"), step("constant")] },
        "fails": { "steps": [
            { "name": "it", "bash": "echo tried; echo LAST=$NIXACTIONS_ATTEMPT >> $NIXACTIONS_ENV; exit $NIXACTIONS_ATTEMPT",
              "retry": { "maxAttempts": 3, "minTime": 0.1 } },
            { "name": "after", "bash": "echo last $LAST", "condition": "always()" },
        ] },
    } });
    let run = manager.run(&plan, &NONE).exits(1);
    assert_eq!(tried(&run, "j"), (1, vec![4, 4, 4]), "{run}");
    for (backoff, waits) in [
        ("exponential", [0.2, 0.4, 0.5]),
        ("linear", [0.2, 0.4, 0.5]),
        ("constant", [0.2; 3]),
    ] {
        let lines = run
            .lines("j")
            .into_iter()
            .filter_map(|line| line.strip_prefix(backoff)?.strip_prefix('='));
        let times: Vec<f64> = lines
            .map(|time| time.parse().expect("it is a time"))
            .collect();
        let waited: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(waited.len(), waits.len(), "{run}");
        for (waited, wait) in waited.iter().zip(waits) {
            // Never before its time; later only as far as the machine is loaded.
            assert!(
                (wait..wait + 5.0).contains(waited),
                "{backoff} waited {waited} s instead of {wait} s: {run}"
            );
        }
    }
    // The last attempt counts: its exit status, and what it wrote.
    assert_eq!(
        (tried(&run, "fails"), run.reason("fails")),
        ((1, vec![3, 1]), "step it: exit status 3"),
        "{run}"
    );
    assert_eq!(
        run.lines("fails"),
        ["tried", "tried", "tried", "last 3"],
        "{run}"
    );
    // Each line says which attempt it is of.
    let of =
        |event: &&Value| event["event"]["type"] == "log" && event["event"]["message"] == "tried";
    let said: Vec<u64> = run
        .events
        .iter()
        .filter(of)
        .filter_map(|event| event["event"]["attempt"].as_u64())
        .collect();
    assert_eq!(said, [1, 2, 3], "{run}");
    let show = manager.nixactions(&["show", &run.id]).ok();
    assert!(show.contains("3 attempts"), "{show}");
}

fn the_innermost_retry_wins_and_null_switches_it_off(manager: &Manager) {
    let retry =
        |attempts: u32| json!({ "maxAttempts": attempts, "backoff": "constant", "minTime": 0.05 });
    let steps =
        |more: Value| json!({ "steps": [with(json!({ "name": "it", "bash": "exit 1" }), more)] });
    let plan = json!({ "version": 1, "name": "levels", "retry": retry(2), "jobs": {
        "workflow": steps(json!({})),
        "job": with(steps(json!({})), json!({ "retry": retry(3) })),
        "job-off": with(steps(json!({})), json!({ "retry": null })),
        "step": with(steps(json!({ "retry": retry(4) })), json!({ "retry": retry(3) })),
        "step-off": with(steps(json!({ "retry": null })), json!({ "retry": retry(3) })),
        "step-alone": with(steps(json!({ "retry": retry(2) })), json!({ "retry": null })),
        "allowed": steps(json!({ "continueOnError": true })),
        "first-decides": { "steps": [
            { "name": "off", "bash": "exit 1", "retry": null },
            { "name": "later", "bash": "exit 1", "condition": "always()" },
        ] },
    } });
    let run = manager.run(&plan, &NONE).exits(1);
    let expected: [(&str, u64, &[u64]); 8] = [
        ("workflow", 2, &[2]),
        ("job", 3, &[3]),
        ("job-off", 1, &[1]),
        ("step", 1, &[4]),
        ("step-off", 1, &[1]),
        ("step-alone", 1, &[2]),
        ("allowed", 1, &[1]),
        ("first-decides", 1, &[1, 1]),
    ];
    for (job, times, steps) in expected {
        assert_eq!(tried(&run, job), (times, steps.to_vec()), "{job} in {run}");
    }
    assert_eq!(run.verdict("allowed"), "success/success", "{run}");
    assert_eq!(run.reason("job"), "step it: exit status 1", "{run}");
}

fn a_job_is_tried_again_in_a_fresh_workspace(manager: &Manager) {
    let script = "echo $NIXACTIONS_ATTEMPT:$(ls -A . ~ | tr -d '\\n'):${LEFT-none}:$(cat given)
        touch left $HOME/left; echo LEFT=left >> $NIXACTIONS_ENV; echo N$NIXACTIONS_ATTEMPT=x >> $NIXACTIONS_OUTPUT
        (trap '' HUP; exec sleep 98901) > /dev/null 2>&1 &";
    let plan = json!({ "version": 1, "name": "fresh", "jobs": {
        "give": { "outputs": { "given": "given" }, "steps": [{ "bash": "echo gift > given" }] },
        "j": {
            "needs": ["give"], "inputs": ["given"], "outputs": { "left": "left" },
            "retry": { "maxAttempts": 3, "backoff": "constant", "minTime": 0.05 },
            "steps": [
                { "name": "first", "bash": script },
                { "name": "own", "bash": "[ $NIXACTIONS_ATTEMPT = 2 ]", "retry": { "maxAttempts": 2, "minTime": 0.05 } },
                { "name": "fails", "bash": "pgrep -c -f '^sleep 98901' || true; [ $NIXACTIONS_ATTEMPT = 3 ]" },
                { "name": "always", "bash": "true", "condition": "always()" },
            ],
        },
        "after": with(bash("echo $NEEDS_J_N1-$NEEDS_J_N3"), json!({ "needs": ["j"], "inputs": ["left"] })),
    } });
    let run = manager.run(&plan, &NONE).exits(0);
    assert_eq!(tried(&run, "j"), (3, vec![3, 2, 3, 3]), "{run}");
    let lines = run.lines("j");
    let first: Vec<&&str> = lines
        .iter()
        .filter(|line| line.ends_with(":gift"))
        .collect();
    assert_eq!(first.len(), 3, "{run}");
    for (n, line) in first.iter().enumerate() {
        assert!(
            line.starts_with(&format!("{}:", n + 1))
                && !line.contains("left")
                && line.ends_with(":none:gift"),
            "{line} in {run}"
        );
    }
    // Remaining processes of an attempt are gone before the next one.
    assert_eq!(
        lines.iter().filter(|line| **line == "1").count(),
        3,
        "{run}"
    );
    assert_eq!(run.job("j")["outputs"], json!({ "N3": "x" }), "{run}");
    assert_eq!(run.lines("after"), ["-x"], "{run}");
    let retried: Vec<u64> = run
        .events
        .iter()
        .filter(|event| event["event"]["type"] == "jobRetried")
        .filter_map(|event| event["event"]["attempt"].as_u64())
        .collect();
    assert_eq!(retried, [2, 3], "{run}");
    run.leaves_nothing(manager);
}

fn timeouts_of_steps_are_retried_and_those_of_jobs_are_not(manager: &Manager) {
    let retry = json!({ "maxAttempts": 3, "minTime": 0.05, "maxTime": 0.05 });
    let plan = json!({ "version": 1, "name": "limits", "maxParallel": 4, "retry": retry, "jobs": {
        "step": { "steps": [{ "name": "it", "bash": "if [ $NIXACTIONS_ATTEMPT = 1 ]; then sleep 98902; fi", "timeout": 0.5, "retry": retry }] },
        "step-of-job": { "steps": [{ "name": "it", "bash": "if [ $NIXACTIONS_ATTEMPT = 1 ]; then sleep 98902; fi", "timeout": 0.5 }] },
        "job": with(bash("echo tried; sleep 98903"), json!({ "timeout": 1 })),
        "wait": { "timeout": 1, "steps": [
            { "name": "it", "bash": "exit 1", "retry": { "maxAttempts": 2, "minTime": 50 } },
            { "name": "after", "bash": "echo after", "condition": "always()" },
        ] },
        "job-wait": with(bash("echo tried; exit 1"), json!({ "timeout": 1, "retry": { "maxAttempts": 2, "minTime": 50 } })),
    } });
    let start = Instant::now();
    let run = manager.run(&plan, &NONE).exits(1);
    assert!(
        start.elapsed() < Duration::from_secs(40),
        "it waited for the next attempt: {run}"
    );
    assert_eq!(
        (tried(&run, "step"), run.verdict("step")),
        ((1, vec![2]), "success/success".to_owned()),
        "{run}"
    );
    assert_eq!(
        (tried(&run, "step-of-job"), run.verdict("step-of-job")),
        ((2, vec![2]), "success/success".to_owned()),
        "{run}"
    );
    assert_eq!(
        (tried(&run, "job").0, run.lines("job")),
        (1, vec!["tried"]),
        "{run}"
    );
    for job in ["job", "wait", "job-wait"] {
        assert_eq!(
            (run.verdict(job), run.reason(job)),
            (
                "failure/failure".to_owned(),
                "timeout: the job took longer than 1 s"
            ),
            "{run}"
        );
    }
    assert_eq!(
        (run.lines("wait"), run.lines("job-wait")),
        (vec!["after"], vec!["tried"]),
        "{run}"
    );
    run.leaves_nothing(manager);
}

fn a_wait_ends_with_a_cancellation(manager: &Manager) {
    let retry = json!({ "maxAttempts": 2, "minTime": 50 });
    let plan = json!({ "version": 1, "name": "cancelled", "maxParallel": 2, "jobs": {
        "step": { "steps": [
            { "name": "it", "bash": "touch tried; exit 1", "retry": retry },
            { "name": "after", "bash": "echo after", "condition": "cancelled()" },
        ] },
        "job": with(bash("touch tried; exit 1"), json!({ "retry": retry })),
    } });
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("step", "tried");
    run.wait_for_event("stepFinished", Some("job"));
    let start = Instant::now();
    run.signal_client(Signal::SIGINT);
    let run = run.end().exits(130);
    assert!(
        start.elapsed() < Duration::from_secs(20),
        "it waited for the next attempt: {run}"
    );
    for job in ["step", "job"] {
        assert_eq!(
            (run.verdict(job), run.reason(job)),
            ("cancelled/cancelled".to_owned(), "the run was cancelled"),
            "{run}"
        );
    }
    assert_eq!(
        run.steps("step"),
        ["it cancelled/cancelled: cancelled", "after success/success"],
        "{run}"
    );
    assert_eq!(run.lines("step"), ["after"], "{run}");
    run.leaves_nothing(manager);
}

/// A job that waits a second and a half between its two attempts, and one that does so between
/// those of a step.
fn waiting() -> Value {
    let retry = json!({ "maxAttempts": 2, "minTime": 1.5 });
    let script = "touch tried; echo $NIXACTIONS_ATTEMPT; [ $NIXACTIONS_ATTEMPT = 2 ]";
    json!({ "version": 1, "name": "waits", "maxParallel": 2, "jobs": {
        "job": with(bash(script), json!({ "retry": retry })),
        "step": { "steps": [{ "name": "it", "bash": script, "retry": retry }] },
    } })
}

fn tried_twice(run: &Finished) {
    assert_eq!(
        (tried(run, "job"), tried(run, "step")),
        ((2, vec![2]), (1, vec![2])),
        "{run}"
    );
    assert_eq!(
        (run.lines("job"), run.lines("step")),
        (vec!["1", "2"], vec!["1", "2"]),
        "{run}"
    );
}

fn a_wait_outlives_the_supervisor(manager: &Manager) {
    let run = manager.start(&waiting(), &NONE);
    run.wait_for_file("step", "tried");
    run.wait_for_event("stepFinished", Some("job"));
    assert!(run.kill_supervisor(), "there is none");
    tried_twice(&run.end().exits(0));
}

fn a_wait_outlives_a_reexecuted_systemd(manager: &Manager) {
    let run = manager.start(&waiting(), &NONE);
    run.wait_for_file("step", "tried");
    run.wait_for_event("stepFinished", Some("job"));
    manager.systemctl(&["daemon-reload"]).ok();
    // systemd drops the connection of the caller.
    manager.systemctl(&["daemon-reexec"]).output_within(SOON);
    tried_twice(&run.end().exits(0));
}

/// Each fails the first time for want of a file in a directory that outlives the attempt.
fn a_jobs_retry_covers_all_that_fails_it(manager: &Manager) {
    let dir = manager.open_directory("covers");
    let path = dir.display();
    let once =
        |name: &str| format!("if ! [ -e {path}/{name} ]; then touch {path}/{name}; first=1; fi");
    let provider = manager.write_executable(
        dir.join("provider-program"),
        format!(
            "#!/bin/sh\n{}\n[ -z \"$first\" ] || exit 1\necho 'export A=\"b\"'\n",
            once("provider")
        ),
    );
    let retry = json!({ "maxAttempts": 2, "minTime": 0.1 });
    let out = json!({ "executor": "out", "retry": retry });
    let plan = json!({ "version": 1, "name": "covers", "maxParallel": 3,
        "executors": { "out": { "type": "systemd", "properties": { "ReadWritePaths": path.to_string() } } },
        "jobs": {
        "provider": with(with(bash("[ \"$A\" = b ]"), out.clone()), json!({ "envFrom": [[provider]] })),
        "artifact": with(
            with(bash(&format!("touch there; {}; [ -n \"$first\" ] || touch missing", once("artifact"))), out.clone()),
            json!({ "outputs": { "there": "there", "what": "missing" } }),
        ),
        "condition": with(
            with(bash("true"), out),
            json!({ "condition": format!("{}; [ -z \"$first\" ] || exit 255", once("condition")) }),
        ),
    } });
    let run = manager.run(&plan, &NONE).exits(0);
    for job in ["provider", "artifact", "condition"] {
        assert_eq!(run.verdict(job), "success/success", "{run}");
    }
    assert_eq!(attempts(run.job("provider")), 2, "{run}");
    assert_eq!(attempts(run.job("artifact")), 2, "{run}");
}

fn retried(run: &Finished) -> Vec<u64> {
    let events = run.events.iter().map(|event| &event["event"]);
    events
        .filter(|event| event["type"] == "jobRetried")
        .filter_map(|event| event["attempt"].as_u64())
        .collect()
}

/// A step that kills its runner in the first attempt, and what was left of that by the second.
fn a_killed_runner_is_retried(manager: &Manager) {
    let script = "echo $NIXACTIONS_ATTEMPT:$(ls -A .; ls -A ~):$(pgrep -c -f '^sleep 98961')
        touch left $HOME/left; echo N$NIXACTIONS_ATTEMPT=x >> $NIXACTIONS_OUTPUT
        (trap '' HUP INT TERM; exec setsid sleep 98961) > /dev/null 2>&1 &
        if [ $NIXACTIONS_ATTEMPT = 1 ]; then sleep 0.2; kill -9 $PPID; sleep 98962; fi";
    let retry = json!({ "maxAttempts": 3, "minTime": 0.5 });
    let plan = json!({ "version": 1, "name": "killed", "maxParallel": 2, "jobs": {
        "inside": { "retry": retry, "outputs": { "left": "left" }, "steps": [
            { "name": "before", "bash": "echo before" },
            { "name": "it", "bash": script },
        ] },
        "outside": with(bash("touch here; [ $NIXACTIONS_ATTEMPT = 2 ] || sleep 98963"), json!({ "retry": retry })),
        "after": with(
            bash("echo $NEEDS_INSIDE_RESULT-$NEEDS_INSIDE_N1-$NEEDS_INSIDE_N2"),
            json!({ "needs": ["inside", "outside"], "inputs": ["left"] }),
        ),
        "no-failure": with(bash("true"), json!({ "needs": ["inside"], "condition": "failure()" })),
    } });
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("outside", "here");
    assert!(run.kill_runner("outside"), "there is none");
    let run = run.end().exits(0);
    assert_eq!(tried(&run, "inside"), (2, vec![2, 2]), "{run}");
    assert_eq!(tried(&run, "outside"), (2, vec![2]), "{run}");
    assert_eq!(
        run.lines("inside"),
        ["before", "1::0", "before", "2::0"],
        "{run}"
    );
    assert_eq!(run.lines("after"), ["success--x"], "{run}");
    assert_eq!(run.verdict("no-failure"), "skipped/skipped", "{run}");
    assert_eq!(retried(&run), [2, 2], "{run}");
    let logs = manager.nixactions(&["logs", &run.id, "outside"]).ok();
    assert!(
        logs.contains("its runner was killed by SIGKILL; attempt 2 of 3 follows in 0.5 s"),
        "{logs}"
    );
    run.leaves_nothing(manager);
}

fn a_runner_that_is_killed_each_time_fails_with_the_reason(manager: &Manager) {
    let script = "echo $NIXACTIONS_ATTEMPT; sleep 0.3; kill -9 $PPID; sleep 98964";
    let plan = json!({ "version": 1, "name": "each", "jobs": {
        "j": { "retry": { "maxAttempts": 2, "minTime": 0.1 }, "steps": [
            { "name": "first", "bash": "true" },
            { "name": "it", "bash": script },
        ] },
        "off": { "retry": { "maxAttempts": 2 }, "steps": [
            { "name": "it", "bash": script, "retry": null },
        ] },
        "after": with(bash("true"), json!({ "needs": ["j"] })),
        "report": with(bash("echo $NEEDS_J_RESULT"), json!({ "needs": ["j"], "condition": "failure()" })),
    } });
    let run = manager.run(&plan, &NONE).exits(1);
    assert_eq!(
        (run.verdict("j"), run.reason("j")),
        ("failure/failure".to_owned(), "signal: killed by SIGKILL"),
        "{run}"
    );
    assert_eq!(tried(&run, "j"), (2, vec![2, 2]), "{run}");
    assert_eq!(
        run.steps("j"),
        [
            "first success/success",
            "it failure/failure: the job's runner ended before the step"
        ],
        "{run}"
    );
    assert_eq!(run.lines("j"), ["1", "2"], "{run}");
    assert_eq!(
        (tried(&run, "off"), run.reason("off")),
        ((1, vec![1]), "signal: killed by SIGKILL"),
        "{run}"
    );
    assert_eq!(run.reason("after"), "need `j` failed", "{run}");
    assert_eq!(run.lines("report"), ["failure"], "{run}");
    assert_eq!(retried(&run), [2], "{run}");
    run.leaves_nothing(manager);
}

/// A runner that does not survive its cancellation, one that a cancellation finds stopped, and one
/// whose unit a user stops.
fn a_killed_runner_of_a_cancelled_job_is_not_retried(manager: &Manager) {
    let retry = json!({ "retry": { "maxAttempts": 5, "minTime": 0.05 } });
    let stopped = bash("touch started; sleep 98965");
    let plan = json!({ "version": 1, "name": "ends", "maxParallel": 4, "jobs": {
        "killed": with(bash("trap 'kill -9 $PPID; sleep 98966' INT; touch started; sleep 98967 & wait; wait"), retry.clone()),
        "frozen": with(bash("touch started; kill -STOP $PPID; sleep 98968"), retry.clone()),
        "stopped": with(stopped, retry),
        "always": with(bash("true"), json!({ "needs": ["killed", "frozen"], "condition": "always()" })),
    } });
    let run = manager.start(&plan, &NONE);
    for job in ["killed", "frozen", "stopped"] {
        run.wait_for_file(job, "started");
    }
    let unit = format!("nixactions-{}-stopped.service", run.id());
    manager.systemctl(&["stop", &unit]).ok();
    run.wait_for_event("jobFinished", Some("stopped"));
    let start = Instant::now();
    manager.nixactions(&["cancel", run.id()]).ok();
    let run = run.end().exits(130);
    assert!(start.elapsed() < Duration::from_secs(30), "{run}");
    assert_eq!(
        (run.verdict("stopped"), run.reason("stopped")),
        ("failure/failure".to_owned(), "its unit was stopped"),
        "{run}"
    );
    for job in ["killed", "frozen"] {
        assert_eq!(run.verdict(job), "cancelled/cancelled", "{job} of {run}");
    }
    for job in ["killed", "frozen", "stopped"] {
        assert_eq!(tried(&run, job).0, 1, "{job} of {run}");
    }
    assert_eq!(run.reason("frozen"), "the run was cancelled", "{run}");
    assert_eq!(run.verdict("always"), "success/success", "{run}");
    assert_eq!(retried(&run), [0; 0], "{run}");
    run.leaves_nothing(manager);
}

/// A runner that asks its job's condition, and one that waits for its second attempt.
fn a_runner_killed_before_its_job_began_is_retried(manager: &Manager) {
    let retry =
        |wait: f64| json!({ "retry": { "maxAttempts": 3, "minTime": wait, "maxTime": wait } });
    let plan = json!({ "version": 1, "name": "early", "maxParallel": 2, "jobs": {
        "asks": with(
            with(bash("echo $NIXACTIONS_ATTEMPT"), retry(0.1)),
            json!({ "condition": "[ -e ../asked ] || { touch ../asked here; sleep 98969; }" }),
        ),
        "waits": with(bash("touch here; echo $NIXACTIONS_ATTEMPT; [ $NIXACTIONS_ATTEMPT = 3 ]"), retry(5.0)),
        "after": with(bash("true"), json!({ "needs": ["asks", "waits"] })),
    } });
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("asks", "here");
    assert!(run.kill_runner("asks"), "there is none");
    run.wait_for_event("stepFinished", Some("waits"));
    assert!(run.kill_runner("waits"), "there is none");
    let run = run.end().exits(0);
    assert_eq!(
        (run.lines("asks"), run.lines("waits")),
        (vec!["2"], vec!["1", "2", "3"]),
        "{run}"
    );
    assert_eq!(attempts(run.job("waits")), 3, "{run}");
    run.leaves_nothing(manager);
}

/// Where Landlock scopes signals, a step reaches its runner and nothing above.
fn a_step_cannot_end_the_process_above_its_runner(manager: &Manager) {
    let release = manager.command(&["uname", "-r"]).ok();
    let mut numbers = release.split('.').filter_map(|part| part.parse().ok());
    let kernel: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    or_skip!(
        (kernel >= (6, 12))
            .then_some(())
            .ok_or_else(|| Skip::new("this kernel's Landlock does not scope signals"))
    );
    // The process above need not be seen: it is tried by its number as well.
    let script = "echo $NIXACTIONS_ATTEMPT; [ $NIXACTIONS_ATTEMPT = 1 ] || exit 0
        above=$(ps -o ppid= $PPID || echo $((PPID - 1)))
        for pid in $above $((PPID - 1)) $((PPID - 2)); do
            [ $pid -lt 1 ] || for signal in STOP TERM KILL; do kill -$signal $pid && echo \"sent $signal\"; done 2>/dev/null
        done
        if (: > /proc/$above/mem) 2>/dev/null; then echo wrote; fi
        sleep 0.3; kill -9 -1; sleep 98970";
    let plan = json!({ "version": 1, "name": "above", "jobs": {
        "j": with(bash(script), json!({ "retry": { "maxAttempts": 2, "minTime": 0.1 } })),
    } });
    let run = manager.run(&plan, &NONE).exits(0);
    assert_eq!(tried(&run, "j"), (2, vec![2]), "{run}");
    assert_eq!(run.lines("j"), ["1", "2"], "{run}");
}

/// Without a memory controller: what systemd-oomd(8) notes on a control group, which systemd takes
/// for the kernel's word. It ends no job that has a retry; the step that was killed fails.
fn memory_that_ran_out_is_a_failure_to_retry(manager: &Manager) {
    let script = "touch here; [ $NIXACTIONS_ATTEMPT = 2 ] || sleep 98971";
    let plan = json!({ "version": 1, "name": "memory", "jobs": {
        "j": with(bash(script), json!({ "retry": { "maxAttempts": 2, "minTime": 0.1 } })),
    } });
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("j", "here");
    let unit = format!("nixactions-{}-j.service", run.id());
    let policy = manager
        .systemctl(&["show", "--property=OOMPolicy", "--value", &unit])
        .ok();
    assert_eq!(policy, "continue\n");
    manager
        .command(&["pkill", "-KILL", "-f", "^sleep 98971"])
        .ok();
    let run = run.end().exits(0);
    assert_eq!(tried(&run, "j"), (2, vec![2]), "{run}");
}
