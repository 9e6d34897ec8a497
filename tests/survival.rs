//! A run survives the end of its client, its supervisor and a runner, a reloaded systemd, and other
//! runs.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use nixactions_harness::{
    CommandExt as _, Finished, Kind, Manager, RUN_DEADLINE, SOON, Signal, bash, on_managers,
    on_shared_managers, wait_for, with,
};
use serde_json::{Value, json};

on_shared_managers!(
    a_run_goes_on_without_its_client,
    a_supervisor_that_is_killed_again_and_again_loses_nothing,
    a_supervisor_that_is_killed_before_any_job_has_begun_submits_none_twice,
    a_cancellation_is_not_lost_with_the_supervisor,
    a_killed_runner_fails_its_job_alone,
    nothing_that_a_job_forks_outlives_it,
    many_runs_at_once_keep_apart,
);
// Mounting is for root, and in a machine.
on_managers!(runs_of_two_state_directories_go_on_at_once on embedded_262, system_252, system_257, system_262, user_262);
on_managers!(a_supervisor_that_hangs_is_replaced on system_252, system_257, system_262, user_262);
on_managers!(a_reloaded_or_reexecuted_systemd_goes_on on embedded, system_252, system_257, system_262, user_262);
on_managers!(a_systemd_that_reexecutes_itself_again_and_again_gets_every_wave on system_252, system_257, system_262);
on_managers!(a_systemd_that_reexecutes_itself_gets_new_runs_as_well on system_252, system_257, system_262);

const NONE: [&str; 0] = [];

/// A DAG of layers, whose jobs each write their name to the file `ran` in a directory outside.
struct Dag {
    plan: Value,
    names: Vec<String>,
    ran: PathBuf,
}

impl Dag {
    fn new(manager: &Manager, name: &str, layers: usize, seconds: f64) -> Self {
        let dir = manager.open_directory(name);
        let script = format!(
            "echo $NIXACTIONS_JOB >> {}/ran; sleep {seconds}",
            dir.display()
        );
        let mut names: Vec<String> = Vec::new();
        let mut jobs = serde_json::Map::new();
        for layer in 0..layers {
            let needs: Vec<String> = names.iter().rev().take(2).cloned().collect();
            for side in ["a", "b"] {
                let name = format!("{side}{layer}");
                // Half of them have a condition, for which their runner has to be asked.
                let condition = if side == "a" { "success()" } else { "always()" };
                jobs.insert(
                    name.clone(),
                    with(
                        bash(&script),
                        json!({ "needs": needs, "condition": condition }),
                    ),
                );
                names.push(name);
            }
        }
        // Each job has a user of its own.
        let ran = manager.file(dir.join("ran"));
        fs::write(&ran, "").expect("the place is writable");
        fs::set_permissions(&ran, fs::Permissions::from_mode(0o666)).expect("it is ours");
        let executors = json!({ "out": { "type": "systemd", "properties": { "ReadWritePaths": dir.display().to_string() } } });
        jobs.values_mut()
            .for_each(|job| job["executor"] = "out".into());
        let plan = json!({ "version": 1, "name": name, "maxParallel": 2, "executors": executors, "jobs": jobs });
        Self { plan, names, ran }
    }

    /// Panics unless every job has run once and the record says so.
    fn has_run_once(&self, run: &Finished) {
        let ran = fs::read_to_string(&self.ran).unwrap_or_default();
        let mut ran: Vec<&str> = ran.lines().collect();
        ran.sort_unstable();
        let mut expected: Vec<&str> = self.names.iter().map(String::as_str).collect();
        expected.sort_unstable();
        assert_eq!(ran, expected, "{run}");
        assert_eq!(run.record["conclusion"], "success", "{run}");
        for name in &self.names {
            assert_eq!(run.verdict(name), "success/success", "{run}");
            assert_eq!(
                run.job(name)["steps"].as_array().map(Vec::len),
                Some(1),
                "{run}"
            );
        }
    }
}

