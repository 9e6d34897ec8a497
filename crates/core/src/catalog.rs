//! The messages that the journal's catalog explains (`journalctl --catalog`): nixactions.catalog
//! has the texts. An id never changes its meaning.

use crate::{
    reason::ReasonCode,
    record::{Conclusion, JobRecord},
};

/// A message about the end of a job or run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// A step of the job, or its service, failed.
    JobFailed,
    /// The job or a step of it took longer than its timeout.
    JobTimedOut,
    /// The kernel killed a process of the job for want of memory.
    JobOutOfMemory,
    /// The job did not get to its first step.
    JobRefused,
    /// The run ended without a record.
    RunLost,
}

impl Message {
    /// Returns its `MESSAGE_ID=` (systemd.journal-fields(7)).
    pub fn id(self) -> &'static str {
        match self {
            Self::JobFailed => "9ea1d78da050475c9d86cee69c4320cd",
            Self::JobTimedOut => "e2e77e74ed8640b0b83a0b62d452c080",
            Self::JobOutOfMemory => "dbde13da1a3d4d9a8a9f75aac79af2f7",
            Self::JobRefused => "1a00dea1fe014645b8b55808288085fd",
            Self::RunLost => "15dacd4a5639433d9c219de8df456436",
        }
    }

    /// Returns the message about a job that has ended, unless its end needs none.
    pub fn of_job(record: &JobRecord) -> Option<Self> {
        if matches!(record.outcome, Conclusion::Success | Conclusion::Skipped) {
            return None;
        }
        // A job that failed by a step has no reason but that.
        let failed = record
            .steps
            .iter()
            .find(|step| step.conclusion == Conclusion::Failure);
        let code = match (record.reason_code, failed) {
            (Some(ReasonCode::StepFailed), Some(step)) => step.reason_code,
            (code, _) => code,
        };
        match code {
            Some(ReasonCode::OomKill) => Some(Self::JobOutOfMemory),
            Some(ReasonCode::Timeout) => Some(Self::JobTimedOut),
            _ if record.outcome == Conclusion::Cancelled => None,
            Some(ReasonCode::NeedFailed) => None,
            _ if record.steps.is_empty() => Some(Self::JobRefused),
            _ => Some(Self::JobFailed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_chooses_the_message() {
        use ReasonCode::{Cancelled, NeedFailed, OomKill, SecretsFailed, Timeout};
        for (outcome, code, message) in [
            (Conclusion::Success, None, None),
            (
                Conclusion::Failure,
                OomKill.into(),
                Message::JobOutOfMemory.into(),
            ),
            (
                Conclusion::Cancelled,
                Timeout.into(),
                Message::JobTimedOut.into(),
            ),
            (Conclusion::Cancelled, Cancelled.into(), None),
            (Conclusion::Failure, NeedFailed.into(), None),
            (
                Conclusion::Failure,
                SecretsFailed.into(),
                Message::JobRefused.into(),
            ),
        ] {
            let mut record = JobRecord::new("x.service".to_owned());
            (record.outcome, record.reason_code) = (outcome, code);
            assert_eq!(Message::of_job(&record), message, "{code:?}");
        }
    }

    #[test]
    fn each_message_has_an_entry_of_its_own() {
        let catalog = include_str!("nixactions.catalog");
        let all = [
            Message::JobFailed,
            Message::JobTimedOut,
            Message::JobOutOfMemory,
            Message::JobRefused,
            Message::RunLost,
        ];
        for message in all {
            let entry = format!("\n-- {}\nSubject: ", message.id());
            assert_eq!(catalog.matches(&entry).count(), 1, "{message:?}");
        }
        assert_eq!(catalog.matches("\n-- ").count(), all.len());
    }
}
