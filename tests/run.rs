//! Runs on each kind of manager: order, conditions, environment, timeouts, parallelism and exit
//! codes.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};

use nixactions_harness::{
    CommandExt as _, Finished, Kind, Manager, SOON, Signal, bash, on_managers, on_shared_managers,
    with,
};
use serde_json::{Value, json};

on_managers!(
    the_first_jobs_do_not_wait_for_the_supervisor on system_252, system_262, user_262
);
on_managers!(
    jobs_that_systemd_refuses_fail_their_run on system_252, system_262, user_262,
);
on_shared_managers!(
    jobs_and_steps_follow_their_conditions,
    independent_jobs_run_at_the_same_time,
    stronger_levels_of_the_environment_win,
    steps_hand_values_on,
    steps_and_jobs_end_at_their_timeouts,
    a_run_that_takes_too_long_fails_and_still_cleans_up,
    at_most_max_parallel_jobs_run_at_once,
    exit_codes_tell_how_it_went,
);

/// Returns the types of a run's events, in order.
fn types(run: &Finished) -> Vec<&str> {
    let kinds = run.events.iter().map(|event| &event["event"]["type"]);
    kinds.filter_map(Value::as_str).collect()
}

fn the_first_jobs_do_not_wait_for_the_supervisor(manager: &Manager) {
    let plan = |concurrency: Value| {
        let mut plan = json!({ "version": 1, "name": "first", "jobs": {
            "j": bash("echo ran"),
            "after": with(bash("echo $NEEDS_J_RESULT"), json!({ "needs": ["j"] })),
        } });
        if !concurrency.is_null() {
            plan["concurrency"] = concurrency;
        }
        plan
    };
    let run = manager.run(&plan(Value::Null), &[""; 0]).exits(0);
    let (lines, dependent) = (run.lines("j"), run.lines("after"));
    assert_eq!((lines, dependent), (vec!["ran"], vec!["success"]), "{run}");
    // The first job may begin before the supervisor does.
    assert_eq!(types(&run)[..2], ["runCreated", "jobsSubmitted"], "{run}");
    let submitted = |run: &Finished| {
        types(run)
            .iter()
            .filter(|kind| **kind == "jobsSubmitted")
            .count()
    };
    assert_eq!(submitted(&run), 1, "{run}");
    run.leaves_nothing(manager);

    // This one waits for its turn, so only the supervisor may submit its jobs.
    let run = manager
        .run(&plan(json!({ "group": "one" })), &[""; 0])
        .exits(0);
    assert_eq!(
        types(&run)[..4],
        [
            "runCreated",
            "supervisorStarted",
            "groupEntered",
            "jobsSubmitted"
        ],
        "{run}"
    );
    assert_eq!(submitted(&run), 1, "{run}");
}

/// The first call holds the supervisor's unit as well. systemd creates none of the units then.
fn jobs_that_systemd_refuses_fail_their_run(manager: &Manager) {
    let _ = manager.nixactions(&["list"]).ok();
    let taken = "nixactions-refused-1-j.service";
    manager
        .command(&[
            "systemd-run",
            if manager.kind() == Kind::User {
                "--user"
            } else {
                "--system"
            },
            "--unit",
            taken,
            "sleep",
            "98962",
        ])
        .ok();
    let plan = json!({ "version": 1, "name": "refused", "jobs": {
        "j": bash("echo ran"),
        "always": with(bash("echo ran"), json!({ "needs": ["j"], "condition": "always()" })),
    } });
    let run = manager.run(&plan, &[""; 0]).exits(1);
    assert_eq!(run.id, "refused-1", "{run}");
    assert_eq!(run.record["conclusion"], "failure", "{run}");
    assert_eq!(run.record["reasonCode"], "submitFailed", "{run}");
    assert!(
        ["j", "always"].iter().all(|job| run.lines(job).is_empty()),
        "{run}"
    );
    manager.systemctl(&["stop", taken]).ok();
    run.leaves_nothing(manager);
}