fn a_run_goes_on_without_its_client(manager: &Manager) {
    let dag = Dag::new(manager, "clientless", 4, 0.3);
    let mut run = manager.start(&dag.plan, &NONE);
    run.wait_for_event("jobStarted", Some("a0"));
    run.kill_client();
    let run = run.end();
    dag.has_run_once(&run);
    run.leaves_nothing(manager);
    // A client that attaches later gets all events.
    let attached = manager
        .start_command(manager.nixactions(&["attach", &run.id, "--output=json"]))
        .end()
        .exits(0);
    let finished = attached
        .events
        .iter()
        .filter(|event| event["event"]["type"] == "jobFinished")
        .count();
    assert_eq!(finished, dag.names.len(), "{attached}");
}

/// Returns a number below `bound` that nobody foresees.
fn random(bound: u64) -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    std::hash::RandomState::new().build_hasher().finish() % bound
}

fn a_supervisor_that_is_killed_again_and_again_loses_nothing(manager: &Manager) {
    let dag = Dag::new(manager, "unsupervised", 8, 0.35);
    let run = manager.start(&dag.plan, &NONE);
    let mut moments = Vec::new();
    for _ in 0..10 {
        let pause = random(400);
        moments.push(pause);
        thread::sleep(Duration::from_millis(pause));
        if run.dir().join("record.json").exists() {
            break;
        }
        // Now and then it is just being restarted.
        run.kill_supervisor();
    }
    let run = run.end();
    eprintln!("killed after {moments:?} ms each");
    assert_eq!(run.code, Some(0), "{run}");
    dag.has_run_once(&run);
    let started = |event: &&Value| event["event"]["type"] == "supervisorStarted";
    assert!(
        run.events.iter().filter(started).count() > 1,
        "no supervisor was killed: {run}"
    );
    let events = fs::read_to_string(manager.run_dir(&run.id).join("events.jsonl"))
        .expect("the run has events");
    let distinct: BTreeSet<&str> = events.lines().collect();
    assert_eq!(
        distinct.len(),
        events.lines().count(),
        "an event was passed on twice:\n{events}"
    );
    run.leaves_nothing(manager);
}

/// Only systemd can tell the new supervisor that the jobs were submitted: no job has left a trace.
fn a_supervisor_that_is_killed_before_any_job_has_begun_submits_none_twice(manager: &Manager) {
    let go = manager.dir().join("before-any-go");
    let setup = format!("until [ -e {} ]; do sleep 0.05; done", go.display());
    let executor = json!({ "type": "hooks", "copyRepo": false, "setupWorkspace": ["sh", "-c", setup], "executeJob": ["echo", "executed"] });
    let plan = json!({ "version": 1, "name": "before-any", "executors": { "box": executor }, "jobs": {
        "j": { "executor": "box", "steps": [{ "name": "it", "bash": "true" }] },
    } });
    let run = manager.start(&plan, &NONE);
    let unit = format!("nixactions-{}-j.service", run.id());
    wait_for(SOON, "the job to be queued", || {
        (!manager.units(&unit).is_empty()).then_some(())
    });
    assert!(run.kill_supervisor(), "there is none");
    let restarted = || {
        run.events()
            .iter()
            .filter(|event| event["event"]["type"] == "supervisorStarted")
            .count()
            == 2
    };
    wait_for(SOON, "the next supervisor", || restarted().then_some(()));
    manager.write(&go, "");
    let run = run.end().exits(0);
    assert_eq!(run.lines("j"), ["executed"], "{run}");
    assert_eq!(
        run.events
            .iter()
            .filter(|event| event["event"]["type"] == "jobsSubmitted")
            .count(),
        1,
        "{run}"
    );
    run.leaves_nothing(manager);
}

