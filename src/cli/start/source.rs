//! The snapshot of the source tree: taken once a run, so that what jobs see does not change while they run.
//!
//! What git would not ignore, plus `.git` (PLAN's `copyRepo`). git itself says what that is.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    overlay,
    store::{self, ModePolicy, RunDir, StoreError, TreeCopy},
};

/// What can go wrong with a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// git cannot be started.
    #[error("failed to start git, which says what belongs to the source tree")]
    NoGit(#[source] std::io::Error),
    /// git refused.
    #[error("git failed in `{}`: {message}", directory.display())]
    Git {
        /// Where.
        directory: PathBuf,
        /// What it said.
        message: String,
    },
    /// A file cannot be copied.
    #[error("failed to copy the source tree")]
    Copy(#[source] StoreError),
    /// `--source` is no directory.
    #[error("source `{}` is no directory", .0.display())]
    NotADirectory(PathBuf),
}

/// A tree up to this size is copied by each job: that takes no longer than to mount it.
const COPIED_ENTRIES: u64 = 256;
const COPIED_BYTES: u64 = 16 << 20;

/// A source tree to be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    root: PathBuf,
    is_repository: bool,
}

impl Source {
    /// Finds the tree: the directory that was named, or the repository that the current directory lies in. `None`
    /// where neither is there; a directory that is no repository is copied only when it was named.
    ///
    /// # Errors
    /// Fails when the named directory is none.
    pub fn find(named: Option<&Path>, current: &Path) -> Result<Option<Self>, SourceError> {
        if let Some(named) = named {
            let root =
                named.canonicalize().ok().filter(|path| path.is_dir()).ok_or_else(|| SourceError::NotADirectory(named.to_owned()))?;
            let is_repository = root.join(".git").exists();
            return Ok(Some(Self { root, is_repository }));
        }
        let root = current.ancestors().find(|directory| directory.join(".git").exists());
        Ok(root.map(|root| Self { root: root.to_owned(), is_repository: true }))
    }

    /// Copies the tree into the run directory. A small one is made readable for the jobs' users, with its real modes beside it, and each
    /// job copies it. A larger one is, if it `may` be, mounted, so that a job costs the same whatever its size: then it keeps its
    /// real modes, since it will look as if it were the job's own. Returns whether it is to be mounted.
    ///
    /// # Errors
    /// Fails when git does, or a file cannot be copied.
    pub fn snapshot(&self, run: &RunDir, may_mount: bool) -> Result<bool, SourceError> {
        let target = run.source();
        let tree = run.source_tree();
        std::fs::create_dir_all(&tree).map_err(|error| SourceError::Copy(StoreError::io("create", &tree, error)))?;
        let copy = TreeCopy { from: &self.root, to: &tree, modes: ModePolicy::Open, take_from: None };
        let copied = copy.named(&self.files()?).map_err(SourceError::Copy)?;
        if may_mount && (copied.entries > COPIED_ENTRIES || copied.bytes > COPIED_BYTES) && overlay::works_below(&target.join("probe")) {
            copied.modes.set(&tree).map_err(SourceError::Copy)?;
            return Ok(true);
        }
        store::write_json(&target.join("modes.json"), &copied.modes, 0o644, false).map_err(SourceError::Copy)?;
        Ok(false)
    }

    /// Returns what is copied: paths relative to the root; a directory stands for all below it.
    fn files(&self) -> Result<Vec<PathBuf>, SourceError> {
        if !self.is_repository {
            let entries = std::fs::read_dir(&self.root).map_err(|error| SourceError::Copy(StoreError::io("read", &self.root, error)))?;
            return Ok(entries.flatten().map(|entry| PathBuf::from(entry.file_name())).collect());
        }
        let output = Command::new("git")
            // A repository of another user's is read here, and nothing of its configuration is executed by ls-files.
            .args(["-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-C"])
            .arg(&self.root)
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .output()
            .map_err(SourceError::NoGit)?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(SourceError::Git { directory: self.root.clone(), message });
        }
        let listed = output.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        let mut paths: Vec<PathBuf> = listed.map(|name| PathBuf::from(OsStr::from_bytes(name))).collect();
        paths.dedup();
        paths.push(PathBuf::from(".git"));
        Ok(paths)
    }
}
