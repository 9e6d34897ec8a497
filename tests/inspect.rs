//! The view of systemd's own tools and ours of a run, during the run and afterwards.

use std::collections::BTreeSet;

use nixactions_harness::{
    CommandExt as _, Kind, Manager, Run, SOON, Signal, bash, on_managers, on_shared_managers,
    wait_for, with,
};
use serde_json::{Value, json};

on_managers!(systemd_shows_a_run_that_goes_on on embedded, embedded_257, embedded_262, system_252, system_257, system_262, user_262);
on_shared_managers!(
    the_journal_has_every_line_with_its_fields,
    a_flood_of_lines_shares_entries_and_loses_none,
    a_run_is_read_from_other_terminals_and_afterwards,
    each_form_of_output_is_what_it_says,
);

const NONE: [&str; 0] = [];

/// Runs until the test lets it go on.
const WAIT: &str = "echo begun; touch started; until [ -e stop ]; do sleep 0.05; done; echo ended";

/// A diamond whose jobs wait for the test.
fn diamond(name: &str) -> Value {
    json!({ "version": 1, "name": name, "maxParallel": 4, "jobs": {
        "first": bash("true"),
        "left-side": with(bash(WAIT), json!({ "needs": ["first"] })),
        "right_side": with(bash(WAIT), json!({ "needs": ["first"] })),
        "last": with(bash("true"), json!({ "needs": ["left-side", "right_side"] })),
        "broken": bash("exit 1"),
        "in-any-case": with(bash("true"), json!({ "needs": ["last", "broken"], "condition": "always()" })),
    } })
}

fn wait_in_the_middle(run: &Run<'_>) {
    for job in ["left-side", "right_side"] {
        run.wait_for_file(job, "started");
    }
    run.wait_for_event("jobFinished", Some("broken"));
}

fn go_on(run: &Run<'_>) {
    for job in ["left-side", "right_side"] {
        run.release(job, "stop");
    }
}

fn systemd_shows_a_run_that_goes_on(manager: &Manager) {
    let run = manager.start(&diamond("my-ci"), &NONE);
    wait_in_the_middle(&run);
    let supervisor = format!("nixactions-{}.service", run.id());
    let status = wait_for(SOON, "the status of both", || {
        let status = manager
            .systemctl(&["show", "--property=StatusText", "--value", &supervisor])
            .ok();
        status
            .contains("running: left-side, right_side")
            .then_some(status)
    });
    assert_eq!(
        status.trim(),
        "2 of 6 jobs done, 1 failed; running: left-side, right_side"
    );
    let text = String::from_utf8_lossy(
        &manager
            .systemctl(&["status", &supervisor])
            .output_within(SOON)
            .stdout,
    )
    .into_owned();
    for part in [
        "2 of 6 jobs done, 1 failed",
        "supervisor",
        "man:nixactions(1)",
        "nixactions.slice",
    ] {
        assert!(text.contains(part), "`{part}` is not in {text}");
    }

    let escaped = run.id().replace('-', "\\x2d");
    let unit = |job: &str| format!("nixactions-{}-{job}.service", run.id());
    let names: BTreeSet<String> = [
        "first",
        "left-side",
        "right_side",
        "last",
        "broken",
        "in-any-case",
    ]
    .iter()
    .map(|job| unit(job))
    .collect();
    let listed = manager
        .systemctl(&[
            "list-dependencies",
            "--plain",
            &format!("nixactions-{escaped}-jobs0.slice"),
        ])
        .ok();
    let listed: BTreeSet<String> = listed
        .lines()
        .map(|line| {
            line.trim_start_matches(['○', '●', '×', '*', ' '])
                .to_owned()
        })
        .collect();
    assert!(names.is_subset(&listed), "{listed:?}");

    let property = |job: &str, name: &str| -> BTreeSet<String> {
        let text = manager
            .systemctl(&["show", &format!("--property={name}"), "--value", &unit(job)])
            .ok();
        text.split_whitespace()
            .filter(|name| name.starts_with("nixactions-") && name.ends_with(".service"))
            .map(str::to_owned)
            .collect()
    };
    let units = |jobs: &[&str]| jobs.iter().map(|job| unit(job)).collect::<BTreeSet<_>>();
    assert_eq!(
        property("last", "After"),
        units(&["left-side", "right_side"])
    );
    assert_eq!(property("in-any-case", "After"), units(&["last", "broken"]));
    assert_eq!(
        property("in-any-case", "Requires"),
        units(&[]),
        "it runs after a failure too"
    );
    let shown = manager
        .systemctl(&[
            "show",
            "--property=Description,Slice,Documentation",
            &unit("last"),
        ])
        .ok();
    for line in [
        format!("Description=NixActions run {}: job last", run.id()),
        format!("Slice=nixactions-{escaped}.slice"),
        "Documentation=\"man:nixactions(1)\"".to_owned(),
    ] {
        assert!(
            shown.lines().any(|shown| shown == line),
            "`{line}` is not in {shown}"
        );
    }
    if manager.kind() == Kind::System {
        let tree = manager
            .command(&[
                "systemd-cgls",
                "--no-pager",
                &format!("/nixactions.slice/nixactions-{escaped}.slice"),
            ])
            .ok();
        assert!(tree.contains(&unit("left-side")), "{tree}");
    }
    go_on(&run);
    run.end().exits(1).leaves_nothing(manager);
}

