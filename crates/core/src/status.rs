//! The rules for starting, skipping and cancelling jobs and steps, and for their conclusions.
//!
//! Pure functions over conclusions, like GitHub's status functions
//! (<https://docs.github.com/en/actions/reference/workflows-and-actions/expressions#status-check-functions>).
//! [`verdict`] decides how a finished job ended. Knows nothing of processes, units or files.

mod verdict;

use nixactions_expression::Status;

pub use self::verdict::{
    Cancellation, Claim, Ended, Evidence, ServiceEvidence, StartEnd, Verdict, verdict,
};
pub use crate::conditions::{Condition, Expression};
use crate::{ids::JobName, reason::Reason, record::Conclusion};

/// The decision of a gate.
#[derive(Debug, Clone, PartialEq)]
pub enum Gate {
    /// The job or step runs.
    Run,
    /// The job or step runs if this bash text exits 0.
    Ask(String),
    /// It fails: its condition could not be evaluated, for this reason.
    Fail(Reason),
    /// It is skipped, for this reason.
    Skip(Reason),
    /// The job or step is cancelled before its start, for this reason.
    Cancel(Reason),
}

/// A finished need, as its dependents see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The job.
    pub job: JobName,
    /// The job's conclusion.
    pub conclusion: Conclusion,
    /// Whether the job or one of its ancestors concluded failure.
    pub failed: bool,
}

/// Tells whether an expression is true, given what the status functions say; or why it cannot be
/// told.
pub type Evaluate<'a> = &'a dyn Fn(&Expression, Status) -> Result<bool, String>;

/// Decides whether a job runs, once all its needs are finished. `cancelled` is why the run is being
/// cancelled, if it is.
pub fn job_gate(
    condition: &Condition,
    needs: &[Need],
    cancelled: Option<&Reason>,
    evaluate: Evaluate<'_>,
) -> Gate {
    match (condition, cancelled) {
        (Condition::Expression(expression), _) => {
            expression_gate(expression, needs, cancelled, evaluate)
        }
        (Condition::Always, _) | (Condition::Cancelled, Some(_)) => Gate::Run,
        (Condition::Cancelled, None) => Gate::Skip(was_false("cancelled()")),
        (Condition::Failure, Some(reason)) => Gate::Cancel(reason.clone()),
        (Condition::Failure, None) if needs.iter().any(|need| need.failed) => Gate::Run,
        (Condition::Failure, None) => Gate::Skip(was_false("failure()")),
        (Condition::Success | Condition::Bash(_), _) => {
            let blocked = blocked(needs.iter().map(|need| (&need.job, need.conclusion)));
            match (blocked, cancelled, condition) {
                (Some(reason), _, _) => Gate::Skip(reason),
                (None, Some(reason), _) => Gate::Cancel(reason.clone()),
                (None, None, Condition::Bash(text)) => Gate::Ask(text.clone()),
                (None, None, _) => Gate::Run,
            }
        }
    }
}

/// As [`job_gate`], for an expression. In a run that is being cancelled it decides as on GitHub: a
/// job whose expression is true then runs. One that would have run otherwise is cancelled.
fn expression_gate(
    expression: &Expression,
    needs: &[Need],
    cancelled: Option<&Reason>,
    evaluate: Evaluate<'_>,
) -> Gate {
    let blocked = blocked(needs.iter().map(|need| (&need.job, need.conclusion)));
    if let (false, Some(reason)) = (expression.calls_status, &blocked) {
        return Gate::Skip(reason.clone());
    }
    let holds = |is_cancelled: bool| {
        let status = Status {
            success: blocked.is_none() && !is_cancelled,
            failure: needs.iter().any(|need| need.failed) && !is_cancelled,
            cancelled: is_cancelled,
        };
        evaluate(expression, status)
    };
    let runs_in_cancelled = || Ok(expression.calls_status && holds(true)?);
    let decided = match cancelled {
        None => holds(false).map(|holds| if holds { Gate::Run } else { skip(expression) }),
        Some(reason) => runs_in_cancelled().and_then(|runs| {
            Ok(if runs {
                Gate::Run
            } else if holds(false)? {
                Gate::Cancel(reason.clone())
            } else {
                skip(expression)
            })
        }),
    };
    decided.unwrap_or_else(|reason| untold(expression, &reason))
}

fn skip(expression: &Expression) -> Gate {
    Gate::Skip(was_false(&expression.text))
}

fn untold(expression: &Expression, reason: &str) -> Gate {
    Gate::Fail(Reason::ConditionFailed {
        condition: expression.text.clone(),
        why: reason.to_owned(),
    })
}

