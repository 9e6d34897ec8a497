//! Secrets: masked in all that a job prints and leaves, and to be found nowhere else.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use nixactions_harness::{
    CommandExt as _, Finished, Kind, Manager, SOON, bash, on_shared_managers, wait_for, with,
};
use serde_json::{Value, json};

on_shared_managers!(
    secrets_are_masked_however_they_are_printed,
    names_of_steps_and_outputs_are_masked,
    values_of_add_mask_are_masked_from_then_on,
    a_mask_is_heard_however_long_it_is_and_before_the_other_stream,
    workflow_commands_are_heard_until_they_are_stopped,
    a_line_of_100_mb_binary_and_closed_output_do_no_harm,
    a_secret_is_nowhere_but_with_its_job,
    summaries_are_kept_masked_and_shown_as_markdown,
    credentials_of_the_plan_reach_their_job_and_are_masked,
    a_job_whose_credentials_are_missing_fails_with_that_reason,
);

const NONE: [&str; 0] = [];

/// Returns a provider that prints this.
fn prints(text: &str) -> Value {
    json!(["sh", "-c", format!("cat <<'END'\n{text}\nEND")])
}

/// Returns all files below a directory that contain any of these texts.
fn holding(directory: &Path, texts: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        let Ok(meta) = fs::symlink_metadata(&path) else {
            continue;
        };
        if meta.is_dir() {
            pending.extend(
                fs::read_dir(&path)
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|entry| entry.path()),
            );
        } else if meta.is_file() {
            let bytes = fs::read(&path).unwrap_or_default();
            let holds = |text: &&str| memchr::memmem::find(&bytes, text.as_bytes()).is_some();
            found.extend(
                texts
                    .iter()
                    .filter(|text| holds(text))
                    .map(|text| format!("`{text}` in {}", path.display())),
            );
        }
    }
    found
}

/// Returns the journal's entries of a run, each message with the other fields of its entry.
fn journal(manager: &Manager, run: &Finished) -> String {
    let filter = format!("NIXACTIONS_RUN={}", run.id);
    wait_for(SOON, "the end of the log in the journal", || {
        let text = manager.journal(&["--output=export", "--all", &filter]).ok();
        let lines: u64 = run.record["jobs"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(_, job)| job["logLines"].as_u64())
            .sum();
        (text.matches("\nNIXACTIONS_STREAM=").count() as u64 >= lines).then_some(text)
    })
}

