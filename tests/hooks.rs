//! Executors of the user's own: which hooks are called, in which order, how often, with what, and
//! what comes after failures and cancellations.

use std::{fs, path::Path};

use nixactions_harness::{
    CommandExt as _, Manager, Signal, bash, on_managers, on_shared_managers, with,
};
use serde_json::{Value, json};

on_shared_managers!(
    hooks_are_called_in_order_and_those_of_the_workspace_once,
    hooks_are_told_where_they_are_and_what_is_to_be_done,
    a_job_that_fails_is_cleaned_up_after,
    a_workspace_that_cannot_be_made_fails_the_jobs,
    a_cancelled_run_is_cleaned_up_after,
    artifacts_without_hooks_are_the_engines,
);

on_managers!(a_systemd_that_reexecutes_itself_while_hooks_end_is_not_waited_for on system_252, system_257, system_262);

const NONE: [&str; 0] = [];
const HOOKS: [&str; 7] = [
    "setupWorkspace",
    "cleanupWorkspace",
    "setupJob",
    "executeJob",
    "cleanupJob",
    "saveArtifact",
    "restoreArtifact",
];

/// An executor whose hooks each write a line to the file `log` of a directory. Some hooks do more.
fn executor(log: &Path, more: &[(&str, &str)]) -> Value {
    let mut executor = json!({ "type": "hooks", "copyRepo": false });
    for hook in HOOKS {
        let more = more
            .iter()
            .find(|(name, _)| *name == hook)
            .map_or("", |(_, more)| more);
        let script = format!(
            "echo {hook} ${{NIXACTIONS_JOB-none}} $NIXACTIONS_ARTIFACT >> {}; {more}",
            log.display()
        );
        executor[hook] = json!(["sh", "-ec", script]);
    }
    executor
}

fn job(more: Value) -> Value {
    with(
        json!({ "executor": "box", "steps": [{ "name": "it", "bash": "true" }] }),
        more,
    )
}

/// Returns the lines of the log, without the spaces at their ends.
fn lines(manager: &Manager, log: &Path) -> Vec<String> {
    let text = fs::read_to_string(manager.file(log)).unwrap_or_default();
    text.lines().map(|line| line.trim().to_owned()).collect()
}

fn hooks_are_called_in_order_and_those_of_the_workspace_once(manager: &Manager) {
    let log = manager.open_directory("order").join("log");
    let unused = executor(&log, &[("setupWorkspace", "exit 1")]);
    let plan = json!({ "version": 1, "name": "order", "executors": { "box": executor(&log, &[]), "unused": unused }, "jobs": {
        "first": job(json!({ "outputs": { "x": "x", "y": "y" } })),
        "second": job(json!({ "needs": ["first"], "inputs": ["x"] })),
        "third": job(json!({ "needs": ["second"] })),
        "beside": with(bash("true"), json!({ "needs": ["first"] })),
    } });
    let run = manager.run(&plan, &NONE).exits(0);
    let expected = [
        "setupWorkspace none",
        "setupJob first",
        "executeJob first",
        "saveArtifact first x",
        "saveArtifact first y",
        "cleanupJob first",
        "setupJob second",
        "restoreArtifact second x",
        "executeJob second",
        "cleanupJob second",
        "setupJob third",
        "executeJob third",
        "cleanupJob third",
        "cleanupWorkspace none",
    ];
    assert_eq!(lines(manager, &log), expected, "{run}");
    let steps = [
        "setupJob success/success",
        "executeJob success/success",
        "cleanupJob success/success",
    ];
    assert_eq!(run.steps("third"), steps, "{run}");
    run.leaves_nothing(manager);
}

