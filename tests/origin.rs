//! Where a run came from: in its record, in the variables of its steps, and in expressions.

use nixactions_harness::{CommandExt as _, Finished, Manager, bash, on_shared_managers, with};
use serde_json::{Value, json};

on_shared_managers!(
    a_run_tells_where_it_came_from,
    a_run_outside_of_a_repository_has_only_its_cause,
);

/// Returns the parts of a record that tell where the run came from.
fn origin(run: &Finished) -> [&str; 4] {
    ["trigger", "repository", "ref", "commit"].map(|part| run.record[part].as_str().unwrap_or("-"))
}

fn a_run_tells_where_it_came_from(manager: &Manager) {
    let script = "export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=x GIT_AUTHOR_EMAIL=x@x \
        GIT_COMMITTER_NAME=x GIT_COMMITTER_EMAIL=x@x; git init -q -b main origin; cd origin; \
        echo x > x; git add .; git commit -qm one; git remote add origin https://me:hush@host/a/b; \
        git rev-parse HEAD";
    let made = manager.command(&["bash", "-ec", script]).ok();
    let commit = made.trim();
    let variables = "echo $NIXACTIONS_EVENT $NIXACTIONS_REF $NIXACTIONS_SHA $NIXACTIONS_REPOSITORY $NIXACTIONS_ACTOR";
    let whole = "${{ format('{0} {1} {2} {3} {4}', nixactions.event, nixactions.ref, nixactions.sha, nixactions.repository, nixactions.actor) }}";
    let plan = json!({ "version": 1, "name": "origin", "jobs": {
        "tells": { "steps": [
            { "bash": variables },
            { "bash": "echo $WHOLE", "env": { "WHOLE": whole } },
        ] },
        "by-hand": with(bash("true"), json!({ "condition": "${{ nixactions.event == 'manual' }}" })),
    } });
    let run = manager
        .run(
            &plan,
            &["--source=origin", "--trigger=push", "--actor=alice"],
        )
        .exits(0);
    let source = ["https://host/a/b", "refs/heads/main", commit];
    assert_eq!(origin(&run)[0], "push", "{run}");
    assert_eq!(origin(&run)[1..], source, "{run}");
    assert_eq!(run.record["actor"], "alice", "{run}");
    let line = format!("push refs/heads/main {commit} https://host/a/b alice");
    assert_eq!(run.lines("tells"), [&line, &line], "{run}");
    assert_eq!(run.verdict("by-hand"), "skipped/skipped", "{run}");
    assert_eq!(run.job("tells")["placement"], "host", "{run}");
    assert_eq!(run.job("by-hand")["placement"], Value::Null, "{run}");

    let again = manager
        .start_command(manager.nixactions(&["rerun", "--output=json", &run.id]))
        .end()
        .exits(0);
    assert_eq!(origin(&again)[0], "rerun", "{again}");
    assert_eq!(origin(&again)[1..], source, "{again}");
    assert_ne!(again.record["actor"], "alice", "the caller is another one");
}

fn a_run_outside_of_a_repository_has_only_its_cause(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "plain", "jobs": {
        "j": bash("echo $NIXACTIONS_EVENT ${NIXACTIONS_REF-none} ${NIXACTIONS_SHA-none}"),
    } });
    let run = manager.run(&plan, &[""; 0]).exits(0);
    assert_eq!(origin(&run), ["manual", "-", "-", "-"], "{run}");
    assert_eq!(run.lines("j"), ["manual none none"], "{run}");
    let name = manager.command(&["id", "-un"]).ok();
    assert_eq!(run.record["actor"], name.trim(), "{run}");
}