/// As if it had died between writing down that the run is cancelled and telling the jobs.
fn a_cancellation_is_not_lost_with_the_supervisor(manager: &Manager) {
    let steps = json!([
        { "name": "it", "bash": "touch started; sleep 98951" },
        { "name": "always", "bash": "echo cleaned", "condition": "always()" },
    ]);
    let plan = json!({ "version": 1, "name": "forgotten", "jobs": {
        "j": { "steps": steps },
        "after": with(bash("true"), json!({ "needs": ["j"] })),
    } });
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("j", "started");
    assert!(run.signal_supervisor(Signal::SIGSTOP), "there is none");
    let event = json!({ "at": "2026-01-01T00:00:00Z", "event": { "type": "cancelRequested", "by": "a user", "kill": false } });
    let mut events = OpenOptions::new()
        .append(true)
        .open(run.dir().join("events.jsonl"))
        .expect("the run has events");
    writeln!(events, "{event}").expect("they can be added to");
    assert!(run.kill_supervisor(), "there is none");
    let run = run.end().exits(130);
    assert_eq!(
        (run.verdict("j"), run.reason("j")),
        ("cancelled/cancelled".to_owned(), "the run was cancelled"),
        "{run}"
    );
    assert_eq!(run.lines("j"), ["cleaned"], "{run}");
    run.leaves_nothing(manager);
}

fn a_supervisor_that_hangs_is_replaced(manager: &Manager) {
    let dag = Dag::new(manager, "hung", 4, 0.3);
    manager.drop_in("nixactions-hung-1.service", "WatchdogSec=2s");
    let run = manager.start(&dag.plan, &NONE);
    assert_eq!(run.id(), "hung-1");
    run.wait_for_event("jobStarted", Some("a1"));
    assert!(run.signal_supervisor(Signal::SIGSTOP), "there is none");
    let run = run.end().exits(0);
    dag.has_run_once(&run);
    run.leaves_nothing(manager);
}

fn a_reloaded_or_reexecuted_systemd_goes_on(manager: &Manager) {
    let dag = Dag::new(manager, "reloaded", 6, 0.4);
    let run = manager.start(&dag.plan, &NONE);
    run.wait_for_event("jobStarted", Some("a0"));
    manager.systemctl(&["daemon-reload"]).ok();
    run.wait_for_event("jobFinished", Some("a1"));
    // systemd drops the connection of the caller.
    manager.systemctl(&["daemon-reexec"]).output_within(SOON);
    run.wait_for_event("jobFinished", Some("a3"));
    manager.systemctl(&["daemon-reload"]).output_within(SOON);
    let run = run.end().exits(0);
    dag.has_run_once(&run);
    run.leaves_nothing(manager);
    is_healthy(manager);
}

/// Of a call that it is given just then it says nothing, and what ends just then it tells nobody.
fn a_systemd_that_reexecutes_itself_again_and_again_gets_every_wave(manager: &Manager) {
    let job = |n: usize| {
        let needs: Vec<String> = [7, 13]
            .iter()
            .filter_map(|back| n.checked_sub(*back))
            .map(|need| format!("j{need:03}"))
            .collect();
        (
            format!("j{n:03}"),
            json!({ "executor": "plain", "needs": needs, "steps": [{ "run": ["true"] }] }),
        )
    };
    let jobs: serde_json::Map<String, Value> = (0..200).map(job).collect();
    let executors = json!({ "plain": { "type": "systemd", "sandbox": "none", "copyRepo": false } });
    let plan = json!({ "version": 1, "name": "waves", "maxParallel": 2, "executors": executors, "jobs": jobs });
    let run = manager.start(&plan, &NONE);
    run.wait_for_event("jobsSubmitted", None);
    for _ in 0..5 {
        thread::sleep(Duration::from_millis(100 + random(200)));
        // systemd drops the connection of the caller.
        manager.systemctl(&["daemon-reexec"]).output_within(SOON);
    }
    let run = run.end().exits(0);
    assert!(
        run.events
            .iter()
            .filter(|event| event["event"]["type"] == "jobsSubmitted")
            .count()
            > 1,
        "{run}"
    );
    run.leaves_nothing(manager);
    is_healthy(manager);
}

fn a_systemd_that_reexecutes_itself_gets_new_runs_as_well(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "meanwhile", "jobs": { "j": bash("echo ran") } });
    let tell = "[Service]\nType=oneshot\nExecStart=/bin/touch /run/told-of-%i\n";
    manager.write("/etc/systemd/system/tell@.service", tell);
    for _ in 0..20 {
        // Each at another moment of it.
        let reexec = manager
            .systemctl(&["daemon-reexec"])
            .spawn()
            .expect("systemctl is there");
        thread::sleep(Duration::from_millis(random(50)));
        let run = manager
            .run(&plan, &["--notify=success=tell@.service"])
            .exits(0);
        reexec.wait_with_output().expect("systemctl ends");
        assert_eq!(run.lines("j"), ["ran"], "{run}");
        let told = manager.file(format!("/run/told-of-{}", run.id));
        wait_for(SOON, "the unit to hear", || told.exists().then_some(()));
        run.leaves_nothing(manager);
    }
    is_healthy(manager);
}