fn hooks_are_told_where_they_are_and_what_is_to_be_done(manager: &Manager) {
    let log = manager.open_directory("told").join("log");
    let tell = "echo RUN=$NIXACTIONS_RUN; echo EXECUTOR=$NIXACTIONS_EXECUTOR; echo STEPS=$(cat $NIXACTIONS_STEPS)
        echo LEVEL=$LEVEL; echo OWN=$OWN; echo SHARED=$(cat $NIXACTIONS_EXECUTOR_DIRECTORY/file); echo WHERE=$(pwd) $NIXACTIONS_WORKSPACE";
    let setup = "cat $NIXACTIONS_STEPS > $NIXACTIONS_EXECUTOR_DIRECTORY/steps; echo $LEVEL > $NIXACTIONS_EXECUTOR_DIRECTORY/file";
    let executor = executor(
        &log,
        &[
            ("setupWorkspace", setup),
            ("executeJob", tell),
            ("cleanupJob", "cat $NIXACTIONS_EXECUTOR_DIRECTORY/steps"),
        ],
    );
    let plan = json!({ "version": 1, "name": "told", "env": { "LEVEL": "workflow" }, "executors": { "box": executor }, "jobs": {
        "j": { "executor": "box", "env": { "OWN": "job" }, "steps": [
            { "name": "one", "run": ["make", "all"], "env": { "A": "b" } },
            { "bash": "echo two", "condition": "always()", "timeout": 5 },
        ] },
        "k": job(json!({ "needs": ["j"] })),
    } });
    let run = manager.run(&plan, &NONE).exits(0);
    assert_eq!(
        (run.value("j", "RUN"), run.value("j", "EXECUTOR")),
        (&*run.id, "box"),
        "{run}"
    );
    let values = ["LEVEL", "OWN", "SHARED"].map(|name| run.value("j", name));
    assert_eq!(values, ["workflow", "job", "workflow"], "{run}");
    let (here, workspace) = run
        .value("j", "WHERE")
        .split_once(' ')
        .expect("they are two");
    assert_eq!(here, workspace, "{run}");
    let steps: Value = serde_json::from_str(run.value("j", "STEPS")).expect("steps are JSON");
    assert_eq!(
        (&steps[0]["name"], &steps[0]["run"], &steps[0]["env"]),
        (&json!("one"), &json!(["make", "all"]), &json!({ "A": "b" }))
    );
    assert_eq!(
        (&steps[1]["name"], &steps[1]["bash"], &steps[1]["condition"]),
        (&json!("echo two"), &json!("echo two"), &json!("always()"))
    );
    // The workspace's hooks are told of all jobs of the executor.
    let all: Value = serde_json::from_str(run.lines("k").last().expect("it has printed them"))
        .expect("steps are JSON");
    assert_eq!(
        (all.as_object().map(serde_json::Map::len), &all["j"]),
        (Some(2), &steps),
        "{run}"
    );
}

fn a_job_that_fails_is_cleaned_up_after(manager: &Manager) {
    let log = manager.open_directory("fails").join("log");
    let executor = executor(
        &log,
        &[
            ("executeJob", "[ $NIXACTIONS_JOB != bad ]"),
            ("cleanupWorkspace", "exit 5"),
        ],
    );
    let plan = json!({ "version": 1, "name": "fails", "executors": { "box": executor }, "jobs": {
        "bad": job(json!({ "outputs": { "x": "x" } })),
        "after": job(json!({ "needs": ["bad"] })),
        "always": job(json!({ "needs": ["bad"], "condition": "always()" })),
    } });
    let run = manager.run(&plan, &NONE).exits(1);
    assert_eq!(
        (run.verdict("bad"), run.reason("bad")),
        (
            "failure/failure".to_owned(),
            "step executeJob: exit status 1"
        ),
        "{run}"
    );
    assert_eq!(
        (run.reason("after"), run.verdict("always")),
        ("need `bad` failed", "success/success".to_owned()),
        "{run}"
    );
    let expected = [
        "setupWorkspace none",
        "setupJob bad",
        "executeJob bad",
        "saveArtifact bad x",
        "cleanupJob bad",
        "setupJob always",
        "executeJob always",
        "cleanupJob always",
        "cleanupWorkspace none",
    ];
    assert_eq!(lines(manager, &log), expected, "{run}");
    let warned = run.events.iter().any(|event| {
        event["event"]["message"] == "cleanupWorkspace of executor `box`: exit status 5"
    });
    assert!(warned, "{run}");
    run.leaves_nothing(manager);
}

fn a_workspace_that_cannot_be_made_fails_the_jobs(manager: &Manager) {
    let log = manager.open_directory("broken").join("log");
    let plan = json!({ "version": 1, "name": "broken", "executors": { "box": executor(&log, &[("setupWorkspace", "exit 3")]) }, "jobs": {
        "first": job(json!({})),
        "tolerated": job(json!({ "continueOnError": true })),
        "second": job(json!({ "needs": ["first"] })),
        "always": job(json!({ "needs": ["first"], "condition": "always()" })),
        "beside": with(bash("echo $NEEDS_FIRST_RESULT"), json!({ "needs": ["first"], "condition": "failure()" })),
    } });
    let run = manager.run(&plan, &NONE).exits(1);
    for (job, verdict) in [
        ("first", "failure/failure"),
        ("tolerated", "failure/success"),
        ("always", "failure/failure"),
    ] {
        let reason = "setupWorkspace of executor `box`: exit status 3";
        assert_eq!(
            (run.verdict(job), run.reason(job)),
            (verdict.to_owned(), reason),
            "{job} in {run}"
        );
    }
    assert_eq!(
        (run.verdict("second"), run.reason("second")),
        ("skipped/skipped".to_owned(), "need `first` failed"),
        "{run}"
    );
    assert_eq!(run.lines("beside"), ["failure"], "{run}");
    assert_eq!(
        lines(manager, &log),
        ["setupWorkspace none", "cleanupWorkspace none"],
        "{run}"
    );
    run.leaves_nothing(manager);
}

