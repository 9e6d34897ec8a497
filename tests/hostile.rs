//! Jobs whose steps mean ill: what decides about a run must come from elsewhere.

use std::time::Instant;

use jiff::Timestamp;
use nixactions_harness::{
    CommandExt as _, Manager, SOON, bash, on_managers, on_shared_managers, with,
};
use serde_json::json;

on_shared_managers!(
    a_forged_success_starts_nothing,
    a_runner_that_is_killed_has_failed_for_its_dependents,
    a_line_in_another_jobs_name_is_not_shown,
    no_step_holds_the_places_of_other_jobs,
    dependents_run_whatever_outputs_a_need_has,
    outputs_that_no_expression_takes_fail_no_step,
    times_that_a_job_forges_are_brought_within_the_run,
);

on_managers!(a_link_in_place_of_artifacts_leads_a_dependent_nowhere
    on embedded_262, system_252, system_262, user_252, user_257, user_262);
on_managers!(no_step_of_a_user_holds_the_places_of_other_jobs on user_252, user_257);

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

/// Locks every file of the run that it can open, or waits for its lock, until the test lets it go
/// on.
const LOCK: &str = r#"perl -MFile::Find -e '
    my ($runner, @files, @children) = @ARGV;
    find({ no_chdir => 1, wanted => sub { push @files, $_ if -f $_ && open(my $file, "<", $_) } },
        grep { -d } "/run/nixactions/shared", "/run/nixactions/slots", glob("/proc/$runner/fd/*/"));
    for my $path (@files) {
        my $child = fork();
        push @children, $child;
        next if $child;
        open(my $file, "<", $path) or exit;
        flock($file, 2) or exit;
        sleep 600;
    }
    select(undef, undef, undef, 0.2);
    open(my $here, ">", "here");
    select(undef, undef, undef, 0.05) until -e "go";
    kill(9, @children)' $PPID"#;

/// Before systemd 258 these are file locks.
fn no_step_holds_the_places_of_other_jobs(manager: &Manager) {
    let of_matrix = |number: u32| {
        with(
            bash("sleep 2"),
            json!({ "matrix": { "group": "m", "values": { "n": number }, "maxParallel": 1 } }),
        )
    };
    let plan = json!({ "version": 1, "name": "places", "maxParallel": 2, "jobs": {
        "evil": bash(LOCK),
        "m-1": of_matrix(1),
        "m-2": of_matrix(2),
        "other": bash("true"),
    } });
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("evil", "here");
    for job in ["m-1", "m-2", "other"] {
        run.wait_for_event("jobFinished", Some(job));
    }
    run.release("evil", "go");
    run.end().exits(0);
}

fn no_step_of_a_user_holds_the_places_of_other_jobs(manager: &Manager) {
    no_step_holds_the_places_of_other_jobs(manager);
}

/// A job that needs this one binds its artifacts by path. The links lead to those of another run,
/// and to the home of the manager's user.
fn a_link_in_place_of_artifacts_leads_a_dependent_nowhere(manager: &Manager) {
    let secret = manager.write("private/tree/file", "private\n");
    let private = secret.ancestors().nth(2).expect("it is deep").display();
    let saves = json!({ "outputs": { "dist": "dist" } });
    let other = json!({ "version": 1, "name": "other", "jobs": {
        "evil": with(bash("mkdir dist; echo private > dist/file"), saves.clone()),
    } });
    let other = manager.run(&other, &NONE).exits(0);
    let theirs = manager.state_dir().join("runs").join(&other.id);
    let theirs = theirs.join("jobs/evil").display().to_string();
    for level in ["strict", "relaxed"] {
        for (place, target) in [
            ("artifacts/dist", format!("{theirs}/artifacts/dist")),
            ("artifacts", format!("{theirs}/artifacts")),
            ("artifacts/dist", private.to_string()),
            ("work", format!("{theirs}/artifacts")),
            ("out", format!("{theirs}/out")),
            ("spec.json", format!("{theirs}/spec.json")),
        ] {
            let replace = format!(
                "mkdir dist; echo own > dist/file
                for job in ../.. /run/nixactions/job; do
                    mv $job/{place} $job/old || rm -rf $job/artifacts/dist/ || true
                    ln -sT {target} $job/{place} && echo replaced || true
                    touch $job/new && echo made || true
                done 2>/dev/null"
            );
            let look = "cat /run/nixactions/jobs/evil/artifacts/dist/tree/* \
                /run/nixactions/jobs/evil/artifacts/dist/tree/*/* dist/file 2>/dev/null || true";
            let plan = json!({ "version": 1, "name": "linked",
                "executors": { "e": { "type": "systemd", "sandbox": level } },
                "jobs": {
                    "evil": with(with(bash(&replace), saves.clone()), json!({ "executor": "e" })),
                    "takes": with(bash(look), json!({ "executor": "e", "needs": ["evil"], "inputs": ["dist"], "condition": "always()" })),
                } });
            let run = manager.run(&plan, &NONE);
            let lines = run.lines("takes");
            assert!(!lines.contains(&"private"), "{level}, {place}: {run}");
            assert_eq!(run.lines("evil"), NONE, "{level}, {place}: {run}");
            assert_eq!(run.code, Some(0), "{level}, {place}: {run}");
            assert_eq!(lines, ["own", "own"], "{level}, {place}: {run}");
        }
    }
}