/// Panics when a unit has failed in the machine, which nobody else uses.
fn is_healthy(manager: &Manager) {
    if manager.kind() != Kind::Embedded {
        assert_eq!(
            manager
                .systemctl(&["--failed", "--no-legend", "--plain"])
                .ok(),
            ""
        );
        assert_eq!(manager.systemctl(&["is-system-running"]).ok(), "running\n");
    }
}

fn a_killed_runner_fails_its_job_alone(manager: &Manager) {
    let long = || bash("touch started; sleep 98741 & wait");
    let plan = json!({ "version": 1, "name": "killed", "maxParallel": 4, "jobs": {
        "victim": long(),
        "dependent": with(bash("true"), json!({ "needs": ["victim"] })),
        "report": with(bash("echo $NEEDS_VICTIM_RESULT"), json!({ "needs": ["victim"], "condition": "always()" })),
        "on-failure": with(bash("true"), json!({ "needs": ["dependent"], "condition": "failure()" })),
        "tolerated": { "continueOnError": true, "steps": [
            { "name": "it", "bash": "touch started; sleep 98741 & wait", "continueOnError": true },
        ] },
        "after-tolerated": with(bash("echo $NEEDS_TOLERATED_RESULT"), json!({ "needs": ["tolerated"] })),
        "other": with(bash("touch started; until [ -e stop ]; do sleep 0.05; done"), json!({})),
        "after-other": with(bash("true"), json!({ "needs": ["other"] })),
    } });
    let run = manager.start(&plan, &NONE);
    for job in ["victim", "tolerated", "other"] {
        run.wait_for_file(job, "started");
    }
    for job in ["victim", "tolerated"] {
        assert!(run.kill_runner(job), "`{job}` has no runner");
        run.wait_for_event("jobFinished", Some(job));
    }
    run.release("other", "stop");
    let run = run.end().exits(1);
    assert_eq!(
        (run.verdict("victim"), run.reason("victim")),
        ("failure/failure".to_owned(), "signal: killed by SIGKILL"),
        "{run}"
    );
    assert_eq!(
        run.steps("victim"),
        ["it failure/failure: the job's runner ended before the step"],
        "{run}"
    );
    assert_eq!(
        (run.verdict("dependent"), run.reason("dependent")),
        ("skipped/skipped".to_owned(), "need `victim` failed"),
        "{run}"
    );
    assert_eq!(run.lines("report"), ["failure"], "{run}");
    assert_eq!(run.verdict("on-failure"), "success/success", "{run}");
    assert_eq!(run.verdict("tolerated"), "failure/success", "{run}");
    assert_eq!(
        run.steps("tolerated"),
        ["it failure/success: the job's runner ended before the step"],
        "{run}"
    );
    assert_eq!(
        (run.verdict("after-tolerated"), run.lines("after-tolerated")),
        ("success/success".to_owned(), vec!["success"]),
        "{run}"
    );
    assert_eq!(
        (run.verdict("other"), run.verdict("after-other")),
        ("success/success".to_owned(), "success/success".to_owned()),
        "{run}"
    );
    run.leaves_nothing(manager);
}

