//! Random workflows: which jobs there are, what each needs, asks for and does, as values that
//! proptest makes and as a plan.

use std::{collections::BTreeMap, ops::Range};

use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

/// The condition of a job or step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    Success,
    Failure,
    Always,
    Cancelled,
}

/// The matrix groups: jobs of the first are cancelled when one of them fails, those of the second
/// are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    FailFast,
    GoesOn,
}

/// The program of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    Succeed,
    /// Succeed after a tenth of a second, so that a disturbance finds the step running.
    Sleep,
    Fail,
}

/// A step of a job.
#[derive(Debug, Clone)]
pub struct Step {
    pub does: Does,
    pub tolerated: bool,
    pub condition: Condition,
    /// The program that cleans up after the step.
    pub post: Option<Does>,
}

/// A job; its name is `j` and its index.
#[derive(Debug, Clone)]
pub struct Job {
    /// Indexes of earlier jobs.
    pub needs: Vec<usize>,
    pub condition: Condition,
    pub tolerated: bool,
    pub steps: Vec<Step>,
    pub group: Option<Group>,
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

fn does() -> impl Strategy<Value = Does> {
    prop_oneof![5 => Just(Does::Succeed), 4 => Just(Does::Sleep), 1 => Just(Does::Fail)]
}

/// Returns DAGs of a few jobs with all that the rules speak of.
pub fn dag() -> impl Strategy<Value = Vec<Job>> {
    let step = (
        does(),
        prop::bool::weighted(0.3),
        condition(),
        prop::option::weighted(0.25, does()),
    )
        .prop_map(|(does, tolerated, condition, post)| Step {
            does,
            tolerated,
            condition,
            post,
        });
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
            let condition = if all_on_success {
                Condition::Success
            } else {
                condition
            };
            Job {
                needs: some_of(0..index, &needs),
                condition,
                tolerated,
                steps,
                group,
            }
        };
        jobs.into_iter().enumerate().map(finish).collect()
    })
}

/// Returns some of these jobs, each once, in order.
fn some_of(jobs: Range<usize>, picks: &[prop::sample::Index]) -> Vec<usize> {
    if jobs.is_empty() {
        return Vec::new();
    }
    let mut some: Vec<usize> = picks
        .iter()
        .map(|pick| jobs.start + pick.index(jobs.len()))
        .collect();
    some.sort_unstable();
    some.dedup();
    some
}

/// Returns DAGs with a number of jobs in `jobs`. Each job has one step, and needs some of the
/// `near` jobs before it. Few jobs fail, so most of them run. If the engine starts a job too early,
/// the records of many jobs are wrong.
pub fn large_dag(jobs: Range<usize>, near: Range<usize>) -> impl Strategy<Value = Vec<Job>> {
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
            let condition = if all_on_success {
                Condition::Success
            } else {
                condition
            };
            Job {
                needs: some_of(index.saturating_sub(near)..index, &needs),
                condition,
                tolerated,
                steps: vec![Step {
                    does: if fails { Does::Fail } else { Does::Succeed },
                    tolerated: false,
                    condition: Condition::Success,
                    post: None,
                }],
                group,
            }
        };
        jobs.into_iter().enumerate().map(finish).collect()
    })
}

pub fn plan(jobs: &[Job], parallel: u32, group_parallel: Option<u32>) -> Value {
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
        let run = |does: Does| match does {
            Does::Succeed => json!(["true"]),
            Does::Sleep => json!(["sleep", "0.1"]),
            Does::Fail => json!(["false"]),
        };
        let step = |step: &Step| {
            let post = step.post.map(|does| json!({ "run": run(does) }));
            json!({ "run": run(step.does), "continueOnError": step.tolerated, "condition": text(step.condition), "post": post })
        };
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
