//! The limit on the jobs of all runs of a state directory. It holds for all runs together.
//! Timeouts, cancellations and the other limits of a run hold as well.

use std::{fs, thread, time::Duration};

use nixactions_harness::{
    CommandExt as _, Finished, Kind, Manager, Run, SOON, Signal, bash, on_managers, wait_for, with,
};
use serde_json::{Map, Value, json};

on_managers!(jobs_of_all_runs_share_the_limit on embedded, embedded_257, system_252, system_257, system_262, user_262);
on_managers!(a_job_that_waits_says_so_and_its_time_does_not_count on embedded, system_252, system_262, user_262);
on_managers!(a_wait_ends_at_once_with_a_cancellation on embedded, system_252, system_262, user_262);
on_managers!(a_cancelled_run_cleans_up_without_waiting_for_others on embedded, system_252, system_262, user_262);
on_managers!(a_cancelled_job_that_cleans_up_keeps_its_place_in_the_queue on embedded, system_252, system_257, system_262);
on_managers!(a_killed_job_gives_its_place_back_and_its_retry_takes_one_again on embedded, system_252, system_262, user_262);
on_managers!(the_wait_of_a_retry_does_not_count_for_the_timeout on embedded, system_252, system_262, user_262);
on_managers!(a_larger_limit_applies_while_jobs_of_a_smaller_one_wait on embedded, system_252, system_262, user_262);
on_managers!(a_job_that_cannot_watch_the_locks_looks_again_and_again on embedded, system_252, system_262);
on_managers!(a_condition_cannot_hold_a_place_for_ever on embedded, system_252, system_262, user_262);
on_managers!(the_supervisor_ends_a_job_that_outlives_its_timeout on embedded, system_252, system_257, system_262, user_262);
on_managers!(a_wait_outlives_a_reexecuted_systemd_and_a_killed_supervisor on system_252, system_257, system_262);
on_managers!(jobs_in_roots_and_containers_share_the_limit on system_252, system_257, system_262);
on_managers!(a_bad_limit_is_refused_and_leaves_no_run on system_262);

const NONE: [&str; 0] = [];

/// Sets the limit of the manager's state directory.
fn limit(manager: &Manager, content: &str) {
    manager.write(manager.state_dir().join("max-concurrent-jobs"), content);
}

/// Returns a plan with these jobs.
fn plan(name: &str, jobs: Value) -> Value {
    json!({ "version": 1, "name": name, "maxParallel": 6, "jobs": jobs })
}

/// Returns a job that goes on until it is let go.
fn holds() -> Value {
    bash("touch started; until [ -e go ]; do sleep 0.05; done")
}

fn let_go(run: &Run<'_>, job: &str) {
    run.release(job, "go");
}

/// Returns the times at which a job printed that it began and ended. One that was killed printed no
/// end.
fn span(run: &Finished, job: &str) -> Option<(f64, f64)> {
    let time = |name: &str| {
        let lines = run.lines(job);
        let mut times = lines.iter().filter_map(|line| line.strip_prefix(name));
        times.next()?.parse::<f64>().ok()
    };
    Some((time("START=")?, time("END=")?))
}

/// Returns how many of these went on at once at most.
fn at_once(spans: &[(f64, f64)]) -> usize {
    let others = |start: f64| {
        let spans = spans.iter();
        spans
            .filter(|(from, to)| *from <= start && start < *to)
            .count()
    };
    spans
        .iter()
        .map(|(start, _)| others(*start))
        .max()
        .unwrap_or(0)
}