fn nothing_that_a_job_forks_outlives_it(manager: &Manager) {
    // A time that no other test sleeps, on no other machine.
    let time = format!("98751.{}{}", std::process::id(), random(1_000_000));
    let fork = format!(
        "trap '' HUP INT TERM
         (setsid sleep {time} &) & nohup sleep {time} >/dev/null 2>&1 & setsid setsid sleep {time} </dev/null >/dev/null 2>&1 & disown -a
         (exec -a renamed sleep {time} &); setsid bash -c '(trap \"\" TERM; while :; do sleep {time}; done) &'
         for n in 1 2 3; do setsid -f bash -c 'echo late; exec sleep {time}'; done; echo forked"
    );
    let plan = json!({ "version": 1, "name": "forks", "jobs": {
        "forks": bash(&fork),
        "fails": bash(&format!("{fork}; exit 1")),
        "next": with(bash("touch started; until [ -e stop ]; do sleep 0.05; done"), json!({ "needs": ["forks", "fails"], "condition": "always()" })),
    } });
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("next", "started");
    let left: Vec<String> = fs::read_dir("/proc")
        .expect("/proc can be listed")
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok())
        .filter(|cmdline| cmdline.contains(&time))
        .collect();
    run.release("next", "stop");
    let run = run.end().exits(1);
    assert_eq!(left, Vec::<String>::new(), "while the run goes on: {run}");
    assert_eq!(
        run.lines("forks")
            .iter()
            .filter(|line| **line == "forked")
            .count(),
        1,
        "{run}"
    );
    run.leaves_nothing(manager);
}

/// Their units would be of the same names.
fn runs_of_two_state_directories_go_on_at_once(manager: &Manager) {
    let plan =
        |script: &str| json!({ "version": 1, "name": "twice", "jobs": { "j": bash(script) } });
    let first = manager.start(
        &plan("touch started; until [ -e stop ]; do sleep 0.05; done"),
        &NONE,
    );
    first.wait_for_file("j", "started");

    let other = format!(
        "--state-dir={}",
        manager.open_directory("other-state").display()
    );
    let path = manager.plan(&plan("true")).display().to_string();
    let second = manager
        .start_command(manager.nixactions(&["run", &path, "--output=json", &other]))
        .end()
        .exits(0);
    // An embedded manager has no other runs.
    let expected = if manager.kind() == Kind::Embedded {
        "twice-1"
    } else {
        "twice-2"
    };
    assert_eq!(
        (first.id(), second.id.as_str()),
        ("twice-1", expected),
        "{second}"
    );
    let listed = manager.nixactions(&["list", "--json", &other]).json();
    assert_eq!(
        listed.as_array().map(Vec::len),
        Some(1),
        "half a run was left: {listed:#}"
    );
    let again = manager
        .start_command(manager.nixactions(&["rerun", &second.id, "--output=json", &other]))
        .end()
        .exits(0);
    assert_ne!(again.id, second.id, "{again}");

    first.release("j", "stop");
    let first = first.end().exits(0);
    first.leaves_nothing(manager);
}

fn many_runs_at_once_keep_apart(manager: &Manager) {
    // Each embedded run boots a systemd, which takes its time on a small machine.
    let count = if manager.kind() == Kind::Embedded {
        6
    } else {
        20
    };
    let plan = |n: usize| json!({ "version": 1, "name": "crowd", "jobs": { "a": bash(&format!("echo run {n}")), "b": with(bash("true"), json!({ "needs": ["a"] })) } });
    let paths: Vec<_> = (0..count).map(|n| manager.plan(&plan(n))).collect();
    let started: Vec<Finished> = thread::scope(|scope| {
        let runs: Vec<_> = paths
            .iter()
            .map(|path| {
                scope.spawn(|| {
                    manager
                        .start_command(manager.nixactions(&[
                            Path::new("run"),
                            path,
                            Path::new("--output=json"),
                        ]))
                        .end()
                })
            })
            .collect();
        runs.into_iter()
            .map(|run| run.join().expect("it ends"))
            .collect()
    });
    let ids: BTreeSet<&str> = started.iter().map(|run| run.id.as_str()).collect();
    assert_eq!(ids.len(), count);
    for (n, run) in started.into_iter().enumerate() {
        let run = run.exits(0);
        assert_eq!(
            run.lines("a"),
            [format!("run {n}")],
            "another run's line: {run}"
        );
        run.leaves_nothing(manager);
    }
    wait_for(RUN_DEADLINE, "the list to show all as finished", || {
        let list = manager.nixactions(&["list", "--json"]).json();
        let done = |row: &&Value| {
            row["workflow"] == "crowd" && row["state"] == "success" && row["jobsDone"] == 2
        };
        (list.as_array()?.iter().filter(done).count() == count).then_some(())
    });
}
