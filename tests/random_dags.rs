//! Random DAGs against a model of the rules that is simpler than the engine: which jobs run, how
//! each ends, in what order; undisturbed, cancelled at any moment, and with supervisors that are
//! killed.
//!
//! The model is asked of each job, given how its needs have ended: then it holds for whatever a
//! cancellation, which comes when it comes, has left of the run.
//!
//! DAGs that are larger than what PID 1 is given at once go in waves; the model knows nothing of
//! those.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use nixactions_harness::{
    CommandExt as _, Finished, Manager, RUN_DEADLINE, Run, on_managers, wait_for,
};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestError, TestRunner},
};
use serde_json::{Value, json};

on_managers!(random_dags_follow_the_model on embedded, system_252, system_262, user_262);
on_managers!(random_dags_in_waves_follow_the_model on embedded, system_252, system_257, system_262, user_262);

/// How many DAGs each manager gets; each is a run.
const CASES: u32 = 16;
/// And how many large ones.
const LARGE_CASES: u32 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Success,
    Failure,
    Always,
    Cancelled,
}

/// The matrix groups: jobs of the first are cancelled when one of them fails, those of the second
/// are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    FailFast,
    GoesOn,
}

#[derive(Debug, Clone)]
struct Job {
    /// Indexes of earlier jobs.
    needs: Vec<usize>,
    condition: Condition,
    tolerated: bool,
    /// What each step does, and whether its failure is tolerated.
    steps: Vec<(bool, bool, Condition)>,
    group: Option<Group>,
}

/// What happens to a run, each when so many of its jobs have finished.
#[derive(Debug, Clone)]
enum Disturbance {
    None,
    Cancel(prop::sample::Index),
    KillSupervisor(Vec<prop::sample::Index>),
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        8 => Just(Condition::Success),
        2 => Just(Condition::Always),
        2 => Just(Condition::Failure),
        1 => Just(Condition::Cancelled),
    ]
}

fn group() -> impl Strategy<Value = Option<Group>> {
    prop_oneof![4 => Just(None), 2 => Just(Some(Group::FailFast)), 1 => Just(Some(Group::GoesOn))]
}

fn disturbance() -> impl Strategy<Value = Disturbance> {
    prop_oneof![
        2 => Just(Disturbance::None),
        2 => any::<prop::sample::Index>().prop_map(Disturbance::Cancel),
        2 => vec(any::<prop::sample::Index>(), 1..3).prop_map(Disturbance::KillSupervisor),
    ]
}

fn dag() -> impl Strategy<Value = Vec<Job>> {
    let step = (
        prop::bool::weighted(0.12),
        prop::bool::weighted(0.3),
        condition(),
    );
    let job = (
        vec(any::<prop::sample::Index>(), 0..4),
        condition(),
        prop::bool::weighted(0.2),
        vec(step, 1..4),
        group(),
    );
    // A job that asks for anything but success keeps systemd from dropping the jobs before it, so
    // some DAGs have none.
    (vec(job, 1..26), prop::bool::weighted(0.4)).prop_map(|(jobs, all_on_success)| {
        let finish = |(index, (needs, condition, tolerated, steps, group)): (
            usize,
            (Vec<prop::sample::Index>, _, _, _, _),
        )| {
            let mut needs: Vec<usize> = if index == 0 {
                Vec::new()
            } else {
                needs.iter().map(|need| need.index(index)).collect()
            };
            needs.sort_unstable();
            needs.dedup();
            let condition = if all_on_success {
                Condition::Success
            } else {
                condition
            };
            Job {
                needs,
                condition,
                tolerated,
                steps,
                group,
            }
        };
        jobs.into_iter().enumerate().map(finish).collect()
    })
}

/// How a need has ended, and whether it or a job before it has failed.
#[derive(Debug, Clone, Copy)]
struct Ended<'a> {
    conclusion: &'a str,
    failed: bool,
}