/// systemd does not report the end of units in that moment.
fn a_systemd_that_reexecutes_itself_while_hooks_end_is_not_waited_for(manager: &Manager) {
    let reexec = json!(["sh", "-c", "systemctl --no-block daemon-reexec; exit 0"]);
    let executor = json!({ "type": "hooks", "copyRepo": false, "setupWorkspace": reexec, "executeJob": ["true"], "cleanupWorkspace": reexec });
    let plan = json!({ "version": 1, "name": "reexec", "executors": { "box": executor }, "jobs": {
        "j": { "executor": "box", "steps": [{ "bash": "true" }] },
    } });
    for _ in 0..5 {
        let run = manager.run(&plan, &NONE).exits(0);
        assert!(
            !run.events
                .iter()
                .any(|event| event["event"]["type"] == "warning"),
            "{run}"
        );
        run.leaves_nothing(manager);
    }
}

fn a_cancelled_run_is_cleaned_up_after(manager: &Manager) {
    let log = manager.open_directory("cancelled").join("log");
    let executor = executor(&log, &[("executeJob", "touch started; exec sleep 98951")]);
    let plan = json!({ "version": 1, "name": "cancelled", "executors": { "box": executor }, "jobs": {
        "j": job(json!({})),
        "k": job(json!({ "needs": ["j"] })),
    } });
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("j", "started");
    run.signal_client(Signal::SIGINT);
    let run = run.end().exits(130);
    assert_eq!(
        (run.verdict("j"), run.verdict("k")),
        (
            "cancelled/cancelled".to_owned(),
            "skipped/skipped".to_owned()
        ),
        "{run}"
    );
    let expected = [
        "setupWorkspace none",
        "setupJob j",
        "executeJob j",
        "cleanupJob j",
        "cleanupWorkspace none",
    ];
    assert_eq!(lines(manager, &log), expected, "{run}");
    run.leaves_nothing(manager);

    // A setup that is going on ends as well, and its jobs with it.
    let log = manager.open_directory("cancelled-early").join("log");
    let mark = manager.open_directory("cancelled-early").join("mark");
    let hang = format!("touch {}; exec sleep 98952", mark.display());
    let executor = self::executor(&log, &[("setupWorkspace", &hang)]);
    let plan = json!({ "version": 1, "name": "cancelled", "executors": { "box": executor }, "jobs": { "j": job(json!({})) } });
    let run = manager.start(&plan, &NONE);
    nixactions_harness::wait_for(nixactions_harness::SOON, "the setup", || {
        manager.file(&mark).exists().then_some(())
    });
    manager.nixactions(&["cancel", run.id()]).ok();
    let run = run.end().exits(130);
    assert_eq!(run.verdict("j"), "cancelled/cancelled", "{run}");
    assert_eq!(
        lines(manager, &log),
        ["setupWorkspace none", "cleanupWorkspace none"],
        "{run}"
    );
    run.leaves_nothing(manager);
}

fn artifacts_without_hooks_are_the_engines(manager: &Manager) {
    let run_steps = json!([
        "sh",
        "-ec",
        "[ ! -e given ] || cat given; echo made by $NIXACTIONS_JOB > made"
    ]);
    let executor = json!({ "type": "hooks", "copyRepo": false, "executeJob": run_steps });
    let plan = json!({ "version": 1, "name": "artifacts", "executors": { "box": executor }, "jobs": {
        "give": { "outputs": { "given": "given" }, "steps": [{ "bash": "echo gift > given" }] },
        "j": job(json!({ "needs": ["give"], "inputs": ["given"], "outputs": { "made": "made" } })),
        "take": with(bash("cat made"), json!({ "needs": ["j"], "inputs": ["made"] })),
    } });
    let run = manager.run(&plan, &NONE).exits(0);
    assert_eq!(
        (run.lines("j"), run.lines("take")),
        (vec!["gift"], vec!["made by j"]),
        "{run}"
    );
}
