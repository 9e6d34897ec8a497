//! The kinds of reasons: a closed set of words for programs, in records and events.

use std::fmt;

use serde::{
    Deserialize, Serialize,
    de::value::{Error, StrDeserializer},
};

use super::{MainEnd, Reason, ServiceResult};
use crate::conclusion::Conclusion;

/// The kinds of reasons in records and events, for programs. This set is closed and only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ReasonCode {
    /// A step of the job failed.
    StepFailed,
    /// The step's process exited with another status than 0.
    ExitStatus,
    /// A signal ended the step's process or a process of the job.
    Signal,
    /// The kernel killed the step's process or a process of the job for want of memory.
    OomKill,
    /// The step, the job or the run took longer than its timeout.
    Timeout,
    /// The run, the job or the step was cancelled.
    Cancelled,
    /// The run or the job was killed before the job or step started.
    Killed,
    /// The job's unit was stopped, and not by the run's supervisor.
    UnitStopped,
    /// Another run of the concurrency group replaced or cancelled the run.
    Superseded,
    /// Another job of the matrix failed, and the matrix has `failFast`.
    MatrixFailed,
    /// A need failed.
    NeedFailed,
    /// A need was cancelled.
    NeedCancelled,
    /// A need was skipped.
    NeedSkipped,
    /// The condition was false.
    ConditionFalse,
    /// The condition could not be evaluated.
    ConditionFailed,
    /// The step was skipped because an earlier step failed.
    EarlierStepFailed,
    /// The step was skipped because the step that it cleans up after did not start.
    NothingToClean,
    /// The time for `always()` and `cancelled()` steps was over.
    CleanupOver,
    /// The job's runner ended before the step.
    Unfinished,
    /// The step's process or the job's runner could not be started.
    NotStarted,
    /// The files through which a step talks to the runner could not be made or read.
    StepFiles,
    /// An expression in a variable of the step has no value.
    ExpressionFailed,
    /// An environment provider failed.
    ProviderFailed,
    /// The workspace could not be made, or an input could not be restored.
    WorkspaceFailed,
    /// An artifact is missing.
    ArtifactMissing,
    /// An artifact could not be saved.
    ArtifactFailed,
    /// An output of the job has no value.
    OutputFailed,
    /// The job could not get a slot of its run or matrix.
    SlotFailed,
    /// A service of the job was never ready for the steps.
    ServiceNotReady,
    /// The job could not get its secrets.
    SecretsFailed,
    /// The setup of the job's executor failed.
    SetupFailed,
    /// The job's own root file system could not be mounted.
    RootFailed,
    /// PID 1 did not get the job.
    SubmitFailed,
    /// The disk was full.
    DiskFull,
    /// The job's runner did not feed its watchdog.
    Watchdog,
    /// The job's service failed in another way; the text has systemd's word.
    ServiceFailed,
    /// The job's runner left no result.
    NoResult,
    /// systemd cancelled the start of the job's service.
    StartCancelled,
    /// The run ended without a record: the machine went down, or its manager or its supervisor
    /// was killed.
    Lost,
}

