//! Matrix groups: what a failure does to the others, the bound on how many run, and what a job sees
//! of its place.

use std::fs;

use nixactions_harness::{
    Finished, Manager, RUN_DEADLINE, bash, on_managers, on_shared_managers, wait_for, with,
};
use serde_json::{Map, Value, json};

on_shared_managers!(
    fail_fast_cancels_the_other_jobs_of_the_group,
    without_fail_fast_and_after_a_tolerated_failure_the_group_goes_on,
    max_parallel_bounds_the_group_within_the_run,
    a_place_whose_holder_is_killed_is_taken_by_the_next,
    values_reach_steps_and_the_record,
);
on_managers!(a_matrix_of_256_jobs_runs_them_all on embedded, system_252, system_262, user_262);

const NONE: [&str; 0] = [];

fn in_group(job: Value, matrix: Value) -> Value {
    with(job, json!({ "matrix": matrix }))
}

fn fail_fast_cancels_the_other_jobs_of_the_group(manager: &Manager) {
    let place = manager.open_directory("fail-fast");
    let at = place.display().to_string();
    let may_write = json!({ "properties": { "ReadWritePaths": at } });
    let of_test = |job: Value| in_group(with(job, may_write.clone()), json!({ "group": "test" }));
    let running = json!({ "steps": [
        { "name": "it", "bash": format!("trap 'echo told; exit 1' INT; touch {at}/running; sleep 98771 & wait") },
        { "name": "usual", "bash": "true" },
        { "name": "always", "bash": "echo cleaned", "condition": "always()" },
    ] });
    let plan = json!({ "version": 1, "name": "failfast", "maxParallel": 4, "jobs": {
        "bad": of_test(bash(&format!("until [ -e {at}/running ]; do sleep 0.05; done; exit 7"))),
        "running": of_test(running),
        "other": with(bash(&format!("until [ -e {at}/go ]; do sleep 0.05; done")), may_write.clone()),
        "not-started": of_test(with(bash("echo never"), json!({ "needs": ["other"] }))),
        "always": of_test(with(bash("echo ran"), json!({ "needs": ["other"], "condition": "always()" }))),
        "of-another-matrix": in_group(with(bash("true"), json!({ "needs": ["other"] })), json!({ "group": "build" })),
        "after": with(bash("true"), json!({ "needs": ["running"] })),
        "report": with(bash("echo $NEEDS_BAD_RESULT $NEEDS_RUNNING_RESULT $NEEDS_NOT_STARTED_RESULT"),
            json!({ "needs": ["bad", "running", "not-started"], "condition": "failure()" })),
    } });
    let run = manager.start(&plan, &NONE);
    let event = run.wait_for_event("matrixCancelled", None);
    assert_eq!(
        (
            event["event"]["group"].as_str(),
            event["event"]["job"].as_str()
        ),
        (Some("test"), Some("bad"))
    );
    fs::write(manager.file(place.join("go")), "").expect("it is ours");
    let run = run.end().exits(1);
    let reason = "job `bad` of matrix `test` failed";
    assert_eq!(
        (run.verdict("bad"), run.reason("bad")),
        ("failure/failure".to_owned(), "step it: exit status 7"),
        "{run}"
    );
    for job in ["running", "not-started"] {
        assert_eq!(
            (run.verdict(job), run.reason(job)),
            ("cancelled/cancelled".to_owned(), reason),
            "{job} in {run}"
        );
    }
    assert_eq!(
        run.steps("running"),
        [
            "it cancelled/cancelled: cancelled",
            "usual skipped/skipped: the job was cancelled",
            "always success/success"
        ],
        "{run}"
    );
    assert_eq!(
        (run.lines("running"), run.lines("not-started")),
        (vec!["told", "cleaned"], vec![]),
        "{run}"
    );
    assert_eq!(
        (run.verdict("after"), run.reason("after")),
        ("skipped/skipped".to_owned(), "need `running` was cancelled"),
        "{run}"
    );
    assert_eq!(
        (run.verdict("other"), run.verdict("of-another-matrix")),
        ("success/success".to_owned(), "success/success".to_owned()),
        "{run}"
    );
    assert_eq!(
        (run.lines("always"), run.lines("report")),
        (vec!["ran"], vec!["failure cancelled cancelled"]),
        "{run}"
    );
    run.leaves_nothing(manager);
}

fn without_fail_fast_and_after_a_tolerated_failure_the_group_goes_on(manager: &Manager) {
    for (matrix, tolerated) in [
        (json!({ "group": "g", "failFast": false }), false),
        (json!({ "group": "g" }), true),
    ] {
        let plan = json!({ "version": 1, "name": "goeson", "maxParallel": 3, "jobs": {
            "bad": in_group(with(bash("exit 1"), json!({ "continueOnError": tolerated })), matrix.clone()),
            "running": in_group(bash("touch running; until [ -e go ]; do sleep 0.05; done"), matrix.clone()),
            "later": in_group(with(bash("true"), json!({ "needs": ["running"] })), matrix.clone()),
        } });
        let run = manager.start(&plan, &NONE);
        run.wait_for_event("jobFinished", Some("bad"));
        run.wait_for_file("running", "running");
        run.release("running", "go");
        let run = run.end().exits(i32::from(!tolerated));
        assert_eq!(
            (run.verdict("running"), run.verdict("later")),
            ("success/success".to_owned(), "success/success".to_owned()),
            "{run}"
        );
    }
}