/// Returns an entry's message; journalctl prints one that has more than plain characters as an
/// array of bytes.
fn message(entry: &Value) -> String {
    let byte = |byte: &Value| {
        byte.as_u64()
            .and_then(|byte| u8::try_from(byte).ok())
            .expect("it is a byte")
    };
    match &entry["MESSAGE"] {
        Value::String(text) => text.clone(),
        Value::Array(bytes) => {
            String::from_utf8_lossy(&bytes.iter().map(byte).collect::<Vec<_>>()).into_owned()
        }
        other => panic!("what message is {other}?"),
    }
}

fn the_journal_has_every_line_with_its_fields(manager: &Manager) {
    let script = "echo out; echo err >&2; echo '::error file=a.rs,line=3::wrong'; echo '::warning::odd' >&2; echo '::notice::look'; echo '::debug::deep'
        printf 'no newline'; printf '\\033[31mred\\033[0m\\n'; printf 'not UTF-8 \\xff\\n'; echo; echo 'MESSAGE=x'";
    let plan = json!({ "version": 1, "name": "lines", "jobs": {
        "talker": { "steps": [{ "name": "a step: \"ünï\"", "bash": script }, { "name": "many", "bash": "seq 20000" }] },
        "other": bash("echo mine"),
    } });
    let run = manager.run(&plan, &NONE).exits(0);
    // Lines of PID 1 and of the runner itself have no step.
    let query = |step: &str| {
        let filters = [
            format!("NIXACTIONS_RUN={}", run.id),
            "NIXACTIONS_JOB=talker".to_owned(),
            format!("NIXACTIONS_STEP={step}"),
        ];
        let arguments = [
            &["--output=json".to_owned(), "--all".to_owned()][..],
            &filters,
        ]
        .concat();
        let text = manager.journal(&arguments).ok();
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("journalctl prints JSON"))
            .collect::<Vec<_>>()
    };
    let lines = wait_for(SOON, "the lines in the journal", || {
        Some(query("a step: \"ünï\"")).filter(|lines| lines.len() >= 10)
    });
    let shown: Vec<(String, &str, &str)> = lines
        .iter()
        .map(|line| {
            let text = |name: &str| line[name].as_str().unwrap_or_default();
            (message(line), text("PRIORITY"), text("NIXACTIONS_STREAM"))
        })
        .collect();
    let has = |message: &str, priority: &str, stream: &str| {
        assert!(
            shown.contains(&(message.to_owned(), priority, stream)),
            "{message:?} at {priority} of {stream} is not in {shown:#?}"
        );
    };
    has("out", "6", "stdout");
    has("err", "5", "stderr");
    has("error: a.rs:3: wrong", "3", "stdout");
    has("warning: odd", "4", "stderr");
    has("notice: look", "5", "stdout");
    has("debug: deep", "7", "stdout");
    has("no newline\u{1b}[31mred\u{1b}[0m", "6", "stdout");
    has("", "6", "stdout");
    has("not UTF-8 \u{fffd}", "6", "stdout");
    has("MESSAGE=x", "6", "stdout");
    for line in &lines {
        assert_eq!(
            (&line["NIXACTIONS_WORKFLOW"], &line["NIXACTIONS_ATTEMPT"]),
            (&json!("lines"), &json!("1")),
            "{line:#}"
        );
    }
    let many = wait_for(SOON, "all lines in the journal", || {
        Some(printed(&query("many"))).filter(|lines| lines.len() >= 20000)
    });
    assert!(
        many.into_iter().eq((1..=20000).map(|n| n.to_string())),
        "out of order"
    );
    // The client showed all of them, in order too, and the other job's as its own.
    assert_eq!(run.lines("talker").len(), 10 + 20000);
    assert_eq!(run.lines("other"), ["mine"]);
    assert_eq!(run.job("talker")["logLines"], 10 + 20000);
}