fn jobs_of_all_runs_share_the_limit(manager: &Manager) {
    limit(manager, "2\n");
    let job = || bash("echo START=$EPOCHREALTIME; sleep 0.4; echo END=$EPOCHREALTIME");
    let jobs: Map<String, Value> = (0..6).map(|n| (format!("j{n}"), job())).collect();
    let all = Value::Object(jobs.clone());
    let bounded = with(plan("bounded", all.clone()), json!({ "maxParallel": 1 }));
    let runs = [plan("first", all.clone()), plan("second", all), bounded];
    let runs = runs.map(|plan| manager.start(&plan, &NONE));
    let victim = runs[0].wait_for_event("jobStarted", None)["event"]["job"]
        .as_str()
        .expect("a name")
        .to_owned();
    runs[0].kill_runner(&victim);
    let runs = runs.map(Run::end);
    let spans =
        |run: &Finished| -> Vec<_> { jobs.keys().filter_map(|job| span(run, job)).collect() };
    let all: Vec<_> = runs.iter().flat_map(spans).collect();
    assert!(
        all.len() >= 17,
        "{all:?}: {}{}{}",
        runs[0],
        runs[1],
        runs[2]
    );
    assert_eq!(at_once(&all), 2, "{}{}{}", runs[0], runs[1], runs[2]);
    assert_eq!(at_once(&spans(&runs[2])), 1, "{}", runs[2]);
    for run in &runs[1..] {
        assert_eq!(run.code, Some(0), "{run}");
    }
    for run in runs {
        run.leaves_nothing(manager);
    }
}

/// Starts a run whose job has the only place.
fn holder(manager: &Manager) -> Run<'_> {
    limit(manager, "1");
    let run = manager.start(&plan("holder", json!({ "j": holds() })), &NONE);
    run.wait_for_file("j", "started");
    run
}

/// Returns the status that systemd has of a unit.
fn status(manager: &Manager, unit: &str) -> String {
    let show = ["show", "--property=StatusText", "--value", unit];
    manager.systemctl(&show).ok().trim().to_owned()
}

fn a_job_that_waits_says_so_and_its_time_does_not_count(manager: &Manager) {
    let holder = holder(manager);
    let job = with(bash("sleep 0.2; echo ran"), json!({ "timeout": 2 }));
    let retried = with(job.clone(), json!({ "retry": { "maxAttempts": 2 } }));
    let jobs = json!({ "j": job, "retried": retried });
    let run = manager.start(&plan("waits", jobs), &NONE);
    for job in ["j", "retried"] {
        run.wait_for_event("jobWaiting", Some(job));
    }
    let shown = manager.nixactions(&["show", run.id()]).ok();
    let sentence = "j waits for a place among the jobs that run at once";
    assert!(shown.contains(sentence), "{shown}");
    if manager.kind() != Kind::Embedded {
        let unit = format!("nixactions-{}.service", run.id());
        wait_for(SOON, "the status of the run", || {
            let status = status(manager, &unit);
            (status == "0 of 2 jobs done; waiting for a place: j, retried").then_some(())
        });
    }
    thread::sleep(Duration::from_secs(3));
    let_go(&holder, "j");
    holder.end().exits(0);
    let run = run.end().exits(0);
    assert_eq!(run.lines("j"), ["ran"], "{run}");
    assert_eq!(run.lines("retried"), ["ran"], "{run}");
    run.leaves_nothing(manager);
}

fn a_wait_ends_at_once_with_a_cancellation(manager: &Manager) {
    let holder = holder(manager);
    let run = manager.start(&plan("ends", json!({ "j": bash("echo never") })), &NONE);
    run.wait_for_event("jobWaiting", Some("j"));
    manager.nixactions(&["cancel", run.id()]).ok();
    let run = run.end().exits(130);
    assert_eq!(run.verdict("j"), "cancelled/cancelled", "{run}");
    assert!(run.lines("j").is_empty(), "{run}");
    assert!(!holder.has_ended());
    let_go(&holder, "j");
    holder.end().exits(0);
}