fn secrets_are_masked_however_they_are_printed(manager: &Manager) {
    let values = "export PASSWORD=\"hunter2-alpha\"\nexport LONGER=hunter2-alphabet\nexport KEY='-----BEGIN KEY-----\nc2VjcmV0-one\n\nc2VjcmV0-two\n}\n-----END KEY-----'
export SHORT=no\nexport QUOTED=\"q\\\"u\\\\o\\$te\"\nexport PROGRAM=/nowhere/hunter2-program";
    let script = r#"
        echo "is:$PASSWORD:$LONGER:$SHORT:$QUOTED"
        echo "$KEY"; echo "to stderr $PASSWORD" >&2
        printf 'split:hunt'; sleep 0.3; printf 'er2-al'; sleep 0.3; printf 'pha:\n'
        head -c 49148 /dev/zero | tr '\0' x; printf '%s' "$PASSWORD"; head -c 49148 /dev/zero | tr '\0' y; sleep 0.1; echo "$LONGER"
        echo "::error file=$PASSWORD.rs,title=$PASSWORD::of $PASSWORD"
        echo "::group::with $PASSWORD"
        echo "::debug::$PASSWORD%0A$KEY"
        echo "OUT=$PASSWORD" >> $NIXACTIONS_OUTPUT; echo "PLAIN=text" >> $NIXACTIONS_OUTPUT
        printf 'no newline %s' "$PASSWORD""#;
    let plan = json!({ "version": 1, "name": "masked", "jobs": {
        "j": { "envFrom": [prints(values)], "steps": [{ "name": "it", "bash": script }, { "name": "reason", "run": ["/nowhere/hunter2-program"] }] },
        "after": with(bash("echo \"OUT=$NEEDS_J_OUT\"; echo \"PLAIN=$NEEDS_J_PLAIN\"; cat $NIXACTIONS_NEEDS"), json!({ "needs": ["j"], "condition": "always()" })),
        "other": bash("echo 'hunter2-alpha'"),
    } });
    let run = manager.run(&plan, &NONE).exits(1);
    let lines = run.lines("j");
    assert_eq!(lines[0], "is:***:***:no:***", "{run}");
    assert!(
        lines[1..].starts_with(&["***", "***", "", "***", "}", "***", "to stderr ***"])
            || lines.contains(&"to stderr ***"),
        "{run}"
    );
    assert!(lines.contains(&"split:***:"), "{run}");
    let long: String = lines
        .iter()
        .filter(|line| line.contains("xxx") || line.contains("yyy") || **line == "***")
        .copied()
        .collect();
    let (x, y) = ("x".repeat(49148), "y".repeat(49148));
    assert!(
        long.contains(&format!("{x}***{y}***")),
        "{}",
        long.replace(&x[..49000], "x..").replace(&y[..49000], "y..")
    );
    for line in [
        "error: ***.rs: ***: of ***",
        "with ***",
        "debug: ***",
        "no newline ***",
    ] {
        assert!(lines.contains(&line), "`{line}` is not in {run}");
    }
    assert_eq!(
        run.job("j")["outputs"],
        json!({ "PLAIN": "text" }),
        "an output that holds a secret is not handed on"
    );
    assert_eq!(
        (run.value("after", "OUT"), run.value("after", "PLAIN")),
        ("", "text"),
        "{run}"
    );
    assert_eq!(
        run.reason("j"),
        "step reason: executable `***` does not exist"
    );
    let annotation = &run.job("j")["annotations"][0];
    assert_eq!(
        (
            &annotation["message"],
            &annotation["title"],
            &annotation["file"]
        ),
        (&json!("of ***"), &json!("***"), &json!("***.rs"))
    );
    // A secret of one job is not masked in another, which may not even know it.
    assert_eq!(run.lines("other"), ["hunter2-alpha"], "{run}");

    let secrets = [
        "hunter2-alphabet",
        "c2VjcmV0-one",
        "c2VjcmV0-two",
        "q\"u\\o$te",
        "hunter2-program",
    ];
    let text = journal(manager, &run);
    for secret in secrets {
        // The plan itself names it, as does systemd where it shows a command line, which this is
        // not.
        assert!(!text.contains(secret), "`{secret}` is in the journal");
    }
    for entry in fs::read_dir(manager.run_dir(&run.id))
        .expect("it is ours")
        .flatten()
    {
        // Plain values of the plan are in the plan, and in the specs made from it.
        if !["plan.json", "jobs"].contains(&&*entry.file_name().to_string_lossy()) {
            assert_eq!(holding(&entry.path(), &secrets), NONE, "{run}");
        }
    }
    for job in ["j", "after"] {
        let directory = manager.run_dir(&run.id).join("jobs").join(job);
        assert_eq!(holding(&directory.join("out"), &secrets), NONE, "{run}");
        assert_eq!(
            holding(&directory.join("work"), &["hunter2-alpha"]),
            NONE,
            "{run}"
        );
    }
}

/// Returns the command lines of all processes that the manager has, and of all others that can be
/// seen.
fn command_lines() -> String {
    let processes = fs::read_dir("/proc").expect("there is a /proc").flatten();
    processes
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .collect()
}