/// Returns the lines of these entries: of a flood they hold several.
fn printed(entries: &[Value]) -> Vec<String> {
    entries
        .iter()
        .flat_map(|entry| {
            message(entry)
                .split('\n')
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
}

fn a_flood_of_lines_shares_entries_and_loses_none(manager: &Manager) {
    const COUNT: usize = 12_000;
    let script = r#"printf 'alone\nand alone\n'; sleep 0.3; echo "::add-mask::hidden-word"
        # A runner that is held up finds the pipe full.
        kill -STOP $PPID; (sleep 0.5; kill -CONT $PPID) &
        awk 'BEGIN { for (i = 1; i <= 12000; i++) {
            if (i % 1000 == 0) print "::error::wrong " i; else if (i % 777 == 0) print "\033[31mred\033[0m " i; else if (i % 501 == 0) print "";
            else if (i % 333 == 0) print "bell\007 " i; else if (i % 250 == 0) print "a hidden-word " i;
            else if (i % 111 == 0) print "carriage " i "\r"; else print i } }'"#;
    let line = |i: usize| match i {
        _ if i.is_multiple_of(1000) => format!("error: wrong {i}"),
        _ if i.is_multiple_of(777) => format!("\u{1b}[31mred\u{1b}[0m {i}"),
        _ if i.is_multiple_of(501) => String::new(),
        _ if i.is_multiple_of(333) => format!("bell\u{7} {i}"),
        _ if i.is_multiple_of(250) => format!("a *** {i}"),
        _ if i.is_multiple_of(111) => format!("carriage {i}"),
        _ => i.to_string(),
    };
    let run = manager
        .run(
            &json!({ "version": 1, "name": "flood", "jobs": { "j": bash(script) } }),
            &NONE,
        )
        .exits(0);
    assert_eq!(run.job("j")["logLines"], 2 + COUNT);
    // Without `--all`: no entry may be too large to be shown.
    let filters = [
        "--output=json".to_owned(),
        format!("NIXACTIONS_RUN={}", run.id),
        "NIXACTIONS_STREAM=stdout".to_owned(),
    ];
    let entries = wait_for(SOON, "all lines in the journal", || {
        let text = manager.journal(&filters).ok();
        let entries: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("journalctl prints JSON"))
            .collect();
        (printed(&entries).len() >= 2 + COUNT).then_some(entries)
    });
    let lines = printed(&entries);
    assert_eq!(lines[..2], ["alone", "and alone"]);
    for (found, i) in lines[2..].iter().zip(1..) {
        assert_eq!(*found, line(i), "line {i}");
    }
    assert_eq!(lines.len(), 2 + COUNT);
    for entry in &entries {
        let text = message(entry);
        assert_eq!(
            entry["PRIORITY"],
            if text.starts_with("error: ") {
                "3"
            } else {
                "6"
            },
            "{entry}"
        );
        assert_eq!(
            (&entry["NIXACTIONS_JOB"], &entry["NIXACTIONS_ATTEMPT"]),
            (&json!("j"), &json!("1")),
            "{entry}"
        );
        assert!(
            !text.contains('\n') || !text.contains(['\u{7}', '\r']) && !text.contains("error: "),
            "{entry}"
        );
    }
    assert_eq!(
        (&entries[0]["MESSAGE"], &entries[1]["MESSAGE"]),
        (&json!("alone"), &json!("and alone")),
        "lines that come slowly"
    );
    let shared = entries
        .iter()
        .filter(|entry| message(entry).contains('\n'))
        .count();
    assert!(shared > 100, "{shared} of {} entries", entries.len());
    // Our own readers tell each line by itself.
    assert_eq!(run.lines("j").len(), 2 + COUNT);
    let logs = manager.nixactions(&["logs", &run.id]).ok();
    assert_eq!(
        (logs.lines().count(), logs.lines().last()),
        (2 + COUNT, Some("j | error: wrong 12000"))
    );
}

