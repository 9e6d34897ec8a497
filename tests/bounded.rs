//! The bounds on what a job adds to its run: output beyond them costs neither the supervisor nor
//! later readers anything.

use std::{fs, path::Path};

use nixactions_harness::{CommandExt as _, Finished, Manager, Run, SOON, bash, on_managers, with};
use serde_json::{Value, json};

on_managers!(
    a_job_that_grows_its_events_costs_the_supervisor_nothing on
    embedded_262, system_252, system_262, user_262
);
on_managers!(
    a_job_that_forges_its_events_bricks_nothing on
    embedded, system_252, system_262, user_262
);
on_managers!(a_damaged_line_is_told_and_the_rest_used on embedded, system_262);

const NONE: [&str; 0] = [];

/// Waits in a step until the test lets it go on.
const WAIT: &str = "touch here; until [ -e go ]; do sleep 0.05; done";

fn go_on(run: &Run<'_>, job: &str) {
    run.release(job, "go");
}

/// Returns the most memory that the run's supervisor had, in bytes.
fn peak_of_supervisor(manager: &Manager, run: &Run<'_>) -> u64 {
    let pattern = format!("[n]ixactions supervise .*/{}$", run.id());
    let script = format!("cat /proc/$(pgrep -f '{pattern}' | head -n 1)/status");
    let status = manager.command(&["sh", "-c", &script]).ok();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap_or_else(|| panic!("no peak in: {status}"));
    let number: u64 = line
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number");
    number << 10
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}

fn warnings(run: &Finished, part: &str) -> Vec<String> {
    run.events
        .iter()
        .filter(|event| event["event"]["type"] == "warning")
        .filter_map(|event| event["event"]["message"].as_str())
        .filter(|message| message.contains(part))
        .map(str::to_owned)
        .collect()
}

fn a_job_that_grows_its_events_costs_the_supervisor_nothing(manager: &Manager) {
    let grow = "for _ in $(seq 40); do truncate -s +20M ../../out/events.jsonl || true; \
                sleep 0.05; done";
    let plan = json!({ "version": 1, "name": "sparse", "jobs": {
        "evil": bash(&format!("{grow}; {WAIT}")),
        "good": bash("true"),
    } });
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("evil", "here");
    let own = run.dir().join("jobs/evil/out/events.jsonl");
    let has_grown = size(&own) > 100 << 20;
    let peak = peak_of_supervisor(manager, &run);
    assert!(peak < 100 << 20, "the supervisor took {} MiB", peak >> 20);
    go_on(&run, "evil");
    let run = run.end().exits(0);
    assert_eq!(run.verdict("good"), "success/success", "{run}");
    let told = warnings(&run, "`evil`");
    assert_eq!(told.len(), usize::from(has_grown), "{run}");
}

fn a_job_that_forges_its_events_bricks_nothing(manager: &Manager) {
    let event = json!({ "at": "2026-01-01T00:00:00Z", "event": { "type": "annotation", "job": "evil",
        "annotation": { "level": "error", "step": "it", "message": "@" } } });
    let script = format!(
        "x=$(head -c 1000000 /dev/zero | tr '\\0' x)\n\
         e='{event}'\n\
         for _ in $(seq 70); do printf '%s%s%s\\n' \"${{e%%@*}}\" \"$x\" \"${{e##*@}}\"; done \
         >>../../out/events.jsonl || true\n\
         {WAIT}"
    );
    let plan = json!({ "version": 1, "name": "forged", "jobs": {
        "evil": bash(&script),
        "after": with(bash("true"), json!({ "needs": ["evil"] })),
    } });
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("evil", "here");
    let was_forged = size(&run.dir().join("jobs/evil/out/events.jsonl")) > 60 << 20;
    go_on(&run, "evil");
    let run = run.end().exits(0);
    let own = size(&manager.run_dir(&run.id).join("events.jsonl"));
    assert!(own < 8 << 20, "the run has {own} bytes of events");
    assert_eq!(run.verdict("after"), "success/success", "{run}");
    assert_eq!(
        warnings(&run, "`evil`").is_empty(),
        !was_forged,
        "{:?}",
        warnings(&run, "`evil`")
    );
    manager.nixactions(&["show", &run.id]).ok();
    manager.nixactions(&["list"]).ok();
}

fn a_damaged_line_is_told_and_the_rest_used(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "damaged", "jobs": { "j": bash("true") } });
    let run = manager.run(&plan, &NONE).exits(0);
    let dir = manager.run_dir(&run.id);
    let events = dir.join("events.jsonl");
    let text = fs::read_to_string(&events).expect("it is there");
    let (first, rest) = text.split_once('\n').expect("it has lines");
    fs::write(&events, format!("{first}\n{{torn\n{rest}")).expect("it is ours");
    let shown = manager.nixactions(&["show", &run.id]).ok();
    assert!(
        shown.contains("line 2 is damaged; the rest is used"),
        "{shown}"
    );
    // A file of another version is not interpreted.
    let record = dir.join("record.json");
    let mut newer: Value =
        serde_json::from_slice(&fs::read(&record).expect("it is there")).expect("it is JSON");
    newer["version"] = 2.into();
    newer["news"] = true.into();
    fs::write(&record, newer.to_string()).expect("it is ours");
    let output = manager.nixactions(&["show", &run.id]).output_within(SOON);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("has version 2, this program knows version 1"),
        "{said}"
    );
}