/// The plan has the names, so its own file is not looked at.
fn names_of_steps_and_outputs_are_masked(manager: &Manager) {
    const SECRET: &str = "hunter2-named";
    let said = format!(
        "echo said; echo ::warning::look; echo {SECRET}=x >> $NIXACTIONS_OUTPUT; echo k=v >> $NIXACTIONS_OUTPUT; exit 3"
    );
    let plan = json!({ "version": 1, "name": "names", "jobs": { "j": {
        "envFrom": [prints(&format!("export A={SECRET}"))],
        "retry": { "maxAttempts": 2, "minTime": 0 },
        "steps": [
            { "name": format!("deploy {SECRET}"), "bash": said, "retry": { "maxAttempts": 2, "minTime": 0 } },
            { "name": format!("skip {SECRET}"), "bash": "true" },
            { "name": format!("clean {SECRET}"), "bash": "true", "condition": "always()" },
        ] } } });
    let run = manager.run(&plan, &NONE).exits(1);
    let record = run.record.to_string();
    assert!(record.contains("deploy ***"), "{run}");
    assert!(record.contains("\"k\":\"v\""), "{run}");
    let logs = manager.nixactions(&["logs", &run.id]).ok();
    let show = manager.nixactions(&["show", &run.id]).ok();
    let read =
        |path: &str| fs::read_to_string(manager.run_dir(&run.id).join(path)).expect("it is there");
    for (place, text) in [
        ("record", record),
        ("journal", journal(manager, &run)),
        ("logs", logs),
        ("show", show),
        ("client", format!("{:?} {}", run.events, run.stderr)),
        ("job's events", read("jobs/j/out/events.jsonl")),
        ("run's events", read("events.jsonl")),
    ] {
        assert!(!text.contains(SECRET), "{place}: {text}");
    }
}

fn a_secret_is_nowhere_but_with_its_job(manager: &Manager) {
    // The same for all managers that share the host's /proc, but no part of any command line of
    // this test.
    let secret = |part: &str| ["hunter3", part, "end"].join("-");
    let (given, provided) = (secret("given"), secret("provided"));
    let providing = manager.open_directory("providing").join("provider");
    fs::write(
        manager.file(&providing),
        format!("#!/bin/sh\necho 'export PROVIDED={provided}'\n"),
    )
    .expect("it is ours");
    fs::set_permissions(manager.file(&providing), PermissionsExt::from_mode(0o755))
        .expect("it is ours");
    let script = "[ ${#GIVEN} = 17 ] && [ ${#PROVIDED} = 20 ] && [ \"$STRONGER\" = option ] && [ \"$(ulimit -c)\" = 0 ]
        echo \"to the log: $GIVEN $PROVIDED\"; touch started; until [ -e stop ]; do sleep 0.05; done; echo \"# $GIVEN\" >> $NIXACTIONS_SUMMARY; echo \"GIVEN=$GIVEN\" >> $NIXACTIONS_ENV; exit 3";
    let plan = json!({ "version": 1, "name": "hidden", "env": { "GIVEN": "plan" }, "jobs": {
        "j": with(bash(script), json!({ "envFrom": [[providing.display().to_string()]] })),
        "after": with(bash("echo \"after: $GIVEN ${PROVIDED-unset}\""), json!({ "needs": ["j"], "condition": "failure()" })),
    } });
    let file = manager
        .write(
            "secret.env",
            format!("# kept\nexport GIVEN=\"{given}\"\nSTRONGER=file\n"),
        )
        .display()
        .to_string();
    let run = manager.start(
        &plan,
        &["--secret-env-file", &file, "--env", "STRONGER=option"],
    );
    run.wait_for_file("j", "started");
    let texts = [given.as_str(), provided.as_str()];
    let nowhere = |when: &str| {
        assert_eq!(holding(&manager.run_dir(run.id()), &texts), NONE, "{when}");
        let lines = command_lines();
        texts
            .iter()
            .for_each(|text| assert!(!lines.contains(text), "a command line has it, {when}"));
    };
    nowhere("while the run goes on");
    // The search itself works.
    assert_ne!(holding(&manager.run_dir(run.id()), &["hidden"]), NONE);
    if manager.kind() != Kind::Embedded {
        for unit in [
            format!("nixactions-{}-j.service", run.id()),
            format!("nixactions-{}.service", run.id()),
        ] {
            let shown =
                manager.systemctl(&["show", &unit]).ok() + &manager.systemctl(&["cat", &unit]).ok();
            assert!(shown.contains("ExecStart="), "{shown}");
            texts
                .iter()
                .for_each(|text| assert!(!shown.contains(text), "{shown}"));
        }
    }
    let secrets = run_secrets(&run.dir());
    if manager.kind() != Kind::Embedded {
        assert_eq!(mode(&manager.file(&secrets)), 0o600);
        assert_eq!(
            mode(manager.file(&secrets).parent().expect("it has one")),
            0o700
        );
    }
    run.release("j", "stop");
    let run: Finished = run.end().exits(1);
    assert_eq!(run.reason("j"), "step it: exit status 3", "{run}");
    assert_eq!(
        (run.lines("j"), run.lines("after")),
        (vec!["to the log: *** ***"], vec!["after: *** unset"]),
        "{run}"
    );
    assert_eq!(
        holding(&manager.run_dir(&run.id), &texts),
        NONE,
        "afterwards"
    );
    assert!(!journal(manager, &run).contains("hunter3"));
    assert!(!manager.file(&secrets).exists(), "the run is over");
    run.leaves_nothing(manager);
    // It can be run again with the same secrets, which nothing has kept.
    let (code, stderr) = manager.refused(&["rerun", &run.id]);
    assert!(
        code == 2 && stderr.contains("secret variables, which are not kept: GIVEN"),
        "{code}: {stderr}"
    );
    // A refused run leaves nothing either.
    let plan = manager.plan(&plan).display().to_string();
    let (code, stderr) = manager.refused(&[
        "run",
        &plan,
        "--secret-env-file",
        &file,
        "--source=/proc/nowhere",
    ]);
    assert!(code == 2 && !stderr.contains("hunter3"), "{stderr}");
}

