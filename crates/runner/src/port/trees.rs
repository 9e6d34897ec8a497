//! The trees that go between a job and its run: the source, and the artifacts of jobs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::Port;
use crate::{
    ids::JobName,
    paths::JobPaths,
    store::{self, Copied, ModePolicy, Modes, StoreError, TreeCopy},
};

/// The names of a copied tree in the directory of an artifact or source, and of the manifest beside
/// it.
const TREE: &str = "tree";
const MODES: &str = "modes.json";

impl Port {
    /// Returns the run's source tree.
    pub(crate) fn source(&self) -> SavedTree {
        SavedTree(self.shared.join("source"))
    }

    /// Returns the run's source tree as it is mounted for the job.
    pub(crate) fn mounted_source(&self) -> PathBuf {
        self.own.overlay_source()
    }

    /// Returns where the job's changes to a mounted source tree lie.
    pub(crate) fn changes(&self) -> PathBuf {
        self.own.changes()
    }

    /// Returns why the workspace could not be mounted, if that failed.
    pub(crate) fn why_not_mounted(&self) -> Option<String> {
        fs::read_to_string(self.own.overlay_error()).ok()
    }

    /// Returns the reason if the workspace had to be copied instead of mounted.
    pub(crate) fn why_copied(&self) -> Option<String> {
        fs::read_to_string(self.own.overlay_copied()).ok()
    }

    /// Returns whether the workspace had to be copied instead of mounted.
    pub(crate) fn is_copied(&self) -> bool {
        self.own.overlay_copied().exists()
    }

    /// Returns an artifact of a need, if the need has saved it.
    pub(crate) fn artifact_of(&self, need: &JobName, name: &str) -> Option<SavedTree> {
        let saved = JobPaths::new(&self.jobs, need).artifact(name);
        saved.join(MODES).exists().then_some(SavedTree(saved))
    }

    /// Returns the place of the job's own artifact with this name.
    pub(crate) fn own_artifact(&self, name: &str) -> PathBuf {
        self.own.artifact(name)
    }

    /// Saves a path of the workspace as an artifact. Moves files from `take_from`, if it is given,
    /// and copies them otherwise. Returns `None` if the path does not exist.
    ///
    /// # Errors
    /// Fails if the path cannot be copied. Then no part of it is kept.
    pub(crate) fn save_artifact(
        &self,
        name: &str,
        path: &Path,
        take_from: Option<&Path>,
    ) -> Result<Option<Copied>, StoreError> {
        let artifact = self.own.artifact(name);
        save_tree(&self.own.workspace(), &artifact, path, take_from).inspect_err(|_| {
            // An incomplete artifact is useless and only takes space. Its missing manifest marks it
            // as incomplete.
            let _ = store::remove_tree(&artifact.join(TREE));
        })
    }
}

/// A tree that the run keeps.
#[derive(Debug)]
pub(crate) struct SavedTree(PathBuf);

impl SavedTree {
    /// Copies the tree to this place.
    ///
    /// # Errors
    /// Fails at the first file that cannot be copied.
    pub(crate) fn restore(&self, to: &Path) -> Result<(), StoreError> {
        let modes: Modes = store::read_untrusted_json(&self.0.join(MODES))?.unwrap_or_default();
        TreeCopy::new(&self.0.join(TREE), to, ModePolicy::Restore(&modes))
            .all()
            .map(drop)
    }
}

/// Copies a path into an artifact's directory. The manifest is written last and marks the artifact
/// as complete.
fn save_tree(
    from: &Path,
    artifact: &Path,
    relative: &Path,
    take_from: Option<&Path>,
) -> Result<Option<Copied>, StoreError> {
    let tree = artifact.join(TREE);
    if tree.exists() {
        // An earlier attempt left this one.
        let removed =
            store::remove_tree(&tree).and_then(|()| fs::remove_file(artifact.join(MODES)));
        removed.map_err(|error| StoreError::io("replace", artifact, error))?;
    }
    fs::create_dir(&tree).map_err(|error| StoreError::io("create", &tree, error))?;
    let copy = TreeCopy {
        take_from,
        unlock: true,
        ..TreeCopy::new(from, &tree, ModePolicy::Open)
    };
    let copied = copy.one(relative)?;
    if let Some(copied) = &copied {
        store::write_json(&artifact.join(MODES), &copied.modes, 0o644, false)?;
    }
    Ok(copied)
}
