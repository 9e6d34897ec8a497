//! Why a run, a job or a step ended as it did.
//!
//! Programs decide by [`Reason`] and [`ReasonCode`]. People read the text, and `text` is
//! the only place that renders it. Hiding secrets in a text, escaping it or cutting it
//! therefore changes no decision. Knows nothing of how a reason comes about.

mod code;
#[cfg(test)]
mod tests;
mod text;

use serde::{Deserialize, Serialize};

pub use self::{code::ReasonCode, text::next_run};
use crate::{
    conclusion::Conclusion,
    ids::{JobName, RunId},
};

/// Why a run, a job or a step did not succeed, or was skipped.
///
/// The supervisor and the runners tell each other these values in flags.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Reason {
    /// A need did not succeed. Without a name, the supervisor does not know the need.
    Need {
        /// The need.
        job: Option<JobName>,
        /// Its conclusion.
        conclusion: Conclusion,
    },
    /// The condition was false.
    ConditionFalse {
        /// The condition's text.
        condition: String,
    },
    /// The condition could not be evaluated.
    ConditionFailed {
        /// The condition's text.
        condition: String,
        /// The error.
        why: String,
    },
    /// The run was cancelled.
    RunCancelled,
    /// The run was killed before the job started.
    RunKilled,
    /// The run took longer than its timeout.
    RunTimeout,
    /// Another run of the concurrency group came in place of this one.
    Replaced {
        /// The other run, if known.
        by: Option<RunId>,
    },
    /// Another run of the concurrency group cancelled this one.
    CancelledBy {
        /// The other run, if known.
        run: Option<RunId>,
    },
    /// Another run entered the concurrency group while this run had no supervisor.
    GroupTaken {
        /// The group.
        group: String,
    },
    /// Another job of the matrix failed, and the matrix has `failFast`.
    MatrixFailed {
        /// The failed job and its matrix group. A full disk had no room for them otherwise.
        job: Option<(JobName, String)>,
    },
    /// The job's unit was stopped, and not by the run's supervisor.
    UnitStopped,
    /// An earlier step of the job failed.
    EarlierStepFailed,
    /// The step cleans up after another one, which did not start.
    NothingToClean {
        /// The other step's name.
        step: String,
    },
    /// The step was not reached: the job was cancelled.
    JobCancelled,
    /// The step was not reached: the job was killed.
    JobKilled,
    /// The time for `always()` and `cancelled()` steps was over.
    CleanupOver,
    /// The step was interrupted: the job took longer than its timeout.
    JobTimeIsOver,
    /// The step was interrupted by a cancellation.
    StepCancelled,
    /// The step took longer than its timeout.
    StepTimeout {
        /// The timeout in seconds.
        seconds: f64,
    },
    /// The job took longer than its timeout.
    JobTimeout {
        /// The timeout in seconds.
        seconds: f64,
    },
    /// The process exited with this status.
    Exit {
        /// The status.
        status: i32,
    },
    /// A signal ended the process.
    Signal {
        /// The signal's name, such as `SIGKILL`.
        signal: String,
        /// Whether it dumped core.
        core: bool,
    },
    /// The kernel killed the process for want of memory.
    OutOfMemory,
    /// The process could not be started.
    NotStarted {
        /// The error.
        why: String,
    },
    /// The files through which a step talks to the runner could not be made or read.
    StepFiles {
        /// The error.
        why: String,
    },
    /// An expression in a variable of the step has no value.
    Expression {
        /// The error.
        why: String,
    },
    /// The job's runner ended before the step.
    Unfinished,
    /// A step failed.
    StepFailed {
        /// The step's name.
        step: String,
        /// The step's own reason.
        why: String,
    },
    /// The job's runner was killed.
    RunnerKilled {
        /// The signal's name.
        signal: String,
        /// Whether the kernel killed it for want of memory.
        is_out_of_memory: bool,
    },
    /// An environment provider failed.
    Provider {
        /// The provider's command line.
        provider: String,
        /// The error.
        why: String,
    },
    /// The workspace could not be made, or an input could not be restored.
    Workspace {
        /// The error.
        why: String,
    },
    /// An artifact is missing.
    ArtifactMissing {
        /// The error.
        why: String,
    },
    /// An artifact could not be saved.
    Artifact {
        /// The error.
        why: String,
    },
    /// An output of the job has no value.
    Output {
        /// The output's name.
        output: String,
        /// The error.
        why: String,
    },
    /// The job could not get a slot of its run or matrix.
    Slot {
        /// The error.
        why: String,
    },
    /// A service of the job was never ready for the steps.
    JobService {
        /// The service.
        service: String,
        /// The error, with the service's last lines.
        why: String,
    },
    /// The job could not get its secrets.
    Secrets {
        /// The error.
        why: String,
    },
    /// The disk was full.
    DiskFull {
        /// The failed action, or the consequence.
        what: String,
    },
    /// The job's service ended in a way that only systemd knows.
    Service {
        /// systemd's result.
        result: ServiceResult,
        /// The end of the main process.
        main: MainEnd,
        /// The text of the job's own reason, where that is more specific.
        own: Option<String>,
    },
    /// The job's runner left no result.
    NoResult,
    /// systemd cancelled the start of the job's service.
    StartCancelled,
    /// The setup of the job's executor failed.
    Setup {
        /// The executor's name.
        executor: String,
        /// The setup's own reason.
        why: String,
    },
    /// The job's own root file system could not be mounted.
    Root {
        /// The error.
        why: String,
    },
    /// PID 1 did not get the job.
    Submit {
        /// The error.
        why: String,
    },
    /// The run ended without a record while the job ran, or while nothing ran.
    Lost {
        /// The cause.
        loss: Loss,
    },
    /// The run ended without a record before the job started.
    LostBefore {
        /// The cause.
        loss: Loss,
    },
    /// An earlier version of the program left this text, and no code.
    Untold {
        /// The text.
        text: String,
    },
}