impl Reason {
    /// Returns the kind of the reason. A text of an earlier version has no kind.
    pub fn code(&self) -> Option<ReasonCode> {
        Some(match self {
            Self::Need { conclusion, .. } => match conclusion {
                Conclusion::Success | Conclusion::Failure => ReasonCode::NeedFailed,
                Conclusion::Cancelled => ReasonCode::NeedCancelled,
                Conclusion::Skipped => ReasonCode::NeedSkipped,
            },
            Self::ConditionFalse { .. } => ReasonCode::ConditionFalse,
            Self::ConditionFailed { .. } => ReasonCode::ConditionFailed,
            Self::RunCancelled | Self::JobCancelled | Self::StepCancelled => ReasonCode::Cancelled,
            Self::RunKilled | Self::JobKilled => ReasonCode::Killed,
            Self::RunTimeout
            | Self::JobTimeIsOver
            | Self::StepTimeout { .. }
            | Self::JobTimeout { .. } => ReasonCode::Timeout,
            Self::Replaced { .. } | Self::CancelledBy { .. } | Self::GroupTaken { .. } => {
                ReasonCode::Superseded
            }
            Self::MatrixFailed { .. } => ReasonCode::MatrixFailed,
            Self::UnitStopped => ReasonCode::UnitStopped,
            Self::EarlierStepFailed => ReasonCode::EarlierStepFailed,
            Self::NothingToClean { .. } => ReasonCode::NothingToClean,
            Self::CleanupOver => ReasonCode::CleanupOver,
            Self::Exit { .. } => ReasonCode::ExitStatus,
            Self::OutOfMemory
            | Self::RunnerKilled {
                is_out_of_memory: true,
                ..
            } => ReasonCode::OomKill,
            Self::Signal { .. } | Self::RunnerKilled { .. } => ReasonCode::Signal,
            Self::NotStarted { .. } => ReasonCode::NotStarted,
            Self::StepFiles { .. } => ReasonCode::StepFiles,
            Self::Expression { .. } => ReasonCode::ExpressionFailed,
            Self::Unfinished => ReasonCode::Unfinished,
            Self::StepFailed { .. } => ReasonCode::StepFailed,
            Self::Provider { .. } => ReasonCode::ProviderFailed,
            Self::Workspace { .. } => ReasonCode::WorkspaceFailed,
            Self::ArtifactMissing { .. } => ReasonCode::ArtifactMissing,
            Self::Artifact { .. } => ReasonCode::ArtifactFailed,
            Self::Output { .. } => ReasonCode::OutputFailed,
            Self::Slot { .. } => ReasonCode::SlotFailed,
            Self::JobService { .. } => ReasonCode::ServiceNotReady,
            Self::Secrets { .. } => ReasonCode::SecretsFailed,
            Self::DiskFull { .. } => ReasonCode::DiskFull,
            Self::Service { result, main, .. } => service_code(result, main),
            Self::NoResult => ReasonCode::NoResult,
            Self::StartCancelled => ReasonCode::StartCancelled,
            Self::Setup { .. } => ReasonCode::SetupFailed,
            Self::Root { .. } => ReasonCode::RootFailed,
            Self::Submit { .. } => ReasonCode::SubmitFailed,
            Self::Lost { .. } | Self::LostBefore { .. } => ReasonCode::Lost,
            Self::Untold { .. } => return None,
        })
    }
}

fn service_code(result: &ServiceResult, main: &MainEnd) -> ReasonCode {
    match (result, main) {
        (ServiceResult::OomKill, _) => ReasonCode::OomKill,
        (ServiceResult::Timeout, _) => ReasonCode::Timeout,
        (ServiceResult::Watchdog, _) => ReasonCode::Watchdog,
        (ServiceResult::Signal | ServiceResult::CoreDump, _) => ReasonCode::Signal,
        (_, MainEnd::NoCredentials) => ReasonCode::SecretsFailed,
        (_, MainEnd::NotRecorded) => ReasonCode::NoResult,
        (_, MainEnd::NotStarted { .. }) => ReasonCode::NotStarted,
        (ServiceResult::Success | ServiceResult::ExitCode | ServiceResult::Other(_), _) => {
            ReasonCode::ServiceFailed
        }
    }
}

impl fmt::Display for ReasonCode {
    /// Writes the word that stands in records.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl ReasonCode {
    /// Returns the code with this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::deserialize(StrDeserializer::<Error>::new(word)).ok()
    }

    /// Returns whether a job's runner can report this reason for a job or step with this outcome.
    /// The supervisor alone finds the other reasons, so that a job cannot forge them.
    pub fn is_of_runner(self, outcome: Conclusion) -> bool {
        match self {
            Self::StepFailed
            | Self::ExitStatus
            | Self::Signal
            | Self::OomKill
            | Self::UnitStopped
            | Self::ConditionFailed
            | Self::NotStarted
            | Self::StepFiles
            | Self::ExpressionFailed
            | Self::ProviderFailed
            | Self::WorkspaceFailed
            | Self::ArtifactMissing
            | Self::ArtifactFailed
            | Self::OutputFailed
            | Self::SlotFailed
            | Self::ServiceNotReady
            | Self::SecretsFailed => outcome == Conclusion::Failure,
            // Both fail a job. They also end a run, and cancel its jobs.
            Self::Timeout | Self::DiskFull => {
                matches!(outcome, Conclusion::Failure | Conclusion::Cancelled)
            }
            Self::Superseded | Self::MatrixFailed | Self::SubmitFailed => {
                outcome == Conclusion::Cancelled
            }
            Self::Cancelled | Self::Killed | Self::CleanupOver => {
                matches!(outcome, Conclusion::Cancelled | Conclusion::Skipped)
            }
            Self::NeedFailed
            | Self::NeedCancelled
            | Self::NeedSkipped
            | Self::ConditionFalse
            | Self::EarlierStepFailed
            | Self::NothingToClean => outcome == Conclusion::Skipped,
            Self::Unfinished
            | Self::SetupFailed
            | Self::RootFailed
            | Self::Watchdog
            | Self::ServiceFailed
            | Self::NoResult
            | Self::StartCancelled
            | Self::Lost => false,
        }
    }
}
