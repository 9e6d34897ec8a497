//! Random DAGs against a model of the rules that is simpler than the engine: which jobs run, how each ends, in what order.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use nixactions_harness::{Manager, on_managers};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestError, TestRunner},
};
use serde_json::{Value, json};

on_managers!(random_dags_follow_the_model on embedded, system_252, system_262, user_262);

/// How many DAGs each manager gets; each is a run.
const CASES: u32 = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Success,
    Failure,
    Always,
    Cancelled,
}

#[derive(Debug, Clone)]
struct Job {
    /// Indexes of earlier jobs.
    needs: Vec<usize>,
    condition: Condition,
    tolerated: bool,
    /// What each step does, and whether its failure is tolerated.
    steps: Vec<(bool, bool, Condition)>,
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        8 => Just(Condition::Success),
        2 => Just(Condition::Always),
        2 => Just(Condition::Failure),
        1 => Just(Condition::Cancelled),
    ]
}

fn dag() -> impl Strategy<Value = Vec<Job>> {
    let step = (prop::bool::weighted(0.12), prop::bool::weighted(0.3), condition());
    let job = (vec(any::<prop::sample::Index>(), 0..4), condition(), prop::bool::weighted(0.2), vec(step, 1..4));
    // A job that asks for anything but success keeps systemd from dropping the jobs before it, so some DAGs have none.
    (vec(job, 1..26), prop::bool::weighted(0.4)).prop_map(|(jobs, all_on_success)| {
        let finish = |(index, (needs, condition, tolerated, steps)): (usize, (Vec<prop::sample::Index>, _, _, _))| {
            let mut needs: Vec<usize> = if index == 0 { Vec::new() } else { needs.iter().map(|need| need.index(index)).collect() };
            needs.sort_unstable();
            needs.dedup();
            let condition = if all_on_success { Condition::Success } else { condition };
            Job { needs, condition, tolerated, steps }
        };
        jobs.into_iter().enumerate().map(finish).collect()
    })
}

/// How a job ends by the model, and whether it or a job before it has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Expected {
    verdict: &'static str,
    conclusion: &'static str,
    failed: bool,
    /// The steps that run.
    ran: Vec<usize>,
}

fn model(jobs: &[Job]) -> Vec<Expected> {
    let mut all: Vec<Expected> = Vec::new();
    for job in jobs {
        let needs: Vec<&Expected> = job.needs.iter().map(|need| &all[*need]).collect();
        let runs = match job.condition {
            Condition::Success => needs.iter().all(|need| need.conclusion == "success"),
            Condition::Failure => needs.iter().any(|need| need.failed),
            Condition::Always => true,
            Condition::Cancelled => false,
        };
        let before = needs.iter().any(|need| need.failed);
        if !runs {
            all.push(Expected { verdict: "skipped/skipped", conclusion: "skipped", failed: before, ran: Vec::new() });
            continue;
        }
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
        let (verdict, conclusion) = match (broken, job.tolerated) {
            (false, _) => ("success/success", "success"),
            (true, true) => ("failure/success", "success"),
            (true, false) => ("failure/failure", "failure"),
        };
        all.push(Expected { verdict, conclusion, failed: before || conclusion == "failure", ran });
    }
    all
}

fn plan(jobs: &[Job], parallel: u32) -> Value {
    let text = |condition: Condition| match condition {
        Condition::Success => "success()",
        Condition::Failure => "failure()",
        Condition::Always => "always()",
        Condition::Cancelled => "cancelled()",
    };
    let one = |(index, job): (usize, &Job)| {
        let step = |(fails, tolerated, condition): &(bool, bool, Condition)| json!({ "run": [if *fails { "false" } else { "true" }], "continueOnError": tolerated, "condition": text(*condition) });
        let needs: Vec<String> = job.needs.iter().map(|need| format!("j{need}")).collect();
        let steps: Vec<Value> = job.steps.iter().map(step).collect();
        let value = json!({ "needs": needs, "condition": text(job.condition), "continueOnError": job.tolerated, "steps": steps, "executor": "bare" });
        (format!("j{index}"), value)
    };
    let jobs: BTreeMap<String, Value> = jobs.iter().enumerate().map(one).collect();
    // The sandbox has no part in the rules, and is the largest cost of a job.
    let executors = json!({ "bare": { "type": "systemd", "sandbox": "none", "copyRepo": false } });
    json!({ "version": 1, "name": "random", "maxParallel": parallel, "executors": executors, "jobs": jobs })
}

fn random_dags_follow_the_model(manager: &Manager) {
    let runs = AtomicUsize::new(0);
    let config = Config { cases: CASES, max_shrink_iters: 30, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&(dag(), 1..6_u32), |(jobs, parallel)| {
        runs.fetch_add(1, Ordering::Relaxed);
        let expected = model(&jobs);
        let path = manager.plan(&plan(&jobs, parallel));
        let run = manager.start_command(manager.nixactions(&[Path::new("run"), &path, Path::new("--output=json")])).end();
        let failed = expected.iter().any(|job| job.conclusion == "failure");
        prop_assert_eq!(run.code, Some(i32::from(failed)), "{}", run);
        for (index, (job, expected)) in jobs.iter().zip(&expected).enumerate() {
            let name = format!("j{index}");
            prop_assert_eq!(run.verdict(&name), expected.verdict, "{} in {}", name, run);
            let record = run.job(&name);
            let ran: Vec<usize> = record["steps"]
                .as_array()
                .into_iter()
                .flatten()
                .enumerate()
                .filter(|(_, step)| step["attempts"] == 1)
                .map(|(index, _)| index)
                .collect();
            prop_assert_eq!(&ran, &expected.ran, "steps of {} in {}", name, run);
            prop_assert_eq!(record["reason"].is_string(), expected.verdict != "success/success", "reason of {} in {}", name, run);
            for need in &job.needs {
                let need = &run.job(&format!("j{need}"))["finishedAt"];
                // Skipped jobs have no beginning; PID 1 drops them while their needs are still being recorded.
                if let (Some(started), Some(finished)) = (record["startedAt"].as_str(), need.as_str()) {
                    prop_assert!(finished <= started, "{} began at {} before its need ended at {}: {}", name, started, finished, run);
                }
            }
        }
        Ok(())
    });
    match outcome {
        Ok(()) => assert!(runs.into_inner() >= CASES as usize),
        Err(TestError::Fail(reason, (jobs, parallel))) => panic!("{reason}\nfor maxParallel {parallel} and {jobs:#?}"),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}