fn jobs_and_steps_follow_their_conditions(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "conditions", "jobs": {
        "first": bash("true"),
        "second": with(bash("true"), json!({ "needs": ["first"] })),
        "broken": bash("exit 3"),
        "after-broken": with(bash("true"), json!({ "needs": ["first", "broken"] })),
        "after-skipped": with(bash("true"), json!({ "needs": ["after-broken"] })),
        "on-failure": with(bash("echo ran"), json!({ "needs": ["after-skipped"], "condition": "failure()" })),
        "on-no-failure": with(bash("true"), json!({ "needs": ["first"], "condition": "failure()" })),
        "always": with(bash("echo $NEEDS_BROKEN_RESULT $NEEDS_AFTER_SKIPPED_RESULT"),
            json!({ "needs": ["broken", "after-skipped"], "condition": "always()" })),
        "on-cancel": with(bash("true"), json!({ "needs": ["first"], "condition": "cancelled()" })),
        "tolerated": with(bash("exit 1"), json!({ "continueOnError": true })),
        "after-tolerated": with(bash("echo $NEEDS_TOLERATED_RESULT"), json!({ "needs": ["tolerated"] })),
        "steps": { "steps": [
            { "name": "good", "bash": "true" },
            { "name": "tolerated", "bash": "exit 7", "continueOnError": true },
            { "name": "next", "bash": "true" },
            { "name": "too early", "bash": "true", "condition": "failure()" },
            { "name": "bad", "bash": "exit 4" },
            { "name": "skipped", "bash": "true" },
            { "name": "failed", "bash": "true", "condition": "failure()" },
            { "name": "in any case", "run": ["true"], "condition": "always()" },
            { "name": "not cancelled", "bash": "true", "condition": "cancelled()" },
        ] },
    } });
    let run = manager.run(&plan, &[""; 0]).exits(1);
    assert_eq!(run.record["conclusion"], "failure");
    let verdicts =
        |jobs: &[&str]| -> Vec<String> { jobs.iter().map(|job| run.verdict(job)).collect() };
    assert_eq!(
        verdicts(&["first", "second", "on-failure", "always", "after-tolerated"]),
        ["success/success"; 5],
        "{run}"
    );
    assert_eq!(
        verdicts(&["broken", "steps"]),
        ["failure/failure"; 2],
        "{run}"
    );
    assert_eq!(
        verdicts(&[
            "after-broken",
            "after-skipped",
            "on-no-failure",
            "on-cancel"
        ]),
        ["skipped/skipped"; 4],
        "{run}"
    );
    assert_eq!(run.verdict("tolerated"), "failure/success");
    let reasons: Vec<_> = [
        "broken",
        "after-broken",
        "after-skipped",
        "on-no-failure",
        "on-cancel",
        "steps",
        "tolerated",
    ]
    .map(|job| run.reason(job).to_owned())
    .into();
    assert_eq!(
        reasons,
        [
            "step it: exit status 3",
            "need `broken` failed",
            "need `after-broken` was skipped",
            "condition `failure()` was false",
            "condition `cancelled()` was false",
            "step bad: exit status 4",
            "step it: exit status 1"
        ],
        "{run}"
    );
    assert_eq!(run.lines("on-failure"), ["ran"]);
    assert_eq!(run.lines("always"), ["failure skipped"]);
    assert_eq!(run.lines("after-tolerated"), ["success"]);
    assert_eq!(
        run.steps("steps"),
        [
            "good success/success",
            "tolerated failure/success: exit status 7",
            "next success/success",
            "too early skipped/skipped: condition `failure()` was false",
            "bad failure/failure: exit status 4",
            "skipped skipped/skipped: an earlier step failed",
            "failed success/success",
            "in any case success/success",
            "not cancelled skipped/skipped: condition `cancelled()` was false",
        ],
        "{run}"
    );
    assert_eq!(run.job("steps")["steps"][4]["exitCode"], 4);
    for (earlier, later) in [
        ("first", "second"),
        ("broken", "always"),
        ("tolerated", "after-tolerated"),
    ] {
        let time =
            |job: &str, name: &str| run.job(job)[name].as_str().expect("it has run").to_owned();
        assert!(
            time(earlier, "finishedAt") <= time(later, "startedAt"),
            "{later} before {earlier}: {run}"
        );
    }
    // A run that was refused nothing and failed has left nothing but its record.
    assert!(!manager.run_dir(&run.id).join("record.reserve").exists());
}

