//! The model: how each job of a run may have ended, by rules that are simpler than the engine.
//!
//! The model is asked of each job, given how its needs have ended: then it holds for whatever a
//! cancellation or a kill, which come when they come, have left of the run.

use nixactions_harness::Finished;
use proptest::{prelude::*, test_runner::TestCaseError};

use crate::{
    dag::{Condition, Does, Group, Job},
    disturb::Marks,
};

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
    for (index, step) in job.steps.iter().enumerate() {
        let runs = match step.condition {
            Condition::Success => !broken,
            Condition::Failure => broken,
            Condition::Always => true,
            Condition::Cancelled => false,
        };
        if runs {
            ran.push(index);
            broken |= step.does == Does::Fail && !step.tolerated;
        }
    }
    for (place, (index, does)) in posts(job).enumerate() {
        if ran.contains(&index) {
            ran.push(job.steps.len() + place);
            broken |= does == Does::Fail;
        }
    }
    let verdict = match (broken, job.tolerated) {
        (false, _) => "success/success",
        (true, true) => "failure/success",
        (true, false) => "failure/failure",
    };
    (verdict, ran)
}

/// Returns the clean-ups of a job in their order: the index of the step of each, and its program.
fn posts(job: &Job) -> impl Iterator<Item = (usize, Does)> {
    let steps = job.steps.iter().enumerate().rev();
    steps.filter_map(|(index, step)| Some((index, step.post?)))
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

/// Returns how else a job may end whose runner was killed, whose disk was full or whose manager was
/// lost.
fn when_broken(job: &Job) -> &'static str {
    if job.tolerated {
        "failure/success"
    } else {
        "failure/failure"
    }
}

/// Compares the record of a run, and its client's exit status, with the model.
pub fn check(jobs: &[Job], run: &Finished, marks: &Marks) -> Result<(), TestCaseError> {
    let name = |index: usize| format!("j{index}");
    let conclusion = |index: usize| {
        run.job(&name(index))["conclusion"]
            .as_str()
            .unwrap_or("none")
    };
    let was_cancelled = run.record["conclusion"] == "cancelled";
    // Such a run fails, whatever its jobs have come to, and is given up like a cancelled one.
    let reason = run.record["reason"].as_str().unwrap_or_default();
    let ran_out = reason.starts_with("disk is full: ");
    prop_assert!(marks.disk_full || !ran_out, "there was room in {}", run);
    let was_lost = reason.starts_with("lost: ");
    prop_assert!(marks.lost || !was_lost, "it had its manager: {}", run);
    let any_failed = (0..jobs.len()).any(|index| conclusion(index) == "failure");
    let (concluded, code) = if was_cancelled {
        ("cancelled", 130)
    } else if any_failed || ran_out || was_lost {
        ("failure", 1)
    } else {
        ("success", 0)
    };
    prop_assert_eq!(&run.record["conclusion"], concluded, "{}", run);
    prop_assert!(
        marks.cancelled || !was_cancelled,
        "nobody cancelled {}",
        run
    );
    // A run whose manager is gone may also end its client with 3, which says that.
    let is_lost = marks.lost && run.code == Some(3);
    prop_assert!(run.code == Some(code) || is_lost, "exit status of {}", run);
    let was_killed = run
        .events
        .iter()
        .any(|event| event["event"]["kill"] == true);
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
        let broken = marks.lost || marks.disk_full || marks.killed.contains(&name(index));
        if broken {
            allowed.push(when_broken(job));
        }
        if marks.lost {
            allowed.extend(["skipped/skipped", "cancelled/cancelled"]);
        }
        let run_ends = was_cancelled || ran_out;
        let need_was_killed = job
            .needs
            .iter()
            .any(|need| marks.killed.contains(&name(*need)));
        if was_killed || run_ends && need_was_killed {
            // The kill may reach the runner before it has asked the job's condition. And of a need
            // whose runner was killed there is no result to ask, only the cancellation of the run.
            allowed.push("cancelled/cancelled");
        }
        if run_ends || sibling_failed {
            allowed.extend(when_cancelled(job, &needs, run_ends));
        } else if !broken {
            let ran = record["steps"]
                .as_array()
                .into_iter()
                .flatten()
                .enumerate()
                .filter(|(_, step)| step["attempts"] == 1);
            let ran: Vec<usize> = ran.map(|(index, _)| index).collect();
            prop_assert_eq!(&ran, &steps, "steps of j{} in {}", index, run);
        }
        // Also in a run that was cancelled.
        let steps = record["steps"].as_array().map_or(&[][..], Vec::as_slice);
        if !broken && !ran_out && !was_killed && !steps.is_empty() {
            for (place, (of, _)) in posts(job).enumerate() {
                let has_run = |index: usize| steps.get(index).map(|step| &step["attempts"]);
                prop_assert_eq!(
                    has_run(of),
                    has_run(job.steps.len() + place),
                    "what cleans up after step {} of j{} in {}",
                    of,
                    index,
                    run
                );
            }
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
