//! Runs whose names read alike: `b-1` of the run `ci-1`, and the first run of a workflow `ci-1-b`.

use nixactions_harness::{CommandExt as _, Manager, bash, on_managers, or_skip};
use serde_json::json;

on_managers!(
    two_runs_whose_names_read_alike_do_not_meet on
    embedded, system_252, system_262, user_262
);

on_managers!(a_container_has_credentials_whatever_the_workflow_is_called on system_252, system_262);

const NONE: [&str; 0] = [];

/// Waits in a step until the test lets it go on.
const WAIT: &str = "touch here; until [ -e go ]; do sleep 0.05; done; echo";

fn two_runs_whose_names_read_alike_do_not_meet(manager: &Manager) {
    let short = json!({ "version": 1, "name": "ci", "maxParallel": 3, "jobs": {
        "b-1": bash(&format!("{WAIT} short")),
        "b-1-x": bash(&format!("{WAIT} short, x")),
    } });
    let long =
        json!({ "version": 1, "name": "ci-1-b", "jobs": { "x": bash(&format!("{WAIT} long")) } });
    let short = manager.start(&short, &NONE);
    let long = manager.start(&long, &NONE);
    assert_eq!((short.id(), long.id()), ("ci-1", "ci-1-b-1"));
    for (run, job) in [(&short, "b-1"), (&short, "b-1-x"), (&long, "x")] {
        run.wait_for_file(job, "here");
    }
    // Neither its cancellation nor a look of its supervisor touches the other.
    assert!(short.kill_supervisor());
    manager.nixactions(&["cancel", short.id()]).ok();
    let short = short.end().exits(130);
    for job in ["b-1", "b-1-x"] {
        assert_eq!(short.verdict(job), "cancelled/cancelled", "{short}");
    }
    long.release("x", "go");
    let long = long.end().exits(0);
    assert_eq!(long.lines("x"), ["long"], "{long}");
    assert_eq!(
        long.record["jobs"]["x"]["unit"],
        "nixactions-ci-1:b-1-x.service"
    );
    let logs = manager.nixactions(&["logs", &long.id]).ok();
    assert!(logs.contains("long") && !logs.contains("short"), "{logs}");
}

/// The unit's name, and so the directory of its credentials, has a `:` then.
fn a_container_has_credentials_whatever_the_workflow_is_called(manager: &Manager) {
    let image = or_skip!(manager.image());
    let credential = manager.write("token", "a token");
    let plan = json!({ "version": 1, "name": "ci-1-b", "executors": { "box": { "type": "nspawn", "root": image } },
        "jobs": { "j": { "executor": "box", "credentials": { "token": credential },
            "steps": [{ "bash": "test \"$(cat $CREDENTIALS_DIRECTORY/token)\" = 'a token'" }] } } });
    manager.run(&plan, &NONE).exits(0);
}