/// A step's way to its outputs, and what a job without a sandbox may write in its runner's place.
fn dependents_run_whatever_outputs_a_need_has(manager: &Manager) {
    let large = "$(head -c 200000 /dev/zero | tr '\\0' x)";
    let put = |text: &str| json!({ "bash": format!("printf '{text}\\n' \"{large}\" >> $NIXACTIONS_OUTPUT"), "continueOnError": true });
    let forged = json!({ "at": "2026-01-01T00:00:00Z", "event": { "type": "runnerEnded", "job": "forges", "result": {
        "version": 1, "failed": false, "record": { "unit": "u", "outcome": "success", "conclusion": "success", "attempts": 1,
            "outputs": { "large": "@", "a\0b": "x", "": "x", "a=b": "x", "nul": "a\0b" } } } } });
    let forge = format!(
        "x={large}; e='{forged}'; printf '%s%s%s\\n' \"${{e%%@*}}\" \"$x\" \"${{e##*@}}\" >> ../../out/events.jsonl; \
         kill -9 $PPID; sleep 1"
    );
    let notify = |need: &str| {
        with(
            bash(&format!(
                "echo result=$NEEDS_{}_RESULT",
                need.to_uppercase()
            )),
            json!({ "needs": [need], "condition": "always()" }),
        )
    };
    let plan = json!({ "version": 1, "name": "outputs",
        "executors": { "bare": { "type": "systemd", "sandbox": "none" } },
        "jobs": {
            "evil": { "steps": [put("large=%s"), put("nul=a\\0b"), put("k\\0ey=b"), put("k ey=b"), put("k=%s"), { "bash": "exit 1" }] },
            "forges": with(bash(&forge), json!({ "executor": "bare" })),
            "notify": notify("evil"),
            "tell": notify("forges"),
        } });
    let run = manager.run(&plan, &NONE).exits(1);
    assert_eq!(run.verdict("evil"), "failure/failure", "{run}");
    assert_eq!(run.verdict("forges"), "failure/failure", "{run}");
    assert_eq!(run.lines("notify"), ["result=failure"], "{run}");
    assert_eq!(run.verdict("tell"), "success/success", "{run}");
    let large = &run.record["jobs"]["evil"]["outputs"]["large"];
    assert_eq!(large.as_str().map(str::len), Some(200_000));
}

/// Two needs with outputs of the greatest size: an expression over both is too long.
fn outputs_that_no_expression_takes_fail_no_step(manager: &Manager) {
    let evil = || {
        bash(
            "printf 'large=%s\\n' \"$(head -c 1000000 /dev/zero | tr '\\0' x)\" >> $NIXACTIONS_OUTPUT",
        )
    };
    let notify = json!({ "steps": [{ "bash": "echo told=${ALL:-none}${BOTH:-none}$OTHER",
        "env": { "ALL": "${{ toJSON(needs) }}", "BOTH": "${{ needs.a.outputs.large }}${{ needs.b.outputs.large }}", "OTHER": "${{ needs.a.result }}" } }],
        "needs": ["a", "b"], "condition": "always()" });
    let asks = with(
        bash("true"),
        json!({ "needs": ["a", "b"], "condition": "${{ contains(toJSON(needs), 'x') }}" }),
    );
    let plan = json!({ "version": 1, "name": "long", "jobs": { "a": evil(), "b": evil(), "notify": notify, "asks": asks } });
    let run = manager.run(&plan, &NONE).exits(1);
    assert_eq!(run.lines("notify"), ["told=nonenonesuccess"], "{run}");
    assert_eq!(run.verdict("asks"), "failure/failure", "{run}");
    let why = run.reason("asks");
    assert!(
        why.contains("`toJSON`: the text has more than 1048576 bytes"),
        "{why}"
    );
}

