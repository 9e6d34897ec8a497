//! The errors of following a run, and what the user can do about them.

use std::io;

use crate::store::StoreError;

/// The reasons why a run cannot be followed, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The run directory cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The run has no supervisor any more.
    #[error("run `{run}` is lost: its supervisor is gone and left no record")]
    Lost {
        /// The run.
        run: String,
    },
    /// The run's directory was removed.
    #[error("the directory of run `{run}` was removed while it went on")]
    Removed {
        /// The run.
        run: String,
    },
    /// journalctl cannot be started.
    #[error("failed to start `journalctl`")]
    Journal(#[source] io::Error),
    /// journalctl failed.
    #[error("`journalctl` failed: {message}")]
    JournalFailed {
        /// Its error message.
        message: String,
        /// Whether the user may not read the journal.
        is_denied: bool,
    },
    /// The output cannot be written.
    #[error("failed to write the output")]
    Output(#[source] io::Error),
    /// The program cannot listen to signals.
    #[error("failed to set up the event loop")]
    Signals(#[source] io::Error),
}

impl FollowError {
    /// Returns advice for the user.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Lost { run } => Some(format!(
                "`nixactions show {run}` shows its jobs; `nixactions cancel {run}` stops those that \
                 still run"
            )),
            Self::Removed { .. } => Some(
                "its supervisor stops the jobs; use `nixactions cancel` to end a run".to_owned(),
            ),
            Self::Journal(_) => Some(
                "install journalctl, a part of systemd: logs cannot be read without it".to_owned(),
            ),
            Self::JournalFailed {
                is_denied: true, ..
            } => Some("run as root, or as a member of the group `systemd-journal`".to_owned()),
            Self::JournalFailed { .. } | Self::Output(_) | Self::Signals(_) => None,
        }
    }
}
