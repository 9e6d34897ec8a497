//! One line of a job's output, as it is read back from the journal.
//!
//! Knows nothing of how it is stored (`store::journal`) or shown (`report`).

use jiff::Timestamp;

use crate::ids::JobName;

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// A step's standard output.
    Stdout,
    /// A step's standard error.
    Stderr,
    /// The job's runner itself.
    Runner,
    /// systemd, about the job's unit.
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

/// What a line is beside text: which workflow command the step gave with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A group begins; the text is its title.
    Group,
    /// A group ends.
    EndGroup,
    /// An annotation of this level.
    Error,
    /// An annotation of this level.
    Warning,
    /// An annotation of this level.
    Notice,
    /// For debugging.
    Debug,
}

impl Mark {
    /// All there are.
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

    /// Returns the command of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mark| mark.as_str() == text)
    }
}

/// One line of a job's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When it was sent.
    pub at: Timestamp,
    /// The job it belongs to.
    pub job: JobName,
    /// The step that printed it; absent where it is about the job as a whole.
    pub step: Option<String>,
    /// The step's attempt, from 1.
    pub attempt: Option<u32>,
    /// Where it came from.
    pub stream: Stream,
    /// Its syslog priority: 0 (emergency) to 7 (debug).
    pub priority: u8,
    /// Which workflow command it was.
    pub mark: Option<Mark>,
    /// The text, without its line end. What was no UTF-8 has been replaced; control characters are
    /// all there.
    pub message: String,
}