/// Decides whether a job of a matrix runs whose group is being cancelled, for this reason: cleaning
/// up goes on, as in a cancelled run.
pub fn matrix_gate(condition: &Condition, gate: Gate, cancelled: Option<Reason>) -> Gate {
    match (gate, cancelled) {
        (Gate::Run | Gate::Ask(_), Some(reason))
            // An expression was told that the group is being cancelled.
            if !matches!(
                condition,
                Condition::Always | Condition::Cancelled | Condition::Expression(_)
            ) =>
        {
            Gate::Cancel(reason)
        }
        (gate, _) => gate,
    }
}

/// Decides what becomes of a job in a run that was killed: no job starts any more. Its needs still
/// skip it, as they do in any run.
pub fn killed_gate(gate: Gate) -> Gate {
    match gate {
        Gate::Skip(reason) => Gate::Skip(reason),
        Gate::Run | Gate::Ask(_) | Gate::Fail(_) | Gate::Cancel(_) => {
            Gate::Cancel(Reason::RunKilled)
        }
    }
}

/// Returns the reason for skipping a job or step whose condition is false.
pub fn was_false(text: &str) -> Reason {
    Reason::ConditionFalse {
        condition: text.to_owned(),
    }
}

/// Returns the reason why `success()` is false over these needs, or `None` if it is true.
pub fn blocked<'a>(needs: impl Iterator<Item = (&'a JobName, Conclusion)>) -> Option<Reason> {
    let because = |job: &JobName, conclusion| Reason::Need {
        job: Some(job.clone()),
        conclusion,
    };
    let mut first = None;
    for (job, conclusion) in needs {
        match conclusion {
            Conclusion::Success => {}
            Conclusion::Failure => return Some(because(job, conclusion)),
            Conclusion::Cancelled | Conclusion::Skipped => {
                first.get_or_insert_with(|| because(job, conclusion));
            }
        }
    }
    first
}

/// Decides whether a step runs. `so_far` is the job's state over its earlier steps: success,
/// failure, or cancelled (also by the job's own timeout).
pub fn step_gate(condition: &Condition, so_far: Conclusion, evaluate: Evaluate<'_>) -> Gate {
    if let Condition::Expression(expression) = condition
        && (expression.calls_status || so_far == Conclusion::Success)
    {
        let status = Status {
            success: so_far == Conclusion::Success,
            failure: so_far == Conclusion::Failure,
            cancelled: so_far == Conclusion::Cancelled,
        };
        return match evaluate(expression, status) {
            Ok(true) => Gate::Run,
            Ok(false) => skip(expression),
            Err(reason) => untold(expression, &reason),
        };
    }
    let holds = match condition {
        Condition::Expression(_) => false,
        Condition::Always => true,
        Condition::Success | Condition::Bash(_) => so_far == Conclusion::Success,
        Condition::Failure => so_far == Conclusion::Failure,
        Condition::Cancelled => so_far == Conclusion::Cancelled,
    };
    match (holds, condition) {
        (true, Condition::Bash(text)) => Gate::Ask(text.clone()),
        (true, _) => Gate::Run,
        (false, Condition::Failure) => Gate::Skip(was_false("failure()")),
        (false, Condition::Cancelled) => Gate::Skip(was_false("cancelled()")),
        (false, _) if so_far == Conclusion::Cancelled => Gate::Skip(Reason::JobCancelled),
        (false, _) => Gate::Skip(Reason::EarlierStepFailed),
    }
}

/// Returns the conclusion of an outcome.
pub fn conclude(outcome: Conclusion, continue_on_error: bool) -> Conclusion {
    if outcome == Conclusion::Failure && continue_on_error {
        Conclusion::Success
    } else {
        outcome
    }
}

/// Returns the job's state after one more step. A failure stays. A cancellation outranks a failure
/// in the gates of later steps.
pub fn after_step(so_far: Conclusion, step: Conclusion) -> Conclusion {
    match (so_far, step) {
        (Conclusion::Cancelled, _) | (_, Conclusion::Cancelled) => Conclusion::Cancelled,
        (Conclusion::Failure, _) | (_, Conclusion::Failure) => Conclusion::Failure,
        _ => Conclusion::Success,
    }
}

/// Returns the conclusion of a run whose jobs are all finished.
pub fn run_conclusion(jobs: impl Iterator<Item = Conclusion>, cancelled: bool) -> Conclusion {
    let mut failed = false;
    for conclusion in jobs {
        failed |= conclusion == Conclusion::Failure;
    }
    match (cancelled, failed) {
        (true, _) => Conclusion::Cancelled,
        (false, true) => Conclusion::Failure,
        (false, false) => Conclusion::Success,
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod verdict_tests;
