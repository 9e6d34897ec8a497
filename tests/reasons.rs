//! Why jobs and steps ended, for programs: the codes in the record, in the log, and in `show`.

use nixactions_harness::{
    CommandExt as _, Finished, Manager, REPOSITORY, SOON, bash, on_managers, on_shared_managers,
    wait_for, with,
};
use serde_json::{Value, json};

on_shared_managers!(
    each_end_has_its_code,
    a_run_that_takes_too_long_says_so_in_codes,
    a_code_stands_in_the_log,
);

on_managers!(the_journals_catalog_explains_why_a_job_did_not_succeed on system_252, system_262);

const NONE: [&str; 0] = [];

/// Returns a job's code and those of its steps.
fn codes(run: &Finished, job: &str) -> (String, Vec<String>) {
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let job = run.job(job);
    let steps = job["steps"].as_array().into_iter().flatten();
    (
        word(&job["reasonCode"]),
        steps.map(|step| word(&step["reasonCode"])).collect(),
    )
}

fn each_end_has_its_code(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "codes", "jobs": {
        "good": bash("true"),
        "fails": { "steps": [
            { "name": "good", "bash": "true" },
            { "name": "bad", "bash": "exit 3" },
            { "name": "left-out", "bash": "true" },
            { "name": "false", "bash": "true", "condition": "cancelled()" },
        ] },
        "after": with(bash("true"), json!({ "needs": ["fails"] })),
        "after-skipped": with(bash("true"), json!({ "needs": ["after"] })),
        "false": with(bash("true"), json!({ "condition": "exit 1" })),
        "broken": with(bash("true"), json!({ "condition": "exit 255" })),
        "slow": { "steps": [{ "name": "it", "bash": "sleep 98921", "timeout": 0.2 }] },
        "late": with(bash("sleep 98922"), json!({ "timeout": 0.2 })),
        "killed": bash("kill -9 $$"),
        "no-program": { "steps": [{ "name": "it", "run": ["/nowhere/program"] }] },
        "no-artifact": with(bash("true"), json!({ "outputs": { "dist": "nowhere" } })),
        "no-provider": with(bash("true"), json!({ "envFrom": [["sh", "-c", "exit 4"]] })),
        "bad-file": bash("echo 'no assignment' >> $NIXACTIONS_ENV"),
    } });
    let run = manager.run(&plan, &NONE).exits(1);
    let expected: [(&str, &str, &[&str]); 13] = [
        ("good", "-", &["-"]),
        (
            "fails",
            "stepFailed",
            &["-", "exitStatus", "earlierStepFailed", "conditionFalse"],
        ),
        ("after", "needFailed", &[]),
        ("after-skipped", "needSkipped", &[]),
        ("false", "conditionFalse", &[]),
        ("broken", "conditionFailed", &[]),
        ("slow", "stepFailed", &["timeout"]),
        ("late", "timeout", &["timeout"]),
        ("killed", "stepFailed", &["signal"]),
        ("no-program", "stepFailed", &["notStarted"]),
        ("no-artifact", "artifactMissing", &["-"]),
        ("no-provider", "providerFailed", &[]),
        ("bad-file", "stepFailed", &["stepFiles"]),
    ];
    for (job, code, steps) in expected {
        let steps = steps.iter().map(|step| (*step).to_owned()).collect();
        assert_eq!(codes(&run, job), (code.to_owned(), steps), "{job}: {run}");
    }
    let shown = manager.nixactions(&["show", &run.id, "--json"]).ok();
    let shown: Value = serde_json::from_str(&shown).expect("a record is JSON");
    assert_eq!(shown["jobs"]["after"]["reasonCode"], "needFailed");
}

fn a_run_that_takes_too_long_says_so_in_codes(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "long", "timeout": 0.5, "jobs": {
        "runs": bash("sleep 98923"),
        "waits": with(bash("true"), json!({ "needs": ["runs"], "condition": "failure()" })),
    } });
    let run = manager.run(&plan, &NONE).exits(1);
    assert_eq!(run.record["reasonCode"], "timeout", "{run}");
    assert_eq!(run.verdict("runs"), "cancelled/cancelled", "{run}");
    assert_eq!(codes(&run, "runs").0, "timeout", "{run}");
    assert_eq!(codes(&run, "waits").0, "timeout", "{run}");
}

fn a_code_stands_in_the_log(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "log", "jobs": {
        "fails": bash("exit 3"),
        "after": with(bash("true"), json!({ "needs": ["fails"] })),
        "false": with(bash("true"), json!({ "condition": "exit 1" })),
    } });
    let run = manager.run(&plan, &NONE).exits(1);
    // `run` ends when the journal has all lines.
    let filter = format!("NIXACTIONS_RUN={}", run.id);
    let with_code = |code: &str| {
        let code = format!("NIXACTIONS_REASON={code}");
        manager
            .journal(&["--output=cat", &filter, &code])
            .ok()
            .trim()
            .to_owned()
    };
    assert_eq!(with_code("exitStatus"), "step it: exit status 3");
    assert_eq!(
        with_code("conditionFalse"),
        "skipped: condition `exit 1` was false"
    );
}

fn the_journals_catalog_explains_why_a_job_did_not_succeed(manager: &Manager) {
    let install = format!(
        "mkdir -p /usr/local/lib/systemd/catalog; cd /usr/local/lib/systemd/catalog
         cp {REPOSITORY}/crates/core/src/nixactions.catalog .
         journalctl --update-catalog"
    );
    manager.command(&["sh", "-ec", &install]).ok();
    let plan = json!({ "version": 1, "name": "told", "jobs": {
        "good": bash("true"),
        "fails": bash("exit 3"),
        "after": with(bash("true"), json!({ "needs": ["fails"] })),
        "slow": { "steps": [{ "name": "it", "bash": "sleep 98924", "timeout": 0.2 }] },
        "late": with(bash("sleep 98925"), json!({ "timeout": 0.2 })),
        "refused": with(bash("true"), json!({ "credentials": { "token": "/nowhere/token" } })),
    } });
    let run = manager.run(&plan, &NONE).exits(1);
    let explained = |job: &str| {
        let unit = format!("--unit=nixactions-{}-{job}.service", run.id);
        manager
            .journal(&["--catalog", "--output=short", &unit])
            .ok()
    };
    for (job, subject) in [
        ("fails", "has failed"),
        ("slow", "took longer than its timeout"),
        ("late", "took longer than its timeout"),
        ("refused", "did not start"),
    ] {
        let subject = format!("Subject: Job {job} {subject}\n");
        wait_for(SOON, &subject, || {
            explained(job).contains(&subject).then_some(())
        });
    }
    for job in ["good", "after"] {
        assert!(!explained(job).contains("Subject: Job"), "{job}");
    }
    // The run's log does not have them.
    let logs = manager.nixactions(&["logs", &run.id]).ok();
    assert!(!logs.contains("job `fails`: failure"), "{logs}");
}