/// How a job ends by the model where nobody cancels it, and the steps that run.
fn model(job: &Job, needs: &[Ended<'_>]) -> (&'static str, Vec<usize>) {
    let runs = match job.condition {
        Condition::Success => needs.iter().all(|need| need.conclusion == "success"),
        Condition::Failure => needs.iter().any(|need| need.failed),
        Condition::Always => true,
        Condition::Cancelled => false,
    };
    if runs {
        run_of(job)
    } else {
        ("skipped/skipped", Vec::new())
    }
}

/// How a job ends by the model once it runs, and the steps that run.
fn run_of(job: &Job) -> (&'static str, Vec<usize>) {
    let (mut ran, mut broken) = (Vec::new(), false);
    for (index, (fails, tolerated, condition)) in job.steps.iter().enumerate() {
        let runs = match condition {
            Condition::Success => !broken,
            Condition::Failure => broken,
            Condition::Always => true,
            Condition::Cancelled => false,
        };
        if runs {
            ran.push(index);
            broken |= fails & !tolerated;
        }
    }
    let verdict = match (broken, job.tolerated) {
        (false, _) => "success/success",
        (true, true) => "failure/success",
        (true, false) => "failure/failure",
    };
    (verdict, ran)
}

/// Returns how else a job may end that is cancelled, alone or with its run.
fn when_cancelled(job: &Job, needs: &[Ended<'_>], with_run: bool) -> Vec<&'static str> {
    match job.condition {
        // A need that did not succeed skips it in any case.
        Condition::Success if needs.iter().any(|need| need.conclusion != "success") => vec![],
        Condition::Cancelled if with_run => vec!["cancelled/cancelled", run_of(job).0],
        Condition::Cancelled => vec![],
        Condition::Success | Condition::Failure | Condition::Always => vec!["cancelled/cancelled"],
    }
}

fn plan(jobs: &[Job], parallel: u32, group_parallel: Option<u32>) -> Value {
    let text = |condition: Condition| match condition {
        Condition::Success => "success()",
        Condition::Failure => "failure()",
        Condition::Always => "always()",
        Condition::Cancelled => "cancelled()",
    };
    let matrix = |group: Group| {
        let fail_fast = group == Group::FailFast;
        json!({ "group": format!("{group:?}"), "failFast": fail_fast, "maxParallel": group_parallel })
    };
    let one = |(index, job): (usize, &Job)| {
        let step = |(fails, tolerated, condition): &(bool, bool, Condition)| json!({ "run": [if *fails { "false" } else { "true" }], "continueOnError": tolerated, "condition": text(*condition) });
        let needs: Vec<String> = job.needs.iter().map(|need| format!("j{need}")).collect();
        let steps: Vec<Value> = job.steps.iter().map(step).collect();
        let mut value = json!({ "needs": needs, "condition": text(job.condition), "continueOnError": job.tolerated, "steps": steps, "executor": "bare" });
        if let Some(group) = job.group {
            value["matrix"] = matrix(group);
        }
        (format!("j{index}"), value)
    };
    let jobs: BTreeMap<String, Value> = jobs.iter().enumerate().map(one).collect();
    // The sandbox has no part in the rules, and is the largest cost of a job.
    let executors = json!({ "bare": { "type": "systemd", "sandbox": "none", "copyRepo": false } });
    json!({ "version": 1, "name": "random", "maxParallel": parallel, "executors": executors, "jobs": jobs })
}

/// Does to a run what is to be done to it.
fn disturb(manager: &Manager, run: &Run<'_>, jobs: usize, disturbance: &Disturbance) {
    let wait_until = |finished: usize| {
        wait_for(RUN_DEADLINE, "so many jobs to finish", || {
            let count = run
                .events()
                .iter()
                .filter(|event| event["event"]["type"] == "jobFinished")
                .count();
            (count >= finished || !run.record().is_null()).then_some(())
        });
    };
    match disturbance {
        Disturbance::None => {}
        Disturbance::Cancel(when) => {
            wait_until(when.index(jobs));
            // It may be over by then.
            manager
                .nixactions(&["cancel", run.id()])
                .output_within(RUN_DEADLINE);
        }
        Disturbance::KillSupervisor(moments) => {
            let mut moments: Vec<usize> = moments.iter().map(|when| when.index(jobs)).collect();
            moments.sort_unstable();
            for finished in moments {
                wait_until(finished);
                run.kill_supervisor();
            }
        }
    }
}

fn check(jobs: &[Job], run: &Finished) -> Result<(), TestCaseError> {
    let name = |index: usize| format!("j{index}");
    let conclusion = |index: usize| {
        run.job(&name(index))["conclusion"]
            .as_str()
            .unwrap_or("none")
    };
    let was_cancelled = run.record["conclusion"] == "cancelled";
    let any_failed = (0..jobs.len()).any(|index| conclusion(index) == "failure");
    let code = if was_cancelled {
        130
    } else {
        i32::from(any_failed)
    };
    prop_assert_eq!(run.code, Some(code), "{}", run);
    let mut failed: Vec<bool> = Vec::new();
    for (index, job) in jobs.iter().enumerate() {
        let needs: Vec<Ended<'_>> = job
            .needs
            .iter()
            .map(|need| Ended {
                conclusion: conclusion(*need),
                failed: failed[*need],
            })
            .collect();
        failed.push(conclusion(index) == "failure" || needs.iter().any(|need| need.failed));
        let sibling_failed = job.group == Some(Group::FailFast)
            && (0..jobs.len()).any(|other| {
                other != index && jobs[other].group == job.group && conclusion(other) == "failure"
            });
        let (verdict, record) = (run.verdict(&name(index)), run.job(&name(index)));
        let (expected, steps) = model(job, &needs);
        let mut allowed = vec![expected];
        if was_cancelled || sibling_failed {
            allowed.extend(when_cancelled(job, &needs, was_cancelled));
        } else {
            let ran = record["steps"]
                .as_array()
                .into_iter()
                .flatten()
                .enumerate()
                .filter(|(_, step)| step["attempts"] == 1);
            let ran: Vec<usize> = ran.map(|(index, _)| index).collect();
            prop_assert_eq!(&ran, &steps, "steps of j{} in {}", index, run);
        }
        prop_assert!(
            allowed.contains(&verdict.as_str()),
            "j{} ended {}, not one of {:?}: {}",
            index,
            verdict,
            allowed,
            run
        );
        prop_assert_eq!(
            record["reason"].is_string(),
            verdict != "success/success",
            "reason of j{} in {}",
            index,
            run
        );
        for need in &job.needs {
            let need = &run.job(&name(*need))["finishedAt"];
            // Skipped jobs have no beginning; PID 1 drops them while their needs are still being
            // recorded.
            if let (Some(started), Some(finished)) = (record["startedAt"].as_str(), need.as_str()) {
                prop_assert!(
                    finished <= started,
                    "j{} began at {} before its need ended at {}: {}",
                    index,
                    started,
                    finished,
                    run
                );
            }
        }
    }
    Ok(())
}

/// Returns DAGs of so many jobs, of one step each, that need some of the `near` jobs before them.
/// Few jobs fail, so that most of them have to run, and many are wrong where one begins too early.
fn large_dag(jobs: Range<usize>, near: Range<usize>) -> impl Strategy<Value = Vec<Job>> {
    let needs = vec(any::<prop::sample::Index>(), 0..4);
    let job = (
        needs,
        condition(),
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.03),
        group(),
    );
    (vec(job, jobs), near, prop::bool::weighted(0.4)).prop_map(|(jobs, near, all_on_success)| {
        let finish = |(index, (needs, condition, tolerated, fails, group)): (
            usize,
            (Vec<prop::sample::Index>, _, _, _, _),
        )| {
            let first = index.saturating_sub(near);
            let mut needs: Vec<usize> = if index == 0 {
                Vec::new()
            } else {
                needs
                    .iter()
                    .map(|need| first + need.index(index - first))
                    .collect()
            };
            needs.sort_unstable();
            needs.dedup();
            let condition = if all_on_success {
                Condition::Success
            } else {
                condition
            };
            Job {
                needs,
                condition,
                tolerated,
                steps: vec![(fails, false, Condition::Success)],
                group,
            }
        };
        jobs.into_iter().enumerate().map(finish).collect()
    })
}

fn random_dags_follow_the_model(manager: &Manager) {
    follow_the_model(manager, (CASES, 30), dag(), 1..6, 1);
}

fn random_dags_in_waves_follow_the_model(manager: &Manager) {
    follow_the_model(
        manager,
        (LARGE_CASES, 4),
        large_dag(120..160, 20..100),
        1..3,
        2,
    );
}

/// Runs so many DAGs, which are made smaller so often where one is wrong; undisturbed each goes in
/// so many waves at least.
fn follow_the_model(
    manager: &Manager,
    (cases, shrink): (u32, u32),
    dags: impl Strategy<Value = Vec<Job>>,
    parallel: Range<u32>,
    least_waves: usize,
) {
    let runs = AtomicUsize::new(0);
    let config = Config {
        cases,
        max_shrink_iters: shrink,
        failure_persistence: None,
        ..Config::default()
    };
    let strategy = (
        dags,
        parallel,
        prop::option::weighted(0.5, 1..3_u32),
        disturbance(),
    );
    let outcome = TestRunner::new(config).run(
        &strategy,
        |(jobs, parallel, group_parallel, disturbance)| {
            runs.fetch_add(1, Ordering::Relaxed);
            let path = manager.plan(&plan(&jobs, parallel, group_parallel));
            let run = manager.start_command(manager.nixactions(&[
                Path::new("run"),
                &path,
                Path::new("--output=json"),
            ]));
            disturb(manager, &run, jobs.len(), &disturbance);
            let run = run.end();
            if !matches!(disturbance, Disturbance::Cancel(_)) {
                prop_assert_ne!(
                    run.record["conclusion"].as_str(),
                    Some("cancelled"),
                    "{}",
                    run
                );
                let waves = run
                    .events
                    .iter()
                    .filter(|event| event["event"]["type"] == "jobsSubmitted")
                    .count();
                prop_assert!(
                    waves >= least_waves,
                    "{} jobs went in {} waves: {}",
                    jobs.len(),
                    waves,
                    run
                );
            }
            check(&jobs, &run)
        },
    );
    match outcome {
        Ok(()) => assert!(runs.into_inner() >= cases as usize),
        Err(TestError::Fail(reason, case)) => {
            panic!("{reason}\nfor jobs, maxParallel, that of groups and disturbance {case:#?}")
        }
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}