/// The cause of a run's loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Loss {
    /// The machine went down.
    Machine,
    /// The run's private manager was killed.
    Manager,
    /// The supervisor ended without a record, and its unit is gone.
    Supervisor,
    /// The run's `run.json` or plan is damaged, so no supervisor can take the run over.
    Damage,
}

/// A service's `Result` (systemd.exec(5), "$SERVICE_RESULT").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceResult {
    /// The service succeeded.
    Success,
    /// The main process exited with another status than 0.
    ExitCode,
    /// A signal ended a process of the service.
    Signal,
    /// A signal ended a process of the service, which dumped core.
    CoreDump,
    /// The service did not feed its watchdog.
    Watchdog,
    /// The service took too long.
    Timeout,
    /// The kernel killed a process of the service for want of memory.
    OomKill,
    /// Any other result, in systemd's word.
    Other(String),
}

impl ServiceResult {
    /// Returns the result with systemd's word.
    pub fn parse(word: &str) -> Self {
        match word {
            "success" => Self::Success,
            "exit-code" => Self::ExitCode,
            "signal" => Self::Signal,
            "core-dump" => Self::CoreDump,
            "watchdog" => Self::Watchdog,
            "timeout" => Self::Timeout,
            "oom-kill" => Self::OomKill,
            other => Self::Other(other.to_owned()),
        }
    }

    /// Returns systemd's word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Success => "success",
            Self::ExitCode => "exit-code",
            Self::Signal => "signal",
            Self::CoreDump => "core-dump",
            Self::Watchdog => "watchdog",
            Self::Timeout => "timeout",
            Self::OomKill => "oom-kill",
            Self::Other(other) => other,
        }
    }
}

/// The end of the main process of a job's service, as far as it tells something beside the
/// service's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum MainEnd {
    /// It is unknown, or says nothing.
    Unknown,
    /// systemd could not load the service's credentials.
    NoCredentials,
    /// The runner could not record the job's result.
    NotRecorded,
    /// systemd could not start the runner.
    NotStarted {
        /// The exit status that stands for the failed action (systemd.exec(5)).
        status: i32,
    },
    /// The runner exited with this status.
    Exit {
        /// The status.
        status: i32,
    },
    /// A signal ended the runner.
    Signal {
        /// The signal's name.
        signal: String,
        /// Whether it dumped core.
        core: bool,
    },
}
