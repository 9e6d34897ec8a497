//! The run directory: where everything of a run lies on disk, and how it is read and written.
//!
//! ```text
//! <state>/version                      the layout's version
//! <state>/concurrency/<group>/         who holds a concurrency group, and who waits for it
//! <state>/numbers/<workflow>           the highest number of a run that was removed
//! <state>/trash/                       runs that are being removed
//! <state>/building/                    workflows that Nix builds for runs to come
//! <state>/runs/<run>/                  0700: nobody but its owner gets below it by path
//!     plan.json  run.json              what was asked for (run.json may hold secrets)
//!     workflow                         a link to where the plan comes from, if that is Nix's store, which keeps it there
//!     events.jsonl  record.json        what happened
//!     start.lock                       held by the client that starts the run, then by all that follow it
//!     supervisor.lock                  held by the run's supervisor while it lives
//!     control/                         requests to the supervisor: cancel, kill, superseded
//!     shared/                          bound read-only into every job: cancelled, source/, slots/, matrix/<group>/
//!     jobs/<job>/spec.json             the job as its runner gets it
//!     jobs/<job>/out/                  its runner's alone, its dependents read: events.jsonl
//!     jobs/<job>/artifacts/<name>/     the job writes, the jobs that take the artifact in read
//!     jobs/<job>/work/                 the job's own: workspace, home
//! ```
//!
//! Knows nothing of systemd. A job may have replaced anything it can write to, so what lies there
//! is read with care.

#[cfg(feature = "runs")]
mod building;
#[cfg(feature = "runs")]
mod concurrency;
mod events;
mod files;
#[cfg(feature = "runs")]
mod journal;
#[cfg(feature = "runs")]
mod liveness;
#[cfg(feature = "runs")]
mod lost;
pub mod programs;
mod remove;
mod result;
#[cfg(feature = "runs")]
mod retention;
#[cfg(feature = "runs")]
mod runners;
mod secrets;
#[cfg(feature = "runs")]
mod state;
mod tree;
mod users;

use nixactions_core::{bounds, event, ids, paths, record, settings, spec};
#[cfg(feature = "runs")]
use nixactions_core::{error, log, names, status};
#[cfg(feature = "runs")]
use nixactions_plan as plan;

use std::{
    io,
    path::{Path, PathBuf},
};

#[cfg(feature = "runs")]
pub use building::Building;
#[cfg(feature = "runs")]
pub use concurrency::{Arrival, ConcurrencyGroup, GroupLock};
pub use events::{Complaint, EventTail, EventWriter, News};

pub use files::{
    open_untrusted, raise_flag, read_document, read_json, read_untrusted_json, write_atomically,
    write_json, write_json_plainly,
};
#[cfg(feature = "runs")]
pub use journal::{JournalEntry, JournalQuery, JournalSource, Mode};
#[cfg(feature = "runs")]
pub use liveness::{Liveness, RunLock};
pub use remove::{disk_usage, remove_tree};
pub use result::{has_started, read_result};
#[cfg(feature = "runs")]
pub use retention::Retention;
pub use secrets::{forget_secrets, write_secrets};
#[cfg(feature = "runs")]
pub use state::{RunDir, StateDir};
pub use tree::{Copied, ModePolicy, Modes, TreeCopy, make_beneath, plain};
pub use users::{JobUsers, LOCKS, RECORDS, are_looked_up, id_of_user, remove_users, sweep_users};

use crate::{
    ids::NameError,
    paths::{JobPaths, MatrixPaths, RunPaths},
    spec::WorkspaceHook,
};

/// What can go wrong with files.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused.
    #[error("failed to {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file is not of the form it must have.
    #[error("`{}` is malformed", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Something else lies where a plain file is expected.
    #[error("`{}` is not a plain file of reasonable size", path.display())]
    NotPlain {
        /// Where.
        path: PathBuf,
    },
    /// A link lies on the way to a path.
    #[error("`{}` leads through a link", path.display())]
    ThroughLink {
        /// The path as far as the link.
        path: PathBuf,
    },
    /// A path is neither a file, a directory nor a link.
    #[error("`{}` is {kind}, which cannot be copied", path.display())]
    Special {
        /// Where.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// The state directory lies where systemd removes what the jobs' users leave.
    #[error("state directory `{}` is below `/dev/shm`, where systemd removes what belongs to a job's user when the job ends", path.display())]
    Swept {
        /// The state directory.
        path: PathBuf,
    },
    /// A document is of another version than this program reads.
    #[error("`{}` has version {found}, this program knows version {known}", path.display())]
    OtherVersion {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The version that is known.
        known: u32,
    },
    /// The state directory was written by a newer program.
    #[error("state directory `{}` has version {found}, this program knows version {known}", path.display())]
    Newer {
        /// The state directory.
        path: PathBuf,
        /// Its version.
        found: String,
        /// The newest version known.
        known: u32,
    },
    /// No run has this id.
    #[error("no run `{run}` in `{}`", state.display())]
    NoRun {
        /// What was asked for.
        run: String,
        /// The state directory.
        state: PathBuf,
        /// The nearest known id.
        nearest: Option<String>,
    },
    /// What was given is no run id at all.
    #[error("`{text}` is no run id")]
    BadRunId {
        /// What was given.
        text: String,
        /// Why it is none.
        source: NameError,
    },
}