fn a_cancelled_run_cleans_up_without_waiting_for_others(manager: &Manager) {
    let holder = holder(manager);
    let always = json!({ "condition": "always()" });
    let jobs = json!({
        "j": bash("echo never"),
        "waits": with(bash("echo cleaned"), always.clone()),
        "after": with(bash("echo cleaned"), with(always, json!({ "needs": ["j"] }))),
    });
    let run = manager.start(&plan("cleans", jobs), &NONE);
    for job in ["j", "waits"] {
        run.wait_for_event("jobWaiting", Some(job));
    }
    manager.nixactions(&["cancel", run.id()]).ok();
    let run = run.end().exits(130);
    assert_eq!(run.verdict("j"), "cancelled/cancelled", "{run}");
    for job in ["waits", "after"] {
        assert_eq!(run.verdict(job), "success/success", "{run}");
        assert_eq!(run.lines(job), ["cleaned"], "{run}");
    }
    assert!(!holder.has_ended());
    let_go(&holder, "j");
    holder.end().exits(0);
}

/// Before systemd 258, the runner of such a job waits for a lock of its run or its matrix. At a
/// cancellation, it gets the same signal as all other runners.
fn a_cancelled_job_that_cleans_up_keeps_its_place_in_the_queue(manager: &Manager) {
    let matrix = json!({ "matrix": { "group": "m", "maxParallel": 1 } });
    let cleans = json!({ "needs": ["other"], "condition": "always()" });
    let jobs = json!({
        "holds": with(bash("trap 'sleep 1; exit 1' INT; touch started; sleep 98771 & wait"), matrix.clone()),
        "other": holds(),
        "cleans": with(bash("echo cleaned"), with(cleans, matrix)),
    });
    let run = manager.start(&plan("queue", jobs), &NONE);
    run.wait_for_file("holds", "started");
    run.wait_for_file("other", "started");
    let_go(&run, "other");
    run.wait_for_event("jobFinished", Some("other"));
    if manager.kind() == Kind::System {
        // Before systemd 258, the job's runner has begun by now, and waits itself.
        thread::sleep(Duration::from_secs(1));
    }
    manager.nixactions(&["cancel", run.id()]).ok();
    let run = run.end().exits(130);
    assert_eq!(run.verdict("holds"), "cancelled/cancelled", "{run}");
    assert_eq!(run.verdict("cleans"), "success/success", "{run}");
    assert_eq!(run.lines("cleans"), ["cleaned"], "{run}");
}

fn a_killed_job_gives_its_place_back_and_its_retry_takes_one_again(manager: &Manager) {
    limit(manager, "1");
    let again = "[ $NIXACTIONS_ATTEMPT = 2 ] && echo again && exit
        touch started; sleep 98771";
    let retry = json!({ "retry": { "maxAttempts": 2 } });
    let jobs = json!({ "j": with(bash(again), retry) });
    let killed = manager.start(&plan("killed", jobs), &NONE);
    killed.wait_for_file("j", "started");
    let waits = manager.start(&plan("waits", json!({ "j": bash("echo ran") })), &NONE);
    waits.wait_for_event("jobWaiting", Some("j"));
    assert!(killed.kill_runner("j"), "`j` has no runner");
    let [killed, waits] = [killed, waits].map(|run| run.end().exits(0));
    assert_eq!(killed.lines("j"), ["again"], "{killed}");
    assert_eq!(waits.lines("j"), ["ran"], "{waits}");
    // A job that is killed while it waits holds up no other job.
    let holder = holder(manager);
    let runs = ["lost", "next"].map(|name| {
        let run = manager.start(&plan(name, json!({ "j": bash("echo ran") })), &NONE);
        run.wait_for_event("jobWaiting", Some("j"));
        run
    });
    assert!(runs[0].kill_runner("j"), "`j` has no runner");
    let [lost, next] = runs;
    let lost = lost.end().exits(1);
    assert_eq!(lost.reason("j"), "signal: killed by SIGKILL", "{lost}");
    let_go(&holder, "j");
    holder.end().exits(0);
    next.end().exits(0);
}

