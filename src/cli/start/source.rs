//! The snapshot of the source tree: taken once a run, so that what jobs see does not change while
//! they run.
//!
//! What git would not ignore, plus `.git` (PLAN's `copyRepo`). git itself says what that is.

use std::path::{Path, PathBuf};

use super::git::{self, Listed};
use crate::{
    cli::interrupts::Mark,
    overlay,
    store::{self, ModePolicy, RunDir, StoreError, TreeCopy},
    unit::ManagerKind,
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
    /// Finds the tree: the directory that was named, or the repository that the current directory
    /// lies in. `None` where neither is there; a directory that is no repository is copied only
    /// when it was named.
    ///
    /// # Errors
    /// Fails when the named directory is none.
    pub fn find(named: Option<&Path>, current: &Path) -> Result<Option<Self>, SourceError> {
        if let Some(named) = named {
            let root = named
                .canonicalize()
                .ok()
                .filter(|path| path.is_dir())
                .ok_or_else(|| SourceError::NotADirectory(named.to_owned()))?;
            let is_repository = root.join(git::GIT).symlink_metadata().is_ok();
            return Ok(Some(Self {
                root,
                is_repository,
            }));
        }
        let root = current
            .ancestors()
            .find(|directory| directory.join(git::GIT).exists());
        Ok(root.map(|root| Self {
            root: root.to_owned(),
            is_repository: true,
        }))
    }

    /// Copies the tree into the run directory. A small one is made readable for the jobs' users,
    /// with its real modes beside it, and each job copies it. A larger one is, if it can be, mounted,
    /// so that a job costs the same whatever its size: then it keeps its real modes, since it will
    /// look as if it were the job's own. A user's own manager may not mount what its jobs see.
    ///
    /// # Errors
    /// Fails when git does, a file cannot be copied, or a signal has come.
    pub fn snapshot(
        &self,
        run: &RunDir,
        manager: ManagerKind,
        mark: &Mark,
    ) -> Result<Snapshot, SourceError> {
        let target = run.source();
        let tree = run.source_tree();
        std::fs::create_dir_all(&tree)
            .map_err(|error| SourceError::Copy(StoreError::io("create", &tree, error)))?;
        let copy = TreeCopy {
            from: &self.root,
            to: &tree,
            modes: ModePolicy::Open,
            take_from: None,
            stop: Some(mark.raw()),
            unlock: false,
        };
        let mut notes = Vec::new();
        let mut copied;
        if self.is_repository {
            let listed = Listed::of(&self.root, mark)?;
            copied = copy.named(&listed.paths).map_err(SourceError::Copy)?;
            listed.complete(&tree, &mut copied.modes, mark)?;
            notes.extend(listed.notes);
            notes.extend(git::borrowed(&self.root).map(|from| {
                format!(
                    "the repository borrows objects from `{}`, which jobs may not see; `git repack -a -d` makes it whole",
                    from.display()
                )
            }));
        } else {
            copied = copy.all().map_err(SourceError::Copy)?;
        }
        // What git itself keeps in a repository, as its sockets, nobody misses.
        let missed = copied
            .skipped
            .iter()
            .filter(|(path, _)| !path.iter().any(|part| part == git::GIT));
        notes.extend(missed.map(|(path, kind)| {
            format!(
                "left out of the source tree: `{}`, which is {kind}",
                path.display()
            )
        }));
        let is_large = copied.entries > COPIED_ENTRIES || copied.bytes > COPIED_BYTES;
        let is_running = manager == ManagerKind::System;
        let mounted = manager != ManagerKind::User
            && is_large
            && overlay::works_below(&target.join("probe"), is_running);
        if mounted {
            copied.modes.set(&tree).map_err(SourceError::Copy)?;
        } else {
            store::write_json(&target.join("modes.json"), &copied.modes, 0o644, false)
                .map_err(SourceError::Copy)?;
        }
        Ok(Snapshot { mounted, notes })
    }
}

/// A run's copy of the source tree.
#[derive(Debug)]
pub struct Snapshot {
    /// Whether the jobs' workspaces are to be mounted over it.
    pub mounted: bool,
    /// What the caller should know.
    pub notes: Vec<String>,
}
