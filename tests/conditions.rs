//! Conditions in bash, on jobs and steps: where they run, what their end means, and the reason of
//! every skip.

use std::process::Command;

use nixactions_harness::{
    CommandExt as _, Finished, Manager, Signal, bash, on_shared_managers, with,
};
use serde_json::{Value, json};

on_shared_managers!(
    a_bash_condition_decides_by_its_exit_status,
    a_bash_condition_sees_the_job,
    a_skip_goes_down_the_chain_with_its_reason,
    a_skip_is_told_once_and_truthfully,
    a_condition_that_takes_too_long_or_is_cancelled_is_ended,
);

const NONE: [&str; 0] = [];

fn verdicts(run: &Finished, jobs: &[&str]) -> Vec<String> {
    jobs.iter().map(|job| run.verdict(job)).collect()
}

fn a_bash_condition_decides_by_its_exit_status(manager: &Manager) {
    let job = |condition: &str| with(bash("echo ran"), json!({ "condition": condition }));
    let step = |name: &str, condition: &str| json!({ "name": name, "bash": "echo ran", "condition": condition });
    let plan = json!({ "version": 1, "name": "status", "jobs": {
        "zero": job("exit 0"),
        "one": job("[ -e nowhere ]"),
        "most": job("exit 254"),
        "beyond": job("exit 255"),
        "killed": job("kill -9 $$"),
        "pipe": job("false | true"),
        "fails-early": job("false; true"),
        "tolerated": with(job("exit 255"), json!({ "continueOnError": true })),
        "no-bash": with(job("true"), json!({ "env": { "PATH": "/nowhere" } })),
        "steps": { "steps": [
            step("zero", "true"),
            step("one", "exit 1"),
            step("most", "exit 254"),
            { "name": "tolerated", "bash": "echo ran", "condition": "exit 255", "continueOnError": true },
            step("beyond", "kill -TERM $$"),
            step("after", "true"),
        ] },
    } });
    let run = manager.run(&plan, &NONE).exits(1);
    assert_eq!(verdicts(&run, &["zero"]), ["success/success"], "{run}");
    assert_eq!(
        verdicts(&run, &["one", "most", "pipe", "fails-early"]),
        ["skipped/skipped"; 4],
        "{run}"
    );
    assert_eq!(
        verdicts(&run, &["beyond", "killed", "no-bash", "steps"]),
        ["failure/failure"; 4],
        "{run}"
    );
    assert_eq!(run.verdict("tolerated"), "failure/success", "{run}");
    let reasons =
        ["one", "most", "beyond", "killed", "no-bash", "steps"].map(|job| run.reason(job));
    assert_eq!(
        reasons,
        [
            "condition `[ -e nowhere ]` was false",
            "condition `exit 254` was false",
            "condition `exit 255` could not be evaluated: exit status 255",
            "condition `kill -9 $$` could not be evaluated: killed by SIGKILL",
            "condition `true` could not be evaluated: executable `bash` was not found in PATH",
            "step beyond: condition `kill -TERM $$` could not be evaluated: killed by SIGTERM",
        ],
        "{run}"
    );
    assert_eq!(
        run.steps("steps"),
        [
            "zero success/success",
            "one skipped/skipped: condition `exit 1` was false",
            "most skipped/skipped: condition `exit 254` was false",
            "tolerated failure/success: condition `exit 255` could not be evaluated: exit status 255",
            "beyond failure/failure: condition `kill -TERM $$` could not be evaluated: killed by SIGTERM",
            "after skipped/skipped: an earlier step failed",
        ],
        "{run}"
    );
    assert_eq!(
        (run.lines("zero"), run.lines("one"), run.lines("steps")),
        (vec!["ran"], vec![], vec!["ran"]),
        "{run}"
    );
    let attempts = |record: &Value| record["attempts"].as_u64();
    assert_eq!(
        (attempts(run.job("zero")), attempts(run.job("one"))),
        (Some(1), Some(0)),
        "{run}"
    );
    assert_eq!(run.job("one")["startedAt"], Value::Null, "{run}");
}

fn a_bash_condition_sees_the_job(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "sees", "env": { "LEVEL": "workflow" }, "jobs": {
        "before": { "outputs": { "file": "file" }, "steps": [{ "bash": "echo text > file; echo key=value >> $NIXACTIONS_OUTPUT" }] },
        "job": {
            "needs": ["before"], "inputs": ["file"], "env": { "LEVEL": "job" },
            "condition": "[ $LEVEL = job ] && [ $NEEDS_BEFORE_KEY = value ] && [ $PWD = $NIXACTIONS_WORKSPACE ] && [ $(cat file) = text ] &&
                [ -z ${NIXACTIONS_STEP-} ] && [ $NIXACTIONS_JOB = job ] && [ $HOME != $PWD ] && echo asked",
            "steps": [
                { "name": "write", "bash": "echo WRITTEN=yes >> $NIXACTIONS_ENV; mkdir sub" },
                { "name": "if", "bash": "echo ran", "workdir": "sub", "env": { "OWN": "yes" },
                  "condition": "[ $WRITTEN = yes ] && [ $OWN = yes ] && [ -d sub ] && [ $NIXACTIONS_STEP = if ]" },
            ],
        },
    } });
    let run = manager.run(&plan, &NONE).exits(0);
    assert_eq!(run.verdict("job"), "success/success", "{run}");
    // The output of a condition is output of its job.
    assert_eq!(run.lines("job"), ["asked", "ran"], "{run}");
    assert_eq!(
        run.steps("job"),
        ["write success/success", "if success/success"],
        "{run}"
    );
}

