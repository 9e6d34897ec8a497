//! Tests of the rules.

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

fn need_is(job: &str, conclusion: Conclusion) -> Gate {
    Gate::Skip(Reason::Need {
        job: Some(job.parse().unwrap()),
        conclusion,
    })
}

fn is_false(condition: &str) -> Gate {
    Gate::Skip(was_false(condition))
}

#[test]
fn success_needs_every_need_to_succeed() {
    let gate = |needs: &[Need]| job_gate(&Condition::Success, needs, None, &none);
    assert_eq!(gate(&[]), Gate::Run);
    assert_eq!(gate(&[need("a", Success), need("b", Success)]), Gate::Run);
    assert_eq!(
        gate(&[need("a", Success), need("b", Failure)]),
        need_is("b", Failure)
    );
    assert_eq!(gate(&[need("a", Cancelled)]), need_is("a", Cancelled));
    assert_eq!(
        gate(&[need("a", Skipped), need("b", Failure)]),
        need_is("b", Failure)
    );
    assert_eq!(gate(&[need("a", Skipped)]), need_is("a", Skipped));
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
        is_false("failure()")
    );
    assert_eq!(
        job_gate(
            &Condition::Failure,
            &[need("a", Failure)],
            Some(&Reason::RunCancelled),
            &none
        ),
        Gate::Cancel(Reason::RunCancelled)
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
            Some(&Reason::RunCancelled),
            &none
        ),
        Gate::Run
    );
}

#[test]
fn cancelled_runs_only_in_a_cancelled_run() {
    assert_eq!(
        job_gate(
            &Condition::Cancelled,
            &[],
            Some(&Reason::RunCancelled),
            &none
        ),
        Gate::Run
    );
    assert_eq!(
        job_gate(&Condition::Cancelled, &[need("a", Failure)], None, &none),
        is_false("cancelled()")
    );
}

#[test]
fn a_cancelled_run_cancels_jobs_that_have_not_started() {
    assert_eq!(
        job_gate(
            &Condition::Success,
            &[need("a", Success)],
            Some(&Reason::RunCancelled),
            &none
        ),
        Gate::Cancel(Reason::RunCancelled)
    );
    assert_eq!(
        job_gate(
            &Condition::Success,
            &[need("a", Failure)],
            Some(&Reason::RunCancelled),
            &none
        ),
        need_is("a", Failure)
    );
}

#[test]
fn a_cancelled_matrix_cancels_pending_jobs_and_still_cleans_up() {
    let reason = Reason::MatrixFailed {
        job: Some(("b".parse().unwrap(), "test".to_owned())),
    };
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
        gate(Condition::Success, need_is("a", Failure)),
        need_is("a", Failure)
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
        need_is("a", Failure)
    );
    assert_eq!(
        step_gate(&bash, Failure, &none),
        Gate::Skip(Reason::EarlierStepFailed)
    );
}

#[test]
fn an_expression_decides_by_what_the_status_functions_say() {
    let gate = |text: &str, needs: &[Need], cancelled: Option<&Reason>| {
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
        let cancelled = cancelled.cloned();
        assert_eq!(matrix_gate(&condition, gate.clone(), cancelled), gate);
        gate
    };
    let failed = [need("a", Failure)];
    let cancel = Some(&Reason::RunCancelled);
    let cancels = Gate::Cancel(Reason::RunCancelled);
    assert_eq!(gate("!cancelled()", &failed, None), Gate::Run);
    assert_eq!(gate("!cancelled()", &failed, cancel), cancels);
    assert_eq!(gate("always() && 1", &failed, cancel), Gate::Run);
    assert_eq!(gate("!failure()", &[need("a", Skipped)], None), Gate::Run);
    assert_eq!(gate("!failure()", &failed, None), is_false("!failure()"));
    assert_eq!(gate("success() || failure()", &[], cancel), cancels);
    assert_eq!(gate("${{ 1 }}", &[], None), Gate::Run);
    assert_eq!(gate("${{ 1 }}", &[], cancel), cancels);
    assert_eq!(gate("${{ 1 }}", &failed, None), need_is("a", Failure));
    assert_eq!(gate("${{ 0 }}", &[], None), is_false(" 0 "));
    let why = Reason::ConditionFailed {
        condition: " x ".to_owned(),
        why: "no".to_owned(),
    };
    assert_eq!(gate("${{ x }}", &[], None), Gate::Fail(why));
    let step = |text: &str, so_far| {
        let evaluate = |_: &Expression, status: Status| Ok(status.failure);
        step_gate(&Condition::parse(Some(text)), so_far, &evaluate)
    };
    assert_eq!(step("failure() && x", Failure), Gate::Run);
    assert_eq!(
        step("failure() && x", Cancelled),
        is_false("failure() && x")
    );
    assert_eq!(
        step("${{ x }}", Failure),
        Gate::Skip(Reason::EarlierStepFailed)
    );
}

#[test]
fn steps_follow_the_state_of_the_earlier_ones() {
    assert_eq!(step_gate(&Condition::Success, Success, &none), Gate::Run);
    assert_eq!(
        step_gate(&Condition::Success, Failure, &none),
        Gate::Skip(Reason::EarlierStepFailed)
    );
    assert_eq!(step_gate(&Condition::Failure, Failure, &none), Gate::Run);
    assert_eq!(
        step_gate(&Condition::Failure, Cancelled, &none),
        is_false("failure()")
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
fn needs_skip_a_job_of_a_killed_run_and_no_other_job_starts() {
    let killed = Gate::Cancel(Reason::RunKilled);
    let skip = need_is("a", Skipped);
    assert_eq!(killed_gate(skip.clone()), skip);
    for gate in [
        Gate::Run,
        Gate::Ask("true".to_owned()),
        Gate::Fail(Reason::NoResult),
        Gate::Cancel(Reason::RunCancelled),
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
