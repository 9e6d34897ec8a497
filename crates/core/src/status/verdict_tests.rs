//! The table of verdicts: the evidence about a job, and how the job ended.

use super::*;
use crate::reason::{Loss, MainEnd, ReasonCode, ServiceResult};
use Conclusion::{Cancelled, Failure, Skipped, Success};

/// A job whose runner reported nothing, in a run that goes on.
fn ended<'a>(start: StartEnd) -> Ended<'a> {
    Ended {
        start,
        service: None,
        claim: None,
        gate: Gate::Run,
        blocked: None,
        implies_success: true,
        has_started: true,
        setup: None,
        cancel: Cancellation::No,
        matrix: None,
        overdue: None,
    }
}

fn claim<'a>(outcome: Conclusion, code: Option<ReasonCode>) -> Option<Claim<'a>> {
    Some(Claim {
        outcome,
        code,
        text: Some("*** told"),
    })
}

fn service(result: ServiceResult, main: MainEnd) -> Option<ServiceEvidence> {
    Some(ServiceEvidence { result, main })
}

fn killed() -> Option<ServiceEvidence> {
    let main = MainEnd::Signal {
        signal: "SIGKILL".to_owned(),
        core: false,
    };
    service(ServiceResult::Signal, main)
}

fn exit(status: i32) -> Option<ServiceEvidence> {
    service(ServiceResult::ExitCode, MainEnd::Exit { status })
}

fn blocked() -> Reason {
    Reason::Need {
        job: Some("a".parse().unwrap()),
        conclusion: Skipped,
    }
}

/// The end, the kind of a reason in place of the reported one, whether the report counts, and
/// whether the job was dropped.
type Row = (Conclusion, Option<ReasonCode>, bool, bool);

fn row(evidence: Evidence<'_>) -> Row {
    let verdict = verdict(&evidence, false);
    assert_eq!(verdict.outcome, verdict.conclusion, "{evidence:?}");
    let code = verdict.reason.as_ref().and_then(Reason::code);
    (
        verdict.outcome,
        code,
        verdict.keeps_report,
        verdict.is_dropped,
    )
}

