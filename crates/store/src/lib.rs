//! The run directory: the files of a run on disk, and the code that reads and writes them.
//!
//! ```text
//! <state>/version                      the layout's version
//! <state>/concurrency/<group>/         the run that holds a concurrency group, and the waiting run
//! <state>/max-concurrent-jobs          the most jobs of all runs at once, written by the owner
//! <state>/numbers/<workflow>           the highest number of a removed run
//! <state>/building/                    workflows that Nix builds for runs to come
//! <state>/runs/.slots/                 locks of running jobs, if there is such a limit
//! <state>/runs/.trash/                 runs that are being removed
//! <state>/runs/<run>/                  0700: only its owner can reach the files in it
//!     plan.json  run.json              the request (run.json holds private variables)
//!     workflow                         a link to the plan in Nix's store, if it comes from there;
//!                                      the link keeps the plan in the store
//!     package                          the same for the package that runs the jobs, until the end
//!     events.jsonl  record.json        the events and the final record
//!     start.lock                       held by the client that starts the run, later shared by
//!                                      all clients that follow it
//!     supervisor.lock                  held by the run's supervisor while it lives
//!     control/                         requests to the supervisor: cancel, kill, superseded
//!     shared/                          bound read-only into every job: cancelled, source/,
//!                                      matrix/<group>/
//!     roots/<job>/                     mounts of the job's root file system, if it has its own
//!     slots/                           locks of running jobs, if systemd is older than 258, and
//!                                      links of those that all runs share
//!     jobs/<job>/spec.json             the job's spec for its runner
//!     jobs/<job>/out/                  events.jsonl: written by the runner, read by dependents
//!     jobs/<job>/artifacts/<name>/     written by the job, read by the jobs that restore it
//!     jobs/<job>/work/                 the job's own workspace and home
//! ```
//!
//! Knows nothing of systemd. A job may have replaced any file that it can write to, so this crate
//! reads such files with care.

#[cfg(feature = "runs")]
mod build_place;
#[cfg(feature = "runs")]
mod concurrency;
#[cfg(feature = "runs")]
mod entries;
mod events;
mod files;
#[cfg(feature = "runs")]
mod journal;
#[cfg(feature = "runs")]
mod liveness;
pub mod lock;
#[cfg(feature = "runs")]
mod look_up;
#[cfg(feature = "runs")]
mod lost;
pub mod programs;
#[cfg(feature = "runs")]
mod ranges;
mod remove;
#[cfg(feature = "runs")]
mod reserve;
mod result;
#[cfg(feature = "runs")]
mod retention;
#[cfg(feature = "runs")]
mod run_lock;
#[cfg(feature = "runs")]
mod runners;
mod secrets;
#[cfg(feature = "runs")]
mod slots;
#[cfg(feature = "runs")]
mod state;
mod tree;
mod users;
#[cfg(feature = "runs")]
pub mod view;

use nixactions_core::{bounds, event, ids, paths, reason, record, settings, spec};
#[cfg(feature = "runs")]
use nixactions_core::{claims, error, log, names, status};
#[cfg(feature = "runs")]
use nixactions_plan as plan;

use std::{
    io,
    path::{Path, PathBuf},
};

#[cfg(feature = "runs")]
pub use build_place::BuildPlace;
#[cfg(feature = "runs")]
pub use concurrency::{Arrival, ConcurrencyGroup, GroupLock};
pub use events::{Complaint, EventTail, EventWriter, News};

#[cfg(feature = "runs")]
pub use entries::Entries;
pub use files::{
    leads_into_store, open_untrusted, raise_flag, raise_reason, read_document, read_json,
    read_reason, read_untrusted_json, write_atomically, write_json, write_json_plainly,
};
#[cfg(feature = "runs")]
pub use journal::{JournalEntry, JournalQuery, JournalSource, Mode};
#[cfg(feature = "runs")]
pub use liveness::Liveness;
#[cfg(feature = "runs")]
pub use look_up::{LookUp, look_up};
#[cfg(feature = "runs")]
pub use ranges::{JobRanges, RANGE_IDS, RANGE_LOCKS, RangeLock};
pub use remove::{disk_usage, remove_tree};
pub use result::{has_started, read_result};
#[cfg(feature = "runs")]
pub use retention::Retention;
#[cfg(feature = "runs")]
pub use run_lock::RunLock;
pub use secrets::{forget_secrets, write_secrets};
#[cfg(feature = "runs")]
pub use slots::{create_slots, link_slots};
#[cfg(feature = "runs")]
pub use state::{RunDir, StateDir};
pub use tree::{Allowed, Copied, DirectoryId, ModePolicy, Modes, TreeCopy, make_beneath, plain};
pub use users::{
    JobUsers, LOCKS, RECORDS, REST, are_looked_up, id_of_user, remove_users, sweep_users,
};

#[cfg(feature = "runs")]
use crate::paths::RootPaths;
use crate::{
    ids::NameError,
    paths::{JobPaths, MatrixPaths, RunPaths},
    spec::WorkspaceHook,
};

