//! The texts of reasons, and their kinds.

use super::*;
use crate::{
    event::{Event, EventKind},
    record::StepRecord,
};
use Conclusion::{Cancelled, Failure, Skipped, Success};

#[test]
fn a_reason_names_a_condition_in_one_line() {
    let text = |condition: &str| {
        let condition = condition.to_owned();
        Reason::ConditionFalse { condition }.to_string()
    };
    assert_eq!(text("[ -e file ]"), "condition `[ -e file ]` was false");
    assert_eq!(
        text("test -e a\n\n  test -e b\n"),
        "condition `test -e a test -e b` was false"
    );
    assert_eq!(
        text(&"é".repeat(81)),
        format!("condition `{}…` was false", "é".repeat(80))
    );
}

#[test]
fn reasons_are_rendered_for_people() {
    let job: JobName = "b".parse().unwrap();
    let cases = [
        (
            Reason::Need {
                job: Some(job.clone()),
                conclusion: Cancelled,
            },
            "need `b` was cancelled",
        ),
        (
            Reason::MatrixFailed {
                job: Some((job, "test".into())),
            },
            "job `b` of matrix `test` failed",
        ),
        (Reason::RunTimeout, "timeout: the run took too long"),
        (
            Reason::StepTimeout { seconds: 1.5 },
            "timeout: took longer than 1.5 s",
        ),
        (
            Reason::CancelledBy {
                run: Some("ci-3".parse().unwrap()),
            },
            "cancelled by ci-3, which is next in its concurrency group",
        ),
        (
            Reason::RunnerKilled {
                signal: "SIGKILL".into(),
                is_out_of_memory: true,
            },
            "its runner was killed by SIGKILL, out of memory",
        ),
        (
            Reason::Service {
                result: ServiceResult::Watchdog,
                main: MainEnd::Signal {
                    signal: "SIGABRT".into(),
                    core: true,
                },
                own: None,
            },
            "watchdog: killed by SIGABRT, core dumped",
        ),
    ];
    for (reason, text) in cases {
        assert_eq!(reason.to_string(), text);
    }
}

#[test]
fn a_reason_survives_its_flag() {
    for reason in [
        Reason::RunTimeout,
        Reason::DiskFull { what: "x".into() },
        Reason::MatrixFailed {
            job: Some(("b".parse().unwrap(), "test".into())),
        },
        Reason::Service {
            result: ServiceResult::Other("resources".into()),
            main: MainEnd::Unknown,
            own: None,
        },
    ] {
        let json = serde_json::to_string(&reason).unwrap();
        assert_eq!(serde_json::from_str::<Reason>(&json).unwrap(), reason);
    }
}

#[test]
fn a_code_is_one_word_in_records() {
    for (code, word) in [
        (ReasonCode::StepFailed, "stepFailed"),
        (ReasonCode::OomKill, "oomKill"),
        (ReasonCode::Lost, "lost"),
    ] {
        assert_eq!(code.to_string(), word);
        assert_eq!(ReasonCode::parse(word), Some(code));
        assert_eq!(serde_json::to_value(code).unwrap(), word);
    }
    assert_eq!(ReasonCode::parse("a sentence"), None);
}

#[test]
fn a_runner_cannot_report_the_reasons_of_the_supervisor() {
    let all = [Success, Failure, Cancelled, Skipped];
    for code in [
        ReasonCode::Lost,
        ReasonCode::NoResult,
        ReasonCode::Watchdog,
        ReasonCode::SetupFailed,
    ] {
        assert!(!all.iter().any(|outcome| code.is_of_runner(*outcome)));
    }
    assert!(ReasonCode::StepFailed.is_of_runner(Failure));
    assert!(!ReasonCode::StepFailed.is_of_runner(Skipped));
    assert!(!ReasonCode::NeedFailed.is_of_runner(Failure));
    assert!(ReasonCode::Timeout.is_of_runner(Cancelled));
}

#[test]
fn records_and_events_of_earlier_versions_have_no_code() {
    let step = r#"{ "name": "a", "outcome": "failure", "conclusion": "failure", "exitCode": 2,
        "reason": "exit status 2", "attempts": 1 }"#;
    let read: StepRecord = serde_json::from_str(step).unwrap();
    assert_eq!(
        (read.reason.as_deref(), read.reason_code),
        (Some("exit status 2"), None)
    );
    let written = serde_json::to_value(&read).unwrap();
    assert_eq!(
        written,
        serde_json::from_str::<serde_json::Value>(step).unwrap()
    );

    let event = r#"{ "at": "2026-01-01T00:00:00Z", "event": { "type": "runFinished",
        "conclusion": "failure", "reason": "timeout: the run took too long" } }"#;
    let read: Event = serde_json::from_str(event).unwrap();
    assert!(matches!(
        read.event,
        EventKind::RunFinished {
            reason_code: None,
            ..
        }
    ));

    let unknown = step.replace("\"attempts\"", "\"reasonCode\": \"odd\", \"attempts\"");
    assert!(serde_json::from_str::<StepRecord>(&unknown).is_err());
}
