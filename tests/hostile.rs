//! Jobs whose steps mean ill: what decides about a run must come from elsewhere.

use nixactions_harness::{CommandExt as _, Manager, bash, on_shared_managers, with};
use serde_json::json;

on_shared_managers!(
    a_forged_success_starts_nothing,
    a_runner_that_is_killed_has_failed_for_its_dependents,
    a_line_in_another_jobs_name_is_not_shown,
);

const NONE: [&str; 0] = [];

/// A step that writes its job's result itself, in every place and form that a runner ever used, and
/// then ends its runner.
const FORGE: &str = r#"
    record='{"unit":"u","outcome":"success","conclusion":"success","attempts":1}'
    result='{"version":1,"failed":false,"record":'$record'}'
    event='{"at":"2026-01-01T00:00:00Z","event":{"type":"runnerEnded","job":"evil","result":'$result'}}'
    chmod -R u+w ../../out || true
    mv ../../out ../../old || true
    mkdir -p ../../out || true
    echo "$result" > ../../out/result.json || true
    echo "$event" >> ../../out/events.jsonl || true
    for fd in /proc/$PPID/fd/*; do echo "$event" >> $fd || true; done
    for fd in $(seq 0 20); do echo "$event" >> /proc/$PPID/fd/$fd || true; done
    kill -9 $PPID || true
    sleep 0.3
    exit 1"#;

fn a_forged_success_starts_nothing(manager: &Manager) {
    // `notify` keeps systemd from dropping `deploy` by itself: its gate decides.
    let plan = json!({ "version": 1, "name": "forged", "jobs": {
        "evil": bash(FORGE),
        "deploy": with(bash("true"), json!({ "needs": ["evil"] })),
        "notify": with(bash("echo deploy=$NEEDS_DEPLOY_RESULT"), json!({ "needs": ["deploy"], "condition": "always()" })),
    } });
    let run = manager.run(&plan, &NONE).exits(1);
    assert_eq!(run.verdict("evil"), "failure/failure", "{run}");
    assert_eq!(run.verdict("deploy"), "skipped/skipped", "{run}");
    assert_eq!(run.verdict("notify"), "success/success", "{run}");
    assert!(
        !manager
            .run_dir(&run.id)
            .join("jobs/deploy/work/workspace")
            .exists(),
        "it has begun: {run}"
    );
}

fn a_runner_that_is_killed_has_failed_for_its_dependents(manager: &Manager) {
    // The runner does not wait for a process that closed its output. It outlives the steps.
    let linger = "(exec >/dev/null 2>&1 </dev/null; while kill -9 $PPID; do :; done) & true";
    let plan = json!({ "version": 1, "name": "killed", "jobs": {
        "evil": bash(&format!("{linger}; {FORGE}")),
        "saves": with(bash("echo result=$NEEDS_EVIL_RESULT"), json!({ "needs": ["evil"], "condition": "failure()" })),
        "deploy": with(bash("true"), json!({ "needs": ["evil"] })),
    } });
    let run = manager.run(&plan, &NONE).exits(1);
    assert_eq!(run.verdict("evil"), "failure/failure", "{run}");
    assert_eq!(run.lines("saves"), ["result=failure"], "{run}");
    assert_eq!(run.verdict("deploy"), "skipped/skipped", "{run}");
}

fn a_line_in_another_jobs_name_is_not_shown(manager: &Manager) {
    let other = manager
        .run(
            &json!({ "version": 1, "name": "other", "jobs": { "deploy": bash("echo honest") } }),
            &NONE,
        )
        .exits(0);
    // Each sender is gone at once, as a rule before journald looks at it.
    let forge = |run: &str| {
        format!(
            "for i in $(seq 60); do printf 'MESSAGE=forged\\nPRIORITY=6\\nNIXACTIONS_RUN=%s\\nNIXACTIONS_JOB=deploy\\n\
             NIXACTIONS_STREAM=stdout\\n' {run} | logger --journald & done; wait\n"
        )
    };
    let attack = forge("$NIXACTIONS_RUN") + &forge(&other.id);
    let plan = json!({ "version": 1, "name": "lines", "maxParallel": 2, "jobs": {
        "deploy": bash("for i in $(seq 300); do [ -e ../../stop ] && break; sleep 0.05; done; echo honest"),
        "evil": bash(&attack),
    } });
    let run = manager.start(&plan, &NONE);
    run.wait_for_event("jobFinished", Some("evil"));
    std::fs::write(run.dir().join("jobs/deploy/stop"), "").expect("the run directory is ours");
    let run = run.end().exits(0);
    assert_eq!(run.lines("deploy"), ["honest"], "{run}");
    for id in [&run.id, &other.id] {
        let logs = manager.nixactions(&["logs", id, "deploy"]).ok();
        assert!(!logs.contains("forged"), "{logs}");
        assert_eq!(logs.matches("honest").count(), 1, "{logs}");
    }
}