/// The errors of files.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused an action.
    #[error("failed to {action} `{}`", path.display())]
    Io {
        /// The action, as a verb.
        action: &'static str,
        /// The path of the action.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file does not have the form of its type.
    #[error("`{}` is malformed", path.display())]
    Malformed {
        /// The path of the file.
        path: PathBuf,
        /// The error of the JSON parser.
        source: serde_json::Error,
    },
    /// The path is not a plain file, but a directory, a link, a pipe or a device.
    #[error("`{}` is not a plain file", path.display())]
    NotPlain {
        /// The path.
        path: PathBuf,
    },
    /// The file is larger than any file that nixactions writes there.
    #[error("`{}` is larger than {} MiB", path.display(), max >> 20)]
    TooLarge {
        /// The path of the file.
        path: PathBuf,
        /// The most bytes that are read.
        max: u64,
    },
    /// A component of the path is a link.
    #[error("`{}` leads through a link", path.display())]
    ThroughLink {
        /// The path up to the link.
        path: PathBuf,
    },
    /// The path is neither a file, a directory nor a link.
    #[error("`{}` is {kind}, which cannot be copied", path.display())]
    Special {
        /// The path.
        path: PathBuf,
        /// The kind of the file, in words.
        kind: &'static str,
    },
    /// systemd removes the files of the jobs' users in this place.
    #[error("state directory `{}` is below `/dev/shm`, where systemd removes the files of a job's user when the job ends", path.display())]
    Swept {
        /// The state directory.
        path: PathBuf,
    },
    /// A document has a version other than the one that this program reads.
    #[error("`{}` has version {found}, this program knows version {known}", path.display())]
    OtherVersion {
        /// The path of the document.
        path: PathBuf,
        /// The document's version.
        found: u32,
        /// The version that this program reads.
        known: u32,
    },
    /// A newer program wrote the state directory.
    #[error("state directory `{}` has version {found}, this program knows version {known}", path.display())]
    Newer {
        /// The state directory.
        path: PathBuf,
        /// The version of the state directory.
        found: String,
        /// The newest version that this program knows.
        known: u32,
    },
    /// The state directory has no run with this id.
    #[error("no run `{run}` in `{}`", state.display())]
    NoRun {
        /// The requested id.
        run: String,
        /// The state directory.
        state: PathBuf,
        /// The nearest existing id.
        nearest: Option<String>,
    },
    /// The limit on the jobs of all runs is not a number of jobs.
    #[cfg(feature = "runs")]
    #[error("invalid number of jobs `{text}` in `{}`", path.display())]
    BadLimit {
        /// The file.
        path: PathBuf,
        /// Its content.
        text: String,
    },
    /// The text is not a run id.
    #[error("invalid run id `{text}`")]
    BadRunId {
        /// The text.
        text: String,
        /// The reason.
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

    /// Returns whether a document is damaged and stays so: its content is not that of its type, or
    /// something else is in its place. A document of another version is not damaged.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Malformed { .. } | Self::NotPlain { .. } | Self::TooLarge { .. } => true,
            Self::Io { source, .. } => source.kind() == io::ErrorKind::IsADirectory,
            _ => false,
        }
    }

    /// Returns advice for the user.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("run as root, or name a directory of your own with `--state-dir`".to_owned())
            }
            Self::Io { .. } if self.is_full() => {
                Some("free some space, or name another directory with `--state-dir`".to_owned())
            }
            Self::Swept { .. } => {
                Some("name another `--state-dir`; a directory in memory can be below `/run`".to_owned())
            }
            Self::Newer { found, .. } if found.parse::<u32>().is_err() => Some(
                "its file `version` is damaged or belongs to another program; name another `--state-dir`"
                    .to_owned(),
            ),
            Self::Newer { .. } => {
                Some("use the newer program, or another `--state-dir`".to_owned())
            }
            Self::OtherVersion { found, known, .. } if found > known => {
                Some("use the newer program that wrote it".to_owned())
            }
            Self::OtherVersion { .. } => {
                Some("the file is damaged: no program wrote this version".to_owned())
            }
            Self::NoRun {
                nearest: Some(nearest),
                ..
            } => Some(format!("did you mean `{nearest}`?")),
            Self::NoRun { .. } => {
                Some("`nixactions list` shows the runs of a state directory".to_owned())
            }
            #[cfg(feature = "runs")]
            Self::BadLimit { .. } => Some(format!(
                "write a number from 1 to {} into it, or remove it",
                slots::JOBS_MAX
            )),
            Self::Io { .. }
            | Self::Malformed { .. }
            | Self::NotPlain { .. }
            | Self::TooLarge { .. }
            | Self::ThroughLink { .. }
            | Self::Special { .. }
            | Self::BadRunId { .. } => None,
        }
    }
}

/// Makes the directories that a job needs before its unit starts. The job's user is not known yet
/// (`DynamicUser=`), so any user may write to the job's directories. Other users still cannot reach
/// them, because only the owner can enter the run's directory.
///
/// # Errors
/// Fails with the path and the system's error.
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

