//! The snapshot of the source tree. It is taken once for each run, so that the source does not
//! change under running jobs.
//!
//! It holds all files that git does not ignore, plus `.git` (`copyRepo`). git itself lists
//! these files.

use std::{
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use super::{
    command::{GIT, Reader},
    git::{self, Listed},
    head::{self, Head},
    place::Place,
    repository::Repository,
    source_error::SourceError,
};
use crate::{
    interrupts::Mark,
    overlay,
    store::{self, ModePolicy, RunDir, StoreError, TreeCopy},
    unit::ManagerKind,
};

/// The largest tree that each job copies. For such a tree, a copy takes no longer than a mount.
const COPIED_ENTRIES: u64 = 256;
const COPIED_BYTES: u64 = 16 << 20;
/// The most files that are told one by one.
const TOLD_MAX: usize = 10;

/// A source tree to be copied. It is opened once, so its copy is of the tree that was checked.
#[derive(Debug)]
pub struct Source {
    root: Place,
    is_repository: bool,
}

impl Source {
    /// Finds the tree: the named directory, or the repository around the current directory. Returns
    /// `None` if there is neither. A directory without a repository is copied only if it is named.
    ///
    /// Fails if the named path is not a directory, or if another user leads root astray.
    pub fn find(named: Option<&Path>, current: &Path) -> Result<Option<Self>, SourceError> {
        if let Some(named) = named {
            let root = Place::find(named)
                .ok()
                .filter(Place::is_directory)
                .ok_or_else(|| SourceError::NotADirectory(named.to_owned()))?;
            let path = current.join(named);
            if let Reader::Owner(user, _) = Reader::of_links(&path, root.path())
                && root.owner() != user
            {
                return Err(SourceError::Misled {
                    path: named.to_owned(),
                    found: root.path().to_owned(),
                    user,
                    owner: root.owner(),
                });
            }
            let is_repository = root.open_path().join(GIT).symlink_metadata().is_ok();
            return Ok(Some(Self {
                root,
                is_repository,
            }));
        }
        let root = current
            .ancestors()
            .find(|directory| directory.join(GIT).exists());
        let open = |root: &Path| {
            Place::find(root)
                .map_err(|error| SourceError::Copy(StoreError::io("open", root, error)))
        };
        Ok(root.map(open).transpose()?.map(|root| Self {
            root,
            is_repository: true,
        }))
    }

    /// Returns the ref and commit of the tree, and the origin of its repository.
    pub fn head(&self) -> Head {
        let found = Repository::plain(&self.root);
        found.map_or_else(Head::default, |(own, shared)| {
            head::of(&own, shared.as_ref().unwrap_or(&own))
        })
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
        state: &Path,
        manager: ManagerKind,
        mark: &Mark,
    ) -> Result<Snapshot, SourceError> {
        let failed =
            |action, path: &Path, error| SourceError::Copy(StoreError::io(action, path, error));
        let target = run.source();
        let tree = run.source_tree();
        std::fs::create_dir_all(&tree).map_err(|error| failed("create", &tree, error))?;
        // The copy would contain itself, and all earlier runs.
        let mut own = Place::find(state).map_err(|error| failed("open", state, error))?;
        if own.id() == self.root.id() {
            own = Place::find(&state.join("runs")).map_err(|error| failed("open", state, error))?;
        }
        let repository = self.root.below(Path::new(GIT)).ok();
        let copy = TreeCopy {
            stop: Some(mark.raw()),
            opened: Some(self.root.as_fd()),
            without: Some(own.id()),
            allowed: git::allowed(self.root.allowed(repository.as_ref())),
            ..TreeCopy::new(self.root.path(), &tree, ModePolicy::Open)
        };
        let mut notes = Vec::new();
        let mut copied;
        if self.is_repository {
            let listed = Listed::of(&self.root, &own, mark)?;
            copied = copy.named(&listed.paths).map_err(SourceError::Copy)?;
            let place = Place::find(&tree).map_err(|error| failed("open", &tree, error))?;
            listed.complete(&place, &mut copied, mark)?;
            notes.extend(listed.notes);
            if git::borrows(&place) {
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
            .filter(|(path, _)| !path.iter().any(|part| part == GIT));
        notes.extend(missed.map(|(path, kind)| {
            format!(
                "left out of the source tree: `{}`, which is {kind}",
                path.display()
            )
        }));
        notes.extend(withheld(&copied.withheld));
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

/// Returns notes on the files that the copy may not hold.
fn withheld(paths: &[PathBuf]) -> impl Iterator<Item = String> {
    let told = paths.iter().take(TOLD_MAX).map(|path| {
        format!(
            "left out of the source tree: `{}`, which only another user may read; `chown` or \
             `chmod o+r` shows it to jobs",
            path.display()
        )
    });
    let more = paths.len().saturating_sub(TOLD_MAX);
    let more = (more > 0).then(|| format!("left out of the source tree: {more} more such files"));
    told.chain(more)
}

/// A run's copy of the source tree.
#[derive(Debug)]
pub struct Snapshot {
    /// Whether the jobs' workspaces are mounted over it.
    pub mounted: bool,
    /// Notes for the caller.
    pub notes: Vec<String>,
}
