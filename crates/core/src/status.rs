//! The rules for starting, skipping and cancelling jobs and steps, and for their conclusions.
//!
//! Pure functions over conclusions, like GitHub's status functions
//! (<https://docs.github.com/en/actions/reference/workflows-and-actions/expressions#status-check-functions>).
//! Knows nothing of processes, units or files.

use std::time::Duration;

use nixactions_expression::Status;

pub use crate::conditions::{Condition, Expression};
use crate::{
    ids::JobName,
    record::Conclusion,
    settings::{Backoff, Retry},
};

/// The decision of a gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// The job or step runs.
    Run,
    /// The job or step runs if this bash text exits 0.
    Ask(String),
    /// It fails: its condition could not be evaluated, for this reason.
    Fail(String),
    /// It is skipped, for this reason.
    Skip(String),
    /// The job or step is cancelled before its start, for this reason.
    Cancel(String),
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
    cancelled: Option<&str>,
    evaluate: Evaluate<'_>,
) -> Gate {
    match (condition, cancelled) {
        (Condition::Expression(expression), _) => {
            expression_gate(expression, needs, cancelled, evaluate)
        }
        (Condition::Always, _) | (Condition::Cancelled, Some(_)) => Gate::Run,
        (Condition::Cancelled, None) => Gate::Skip(was_false("cancelled()")),
        (Condition::Failure, Some(reason)) => Gate::Cancel(reason.to_owned()),
        (Condition::Failure, None) if needs.iter().any(|need| need.failed) => Gate::Run,
        (Condition::Failure, None) => Gate::Skip(was_false("failure()")),
        (Condition::Success | Condition::Bash(_), _) => {
            let blocked = blocked(needs.iter().map(|need| (&need.job, need.conclusion)));
            match (blocked, cancelled, condition) {
                (Some(reason), _, _) => Gate::Skip(reason),
                (None, Some(reason), _) => Gate::Cancel(reason.to_owned()),
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
    cancelled: Option<&str>,
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
                Gate::Cancel(reason.to_owned())
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
    Gate::Fail(format!(
        "{} could not be evaluated: {reason}",
        condition(&expression.text)
    ))
}

/// Decides whether a job of a matrix runs whose group is being cancelled, for this reason: cleaning
/// up goes on, as in a cancelled run.
pub fn matrix_gate(condition: &Condition, gate: Gate, cancelled: Option<String>) -> Gate {
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

/// The reason of a job that would have run in a run that was killed.
pub const RUN_KILLED: &str = "the run was killed";

/// Decides what becomes of a job in a run that was killed: no job starts any more. Its needs still
/// skip it, as they do in any run.
pub fn killed_gate(gate: Gate) -> Gate {
    match gate {
        Gate::Skip(reason) => Gate::Skip(reason),
        Gate::Run | Gate::Ask(_) | Gate::Fail(_) | Gate::Cancel(_) => {
            Gate::Cancel(RUN_KILLED.to_owned())
        }
    }
}

/// Returns the reason for cancelling a matrix group in which `job` has failed.
pub fn fail_fast_reason(job: &JobName, group: &str) -> String {
    format!("job `{job}` of matrix `{group}` failed")
}

/// The longest part of a condition in a reason, in characters.
const SHOWN_CHARS: usize = 80;

/// Returns a condition as reasons name it: in one line, and cut if it is long.
pub fn condition(text: &str) -> String {
    let mut shown = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((cut, _)) = shown.char_indices().nth(SHOWN_CHARS) {
        shown.truncate(cut);
        shown.push('…');
    }
    format!("condition `{shown}`")
}

/// Returns the reason for skipping a job or step whose condition is false.
pub fn was_false(text: &str) -> String {
    format!("{} was false", condition(text))
}

/// Returns the reason why `success()` is false over these needs, or `None` if it is true.
pub fn blocked<'a>(needs: impl Iterator<Item = (&'a JobName, Conclusion)>) -> Option<String> {
    let mut first = None;
    for (job, conclusion) in needs {
        let word = match conclusion {
            Conclusion::Success => continue,
            Conclusion::Failure => return Some(format!("need `{job}` failed")),
            Conclusion::Cancelled => "was cancelled",
            Conclusion::Skipped => "was skipped",
        };
        first.get_or_insert_with(|| format!("need `{job}` {word}"));
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
        (false, _) if so_far == Conclusion::Cancelled => {
            Gate::Skip("the job was cancelled".to_owned())
        }
        (false, _) => Gate::Skip("an earlier step failed".to_owned()),
    }
}

/// The reason of a job whose unit was stopped by someone other than the run's supervisor.
pub const UNIT_STOPPED: &str = "its unit was stopped";
/// The reason of a job that was cancelled with its run.
pub const RUN_CANCELLED: &str = "the run was cancelled";

/// The reason of a job that was cancelled with its matrix group, if the disk had no room for the
/// name of the failed job.
pub const MATRIX_CANCELLED: &str = "another job of its matrix failed";

/// Returns the reason of a failure on a full disk. `error` tells the failed action.
pub fn disk_is_full(error: &str) -> String {
    format!("disk is full: {error}")
}

/// Returns the conclusion of an outcome.
pub fn conclude(outcome: Conclusion, continue_on_error: bool) -> Conclusion {
    if outcome == Conclusion::Failure && continue_on_error {
        Conclusion::Success
    } else {
        outcome
    }
}

/// Returns the wait after the failure of attempt `attempt` (from 1).
pub fn retry_wait(retry: &Retry, attempt: u32) -> Duration {
    let (min, max) = (f64::from(retry.min_time), f64::from(retry.max_time));
    let factor = match retry.backoff {
        Backoff::Exponential => 2f64.powi(i32::try_from(attempt).unwrap_or(i32::MAX) - 1),
        Backoff::Linear => f64::from(attempt),
        Backoff::Constant => 1.0,
    };
    if min == 0.0 {
        // The factor may have become infinite.
        return Duration::ZERO;
    }
    Duration::from_secs_f64((min * factor).min(max))
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
mod tests {
    use super::*;
    use Conclusion::{Cancelled, Failure, Skipped, Success};

    /// There is no expression in the cases that call this.
    fn none(_: &Expression, _: Status) -> Result<bool, String> {
        Err("not asked".to_owned())
    }

    fn need(name: &str, conclusion: Conclusion) -> Need {
        Need {
            job: name.parse().unwrap(),
            conclusion,
            failed: conclusion == Failure,
        }
    }

    fn skip(reason: &str) -> Gate {
        Gate::Skip(reason.to_owned())
    }

    #[test]
    fn success_needs_every_need_to_succeed() {
        let gate = |needs: &[Need]| job_gate(&Condition::Success, needs, None, &none);
        assert_eq!(gate(&[]), Gate::Run);
        assert_eq!(gate(&[need("a", Success), need("b", Success)]), Gate::Run);
        assert_eq!(
            gate(&[need("a", Success), need("b", Failure)]),
            skip("need `b` failed")
        );
        assert_eq!(
            gate(&[need("a", Cancelled)]),
            skip("need `a` was cancelled")
        );
        assert_eq!(
            gate(&[need("a", Skipped), need("b", Failure)]),
            skip("need `b` failed")
        );
        assert_eq!(gate(&[need("a", Skipped)]), skip("need `a` was skipped"));
    }

    #[test]
    fn failure_considers_all_ancestors() {
        let skipped_after_failure = Need {
            failed: true,
            ..need("a", Skipped)
        };
        assert_eq!(
            job_gate(&Condition::Failure, &[skipped_after_failure], None, &none),
            Gate::Run
        );
        assert_eq!(
            job_gate(&Condition::Failure, &[need("a", Skipped)], None, &none),
            skip("condition `failure()` was false")
        );
        assert_eq!(
            job_gate(
                &Condition::Failure,
                &[need("a", Failure)],
                Some(RUN_CANCELLED),
                &none
            ),
            Gate::Cancel("the run was cancelled".into())
        );
    }

    #[test]
    fn always_runs_after_failure_and_cancellation() {
        assert_eq!(
            job_gate(&Condition::Always, &[need("a", Failure)], None, &none),
            Gate::Run
        );
        assert_eq!(
            job_gate(
                &Condition::Always,
                &[need("a", Cancelled)],
                Some(RUN_CANCELLED),
                &none
            ),
            Gate::Run
        );
    }

    #[test]
    fn cancelled_runs_only_in_a_cancelled_run() {
        assert_eq!(
            job_gate(&Condition::Cancelled, &[], Some(RUN_CANCELLED), &none),
            Gate::Run
        );
        assert_eq!(
            job_gate(&Condition::Cancelled, &[need("a", Failure)], None, &none),
            skip("condition `cancelled()` was false")
        );
    }

    #[test]
    fn a_cancelled_run_cancels_jobs_that_have_not_started() {
        assert_eq!(
            job_gate(
                &Condition::Success,
                &[need("a", Success)],
                Some(RUN_CANCELLED),
                &none
            ),
            Gate::Cancel("the run was cancelled".into())
        );
        assert_eq!(
            job_gate(
                &Condition::Success,
                &[need("a", Failure)],
                Some(RUN_CANCELLED),
                &none
            ),
            skip("need `a` failed")
        );
    }

    #[test]
    fn a_cancelled_matrix_cancels_pending_jobs_and_still_cleans_up() {
        let reason = fail_fast_reason(&"b".parse().unwrap(), "test");
        assert_eq!(reason, "job `b` of matrix `test` failed");
        let gate = |condition, gate| matrix_gate(&condition, gate, Some(reason.clone()));
        assert_eq!(
            gate(Condition::Success, Gate::Run),
            Gate::Cancel(reason.clone())
        );
        assert_eq!(
            gate(Condition::Failure, Gate::Run),
            Gate::Cancel(reason.clone())
        );
        assert_eq!(
            gate(Condition::Bash("x".into()), Gate::Ask("x".into())),
            Gate::Cancel(reason.clone())
        );
        assert_eq!(gate(Condition::Always, Gate::Run), Gate::Run);
        assert_eq!(
            gate(Condition::Success, skip("need `a` failed")),
            skip("need `a` failed")
        );
        assert_eq!(matrix_gate(&Condition::Success, Gate::Run, None), Gate::Run);
    }

    #[test]
    fn any_other_condition_is_bash_after_an_implicit_success() {
        let bash = Condition::parse(Some(" [ \"$X\" = 1 ] "));
        assert_eq!(
            job_gate(&bash, &[], None, &none),
            Gate::Ask("[ \"$X\" = 1 ]".into())
        );
        assert_eq!(
            job_gate(&bash, &[need("a", Failure)], None, &none),
            skip("need `a` failed")
        );
        assert_eq!(
            step_gate(&bash, Failure, &none),
            skip("an earlier step failed")
        );
    }

    #[test]
    fn a_reason_names_a_condition_in_one_line() {
        assert_eq!(
            was_false("[ -e file ]"),
            "condition `[ -e file ]` was false"
        );
        assert_eq!(
            was_false("test -e a\n\n  test -e b\n"),
            "condition `test -e a test -e b` was false"
        );
        assert_eq!(
            condition(&"é".repeat(81)),
            format!("condition `{}…`", "é".repeat(80))
        );
    }

    #[test]
    fn an_expression_decides_by_what_the_status_functions_say() {
        let gate = |text: &str, needs: &[Need], cancelled| {
            // `true` where the only word of it is.
            let evaluate = |expression: &Expression, status: Status| match expression.text.trim() {
                "!cancelled()" => Ok(!status.cancelled),
                "!failure()" => Ok(!status.failure),
                "success() || failure()" => Ok(status.success || status.failure),
                "always() && 1" | "1" => Ok(true),
                "0" => Ok(false),
                _ => Err("no".to_owned()),
            };
            let condition = Condition::parse(Some(text));
            let gate = job_gate(&condition, needs, cancelled, &evaluate);
            let cancelled = cancelled.map(str::to_owned);
            assert_eq!(matrix_gate(&condition, gate.clone(), cancelled), gate);
            gate
        };
        let failed = [need("a", Failure)];
        let cancel = Some(RUN_CANCELLED);
        let cancels = Gate::Cancel(RUN_CANCELLED.to_owned());
        assert_eq!(gate("!cancelled()", &failed, None), Gate::Run);
        assert_eq!(gate("!cancelled()", &failed, cancel), cancels);
        assert_eq!(gate("always() && 1", &failed, cancel), Gate::Run);
        assert_eq!(gate("!failure()", &[need("a", Skipped)], None), Gate::Run);
        assert_eq!(
            gate("!failure()", &failed, None),
            skip("condition `!failure()` was false")
        );
        assert_eq!(gate("success() || failure()", &[], cancel), cancels);
        assert_eq!(gate("${{ 1 }}", &[], None), Gate::Run);
        assert_eq!(gate("${{ 1 }}", &[], cancel), cancels);
        assert_eq!(gate("${{ 1 }}", &failed, None), skip("need `a` failed"));
        assert_eq!(gate("${{ 0 }}", &[], None), skip("condition `0` was false"));
        let why = "condition `x` could not be evaluated: no";
        assert_eq!(gate("${{ x }}", &[], None), Gate::Fail(why.to_owned()));
        let step = |text: &str, so_far| {
            let evaluate = |_: &Expression, status: Status| Ok(status.failure);
            step_gate(&Condition::parse(Some(text)), so_far, &evaluate)
        };
        assert_eq!(step("failure() && x", Failure), Gate::Run);
        assert_eq!(
            step("failure() && x", Cancelled),
            skip("condition `failure() && x` was false")
        );
        assert_eq!(step("${{ x }}", Failure), skip("an earlier step failed"));
    }

    #[test]
    fn steps_follow_the_state_of_the_earlier_ones() {
        assert_eq!(step_gate(&Condition::Success, Success, &none), Gate::Run);
        assert_eq!(
            step_gate(&Condition::Success, Failure, &none),
            skip("an earlier step failed")
        );
        assert_eq!(step_gate(&Condition::Failure, Failure, &none), Gate::Run);
        assert_eq!(
            step_gate(&Condition::Failure, Cancelled, &none),
            skip("condition `failure()` was false")
        );
        assert_eq!(
            step_gate(&Condition::Cancelled, Cancelled, &none),
            Gate::Run
        );
        assert_eq!(step_gate(&Condition::Always, Cancelled, &none), Gate::Run);
    }

    #[test]
    fn continue_on_error_turns_only_failure_into_success() {
        assert_eq!(conclude(Failure, true), Success);
        assert_eq!(conclude(Failure, false), Failure);
        assert_eq!(conclude(Cancelled, true), Cancelled);
        assert_eq!(conclude(Skipped, true), Skipped);
    }

    #[test]
    fn waits_between_attempts_follow_the_backoff_up_to_max_time() {
        let waits = |backoff: &str| -> Vec<f64> {
            let json = format!(
                r#"{{ "maxAttempts": 9, "backoff": "{backoff}", "minTime": 1.5, "maxTime": 10 }}"#
            );
            let retry: Retry = serde_json::from_str(&json).unwrap();
            [1, 2, 3, 4, u32::MAX]
                .map(|attempt| retry_wait(&retry, attempt).as_secs_f64())
                .into()
        };
        assert_eq!(waits("exponential"), [1.5, 3.0, 6.0, 10.0, 10.0]);
        assert_eq!(waits("linear"), [1.5, 3.0, 4.5, 6.0, 10.0]);
        assert_eq!(waits("constant"), [1.5; 5]);
    }

    #[test]
    fn a_wait_of_0_stays_0_after_any_number_of_attempts() {
        let retry: Retry =
            serde_json::from_value(serde_json::json!({ "maxAttempts": 9999, "minTime": 0 }))
                .unwrap();
        assert_eq!(retry_wait(&retry, 2000), Duration::ZERO);
    }

    #[test]
    fn needs_skip_a_job_of_a_killed_run_and_no_other_job_starts() {
        let killed = Gate::Cancel(RUN_KILLED.to_owned());
        let skip = Gate::Skip("need `a` was skipped".to_owned());
        assert_eq!(killed_gate(skip.clone()), skip);
        for gate in [
            Gate::Run,
            Gate::Ask("true".to_owned()),
            Gate::Fail("broken".to_owned()),
            Gate::Cancel(RUN_CANCELLED.to_owned()),
        ] {
            assert_eq!(killed_gate(gate), killed);
        }
    }

    #[test]
    fn run_conclusion_prefers_cancelled_over_failure_over_success() {
        assert_eq!(
            run_conclusion([Success, Skipped].into_iter(), false),
            Success
        );
        assert_eq!(
            run_conclusion([Success, Failure, Skipped].into_iter(), false),
            Failure
        );
        assert_eq!(run_conclusion([Failure].into_iter(), true), Cancelled);
        assert_eq!(run_conclusion([Cancelled].into_iter(), false), Success);
    }
}