fn the_wait_of_a_retry_does_not_count_for_the_timeout(manager: &Manager) {
    limit(manager, "1");
    let again = "[ $NIXACTIONS_ATTEMPT = 3 ] && echo again && exit
        touch started-$NIXACTIONS_ATTEMPT; sleep 98771";
    let retry = json!({ "maxAttempts": 3, "minTime": 0 });
    let jobs = json!({ "j": with(bash(again), json!({ "timeout": 4, "retry": retry })) });
    let killed = manager.start(&plan("killed", jobs), &NONE);
    for attempt in ["1", "2"] {
        killed.wait_for_file("j", &format!("started-{attempt}"));
        let plan = plan(&format!("between{attempt}"), json!({ "j": holds() }));
        let between = manager.start(&plan, &NONE);
        between.wait_for_event("jobWaiting", Some("j"));
        assert!(killed.kill_runner("j"), "`j` has no runner");
        between.wait_for_file("j", "started");
        thread::sleep(Duration::from_secs(3));
        let_go(&between, "j");
        between.end().exits(0);
    }
    let killed = killed.end().exits(0);
    assert_eq!(killed.lines("j"), ["again"], "{killed}");
}

fn a_larger_limit_applies_while_jobs_of_a_smaller_one_wait(manager: &Manager) {
    let holder = holder(manager);
    let old = manager.start(&plan("old", json!({ "j": bash("echo ran") })), &NONE);
    old.wait_for_event("jobWaiting", Some("j"));
    limit(manager, "2");
    let new = manager.start(&plan("new", json!({ "j": holds() })), &NONE);
    new.wait_for_file("j", "started");
    let next = manager.start(&plan("next", json!({ "j": bash("echo ran") })), &NONE);
    next.wait_for_event("jobWaiting", Some("j"));
    // The larger limit holds for all together.
    assert!(!old.has_ended() && !next.has_ended());
    let_go(&new, "j");
    new.end().exits(0);
    next.end().exits(0);
    assert!(!old.has_ended());
    let_go(&holder, "j");
    holder.end().exits(0);
    old.end().exits(0);
}

/// The kernel gives each user few instances of inotify, and others may hold them all.
fn a_job_that_cannot_watch_the_locks_looks_again_and_again(manager: &Manager) {
    let holder = holder(manager);
    let filter = json!({ "properties": { "SystemCallFilter": "~inotify_init1" } });
    let jobs = json!({ "j": with(bash("echo ran"), filter) });
    let run = manager.start(&plan("blind", jobs), &NONE);
    run.wait_for_event("jobWaiting", Some("j"));
    thread::sleep(Duration::from_millis(500));
    assert!(!run.has_ended());
    let_go(&holder, "j");
    holder.end().exits(0);
    let run = run.end().exits(0);
    assert_eq!(run.lines("j"), ["ran"], "{run}");
}

/// A step may stop its runner (SIGSTOP). The runner then cannot end the job, which would hold its
/// place for ever. A test
/// cannot wait for as long as the supervisor does. So the event from which the job's time counts
/// gets an earlier date, and the next supervisor counts from that.
fn ends_a_job_that_outlives_its_timeout(manager: &Manager, event: &str, job: Value) {
    limit(manager, "1");
    let job = with(job, json!({ "timeout": 1000 }));
    let run = manager.start(&plan("stopped", json!({ "j": job })), &NONE);
    let began = run.wait_for_event(event, Some("j"));
    assert!(run.signal_runner("j", Signal::SIGSTOP), "`j` has no runner");
    let next = manager.start(&plan("next", json!({ "j": bash("echo ran") })), &NONE);
    next.wait_for_event("jobWaiting", Some("j"));
    let at = began["at"].as_str().expect("a time");
    let path = run.dir().join("events.jsonl");
    let events = fs::read_to_string(&path).expect("the run directory is ours");
    let earlier = format!("2001{}", &at[4..]);
    fs::write(&path, events.replace(at, &earlier)).expect("the run directory is ours");
    assert!(run.kill_supervisor(), "it has a supervisor");
    let run = run.end().exits(1);
    assert_eq!(run.verdict("j"), "failure/failure", "{run}");
    let reason = "timeout: the job took longer than 1000 s";
    assert_eq!(run.reason("j"), reason, "{run}");
    // Its place is free again.
    next.end().exits(0);
    run.leaves_nothing(manager);
}

