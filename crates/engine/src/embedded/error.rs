//! What can go wrong when a private manager is started, and what to do about it.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::ids::RunId;

/// Something the embedded manager needs and does not find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What is missing, as a phrase with the name in backticks.
    pub what: String,
    /// What to do, as an imperative phrase.
    pub hint: String,
}

/// A private manager could not be started. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The machine lacks something; all of it is listed.
    #[error("the embedded manager cannot run here: missing {}", list(.0))]
    Missing(Vec<Missing>),
    /// systemd is installed, but is too old.
    #[error("systemd {found} is too old for the embedded manager, at least {least} is needed")]
    TooOld {
        /// The version found.
        found: u32,
        /// The oldest that will do.
        least: u32,
    },
    /// A manager of the same run is alive.
    #[error("run `{run}` has a living manager already")]
    Busy {
        /// The run.
        run: RunId,
    },
    /// A file operation failed before anything was started.
    #[error("failed to {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A step in setting up the namespaces failed.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The private systemd ended by itself, not because the supervisor was done.
    #[error("the run's private systemd ended: {status}{}", last_line(.said))]
    Ended {
        /// Its exit status, or the signal that killed it.
        status: String,
        /// What it said outside of the journal.
        said: String,
        /// The file where that is kept.
        log: PathBuf,
    },
    /// The process that sets up the namespaces ended without a word.
    #[error("the embedded manager's first process ended without an answer")]
    Silent,
}

impl EmbeddedError {
    pub(super) fn io(action: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.as_ref().to_owned(),
            source,
        }
    }

    /// Returns what the user can do, one phrase each.
    pub fn hints(&self) -> Vec<String> {
        const INOTIFY: &str =
            "raise the limit on inotify instances: `sysctl fs.inotify.max_user_instances=1024`";
        let hint: &str = match self {
            Self::Missing(missing) => {
                let mut hints: Vec<String> = Vec::new();
                for hint in missing.iter().map(|missing| &missing.hint) {
                    if !hints.contains(hint) {
                        hints.push(hint.clone());
                    }
                }
                return hints;
            }
            Self::TooOld { .. } => "install a newer systemd (on Debian: bookworm or later)",
            Self::Busy { .. } => "attach to it, or cancel it",
            Self::Stage(error) if error.is_denied() => {
                "in a container, give it CAP_SYS_ADMIN and leave to mount: `docker run --privileged`, or `--cap-add SYS_ADMIN \
                 --security-opt apparmor=unconfined --security-opt seccomp=unconfined`"
            }
            Self::Stage(error) if error.errno == Some(nix::libc::EMFILE) => INOTIFY,
            Self::Ended { said, .. } if said.contains("Too many open files") => INOTIFY,
            Self::Ended { log, .. } => return vec![format!("see `{}`", log.display())],
            Self::Silent => {
                "is the `nixactions` binary readable by root at the path it was started from?"
            }
            Self::Io { .. } | Self::Stage(_) => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}

fn list(missing: &[Missing]) -> String {
    missing
        .iter()
        .map(|missing| missing.what.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

/// Returns what systemd said last before the note that it ended, as a part of a sentence.
fn last_line(said: &str) -> String {
    // Lines in colour are shouts to the console that repeat what was said before.
    let lines = said.lines().filter(|line| {
        !line.starts_with("PID 1 ended")
            && !line.starts_with("Exiting PID 1")
            && !line.contains('\u{1b}')
    });
    lines
        .rev()
        .find(|line| !line.trim().is_empty())
        .map(|line| format!(": {line}"))
        .unwrap_or_default()
}

/// A step that failed in another process than the caller's.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StageError {
    step: String,
    errno: Option<i32>,
    message: String,
}

impl StageError {
    pub(super) fn new(step: impl fmt::Display, error: &io::Error) -> Self {
        Self {
            step: step.to_string(),
            errno: error.raw_os_error(),
            message: error.to_string(),
        }
    }

    pub(super) fn other(step: &str, error: impl fmt::Display) -> Self {
        Self {
            step: step.to_owned(),
            errno: None,
            message: error.to_string(),
        }
    }

    fn is_denied(&self) -> bool {
        self.errno
            .is_some_and(|errno| errno == nix::libc::EPERM || errno == nix::libc::EACCES)
    }
}

// It has travelled as text, so there is no source to hand on: the cause is part of the sentence.
impl fmt::Display for StageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to {}: {}", self.step, self.message)
    }
}

impl std::error::Error for StageError {}

/// Names the step that an error belongs to.
pub(super) trait At<T> {
    fn at(self, step: impl fmt::Display) -> Result<T, StageError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, step: impl fmt::Display) -> Result<T, StageError> {
        self.map_err(|error| StageError::new(step, &error.into()))
    }
}
