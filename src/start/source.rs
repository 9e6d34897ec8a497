//! The snapshot of the source tree. It is taken once for each run, so that the source does not
//! change under running jobs.
//!
//! It holds all files that git does not ignore, plus `.git` (PLAN's `copyRepo`). git itself lists
//! these files.

use std::path::{Path, PathBuf};

use super::{
    git::{self, Listed},
    head::{self, Head},
    repository::Repository,
};
use crate::{
    interrupts::Mark,
    overlay,
    store::{self, ModePolicy, RunDir, StoreError, TreeCopy},
    unit::ManagerKind,
};

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
}

/// The largest tree that each job copies. For such a tree, a copy takes no longer than a mount.
const COPIED_ENTRIES: u64 = 256;
const COPIED_BYTES: u64 = 16 << 20;

/// A source tree to be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    root: PathBuf,
    is_repository: bool,
}

impl Source {
    /// Finds the tree: the named directory, or the repository around the current directory. Returns
    /// `None` if there is neither. A directory without a repository is copied only if it is named.
    ///
    /// Fails if the named path is not a directory.
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

    /// Returns what is checked out in the tree, and where its repository comes from.
    pub fn head(&self) -> Head {
        Repository::plain(&self.root).map_or_else(Head::default, |path| head::of(&path))
    }

    /// Copies the tree into the run directory. The jobs copy a small tree: it is made readable for
    /// their users, with its real modes beside it. A larger tree is mounted if possible, so that
    /// the cost of a job does not depend on its size. It keeps its real modes, since the mount
    /// makes it appear to belong to the job. A user's own manager may not mount a tree for its
    /// jobs.
    ///
    /// Fails if git fails, a file cannot be copied, or a signal has come.
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
            if git::borrows(&self.root) {
                // A list of paths may be a link to a private file, so it is not quoted.
                notes.push("the repository borrows objects from another one (`.git/objects/info/alternates`), which jobs may not see; `git repack -a -d` copies them into it".to_owned());
            }
        } else {
            copied = copy.all().map_err(SourceError::Copy)?;
        }
        // git's own files in a repository, such as sockets, are left out without a note.
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
    /// Whether the jobs' workspaces are mounted over it.
    pub mounted: bool,
    /// Notes for the caller.
    pub notes: Vec<String>,
}