impl StoreError {
    /// Returns the error of an action on a path.
    pub fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// Returns whether the disk is full (ENOSPC, EDQUOT).
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }

    /// Returns what the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("run as root, or name a directory of your own with `--state-dir`".to_owned())
            }
            Self::Io { .. } if self.is_full() => {
                Some("free some space, or name another directory with `--state-dir`".to_owned())
            }
            Self::Swept { .. } => {
                Some("name another `--state-dir`; for one in memory, below `/run`".to_owned())
            }
            Self::Newer { found, .. } if found.parse::<u32>().is_err() => Some(
                "its file `version` is damaged, or not of this program; name another `--state-dir`"
                    .to_owned(),
            ),
            Self::Newer { .. } => {
                Some("use the newer program, or another `--state-dir`".to_owned())
            }
            Self::OtherVersion { found, known, .. } if found > known => {
                Some("use the newer program, which wrote it".to_owned())
            }
            Self::OtherVersion { .. } => {
                Some("it is damaged: no program wrote this version".to_owned())
            }
            Self::NoRun {
                nearest: Some(nearest),
                ..
            } => Some(format!("did you mean `{nearest}`?")),
            Self::NoRun { .. } => {
                Some("`nixactions list` shows the runs of a state directory".to_owned())
            }
            Self::Io { .. }
            | Self::Malformed { .. }
            | Self::NotPlain { .. }
            | Self::ThroughLink { .. }
            | Self::Special { .. }
            | Self::BadRunId { .. } => None,
        }
    }
}

/// Makes the directories that a job needs before its unit starts. The job's user is not known yet
/// (`DynamicUser=`), so what it writes to is open to all; nobody gets there by path, since the
/// run's directory is its owner's alone.
///
/// # Errors
/// Fails with the path and the system's reason.
pub fn create_job(job: &JobPaths, artifacts: &[&str]) -> Result<(), StoreError> {
    make_dir(job.path(), 0o755)?;
    make_dir(&job.out(), 0o755)?;
    make_events(&job.events())?;
    make_dir(&job.work(), 0o777)?;
    if !artifacts.is_empty() {
        make_dir(&job.artifacts(), 0o755)?;
    }
    artifacts
        .iter()
        .try_for_each(|name| make_dir(&job.artifact(name), 0o777))
}

/// Makes the file of a job's events, which systemd opens for the job's runner: nobody but the run's
/// owner can write to it by its path, and everybody whom it is shown can read it, whatever the
/// job's umask. It has room for what a small job tells, so that a disk which is full by then does
/// not keep a runner from saying that it has begun. One that is there already is left as it is.
fn make_events(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt;
    let make = || -> io::Result<()> {
        let file = std::fs::File::create_new(path)?;
        events::set_aside(&file, events::FIRST_ROOM)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o644))
    };
    match make() {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(StoreError::io("create", path, error))
        }
        _ => Ok(()),
    }
}

/// Makes the directories that the hooks of an executor need: one that they share, and those of the
/// hooks around all its jobs.
///
/// # Errors
/// Fails with the path and the system's reason.
pub fn create_executor(run: &RunPaths, executor: &str) -> Result<(), StoreError> {
    let shared = run.executor(executor);
    std::fs::create_dir_all(&shared).map_err(|source| StoreError::io("create", &shared, source))?;
    [WorkspaceHook::Setup, WorkspaceHook::Cleanup]
        .into_iter()
        .try_for_each(|hook| create_job(&run.hook(executor, hook), &[]))
}

/// Makes the locks of which each running job holds one (`maxParallel` on a systemd that does not
/// count units itself).
///
/// # Errors
/// Fails with the path and the system's reason.
pub fn create_slots(directory: &Path, count: u32) -> Result<(), StoreError> {
    make_dir(directory, 0o755)?;
    let names = (0..count)
        .map(|number| number.to_string())
        .chain(["queue".to_owned()]);
    names.map(|name| directory.join(name)).try_for_each(|path| {
        std::fs::File::create(&path)
            .map(drop)
            .map_err(|source| StoreError::io("create", &path, source))
    })
}

/// Makes what the jobs of a matrix group share, with locks where the group is bounded by them.
///
/// # Errors
/// Fails with the path and the system's reason.
pub fn create_matrix(matrix: &MatrixPaths, slots: Option<u32>) -> Result<(), StoreError> {
    matrix
        .path()
        .parent()
        .map_or(Ok(()), |all| make_dir(all, 0o755))?;
    make_dir(matrix.path(), 0o755)?;
    slots.map_or(Ok(()), |count| create_slots(&matrix.slots(), count))
}

/// Makes a directory with exactly this mode, whatever the umask; one that is there already is left
/// as it is.
fn make_dir(path: &Path, mode: u32) -> Result<(), StoreError> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    match std::fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) if mode & 0o022 == 0 => Ok(()),
        Ok(()) => std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
            .map_err(|source| StoreError::io("set the mode of", path, source)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(StoreError::io("create", path, error)),
    }
}