fn independent_jobs_run_at_the_same_time(manager: &Manager) {
    let place = manager.open_directory("rendezvous");
    let meet = |me: &str, other: &str| {
        let place = place.display();
        let script =
            format!("touch {place}/{me}; until [ -e {place}/{other} ]; do sleep 0.05; done");
        with(
            bash(&script),
            json!({ "properties": { "ReadWritePaths": place.to_string() }, "timeout": 60 }),
        )
    };
    let plan = json!({ "version": 1, "name": "parallel", "maxParallel": 2, "jobs": { "a": meet("a", "b"), "b": meet("b", "a") } });
    manager.run(&plan, &[""; 0]).exits(0);
}

fn stronger_levels_of_the_environment_win(manager: &Manager) {
    const LEVELS: [&str; 7] = [
        "workflow", "job", "written", "step", "caller", "file", "option",
    ];
    // V<n> is set by all levels up to n, so each level is seen to beat the one below it.
    let upto = |level: usize| -> Value {
        (level..LEVELS.len())
            .map(|n| (format!("V{n}"), Value::from(LEVELS[level])))
            .collect()
    };
    let print =
        "for v in V0 V1 V2 V3 V4 V5 V6 TOKEN UNNAMED HOME; do echo \"$v=${!v-unset}\"; done";
    let plan = json!({ "version": 1, "name": "env", "env": upto(0), "passEnv": ["TOKEN"], "jobs": { "j": {
        "env": with(upto(1), json!({ "HOME": "/nowhere" })),
        "steps": [
            { "name": "write", "bash": "for n in 2 3 4 5 6; do echo V$n=written >> $NIXACTIONS_ENV; done; echo NIXACTIONS_JOB=x >> $JOB_ENV" },
            { "name": "print", "bash": print, "env": upto(3) },
            { "name": "own", "bash": "echo $NIXACTIONS_JOB $NIXACTIONS_STEP $NIXACTIONS_ATTEMPT $NIXACTIONS_WORKFLOW $NIXACTIONS_RUN $CI $NIXACTIONS" },
        ] } } });
    let mut text = String::from("# a comment\n");
    (5..7).for_each(|n| text.push_str(&format!("export V{n}=\"file\"\n")));
    let file = manager.write("the-env", text);
    let plan = manager.plan(&plan);
    let mut command = manager.nixactions(&[
        "run",
        &plan.display().to_string(),
        "-o",
        "json",
        "--env=V6=option",
        "--env-file",
        &file.display().to_string(),
    ]);
    command
        .env("TOKEN", "token")
        .env("UNNAMED", "secret")
        .env("V0", "caller");
    (4..7).for_each(|n| _ = command.env(format!("V{n}"), "caller"));
    let run = manager.start_command(command).end().exits(0);
    // V0 is named by the plan too, so the caller's wins there as well; V1 to V3 it does not set.
    let expected = [
        "caller", "job", "written", "step", "caller", "file", "option",
    ];
    for (n, value) in expected.iter().enumerate() {
        assert_eq!(run.value("j", &format!("V{n}")), *value, "V{n} in {run}");
    }
    assert_eq!(
        (run.value("j", "TOKEN"), run.value("j", "UNNAMED")),
        ("token", "unset")
    );
    // The caller's values of these never reach a job; the plan's do.
    assert_eq!(run.value("j", "HOME"), "/nowhere");
    assert_eq!(
        run.lines("j").last(),
        Some(&&*format!("j own 1 env {} true true", run.id)),
        "{run}"
    );
    assert!(
        run.stderr.contains("TOKEN, V0, V4, V5, V6"),
        "it does not say what it took: {}",
        run.stderr
    );
    // Only the caller can read the caller's values.
    assert_eq!(mode(&manager.run_dir(&run.id).join("run.json")), 0o600);
    assert_eq!(
        mode(&manager.run_dir(&run.id))
            & 0o077
            & mode(manager.run_dir(&run.id).parent().expect("it has one")),
        0
    );
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).expect("it exists").permissions().mode() & 0o7777
}

