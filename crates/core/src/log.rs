//! One line of a job's output, as read back from the journal.
//!
//! Knows nothing of storage (`store::journal`) or display (`report`).

use jiff::Timestamp;

use crate::{ids::JobName, reason::ReasonCode, record::Conclusion};

/// The origin of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// A step's standard output.
    Stdout,
    /// A step's standard error.
    Stderr,
    /// The job's runner.
    Runner,
    /// systemd, reporting on the job's unit.
    Manager,
}

impl Stream {
    /// Returns the word that stands in `NIXACTIONS_STREAM` and in JSON output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Runner => "runner",
            Self::Manager => "manager",
        }
    }
}

/// The workflow command that a step gave with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A group begins; the text is its title.
    Group,
    /// A group ends.
    EndGroup,
    /// An `::error::` annotation.
    Error,
    /// A `::warning::` annotation.
    Warning,
    /// A `::notice::` annotation.
    Notice,
    /// A message for debugging.
    Debug,
}

impl Mark {
    /// All marks.
    const ALL: [Self; 6] = [
        Self::Group,
        Self::EndGroup,
        Self::Error,
        Self::Warning,
        Self::Notice,
        Self::Debug,
    ];

    /// Returns the word that stands in `NIXACTIONS_COMMAND` and in JSON output: the command's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::EndGroup => "endgroup",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Debug => "debug",
        }
    }

    /// Returns the mark with the name of a command.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mark| mark.as_str() == text)
    }
}

/// The outcome of a job or step, as a line of its runner reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToldOutcome {
    /// The outcome.
    pub outcome: Conclusion,
    /// The kind of its reason.
    pub code: Option<ReasonCode>,
}

/// One line of a job's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// The time at which the line was sent.
    pub at: Timestamp,
    /// The line's job.
    pub job: JobName,
    /// The step that printed the line. Absent if the line is about the whole job.
    pub step: Option<String>,
    /// The step's attempt, from 1.
    pub attempt: Option<u32>,
    /// The service of the job that printed the line, if one did.
    pub service: Option<String>,
    /// The origin of the line.
    pub stream: Stream,
    /// The syslog priority: 0 (emergency) to 7 (debug).
    pub priority: u8,
    /// The workflow command of the line, if any.
    pub mark: Option<Mark>,
    /// The outcome that the line reports, if the runner reports that of a job or step.
    pub outcome: Option<ToldOutcome>,
    /// The text without its line end. Invalid UTF-8 has been replaced. Control characters have been
    /// kept.
    pub message: String,
}