fn a_skip_goes_down_the_chain_with_its_reason(manager: &Manager) {
    let after = |need: &str| with(bash("true"), json!({ "needs": [need] }));
    let plan = json!({ "version": 1, "name": "chain", "jobs": {
        // A skipped job's unit has succeeded, so systemd starts what comes after it.
        "asked": with(bash("true"), json!({ "condition": "false" })),
        "child": after("asked"),
        "grandchild": after("child"),
        "asks-too": with(bash("true"), json!({ "needs": ["child"], "condition": "echo asked; true" })),
        "always": with(bash("echo $NEEDS_GRANDCHILD_RESULT"), json!({ "needs": ["grandchild"], "condition": "always()" })),
        "failure": with(bash("true"), json!({ "needs": ["grandchild"], "condition": "failure()" })),
        "test": bash("exit 1"),
        // Here systemd starts nothing after the failure.
        "after-test": after("test"),
        "after-that": after("after-test"),
        "if-tested": with(bash("true"), json!({ "needs": ["test"], "condition": "true" })),
    } });
    let run = manager.run(&plan, &NONE).exits(1);
    let expected = [
        ("asked", "condition `false` was false"),
        ("child", "need `asked` was skipped"),
        ("grandchild", "need `child` was skipped"),
        ("asks-too", "need `child` was skipped"),
        ("failure", "condition `failure()` was false"),
        ("after-test", "need `test` failed"),
        ("after-that", "need `after-test` was skipped"),
        ("if-tested", "need `test` failed"),
    ];
    for (job, reason) in expected {
        assert_eq!(
            (run.verdict(job), run.reason(job)),
            ("skipped/skipped".to_owned(), reason),
            "{job} in {run}"
        );
    }
    assert_eq!(
        (run.lines("always"), run.lines("asks-too")),
        (vec!["skipped"], vec![]),
        "{run}"
    );
    let show = manager.nixactions(&["show", &run.id]).ok();
    for (job, reason) in expected {
        let said = show.lines().any(|line| {
            line.split_whitespace().next() == Some(job)
                && line.contains("skipped")
                && line.ends_with(reason)
        });
        assert!(said, "{job}: {reason} is not in\n{show}");
    }
    // The log of each that was asked says it too.
    for (job, reason) in &expected[..4] {
        let mut logs: Command = manager.nixactions(&["logs", &run.id, job]);
        let said = logs.ok();
        assert!(
            said.contains(&format!("skipped: {reason}")),
            "{job}: {said}"
        );
    }
    // Nothing of a job that was skipped is kept.
    let left = std::fs::read_dir(manager.run_dir(&run.id).join("jobs/asked/work/workspace"))
        .map_or(0, |entries| entries.count());
    assert_eq!(left, 0, "{run}");
}

fn a_condition_that_takes_too_long_or_is_cancelled_is_ended(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "slow", "jobs": {
        "job": with(bash("echo never"), json!({ "timeout": 1, "condition": "sleep 98801" })),
        "step": { "steps": [
            { "name": "slow", "bash": "echo never", "timeout": 1, "condition": "sleep 98802" },
            { "name": "after", "bash": "echo after", "condition": "always()" },
        ] },
    } });
    let run = manager.run(&plan, &NONE).exits(1);
    assert_eq!(
        (run.verdict("job"), run.reason("job")),
        (
            "failure/failure".to_owned(),
            "timeout: the job took longer than 1 s"
        ),
        "{run}"
    );
    assert_eq!(
        run.reason("step"),
        "step slow: condition `sleep 98802` could not be evaluated: timeout: took longer than 1 s",
        "{run}"
    );
    assert_eq!(
        (run.lines("job"), run.lines("step")),
        (vec![], vec!["after"]),
        "{run}"
    );
    run.leaves_nothing(manager);

    let plan = json!({ "version": 1, "name": "slow", "maxParallel": 2, "jobs": {
        "job": with(bash("echo never"), json!({ "condition": "touch asked; sleep 98803" })),
        "step": { "steps": [{ "name": "slow", "bash": "echo never", "condition": "touch asked; sleep 98804" }] },
    } });
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("job", "asked");
    run.wait_for_file("step", "asked");
    run.signal_client(Signal::SIGINT);
    let run = run.end().exits(130);
    for job in ["job", "step"] {
        assert_eq!(
            (run.verdict(job), run.reason(job)),
            ("cancelled/cancelled".to_owned(), "the run was cancelled"),
            "{run}"
        );
        assert_eq!(run.lines(job), [""; 0], "{run}");
    }
    assert_eq!(
        run.steps("step"),
        ["slow cancelled/cancelled: cancelled"],
        "{run}"
    );
    run.leaves_nothing(manager);
}

/// systemd drops `b`, so that nobody has left a result of it when the gate of `c` looks.
fn a_skip_is_told_once_and_truthfully(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "dropped", "jobs": {
        "a": bash("false"),
        "b": with(bash("true"), json!({ "needs": ["a"], "continueOnError": true })),
        "c": with(bash("true"), json!({ "needs": ["b"] })),
        "d": with(bash("echo RESULT=$NEEDS_B_RESULT"), json!({ "needs": ["b"], "condition": "always()" })),
    } });
    let run = manager.run(&plan, &NONE).exits(1);
    assert_eq!(run.reason("c"), "need `b` was skipped", "{run}");
    assert_eq!(run.value("d", "RESULT"), "skipped", "{run}");
    let text = manager.nixactions(&["logs", &run.id, "c"]).ok();
    assert!(!text.contains("failed"), "{text}");
    assert_eq!(text.matches("skipped: need").count(), 1, "{text}");
}
