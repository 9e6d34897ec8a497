//! The ends of runs, jobs and steps.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The end of a run, job or step. An *outcome* is the end itself. A *conclusion* is the end after
/// `continueOnError` (GitHub's terms).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Conclusion {
    /// Everything succeeded.
    Success,
    /// A part failed, was killed or ran out of time.
    Failure,
    /// The run was cancelled.
    Cancelled,
    /// The condition was false, so nothing ran.
    Skipped,
}

impl Conclusion {
    /// All conclusions.
    const ALL: [Self; 4] = [Self::Success, Self::Failure, Self::Cancelled, Self::Skipped];

    /// Returns the word that stands in records and in `NEEDS_<JOB>_RESULT`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }

    /// Returns the conclusion with this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|conclusion| conclusion.as_str() == word)
    }
}

impl fmt::Display for Conclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