fn steps_hand_values_on(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "values",
        "inputs": { "level": { "type": "choice", "options": ["low", "high"], "required": true }, "count": { "type": "number", "default": 3 } },
        "jobs": {
            "make-it": { "steps": [
                { "bash": "mkdir bin deep; printf '#!/bin/sh\\necho tool-$1\\n' > bin/tool; chmod +x bin/tool; echo $PWD/bin >> $NIXACTIONS_PATH
                           echo text > deep/file; echo \"KEY=a=b\" >> $NIXACTIONS_OUTPUT; printf 'out-dir<<EOF\\none\\ntwo\\nEOF\\n' >> $GITHUB_OUTPUT
                           echo KEY=old >> $GITHUB_OUTPUT; echo '# done' >> $NIXACTIONS_SUMMARY; [ \"$GITHUB_STEP_SUMMARY\" = \"$NIXACTIONS_SUMMARY\" ]" },
                { "run": ["tool", "two words"] },
                { "bash": "cat file; pwd; echo KEY=new >> $NIXACTIONS_OUTPUT", "workdir": "deep" },
                { "bash": "echo INPUT_LEVEL=$INPUT_LEVEL; echo INPUT_COUNT=$INPUT_COUNT; cd; find . -mindepth 1 | wc -l; [ $PWD = $HOME ]; cat $NIXACTIONS_NEEDS" },
            ] },
            "use-it": { "needs": ["make-it"], "steps": [
                { "bash": "echo RESULT=$NEEDS_MAKE_IT_RESULT; echo KEY=$NEEDS_MAKE_IT_KEY; echo DIR=${NEEDS_MAKE_IT_OUT_DIR//$'\\n'/+}; echo JSON=$(cat $NIXACTIONS_NEEDS)
                           ls -A $NIXACTIONS_WORKSPACE" },
            ] },
            "bad-output": { "steps": [{ "name": "write", "bash": "echo no assignment >> $NIXACTIONS_OUTPUT" }] },
            "bad-workdir": { "steps": [{ "name": "go", "bash": "true", "workdir": "nowhere" }] },
        } });
    let run = manager.run(&plan, &["--input", "level=high"]).exits(1);
    let lines = run.lines("make-it");
    assert_eq!(lines[..2], ["tool-two words", "text"], "{run}");
    assert!(lines[2].ends_with("/job/work/workspace/deep"), "{run}");
    assert_eq!(
        lines[3..],
        ["INPUT_LEVEL=high", "INPUT_COUNT=3", "0", "{}"],
        "{run}"
    );
    assert_eq!(
        run.job("make-it")["outputs"],
        json!({ "KEY": "new", "out-dir": "one\ntwo" })
    );
    assert_eq!(
        (
            run.value("use-it", "RESULT"),
            run.value("use-it", "KEY"),
            run.value("use-it", "DIR")
        ),
        ("success", "new", "one+two"),
        "{run}"
    );
    let needs: Value = serde_json::from_str(run.value("use-it", "JSON")).expect("it is JSON");
    assert_eq!(
        needs,
        json!({ "make-it": { "result": "success", "outputs": { "KEY": "new", "out-dir": "one\ntwo" } } })
    );
    // Its workspace was empty, so nothing comes after the last of the above.
    assert_eq!(run.lines("use-it").len(), 4, "{run}");
    assert_eq!(
        run.reason("bad-output"),
        "step write: NIXACTIONS_OUTPUT, line 1: is neither `NAME=value` nor `NAME<<DELIMITER`"
    );
    assert!(
        run.reason("bad-workdir")
            .starts_with("step go: its working directory `"),
        "{run}"
    );

    let inputs = |arguments: &[&str]| {
        let path = manager.plan(&plan).display().to_string();
        manager.refused(&[&["run", &path], arguments].concat())
    };
    let (code, stderr) = inputs(&[
        "--input",
        "level=middle",
        "--input",
        "count=x",
        "--input",
        "unknown=1",
    ]);
    assert_eq!(code, 2, "{stderr}");
    for part in [
        "level",
        "middle",
        "`low`, `high`",
        "count",
        "unknown",
        "hint: known: ",
    ] {
        assert!(stderr.contains(part), "`{part}` is not in {stderr}");
    }
}