/// A job without a sandbox can write its own events, and the last of them is its result.
fn times_that_a_job_forges_are_brought_within_the_run(manager: &Manager) {
    const LATE: &str = "9999-12-30T21:59:59Z";
    const EARLY: &str = "0001-01-01T00:00:00Z";
    let step = json!({ "name": "s", "outcome": "failure", "conclusion": "failure", "attempts": 99,
        "startedAt": EARLY, "finishedAt": LATE });
    let told = |at: &str, event: serde_json::Value| json!({ "at": at, "event": event }).to_string();
    let forged = [
        told(
            LATE,
            json!({ "type": "stepFinished", "job": "forges", "index": 0, "step": step }),
        ),
        told(
            EARLY,
            json!({ "type": "stepStarted", "job": "forges", "index": 0, "name": "s", "attempt": 99 }),
        ),
        told(
            LATE,
            json!({ "type": "jobRetried", "job": "forges", "attempt": 99 }),
        ),
        told(
            LATE,
            json!({ "type": "runnerEnded", "job": "forges", "result": {
            "version": 1, "failed": true, "record": { "unit": "u", "outcome": "failure", "conclusion": "failure",
                "reason": "step s: forged", "attempts": 99, "startedAt": EARLY, "finishedAt": LATE, "steps": [step],
                "usage": { "cpuSeconds": 1e300, "memoryPeakBytes": u64::MAX }, "reusedFrom": "ci-9" } } }),
        ),
    ];
    let lines = forged.join("\n");
    let script = format!(
        "cat >> ../../out/events.jsonl <<'END'\n{lines}\nEND\nsleep 1; kill -9 $PPID; sleep 1"
    );
    let plan = json!({ "version": 1, "name": "times",
        "executors": { "bare": { "type": "systemd", "sandbox": "none" } },
        "jobs": {
            "forges": with(bash(&script), json!({ "executor": "bare" })),
            "tell": with(bash("echo told"), json!({ "needs": ["forges"], "condition": "always()" })),
        } });
    let began = Instant::now();
    let run = manager.run(&plan, &NONE).exits(1);
    assert!(began.elapsed() < SOON, "the client waited");
    assert_eq!(run.verdict("forges"), "failure/failure", "{run}");
    assert_eq!(run.lines("tell"), ["told"], "{run}");
    let now = Timestamp::now();
    let time = |value: &serde_json::Value| -> Option<Timestamp> {
        value
            .as_str()
            .map(|text| text.parse().expect("it is a time"))
    };
    let start = time(&run.record["startedAt"]).expect("a run has a start");
    let possible = start..=now;
    let job = run.job("forges");
    let steps = job["steps"].as_array().expect("it has steps");
    for part in [job, &run.record].into_iter().chain(steps) {
        for at in [&part["startedAt"], &part["finishedAt"]] {
            assert!(time(at).is_none_or(|at| possible.contains(&at)), "{part}");
        }
        assert!(part["attempts"].as_u64().unwrap_or(1) <= 1, "{part}");
    }
    assert_eq!(job["reusedFrom"], json!(null), "{run}");
    assert_eq!(job["usage"], json!({}), "{run}");
    for event in &run.events {
        let at = time(&event["at"]).expect("it has a time");
        assert!(possible.contains(&at), "{event}");
    }
    let told = run
        .events
        .iter()
        .filter(|event| event["event"]["job"] == "forges");
    assert!(
        told.clone()
            .any(|event| event["event"]["type"] == "jobRetried"),
        "{run}"
    );
    let logs = manager.nixactions(&["logs", &run.id]).ok();
    assert!(logs.contains("told"), "{logs}");
}