/// Returns where the secret variables of a run lie inside, as its spec says.
fn run_secrets(directory: &Path) -> std::path::PathBuf {
    let spec: Value =
        serde_json::from_slice(&fs::read(directory.join("run.json")).expect("it is there"))
            .expect("it is JSON");
    assert_eq!(spec["secrets"]["names"], json!(["GIVEN"]));
    spec["secrets"]["file"]
        .as_str()
        .expect("it is a path")
        .into()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it exists").permissions().mode() & 0o7777
}

fn credentials_of_the_plan_reach_their_job_and_are_masked(manager: &Manager) {
    let file = manager.write("token", "hunter4-token\nsecond line of it\n");
    fs::set_permissions(manager.file(&file), PermissionsExt::from_mode(0o600)).expect("it is ours");
    let plan = json!({ "version": 1, "name": "credentials", "jobs": {
        "j": with(bash("cat $CREDENTIALS_DIRECTORY/api.token; ls $CREDENTIALS_DIRECTORY; ulimit -c"), json!({ "credentials": { "api.token": file } })),
        "other": bash("echo ${CREDENTIALS_DIRECTORY-none}"),
    } });
    let run = manager.run(&plan, &NONE).exits(0);
    assert_eq!(run.lines("j"), ["***", "***", "api.token", "0"], "{run}");
    assert_eq!(run.lines("other"), ["none"], "{run}");
    assert_eq!(
        holding(
            &manager.run_dir(&run.id),
            &["hunter4-token", "second line of it"]
        ),
        NONE
    );
}

fn a_job_whose_credentials_are_missing_fails_with_that_reason(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "no-credentials", "jobs": {
        "j": with(bash("true"), json!({ "credentials": { "token": "/nowhere/token" } })),
        "good": bash("echo good"),
    } });
    let run = manager.run(&plan, &NONE).exits(1);
    assert_eq!(run.verdict("j"), "failure/failure", "{run}");
    assert_eq!(
        run.reason("j"),
        "credential `token`: there is no file `/nowhere/token`",
        "{run}"
    );
    assert_eq!(run.lines("good"), ["good"], "{run}");
}

