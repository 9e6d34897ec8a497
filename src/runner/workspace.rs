//! The job's workspace: made, filled with the source tree and its artifacts, and what it leaves saved from it.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Component, Path, PathBuf},
};

use crate::{
    store::{self, ModePolicy, Modes, StoreError},
    unit::{InputSpec, JobPaths, JobSpec, OutputSpec},
};

/// The copy of a tree below an artifact's or source's directory, and the manifest beside it.
const TREE: &str = "tree";
const MODES: &str = "modes.json";

/// What can go wrong with a workspace or artifact.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// A directory cannot be made.
    #[error("failed to make the workspace")]
    Make(#[source] io::Error),
    /// The source tree cannot be copied.
    #[error("failed to copy the source tree")]
    Source(#[source] StoreError),
    /// An artifact that is to be restored is not there.
    #[error("artifact `{name}` was not saved by job `{from}`")]
    NotSaved {
        /// The artifact.
        name: String,
        /// The job that should have.
        from: String,
    },
    /// An artifact cannot be restored.
    #[error("failed to restore artifact `{name}`")]
    Restore {
        /// The artifact.
        name: String,
        /// Why.
        source: StoreError,
    },
    /// An artifact that is to be saved is not there.
    #[error("artifact `{name}`: `{path}` does not exist in the workspace")]
    Missing {
        /// The artifact.
        name: String,
        /// Its path.
        path: String,
    },
    /// An artifact's path leads through a link.
    #[error("artifact `{name}`: `{path}` leads through a link")]
    ThroughLink {
        /// The artifact.
        name: String,
        /// Its path.
        path: String,
    },
    /// An artifact cannot be saved.
    #[error("failed to save artifact `{name}`")]
    Save {
        /// The artifact.
        name: String,
        /// Why.
        source: StoreError,
    },
}

/// Makes the workspace, `$HOME` and the directory of files, and copies the source tree.
///
/// # Errors
/// Fails with what could not be made or copied.
pub fn prepare(spec: &JobSpec, paths: &JobPaths) -> Result<(), WorkspaceError> {
    for directory in [paths.workspace(), paths.home()] {
        fs::create_dir(directory).map_err(WorkspaceError::Make)?;
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&spec.files_directory).map_err(WorkspaceError::Make)?;
    if spec.copy_source {
        restore_tree(&spec.shared_directory.join("source"), &paths.workspace()).map_err(WorkspaceError::Source)?;
    }
    Ok(())
}

/// Restores one artifact.
///
/// # Errors
/// Fails when the artifact is not there or cannot be copied.
pub fn restore(spec: &JobSpec, paths: &JobPaths, input: &InputSpec) -> Result<(), WorkspaceError> {
    let artifact = JobPaths::new(&spec.jobs_directory, &input.from).artifact(&input.name);
    if !artifact.join(MODES).exists() {
        return Err(WorkspaceError::NotSaved { name: input.name.clone(), from: input.from.to_string() });
    }
    let failed = |source| WorkspaceError::Restore { name: input.name.clone(), source };
    // What another job saved, or the source tree, may have put a link there that leads out of the workspace.
    let mut to = paths.workspace();
    for component in plain(&input.path).components() {
        to.push(component);
        match fs::symlink_metadata(&to) {
            Ok(meta) if meta.is_symlink() => {
                return Err(WorkspaceError::ThroughLink { name: input.name.clone(), path: input.path.clone() });
            }
            Ok(_) => {}
            Err(_) => fs::create_dir(&to).map_err(|error| failed(StoreError::io("create", &to, error)))?,
        }
    }
    restore_tree(&artifact, &to).map_err(failed)
}

/// Returns a path in the workspace in its plain form: `dist/` and `./dist` name the same place.
fn plain(path: &str) -> PathBuf {
    Path::new(path).components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

/// Saves one artifact.
///
/// # Errors
/// Fails when it is not there, or cannot be copied.
pub fn save(paths: &JobPaths, output: &OutputSpec) -> Result<(), WorkspaceError> {
    let workspace = paths.workspace();
    let relative = plain(&output.path);
    let mut part = workspace.clone();
    for component in relative.parent().into_iter().flat_map(Path::components) {
        part.push(component);
        if fs::symlink_metadata(&part).is_ok_and(|meta| meta.is_symlink()) {
            return Err(WorkspaceError::ThroughLink { name: output.name.clone(), path: output.path.clone() });
        }
    }
    if fs::symlink_metadata(workspace.join(&relative)).is_err() {
        return Err(WorkspaceError::Missing { name: output.name.clone(), path: output.path.clone() });
    }
    save_tree(&workspace, &paths.artifact(&output.name), &relative)
        .map_err(|source| WorkspaceError::Save { name: output.name.clone(), source })
}

/// Copies a path into an artifact's directory; the manifest comes last and says that it is complete.
fn save_tree(from: &Path, artifact: &Path, relative: &Path) -> Result<(), StoreError> {
    let tree = artifact.join(TREE);
    fs::create_dir(&tree).map_err(|error| StoreError::io("create", &tree, error))?;
    let mut modes = Modes::default();
    store::copy(from, &tree, relative, &mut ModePolicy::Open(&mut modes))?;
    store::write_json(&artifact.join(MODES), &modes, 0o644, false)
}

fn restore_tree(saved: &Path, to: &Path) -> Result<(), StoreError> {
    let modes: Modes = store::read_untrusted_json(&saved.join(MODES))?.unwrap_or_default();
    let tree = saved.join(TREE);
    let entries = fs::read_dir(&tree).map_err(|error| StoreError::io("read", &tree, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| StoreError::io("read", &tree, error))?;
        store::copy(&tree, to, Path::new(&entry.file_name()), &mut ModePolicy::Restore(&modes))?;
    }
    Ok(())
}
