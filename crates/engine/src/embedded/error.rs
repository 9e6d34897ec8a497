//! The errors of starting a private manager, with hints for the user.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::ids::RunId;

/// A requirement of the embedded manager that the machine does not meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The requirement, as a phrase with the name in backticks.
    pub what: String,
    /// The remedy, as an imperative phrase.
    pub hint: String,
}

/// The reason why a private manager could not be started. No process of it is left running.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The machine does not meet these requirements.
    #[error("the embedded manager cannot run here: missing {}", list(.0))]
    Missing(Vec<Missing>),
    /// The installed systemd is too old.
    #[error("systemd {found} is too old for the embedded manager, at least {least} is needed")]
    TooOld {
        /// The version found.
        found: u32,
        /// The oldest supported version.
        least: u32,
    },
    /// A manager of the same run is alive.
    #[error("run `{run}` already has a living manager")]
    Busy {
        /// The run.
        run: RunId,
    },
    /// A file operation failed before anything was started.
    #[error("failed to {action} `{}`", path.display())]
    Io {
        /// The operation, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A step in setting up the namespaces failed.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The private systemd ended although the supervisor was not done.
    #[error("the run's private systemd ended: {status}{}", last_line(.said))]
    Ended {
        /// Its exit status, or the signal that killed it.
        status: String,
        /// The output of systemd that is not in the journal.
        said: String,
        /// The file that holds this output.
        log: PathBuf,
    },
    /// The process that sets up the namespaces ended without an answer.
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

    /// Returns advice for the user, one phrase for each remedy.
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
                "in a container, give it CAP_SYS_ADMIN and the right to mount: `docker run --privileged`, or `--cap-add SYS_ADMIN \
                 --security-opt apparmor=unconfined --security-opt seccomp=unconfined`"
            }
            Self::Stage(error) if error.errno == Some(nix::libc::EMFILE) => INOTIFY,
            Self::Ended { said, .. } if said.contains("Too many open files") => INOTIFY,
            Self::Ended { log, .. } => return vec![format!("see `{}`", log.display())],
            Self::Silent => {
                "check that root can read the `nixactions` binary at the path it was started from"
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

/// Returns the last line that systemd printed before it reported its end, as a part of a sentence.
fn last_line(said: &str) -> String {
    // Coloured lines only repeat an earlier message for the console.
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

/// A failed step of another process.
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

// The error came as text from another process, so there is no source: the cause is part of the
// message.
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