/// Returns how many of the jobs that pass ran at once at most; each has printed when it began and
/// ended.
fn at_once(run: &Finished, jobs: &[String]) -> usize {
    let time = |job: &str, name: &str| run.value(job, name).parse::<f64>().expect("it is a time");
    let spans: Vec<(f64, f64)> = jobs
        .iter()
        .map(|job| (time(job, "START"), time(job, "END")))
        .collect();
    spans
        .iter()
        .map(|(start, _)| {
            spans
                .iter()
                .filter(|(from, to)| from <= start && start < to)
                .count()
        })
        .max()
        .unwrap_or(0)
}

fn max_parallel_bounds_the_group_within_the_run(manager: &Manager) {
    let job = || bash("echo START=$EPOCHREALTIME; sleep 0.4; echo END=$EPOCHREALTIME");
    let of_group = |n: usize| {
        (
            format!("g{n}"),
            in_group(job(), json!({ "group": "g", "maxParallel": 2 })),
        )
    };
    let of_other = |n: usize| {
        (
            format!("h{n}"),
            in_group(job(), json!({ "group": "h -", "maxParallel": 1 })),
        )
    };
    let of_none = |n: usize| (format!("n{n}"), job());
    let jobs: Map<String, Value> = (0..5)
        .map(of_group)
        .chain((0..3).map(of_other))
        .chain((0..4).map(of_none))
        .collect();
    let names = |prefix: &str| -> Vec<String> {
        jobs.keys()
            .filter(|name| name.starts_with(prefix))
            .cloned()
            .collect()
    };
    let plan = json!({ "version": 1, "name": "within", "maxParallel": 3, "jobs": jobs });
    let run = manager.run(&plan, &NONE).exits(0);
    for (prefix, most) in [("g", 2), ("h", 1), ("", 3)] {
        let found = at_once(&run, &names(prefix));
        assert!(found <= most, "{found} of `{prefix}*` at once: {run}");
    }
    assert_eq!(
        at_once(&run, &names("")),
        3,
        "the run's own bound is used up: {run}"
    );
    run.leaves_nothing(manager);
}

fn a_place_whose_holder_is_killed_is_taken_by_the_next(manager: &Manager) {
    let matrix = json!({ "group": "one", "maxParallel": 1, "failFast": false });
    let job = || {
        in_group(
            bash("touch started; until [ -e go ]; do sleep 0.05; done"),
            matrix.clone(),
        )
    };
    let plan = json!({ "version": 1, "name": "holder", "maxParallel": 3, "jobs": { "a": job(), "b": job(), "c": job() } });
    let run = manager.start(&plan, &NONE);
    let started = || {
        run.events()
            .iter()
            .filter(|event| event["event"]["type"] == "jobStarted")
            .filter_map(|event| event["event"]["job"].as_str().map(str::to_owned))
            .collect::<Vec<_>>()
    };
    let first = run.wait_for_event("jobStarted", None)["event"]["job"]
        .as_str()
        .expect("a name")
        .to_owned();
    run.wait_for_file(&first, "started");
    assert_eq!(started(), std::slice::from_ref(&first), "one at a time");
    assert!(run.kill_runner(&first), "`{first}` has no runner");
    let mut others: Vec<&str> = ["a", "b", "c"]
        .into_iter()
        .filter(|job| *job != first)
        .collect();
    while !others.is_empty() {
        // Any of them may be the next.
        let next = wait_for(RUN_DEADLINE, "the next job", || {
            others
                .iter()
                .position(|job| run.workspace(job, "started").exists())
        });
        run.release(others.remove(next), "go");
    }
    let run = run.end().exits(1);
    assert_eq!(
        (run.verdict(&first), run.reason(&first)),
        ("failure/failure".to_owned(), "signal: killed by SIGKILL"),
        "{run}"
    );
    for job in ["a", "b", "c"].into_iter().filter(|job| *job != first) {
        assert_eq!(run.verdict(job), "success/success", "{run}");
    }
}

fn values_reach_steps_and_the_record(manager: &Manager) {
    let matrix = json!({ "group": "t", "values": { "os": "linux", "rust-version": "1.85" } });
    let plan = json!({ "version": 1, "name": "values", "env": { "WHERE": "env" }, "jobs": {
        "test-linux": in_group(bash("echo \"$MATRIX_OS $MATRIX_RUST_VERSION $WHERE\""), matrix.clone()),
        "alone": bash("echo ${MATRIX_OS-unset}"),
    } });
    let run = manager.run(&plan, &NONE).exits(0);
    assert_eq!(
        (run.lines("test-linux"), run.lines("alone")),
        (vec!["linux 1.85 env"], vec!["unset"]),
        "{run}"
    );
    assert_eq!(
        run.job("test-linux")["matrix"],
        json!({ "group": "t", "values": matrix["values"] }),
        "{run}"
    );
    assert!(run.job("alone").get("matrix").is_none(), "{run}");
}

fn a_matrix_of_256_jobs_runs_them_all(manager: &Manager) {
    let job = |n: usize| {
        let job = in_group(
            json!({ "executor": "bare", "steps": [{ "run": ["true"] }] }),
            json!({ "group": "all", "maxParallel": 8 }),
        );
        (format!("j{n}"), job)
    };
    let jobs: Map<String, Value> = (0..256)
        .map(job)
        .chain([(
            "after".to_owned(),
            with(
                bash("true"),
                json!({ "needs": (0..256).map(|n| format!("j{n}")).collect::<Vec<_>>() }),
            ),
        )])
        .collect();
    let executors = json!({ "bare": { "type": "systemd", "sandbox": "none", "copyRepo": false } });
    let plan = json!({ "version": 1, "name": "many", "maxParallel": 16, "executors": executors, "jobs": jobs });
    let run = manager.run(&plan, &NONE).exits(0);
    assert_eq!(
        run.record["jobs"].as_object().map(Map::len),
        Some(257),
        "{}",
        run.id
    );
    run.leaves_nothing(manager);
}