fn summaries_are_kept_masked_and_shown_as_markdown(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "summaries", "jobs": {
        "a": { "envFrom": [prints("export SECRET=hunter5-summary")], "steps": [
            { "name": "one", "bash": "echo \"# One $SECRET\" >> $NIXACTIONS_SUMMARY; printf '| a |\\n|---|\\n' >> $GITHUB_STEP_SUMMARY" },
            { "name": "none", "bash": "true" },
            { "name": "failed", "bash": "printf 'not UTF-8 \\377, \\033[2Jno newline' >> $NIXACTIONS_SUMMARY; exit 3" },
            { "name": "huge", "condition": "always()", "bash": "head -c 2000000 /dev/zero | tr '\\0' x >> $NIXACTIONS_SUMMARY" },
        ] },
        "b": { "steps": [{ "name": "again", "retry": { "maxAttempts": 2, "minTime": 0.1 },
            "bash": "echo attempt $NIXACTIONS_ATTEMPT >> $NIXACTIONS_SUMMARY; [ $NIXACTIONS_ATTEMPT = 2 ]" }] },
        "c": bash("true"),
    } });
    let run = manager.run(&plan, &NONE).exits(1);
    let shown = manager.nixactions(&["show", &run.id, "--summary"]).ok();
    assert_eq!(
        shown,
        "## a\n\n# One ***\n| a |\n|---|\n\nnot UTF-8 \u{fffd}, no newline\n\n## b\n\nattempt 2\n"
    );
    let steps = run.steps("a");
    assert_eq!(
        (steps[2].as_str(), steps[3].as_str()),
        (
            "failed failure/failure: exit status 3",
            "huge success/success"
        ),
        "{run}"
    );
    let warned = journal(manager, &run);
    assert!(
        warned.contains(
            "step huge: its summary is not kept: NIXACTIONS_SUMMARY: has more than 1048576 bytes"
        ),
        "{warned}"
    );
    assert_eq!(
        holding(
            &manager.run_dir(&run.id).join("jobs/a/out"),
            &["hunter5-summary"]
        ),
        NONE
    );
}

fn values_of_add_mask_are_masked_from_then_on(manager: &Manager) {
    let script = "echo first asked-for-1; echo '::add-mask::asked-for-1'; echo second asked-for-1; echo '::add-mask::ab'
        printf '::add-mask::multi-one%%0Amulti-two\\n'; echo 'multi-one multi-two ab a'";
    let plan = json!({ "version": 1, "name": "asked", "jobs": {
        "j": { "steps": [{ "bash": script }, { "bash": "echo later asked-for-1; echo O=asked-for-1 >> $NIXACTIONS_OUTPUT" }] },
    } });
    let run = manager.run(&plan, &NONE).exits(0);
    assert_eq!(
        run.lines("j"),
        [
            "first asked-for-1",
            "second ***",
            "*** *** *** a",
            "later ***"
        ],
        "{run}"
    );
    assert_eq!(run.job("j")["outputs"], json!({}), "it holds a secret");
}

fn a_mask_is_heard_however_long_it_is_and_before_the_other_stream(manager: &Manager) {
    // bash writes so long a line in parts, and the others are named behind a pipe full of something
    // else.
    let script = "long=$(seq 1 15000 | tr '\\n' ,)end; printf %s ::add-mask::$long; sleep 0.3; echo; echo \"long $long\"
        for i in $(seq 20); do head -c 80000 /dev/zero | tr '\\0' x; echo; s=topsecret$i-x; echo ::add-mask::$s; echo \"other $s\" >&2; done";
    let huge = "printf %s ::add-mask::; head -c 3000000 /dev/zero | tr '\\0' s; echo; echo after";
    let plan = json!({ "version": 1, "name": "long-masks", "jobs": { "j": bash(script), "huge": bash(huge) } });
    let run = manager.run(&plan, &NONE).exits(0);
    let lines: Vec<&str> = run
        .lines("j")
        .into_iter()
        .filter(|line| !line.starts_with("xxx"))
        .collect();
    let expected: Vec<&str> = std::iter::once("long ***")
        .chain(std::iter::repeat_n("other ***", 20))
        .collect();
    assert_eq!(lines, expected);
    assert_eq!(
        run.lines("huge"),
        ["after"],
        "what cannot be hidden is not shown"
    );
    let logs = manager.nixactions(&["logs", &run.id, "huge"]).ok();
    assert!(
        logs.contains(
            "`::add-mask::` has more than 1 MiB, which cannot be hidden; the line is left out"
        ),
        "{logs}"
    );
}