fn a_run_is_read_from_other_terminals_and_afterwards(manager: &Manager) {
    let run = manager.detach(&diamond("watched"), &NONE);
    wait_in_the_middle(&run);
    let id = run.id().to_owned();
    let show = manager.nixactions(&["show", &id]).ok();
    for part in [
        "running, 2 jobs of 6 done, 2 running",
        "left-side running for",
        "step it",
        "broken",
    ] {
        assert!(show.contains(part), "`{part}` is not in {show}");
    }
    let live = manager.nixactions(&["show", &id, "--json"]).json();
    assert_eq!(
        (&live["conclusion"], &live["jobs"]["first"]["conclusion"]),
        (&Value::Null, &json!("success")),
        "{live:#}"
    );
    let row = |state: &str| {
        let list = manager.nixactions(&["list", "--json"]).json();
        let row = list
            .as_array()
            .expect("it is a list")
            .iter()
            .find(|row| row["run"] == *id)
            .expect("it is listed")
            .clone();
        assert_eq!(row["state"], state, "{row:#}");
        row
    };
    assert_eq!(
        (&row("running")["jobsDone"], &row("running")["jobsTotal"]),
        (&json!(2), &json!(6))
    );
    wait_for(SOON, "the first line", || {
        manager
            .nixactions(&["logs", &id, "left-side"])
            .ok()
            .contains("begun")
            .then_some(())
    });

    // Two who follow; Ctrl-C ends one of them and nothing else.
    let attached = manager.start_command(manager.nixactions(&["attach", &id, "--output=json"]));
    let leaver = manager.start_command(manager.nixactions(&["attach", &id, "--output=json"]));
    leaver.signal_client(Signal::SIGINT);
    let left = leaver.end();
    assert_eq!(
        (left.code, &left.record),
        (Some(130), &Value::Null),
        "{left}"
    );
    assert!(left.stderr.contains("goes on"), "{left}");
    go_on(&run);
    let attached = attached.end().exits(1);
    assert_eq!(
        (attached.lines("left-side"), attached.lines("right_side")),
        (vec!["begun", "ended"], vec!["begun", "ended"]),
        "{attached}"
    );
    let run = run.end();

    assert_eq!(row("failure")["jobsDone"], 6);
    assert_eq!(
        manager.nixactions(&["show", &id, "--json"]).json(),
        run.record
    );
    let shown = manager.nixactions(&["show", &id]).ok();
    for part in [
        "failure",
        "broken",
        "exit status 1",
        &format!("nixactions logs {id}"),
    ] {
        assert!(shown.contains(part), "`{part}` is not in {shown}");
    }
    let logs = manager.nixactions(&["logs", &id]).ok();
    assert!(
        logs.contains("begun") && logs.contains("ended") && logs.contains("left-side"),
        "{logs}"
    );
    let of_job = manager.nixactions(&["logs", &id, "right_side", "-f"]).ok();
    assert!(
        of_job.contains("ended") && !of_job.contains("left-side"),
        "{of_job}"
    );
    let again = manager
        .start_command(manager.nixactions(&["attach", &id, "--output=json"]))
        .end()
        .exits(1);
    assert_eq!(again.lines("left-side"), ["begun", "ended"], "{again}");
    let (code, stderr) = manager.refused(&["logs", &id, "left"]);
    assert_eq!(code, 2);
    assert!(
        stderr.contains("no job `left`") && stderr.contains("left-side"),
        "{stderr}"
    );
}

fn each_form_of_output_is_what_it_says(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "forms", "jobs": {
        "talker": bash("echo said; printf '\\033[2Jsneaky\\r\\n'; echo '{\"not\":\"ours\"}'; exit 3"),
        "after": with(bash("true"), json!({ "needs": ["talker"] })),
    } });
    let path = manager.plan(&plan).display().to_string();
    let output = |arguments: &[&str], env: Option<&str>| {
        let mut command = manager.nixactions(&[&["run", &path], arguments].concat());
        env.map(|format| command.env("NIXACTIONS_LOG_FORMAT", format));
        let output = command.output_within(SOON);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stdout).expect("it is UTF-8")
    };
    let text = output(&[], None);
    assert!(
        text.lines()
            .any(|line| line.contains("talker") && line.ends_with("| said")),
        "{text}"
    );
    assert!(
        text.contains("exit status 3") && text.contains("need `talker` failed"),
        "{text}"
    );
    assert!(
        !text.contains("\u{1b}[2J"),
        "a job clears the reader's screen: {text:?}"
    );
    assert_eq!(
        text.lines().filter(|line| line.contains("said")).count(),
        1,
        "{text}"
    );
    for structured in [
        output(&["--output=structured"], None),
        output(&[], Some("structured")),
    ] {
        let line = structured
            .lines()
            .find(|line| line.ends_with(" said"))
            .unwrap_or_else(|| panic!("it is not said: {structured}"));
        assert!(
            line.contains("[workflow:forms] [job:talker] [step:it]"),
            "{line}"
        );
    }
    for json in [output(&["-o", "json"], None), output(&[], Some("json"))] {
        let events: Vec<Value> = json
            .lines()
            .map(|line| serde_json::from_str(line).expect("each line is JSON"))
            .collect();
        let kinds: BTreeSet<&str> = events
            .iter()
            .filter_map(|event| event["event"]["type"].as_str())
            .collect();
        for kind in [
            "runCreated",
            "jobStarted",
            "stepStarted",
            "stepFinished",
            "jobFinished",
            "runFinished",
            "log",
        ] {
            assert!(kinds.contains(kind), "no {kind} in {json}");
        }
        assert!(events.iter().all(|event| event["at"].is_string()), "{json}");
    }
}