fn the_supervisor_ends_a_job_that_outlives_its_timeout(manager: &Manager) {
    ends_a_job_that_outlives_its_timeout(manager, "jobStarted", holds());
}

fn a_condition_cannot_hold_a_place_for_ever(manager: &Manager) {
    let condition = json!({ "condition": "sleep 98771" });
    let job = with(bash("echo never"), condition);
    ends_a_job_that_outlives_its_timeout(manager, "jobPlaced", job);
}

fn a_wait_outlives_a_reexecuted_systemd_and_a_killed_supervisor(manager: &Manager) {
    let holder = holder(manager);
    let run = manager.start(&plan("outlives", json!({ "j": bash("echo ran") })), &NONE);
    run.wait_for_event("jobWaiting", Some("j"));
    manager.systemctl(&["daemon-reexec"]).ok();
    assert!(run.kill_supervisor(), "it has a supervisor");
    let unit = format!("nixactions-{}.service", run.id());
    wait_for(SOON, "the status of the next supervisor", || {
        (status(manager, &unit) == "0 of 1 jobs done; waiting for a place: j").then_some(())
    });
    let_go(&holder, "j");
    holder.end().exits(0);
    let run = run.end().exits(0);
    assert_eq!(run.lines("j"), ["ran"], "{run}");
    run.leaves_nothing(manager);
}

/// A runner with process ids of its own, or in a container, gets the directory of the locks by
/// another descriptor. No step gets it.
fn jobs_in_roots_and_containers_share_the_limit(manager: &Manager) {
    limit(manager, "1");
    let image = manager.image().expect("a machine has one");
    let script = "echo START=$EPOCHREALTIME; sleep 0.3
        for fd in /proc/self/fd/*; do case $(readlink $fd) in */slots*) echo $fd is open;; esac; done
        env | grep -c LISTEN_ || true
        echo END=$EPOCHREALTIME";
    let mut jobs = Map::new();
    for way in ["systemd", "nspawn"] {
        for n in 0..2 {
            let on = json!({ "executor": way });
            jobs.insert(format!("{way}-{n}"), with(bash(script), on));
        }
    }
    let executors = json!({
        "systemd": { "type": "systemd", "root": image },
        "nspawn": { "type": "nspawn", "root": image },
    });
    let names: Vec<String> = jobs.keys().cloned().collect();
    // The bound of the run itself takes locks, too, before systemd 258.
    let more = json!({ "executors": executors, "maxParallel": 3 });
    let run = manager.start(&with(plan("boxes", Value::Object(jobs)), more), &NONE);
    let run = run.end().exits(0);
    let spans: Vec<_> = names.iter().filter_map(|job| span(&run, job)).collect();
    assert_eq!((spans.len(), at_once(&spans)), (4, 1), "{run}");
    for job in names {
        let lines = run.lines(&job);
        let others: Vec<_> = lines.iter().filter(|line| !line.contains('=')).collect();
        assert_eq!(others, [&"0"], "{run}");
    }
    run.leaves_nothing(manager);
}

fn a_bad_limit_is_refused_and_leaves_no_run(manager: &Manager) {
    let plan = manager.plan(&plan("refused", json!({ "j": bash("true") })));
    let plan = plan.display().to_string();
    for content in ["0", "-1", "many", "", "513"] {
        limit(manager, content);
        let (code, stderr) = manager.refused(&["run", &plan]);
        let error = format!(
            "invalid number of jobs `{content}` in `/var/lib/nixactions/max-concurrent-jobs`"
        );
        assert_eq!(code, 3, "{stderr}");
        assert!(
            stderr.contains(&error) && stderr.contains("from 1 to 512"),
            "{stderr}"
        );
        assert!(manager.runs().is_empty(), "{:?}", manager.runs());
    }
}
