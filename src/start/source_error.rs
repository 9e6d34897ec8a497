//! The errors of finding and copying a source tree, and what a user can do about them.

use std::path::PathBuf;

use crate::store::StoreError;

/// The errors of a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// git cannot be started.
    #[error("failed to start git, which lists the files of the source tree")]
    NoGit(#[source] std::io::Error),
    /// git failed.
    #[error("git failed in `{}`: {message}", directory.display())]
    Git {
        /// The directory.
        directory: PathBuf,
        /// git's error message.
        message: String,
    },
    /// A file cannot be copied.
    #[error("failed to copy the source tree")]
    Copy(#[source] StoreError),
    /// `--source` is not a directory.
    #[error("source `{}` is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// `--source` leads through a user's link to a directory of another user.
    #[error(
        "source `{}` leads through a link of user {user} to `{}`, which belongs to user {owner}",
        path.display(),
        found.display()
    )]
    Misled {
        /// The named path.
        path: PathBuf,
        /// The directory that it leads to.
        found: PathBuf,
        /// The user who can change the link.
        user: u32,
        /// The user who owns the directory.
        owner: u32,
    },
}

impl SourceError {
    /// Returns advice for the user.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoGit(_) => {
                Some("install git, or name a plain directory with `--source DIR`".to_owned())
            }
            Self::Misled { found, .. } => Some(format!(
                "if you mean `{0}`, write `--source {0}`",
                found.display()
            )),
            Self::Git { .. } | Self::Copy(_) | Self::NotADirectory(_) => None,
        }
    }
}
