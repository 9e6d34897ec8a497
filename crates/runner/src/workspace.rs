//! The job's workspace: made, filled with the source tree and its artifacts, and what it leaves
//! saved from it.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use crate::{
    paths::JobPaths,
    spec::{InputSpec, JobSpec, OutputSpec},
    store::{self, Copied, ModePolicy, Modes, StoreError, TreeCopy},
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
    /// It could not be mounted before the runner started.
    #[error("failed to mount the workspace: {0}")]
    Mount(String),
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
    if let Some(reason) = spec.mount_source.then(|| unmounted(paths)).flatten() {
        return Err(WorkspaceError::Mount(reason));
    }
    for directory in [paths.workspace(), paths.home()] {
        match fs::create_dir(&directory) {
            // It is mounted.
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists
                    && spec.mount_source
                    && directory == paths.workspace() => {}
            other => other.map_err(WorkspaceError::Make)?,
        }
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&spec.files_directory)
        .map_err(WorkspaceError::Make)?;
    if spec.mount_source {
        let workspace = paths.workspace();
        let is_empty = fs::read_dir(&workspace)
            .map_err(WorkspaceError::Make)?
            .next()
            .is_none();
        if is_empty {
            // An earlier attempt was removed from it. Only root can mount it anew, and a second
            // attempt is rare enough to copy for.
            let copy = TreeCopy {
                from: &paths.overlay_source(),
                to: &workspace,
                modes: ModePolicy::Keep,
                take_from: None,
                stop: None,
                unlock: false,
            };
            copy.all().map_err(WorkspaceError::Source)?;
        }
    } else if spec.copy_source {
        restore_tree(&spec.shared_directory.join("source"), &paths.workspace())
            .map_err(WorkspaceError::Source)?;
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
        return Err(WorkspaceError::NotSaved {
            name: input.name.clone(),
            from: input.from.to_string(),
        });
    }
    let failed = |source| WorkspaceError::Restore {
        name: input.name.clone(),
        source,
    };
    // What another job saved, or the source tree, may have put a link there that leads out of the
    // workspace.
    let path = store::plain(&input.path);
    let workspace = paths.workspace();
    store::make_beneath(&workspace, &path).map_err(|error| match error {
        StoreError::ThroughLink { .. } => WorkspaceError::ThroughLink {
            name: input.name.clone(),
            path: input.path.clone(),
        },
        source => failed(source),
    })?;
    restore_tree(&artifact, &workspace.join(path)).map_err(failed)
}

/// Saves one artifact; returns what of it was left out, as warnings. A workspace that is `done`
/// with is not needed any more: files may be taken out of it.
///
/// # Errors
/// Fails when it is not there, or cannot be copied; then nothing of it is kept.
pub fn save(
    spec: &JobSpec,
    paths: &JobPaths,
    output: &OutputSpec,
    done: bool,
) -> Result<Vec<String>, WorkspaceError> {
    let workspace = paths.workspace();
    let relative = store::plain(&output.path);
    let overlaps = |other: &OutputSpec| {
        let path = store::plain(&other.path);
        other.name != output.name && (path.starts_with(&relative) || relative.starts_with(path))
    };
    let take = done && !spec.outputs.iter().any(overlaps);
    let artifact = paths.artifact(&output.name);
    let (name, path) = (output.name.clone(), output.path.clone());
    // In a mount nothing can be renamed out of it, but what the job has made lies beside it as
    // well.
    let taken_from = if spec.mount_source {
        paths.changes()
    } else {
        workspace.clone()
    };
    match save_tree(
        &workspace,
        &artifact,
        &relative,
        take.then_some(taken_from.as_path()),
    ) {
        Ok(Some(copied)) => {
            let left_out = |(path, kind): &(PathBuf, &str)| {
                format!(
                    "artifact `{name}`: left out `{}`, which is {kind}",
                    path.display()
                )
            };
            Ok(copied.skipped.iter().map(left_out).collect())
        }
        Ok(None) => Err(WorkspaceError::Missing { name, path }),
        // A step may have removed the workspace itself.
        Err(_) if !workspace.exists() => Err(WorkspaceError::Missing { name, path }),
        Err(StoreError::ThroughLink { .. }) => Err(WorkspaceError::ThroughLink { name, path }),
        Err(source) => {
            // Half an artifact is none, and only takes room; that it is missing is seen from its
            // manifest.
            let _ = store::remove_tree(&artifact.join(TREE));
            Err(WorkspaceError::Save { name, source })
        }
    }
}

/// Copies a path into an artifact's directory; the manifest comes last and says that it is
/// complete.
fn save_tree(
    from: &Path,
    artifact: &Path,
    relative: &Path,
    take_from: Option<&Path>,
) -> Result<Option<Copied>, StoreError> {
    let tree = artifact.join(TREE);
    if tree.exists() {
        // An earlier attempt's.
        let removed =
            store::remove_tree(&tree).and_then(|()| fs::remove_file(artifact.join(MODES)));
        removed.map_err(|error| StoreError::io("replace", artifact, error))?;
    }
    fs::create_dir(&tree).map_err(|error| StoreError::io("create", &tree, error))?;
    let copy = TreeCopy {
        from,
        to: &tree,
        modes: ModePolicy::Open,
        take_from,
        stop: None,
        unlock: true,
    };
    let copied = copy.one(relative)?;
    if let Some(copied) = &copied {
        store::write_json(&artifact.join(MODES), &copied.modes, 0o644, false)?;
    }
    Ok(copied)
}

fn restore_tree(saved: &Path, to: &Path) -> Result<(), StoreError> {
    let modes: Modes = store::read_untrusted_json(&saved.join(MODES))?.unwrap_or_default();
    let copy = TreeCopy {
        from: &saved.join(TREE),
        to,
        modes: ModePolicy::Restore(&modes),
        take_from: None,
        stop: None,
        unlock: false,
    };
    copy.all().map(drop)
}

/// Returns why the job's unit could not mount the workspace, if it could not.
fn unmounted(paths: &JobPaths) -> Option<String> {
    fs::read_to_string(paths.overlay_error()).ok()
}
