//! Where a run came from: the cause of its start, its source and its actor.
//!
//! Knows nothing of git or of users.

use serde::{Deserialize, Serialize};

/// The cause of a run's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Trigger {
    /// A person or a program called `nixactions run`.
    Manual,
    /// A timer.
    Schedule,
    /// A push to a branch.
    Push,
    /// A pull request.
    PullRequest,
    /// A push of a tag.
    Tag,
    /// `nixactions rerun`.
    Rerun,
}

impl Trigger {
    /// Returns the word that stands in records and in `NIXACTIONS_EVENT`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Schedule => "schedule",
            Self::Push => "push",
            Self::PullRequest => "pullRequest",
            Self::Tag => "tag",
            Self::Rerun => "rerun",
        }
    }
}

/// Where a run came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Origin {
    /// The cause of the start.
    pub trigger: Trigger,
    /// The source tree's repository: the address of its remote `origin`, without credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// The branch that was checked out, such as `refs/heads/main`.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<String>,
    /// The commit that was checked out. The source tree may have had other changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The user who started the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
}