fn check(table: Vec<(&str, Ended<'_>, Row)>) {
    for (name, evidence, expected) in table {
        assert_eq!(row(Evidence::Ended(Box::new(evidence))), expected, "{name}");
    }
}

#[test]
fn a_report_stands_unless_systemd_says_otherwise() {
    let oom = service(ServiceResult::OomKill, MainEnd::Unknown);
    let step = Some(ReasonCode::StepFailed);
    check(vec![
        (
            "a success",
            Ended {
                claim: claim(Success, None),
                ..ended(StartEnd::Done)
            },
            (Success, None, true, false),
        ),
        (
            "a failed step",
            Ended {
                claim: claim(Failure, step),
                service: exit(1),
                ..ended(StartEnd::Failed)
            },
            (Failure, None, true, false),
        ),
        (
            "a forged success, and systemd saw the failure",
            Ended {
                claim: claim(Success, None),
                service: killed(),
                ..ended(StartEnd::Failed)
            },
            (Failure, Some(ReasonCode::Signal), false, false),
        ),
        (
            "its time was over, and the supervisor killed it",
            Ended {
                service: killed(),
                overdue: Some(Reason::JobTimeout { seconds: 1.0 }),
                ..ended(StartEnd::Failed)
            },
            (Failure, Some(ReasonCode::Timeout), false, false),
        ),
        (
            "it ran out of memory before the supervisor could kill it",
            Ended {
                service: oom.clone(),
                overdue: Some(Reason::JobTimeout { seconds: 1.0 }),
                ..ended(StartEnd::Failed)
            },
            (Failure, Some(ReasonCode::OomKill), false, false),
        ),
        (
            "a forged success, and the signal of the failure was missed",
            Ended {
                claim: claim(Success, None),
                service: exit(1),
                ..ended(StartEnd::Unseen)
            },
            (Failure, Some(ReasonCode::ServiceFailed), false, false),
        ),
        (
            "a forged skip",
            Ended {
                claim: claim(Skipped, Some(ReasonCode::ConditionFalse)),
                service: exit(1),
                ..ended(StartEnd::Failed)
            },
            (Failure, Some(ReasonCode::ServiceFailed), false, false),
        ),
        (
            "the kernel killed a step, and systemd stopped the runner",
            Ended {
                claim: claim(Failure, Some(ReasonCode::UnitStopped)),
                service: oom.clone(),
                ..ended(StartEnd::Failed)
            },
            (Failure, Some(ReasonCode::OomKill), true, false),
        ),
        (
            "the runner itself told of the killed step",
            Ended {
                claim: claim(Failure, step),
                service: oom,
                ..ended(StartEnd::Failed)
            },
            (Failure, Some(ReasonCode::OomKill), true, false),
        ),
        (
            "the unit was stopped",
            Ended {
                claim: claim(Failure, Some(ReasonCode::UnitStopped)),
                service: exit(1),
                ..ended(StartEnd::Failed)
            },
            (Failure, None, true, false),
        ),
        (
            "the unit was stopped by a shutdown",
            Ended {
                claim: claim(Failure, Some(ReasonCode::UnitStopped)),
                service: exit(1),
                cancel: Cancellation::Ending,
                ..ended(StartEnd::Failed)
            },
            (Cancelled, Some(ReasonCode::Cancelled), true, false),
        ),
    ]);
}

#[test]
fn an_end_without_a_report_has_systemds_word() {
    let not_recorded = || service(ServiceResult::ExitCode, MainEnd::NotRecorded);
    let matrix = || Some(Reason::MatrixFailed { job: None });
    check(vec![
        (
            "nothing is known",
            ended(StartEnd::Unseen),
            (Failure, Some(ReasonCode::NoResult), false, false),
        ),
        (
            "a killed runner",
            Ended {
                service: killed(),
                ..ended(StartEnd::Failed)
            },
            (Failure, Some(ReasonCode::Signal), false, false),
        ),
        (
            "a killed runner of a killed run",
            Ended {
                service: killed(),
                cancel: Cancellation::Killed,
                ..ended(StartEnd::Failed)
            },
            (Cancelled, Some(ReasonCode::Signal), false, false),
        ),
        (
            "a killed runner of a cancelled matrix",
            Ended {
                service: killed(),
                matrix: matrix(),
                ..ended(StartEnd::Failed)
            },
            (Cancelled, Some(ReasonCode::MatrixFailed), false, false),
        ),
        (
            "a full disk",
            Ended {
                service: not_recorded(),
                ..ended(StartEnd::Failed)
            },
            (Failure, Some(ReasonCode::NoResult), false, false),
        ),
        (
            "a full disk, and the job runs in spite of the cancellation",
            Ended {
                service: not_recorded(),
                cancel: Cancellation::Ending,
                ..ended(StartEnd::Failed)
            },
            (Failure, Some(ReasonCode::NoResult), false, false),
        ),
        (
            "a full disk, and the job was being cancelled",
            Ended {
                service: not_recorded(),
                gate: Gate::Cancel(Reason::RunCancelled),
                cancel: Cancellation::Ending,
                ..ended(StartEnd::Failed)
            },
            (Cancelled, Some(ReasonCode::NoResult), false, false),
        ),
        (
            "no credentials",
            Ended {
                service: service(ServiceResult::ExitCode, MainEnd::NoCredentials),
                ..ended(StartEnd::Failed)
            },
            (Failure, Some(ReasonCode::SecretsFailed), false, false),
        ),
        (
            "the start was cancelled",
            Ended {
                has_started: false,
                ..ended(StartEnd::Cancelled)
            },
            (Failure, Some(ReasonCode::StartCancelled), false, false),
        ),
        (
            "the start was cancelled with the run",
            Ended {
                has_started: false,
                cancel: Cancellation::Ending,
                ..ended(StartEnd::Cancelled)
            },
            (Cancelled, Some(ReasonCode::StartCancelled), false, false),
        ),
    ]);
}

#[test]
fn a_job_whose_needs_skip_it_is_skipped() {
    let skip = || Gate::Skip(blocked());
    let dropped = |start| Ended {
        has_started: false,
        gate: skip(),
        blocked: Some(blocked()),
        ..ended(start)
    };
    let setup = || {
        Some(Reason::Setup {
            executor: "e".into(),
            why: "exit status 1".into(),
        })
    };
    let is_skipped = (Skipped, Some(ReasonCode::NeedSkipped), false, true);
    check(vec![
        ("dropped", dropped(StartEnd::Dependency), is_skipped),
        (
            "dropped, and the supervisor knows no need",
            Ended {
                gate: Gate::Run,
                blocked: None,
                ..dropped(StartEnd::Dependency)
            },
            (Skipped, Some(ReasonCode::NeedFailed), false, true),
        ),
        (
            "a signal kept the runner from saying so",
            Ended {
                service: killed(),
                ..dropped(StartEnd::Failed)
            },
            is_skipped,
        ),
        (
            "the runner takes a skipped need for a failed one",
            Ended {
                claim: claim(Skipped, Some(ReasonCode::NeedFailed)),
                ..dropped(StartEnd::Done)
            },
            (Skipped, Some(ReasonCode::NeedSkipped), true, false),
        ),
        (
            "the condition does not ask for success",
            Ended {
                claim: claim(Skipped, Some(ReasonCode::ConditionFalse)),
                implies_success: false,
                ..dropped(StartEnd::Done)
            },
            (Skipped, None, true, false),
        ),
        (
            "its setup failed, and so did a need",
            Ended {
                setup: setup(),
                ..dropped(StartEnd::Dependency)
            },
            is_skipped,
        ),
        (
            "its setup failed",
            Ended {
                setup: setup(),
                gate: Gate::Run,
                blocked: None,
                ..dropped(StartEnd::Dependency)
            },
            (Failure, Some(ReasonCode::SetupFailed), false, true),
        ),
        (
            "its setup was cancelled",
            Ended {
                setup: setup(),
                gate: Gate::Cancel(Reason::RunCancelled),
                blocked: None,
                cancel: Cancellation::Ending,
                ..dropped(StartEnd::Dependency)
            },
            (Cancelled, Some(ReasonCode::SetupFailed), false, true),
        ),
    ]);
}

#[test]
fn a_job_that_is_not_submitted_ends_by_its_gate() {
    let row_of = |gate| {
        let otherwise = (Failure, Reason::Submit { why: "no".into() });
        row(Evidence::NotSubmitted { gate, otherwise })
    };
    assert_eq!(
        row_of(Gate::Skip(blocked())),
        (Skipped, Some(ReasonCode::NeedSkipped), false, false)
    );
    assert_eq!(
        row_of(Gate::Cancel(Reason::RunTimeout)),
        (Cancelled, Some(ReasonCode::Timeout), false, false)
    );
    let submit = (Failure, Some(ReasonCode::SubmitFailed), false, false);
    assert_eq!(row_of(Gate::Run), submit);
    assert_eq!(row_of(Gate::Ask("true".into())), submit);
}

#[test]
fn a_lost_run_fails_only_the_jobs_that_ran() {
    let row_of = |claim, has_started, is_cancelled| {
        row(Evidence::Lost {
            loss: Loss::Machine,
            claim,
            has_started,
            is_cancelled,
        })
    };
    let lost = Some(ReasonCode::Lost);
    assert_eq!(
        row_of(claim(Success, None), true, true),
        (Success, None, true, false)
    );
    assert_eq!(row_of(None, false, false), (Cancelled, lost, false, false));
    assert_eq!(row_of(None, true, true), (Cancelled, lost, false, false));
    assert_eq!(row_of(None, true, false), (Failure, lost, false, false));
}

#[test]
fn a_need_without_a_report_does_not_let_its_dependents_run() {
    let conclusion = |claim, has_started, has_setup, tolerated| {
        let need = Evidence::Need {
            claim,
            has_started,
            has_setup,
        };
        verdict(&need, tolerated).conclusion
    };
    assert_eq!(
        conclusion(claim(Success, None), true, false, false),
        Success
    );
    assert_eq!(conclusion(None, true, false, false), Failure);
    assert_eq!(conclusion(None, true, false, true), Success);
    assert_eq!(conclusion(None, false, false, true), Skipped);
    assert_eq!(conclusion(None, false, true, true), Failure);
}

#[test]
fn only_a_failure_is_tolerated() {
    let conclusion = |outcome, code, start| {
        let evidence = Evidence::Ended(Box::new(Ended {
            claim: claim(outcome, code),
            ..ended(start)
        }));
        let verdict = verdict(&evidence, true);
        assert_eq!(verdict.outcome, outcome);
        verdict.conclusion
    };
    let step = Some(ReasonCode::StepFailed);
    assert_eq!(conclusion(Failure, step, StartEnd::Done), Success);
    let cancelled = Some(ReasonCode::Cancelled);
    assert_eq!(
        conclusion(Cancelled, cancelled, StartEnd::Failed),
        Cancelled
    );
}

#[test]
fn the_text_of_a_report_decides_nothing() {
    for text in [
        None,
        Some("its unit was stopped"),
        Some("step a: x"),
        Some("***"),
    ] {
        let verdict_of = |code, service: Option<ServiceEvidence>, cancel| {
            let evidence = Ended {
                claim: Some(Claim {
                    outcome: Failure,
                    code,
                    text,
                }),
                service,
                cancel,
                ..ended(StartEnd::Failed)
            };
            row(Evidence::Ended(Box::new(evidence)))
        };
        let stopped = Some(ReasonCode::UnitStopped);
        assert_eq!(
            verdict_of(stopped, None, Cancellation::Ending).0,
            Cancelled,
            "{text:?}"
        );
        let provider = Some(ReasonCode::ProviderFailed);
        assert_eq!(
            verdict_of(provider, None, Cancellation::Ending).0,
            Failure,
            "{text:?}"
        );
    }
}