fn steps_and_jobs_end_at_their_timeouts(manager: &Manager) {
    let [one, two, three, four] = [(); 4].map(|()| odd_seconds());
    let plan = json!({ "version": 1, "name": "timeouts", "maxParallel": 4, "jobs": {
        "step": { "steps": [
            { "name": "long", "bash": format!("(trap '' INT TERM; exec setsid sleep {one}) & sleep {two}"), "timeout": 1 },
            { "name": "skipped", "bash": "true" },
            { "name": "after", "bash": "echo after", "condition": "always()" },
            { "name": "failed", "bash": "echo failed", "condition": "failure()" },
        ] },
        "allowed": { "steps": [{ "name": "long", "bash": format!("sleep {three}"), "timeout": 0.5, "continueOnError": true }, { "bash": "echo on" }] },
        "job": { "timeout": 1.5, "steps": [
            { "name": "long", "bash": format!("trap 'echo interrupted; exit 9' INT; sleep {four} & wait") },
            { "name": "skipped", "bash": "true" },
            { "name": "after", "bash": "echo after", "condition": "always()" },
        ] },
    } });
    let run = manager.run(&plan, &[""; 0]).exits(1);
    assert_eq!(run.verdict("step"), "failure/failure");
    assert_eq!(
        run.reason("step"),
        "step long: timeout: took longer than 1 s",
        "{run}"
    );
    assert_eq!(run.lines("step"), ["after", "failed"], "{run}");
    assert_eq!(
        (run.verdict("allowed"), run.lines("allowed")),
        ("success/success".to_owned(), vec!["on"]),
        "{run}"
    );
    assert_eq!(run.verdict("job"), "failure/failure");
    assert_eq!(
        run.reason("job"),
        "timeout: the job took longer than 1.5 s",
        "{run}"
    );
    assert_eq!(run.lines("job"), ["interrupted", "after"], "{run}");
    assert_eq!(
        run.steps("job")[1..],
        [
            "skipped skipped/skipped: the job was cancelled",
            "after success/success"
        ],
        "{run}"
    );
    nothing_sleeps(manager, &[one, two, three, four]);
}