fn workflow_commands_are_heard_until_they_are_stopped(manager: &Manager) {
    let script = "echo '::group::Compile'; echo inside; echo '::endgroup::'; echo '::notice file=a.rs,line=3,endLine=4,col=5,endColumn=6,title=T::look'
        echo '::stop-commands::tok3n'; echo '::error::not heard'; echo '::add-mask::inside'; echo '::tok3n::'; echo inside; echo '::warning::heard%0Ain two' >&2
        for n in $(seq 12); do echo ::error::$n; done";
    let plan = json!({ "version": 1, "name": "commands", "jobs": { "j": { "steps": [{ "name": "s", "bash": script }] } } });
    let run = manager.run(&plan, &NONE).exits(0);
    let lines = run.lines("j");
    let out: Vec<&str> = lines
        .iter()
        .copied()
        .filter(|line| !line.contains("heard") && !line.starts_with("in two"))
        .collect();
    assert_eq!(
        out[..5],
        ["Compile", "inside", "", "notice: a.rs:3:5: T: look", "***"],
        "{run}"
    );
    assert!(
        lines.contains(&"::error::not heard")
            && lines.contains(&"warning: heard")
            && lines.contains(&"in two"),
        "{run}"
    );
    let marks: Vec<&str> = run
        .events
        .iter()
        .filter_map(|event| event["event"]["command"].as_str())
        .take(3)
        .collect();
    assert_eq!(marks, ["group", "endgroup", "notice"], "{run}");
    let kept = run.job("j")["annotations"]
        .as_array()
        .expect("they are kept");
    let expected = json!({ "level": "notice", "step": "s", "message": "look", "title": "T", "file": "a.rs", "line": 3, "endLine": 4, "column": 5, "endColumn": 6 });
    assert!(kept.contains(&expected), "{run}");
    assert!(
        kept.contains(&json!({ "level": "warning", "step": "s", "message": "heard\nin two" })),
        "{run}"
    );
    // As on GitHub, ten of a level.
    assert_eq!(
        kept.iter().filter(|one| one["level"] == "error").count(),
        10,
        "{run}"
    );
    let events = run
        .events
        .iter()
        .filter(|event| event["event"]["type"] == "annotation")
        .count();
    assert_eq!(events, kept.len(), "{run}");
    let shown = manager.nixactions(&["show", &run.id]).ok();
    assert!(
        shown.contains("\nAnnotations\n") && shown.contains("  notice j, s: a.rs:3:5: T: look\n"),
        "{shown}"
    );
    assert!(
        shown.contains("  warning j, s: heard\n    in two\n"),
        "{shown}"
    );
    let shown = manager.nixactions(&["logs", &run.id]).ok();
    assert!(
        shown.contains("j | ▼ Compile\nj |   inside\nj | notice: a.rs:3:5: T: look\n"),
        "{shown}"
    );
}

fn a_line_of_100_mb_binary_and_closed_output_do_no_harm(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "outputs", "jobs": {
        // More than the line must not be held in memory; what is left of it after masking is sent
        // in parts.
        "long": with(bash("head -c 100000000 /dev/zero | tr '\\0' x; echo"), json!({ "envFrom": [prints("export A=never-printed")], "properties": { "MemoryMax": "60M" } })),
        "binary": with(bash("head -c 3000000 /dev/urandom; head -c 100000 /dev/urandom >&2; echo; echo after"), json!({ "envFrom": [prints("export A=never-printed")] })),
        "closed": bash("exec >&- 2>&-; touch $NIXACTIONS_WORKSPACE/x; rm -rf $NIXACTIONS_WORKSPACE; exit 0"),
        "gone": { "steps": [{ "bash": "cd /; rm -rf $NIXACTIONS_WORKSPACE $HOME 2>&1 || true" }, { "name": "in it", "bash": "echo here" }] },
        "good": bash("echo good"),
    } });
    let plan = manager.plan(&plan).display().to_string();
    // The client would print it all; it is not what is looked at.
    let id = manager
        .nixactions(&["run", &plan, "--detach"])
        .ok()
        .trim()
        .to_owned();
    let run = manager.run_of(&id).end();
    let verdict = |job: &str| (run.verdict(job), run.reason(job).to_owned());
    let success = ("success/success".to_owned(), String::new());
    assert_eq!(verdict("long"), success, "{run}");
    assert_eq!(verdict("binary"), success, "{run}");
    assert_eq!(verdict("closed"), success, "{run}");
    assert_eq!(verdict("good"), success, "{run}");
    let (gone, reason) = verdict("gone");
    assert!(
        gone == "success/success" || reason.contains("its working directory"),
        "{reason}: {run}"
    );
    let lines = run.job("long")["logLines"]
        .as_u64()
        .expect("they are counted");
    assert!((2034..2040).contains(&lines), "{lines} parts");
}