/// Makes the directory in which the runners of a job and of its services meet.
///
/// # Errors
/// Fails with the path and the system's error.
#[cfg(feature = "runs")]
pub fn create_masks(job: &JobPaths) -> Result<(), StoreError> {
    make_dir(&job.masks(), 0o777)
}

/// Makes the directory of a job's root file system, and writes how to mount it.
///
/// # Errors
/// Fails with the path and the system's error.
#[cfg(feature = "runs")]
pub fn create_root<T: serde::Serialize>(root: &RootPaths, spec: &T) -> Result<(), StoreError> {
    if let Some(roots) = root.path().parent() {
        make_dir(roots, 0o700)?;
    }
    make_dir(root.path(), 0o700)?;
    // systemd enters it even for the command that mounts the root file system.
    make_dir(&root.tree(), 0o755)?;
    write_json_plainly(&root.spec(), spec, 0o600)
}

/// The machine's file of hosts (hosts(5)).
#[cfg(feature = "runs")]
const HOSTS: &str = "/etc/hosts";

/// Returns the lines that give this machine further names, after the text of a file of hosts
/// (hosts(5)).
pub fn host_lines(text: &[u8], names: &[String]) -> String {
    let mut lines = String::new();
    if !text.is_empty() && !text.ends_with(b"\n") {
        lines.push('\n');
    }
    for name in names {
        lines.push_str(&format!("127.0.0.1 {name}\n"));
    }
    lines
}

/// Writes the file of hosts for a job with services: the machine's, with the names of the services.
/// Writes none if the machine has none.
///
/// # Errors
/// Fails with the path and the system's error.
#[cfg(feature = "runs")]
pub fn create_hosts(path: &Path, names: &[String]) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt;
    let above: Vec<&Path> = path.ancestors().skip(1).take(2).collect();
    for directory in above.into_iter().rev() {
        make_dir(directory, 0o755)?;
    }
    let mut text = match std::fs::read(HOSTS) {
        // Without a file to hide, it could not be shown.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|source| StoreError::io("read", Path::new(HOSTS), source))?,
    };
    let lines = host_lines(&text, names);
    text.extend_from_slice(lines.as_bytes());
    std::fs::write(path, &text)
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)))
        .map_err(|source| StoreError::io("write", path, source))
}

/// Makes the locks for ports of the host, one file for each. Only their owner can take them.
///
/// # Errors
/// Fails with the path and the system's error.
#[cfg(feature = "runs")]
pub fn create_ports(directory: &Path, ports: &[u16]) -> Result<(), StoreError> {
    use std::os::unix::fs::OpenOptionsExt;
    // A process that can read a file can lock it (flock(2)).
    make_dir(directory, 0o700)?;
    for port in ports {
        let path = directory.join(port.to_string());
        let mut options = std::fs::OpenOptions::new();
        options.create(true).append(true).mode(0o600);
        let made = options.open(&path);
        made.map_err(|source| StoreError::io("create", &path, source))?;
    }
    Ok(())
}

/// Makes the file of a job's events, which systemd opens for the job's runner. By path, only the
/// run's owner can write to the file. Every process that sees the file can read it, whatever the
/// job's umask is. The file gets the disk space for the events of a small job, so that a runner can
/// report its start even if the disk is full by then. An existing file stays as it is.
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

/// Makes the directories that an executor's hooks need: one that all hooks share, and those of the
/// workspace hooks.
///
/// # Errors
/// Fails with the path and the system's error.
pub fn create_executor(run: &RunPaths, executor: &str) -> Result<(), StoreError> {
    let shared = run.executor(executor);
    std::fs::create_dir_all(&shared).map_err(|source| StoreError::io("create", &shared, source))?;
    [WorkspaceHook::Setup, WorkspaceHook::Cleanup]
        .into_iter()
        .try_for_each(|hook| create_job(&run.hook(executor, hook), &[]))
}

/// Makes the directory that the jobs of a matrix group share.
///
/// # Errors
/// Fails with the path and the system's error.
pub fn create_matrix(matrix: &MatrixPaths) -> Result<(), StoreError> {
    matrix
        .path()
        .parent()
        .map_or(Ok(()), |all| make_dir(all, 0o755))?;
    make_dir(matrix.path(), 0o755)
}

/// Makes a directory with exactly this mode, whatever the umask is. An existing directory stays as
/// it is.
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

/// Returns whether this process can make files of other users. Root of a user namespace may have
/// only one id.
#[cfg(test)]
fn can_give_files_away() -> bool {
    let given = |file: &std::path::Path| std::os::unix::fs::chown(file, Some(5), Some(7)).is_ok();
    tempfile::NamedTempFile::new().is_ok_and(|file| given(file.path()))
}

#[cfg(all(test, feature = "runs"))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn only_their_owner_can_lock_ports() {
        let place = tempfile::tempdir().unwrap();
        let ports = place.path().join("ports");
        create_ports(&ports, &[5432]).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&ports), 0o700);
        assert_eq!(mode(&ports.join("5432")), 0o600);
    }
}