fn a_run_that_takes_too_long_fails_and_still_cleans_up(manager: &Manager) {
    let seconds = odd_seconds();
    let plan = json!({ "version": 1, "name": "timeout", "timeout": 2, "jobs": {
        "quick": bash("true"),
        "long": { "steps": [{ "name": "it", "bash": format!("sleep {seconds}") }, { "name": "after", "bash": "echo after", "condition": "always()" }] },
        "never": with(bash("true"), json!({ "needs": ["long"] })),
        "always": with(bash("echo cleaned"), json!({ "needs": ["long"], "condition": "always()" })),
    } });
    let run = manager.run(&plan, &[""; 0]).exits(1);
    assert_eq!(run.record["conclusion"], "failure");
    assert!(
        run.record["reason"]
            .as_str()
            .is_some_and(|reason| reason.starts_with("timeout")),
        "{run}"
    );
    assert_eq!(
        (run.verdict("quick"), run.verdict("always")),
        ("success/success".to_owned(), "success/success".to_owned()),
        "{run}"
    );
    assert_eq!(
        (run.lines("long"), run.lines("always")),
        (vec!["after"], vec!["cleaned"]),
        "{run}"
    );
    assert_eq!(
        (run.verdict("long"), run.verdict("never")),
        (
            "cancelled/cancelled".to_owned(),
            "skipped/skipped".to_owned()
        ),
        "{run}"
    );
    nothing_sleeps(manager, &[seconds]);
}

/// Returns a long time that nobody else on the host sleeps, to find by it what is left.
fn odd_seconds() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!(
        "98701.{}{:03}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

/// Panics when a process of the manager's place sleeps for one of these times.
fn nothing_sleeps(manager: &Manager, seconds: &[String]) {
    for time in seconds {
        let output = manager
            .command(&["pgrep", "-fa", &format!("^sleep {time}$")])
            .output_within(SOON);
        assert_eq!(output.status.code(), Some(1), "pgrep found none");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "still running");
    }
}

fn at_most_max_parallel_jobs_run_at_once(manager: &Manager) {
    let job = || bash("echo START=$EPOCHREALTIME; sleep 0.4; echo END=$EPOCHREALTIME");
    let jobs: serde_json::Map<String, Value> = (0..7).map(|n| (format!("j{n}"), job())).collect();
    let plan = json!({ "version": 1, "name": "bounded", "maxParallel": 2, "jobs": jobs });
    let run = manager.run(&plan, &[""; 0]).exits(0);
    let time = |job: &str, name: &str| run.value(job, name).parse::<f64>().expect("it is a time");
    let spans: Vec<(f64, f64)> = (0..7)
        .map(|n| format!("j{n}"))
        .map(|job| (time(&job, "START"), time(&job, "END")))
        .collect();
    for (start, _) in &spans {
        let at_once = spans
            .iter()
            .filter(|(from, to)| from <= start && start < to)
            .count();
        assert!(at_once <= 2, "{at_once} jobs at once: {run}");
    }
}

fn exit_codes_tell_how_it_went(manager: &Manager) {
    // 0 and 1 are seen above.
    let (code, stderr) = manager.refused(&["run", "nowhere.json"]);
    assert_eq!(code, 2, "{stderr}");
    let (code, stderr) = manager.refused(&["run", "--no-such-option"]);
    assert_eq!(code, 2, "{stderr}");
    let plan = manager
        .plan(&json!({ "version": 1, "name": "codes", "jobs": { "j": bash("sleep 98721") } }));
    let mut command =
        manager.nixactions(&["run", "--source=/proc/nowhere", &plan.display().to_string()]);
    assert_eq!(command.output_within(SOON).status.code(), Some(2));
    if manager.kind() != Kind::Embedded || manager.machine().is_some() {
        let (code, stderr) = manager.refused(&[
            "run",
            "--state-dir=/proc/nowhere",
            &plan.display().to_string(),
        ]);
        assert_eq!(code, 3, "{stderr}");
    }
    // Ctrl-C at the client's terminal.
    let plan = json!({ "version": 1, "name": "codes", "jobs": { "j": bash("sleep 98721"), "k": with(bash("true"), json!({ "needs": ["j"] })) } });
    let run = manager.start(&plan, &[""; 0]);
    run.wait_for_event("stepStarted", Some("j"));
    run.signal_client(Signal::SIGINT);
    let run: Finished = run.end().exits(130);
    assert_eq!(
        (run.verdict("j"), run.record["conclusion"].as_str()),
        ("cancelled/cancelled".to_owned(), Some("cancelled")),
        "{run}"
    );
}
