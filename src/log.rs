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
    /// The text, without its line end. What was no UTF-8 has been replaced; control characters are all there.
    pub message: String,
}
