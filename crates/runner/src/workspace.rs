//! The job's workspace: makes it, fills it with the source tree and artifacts, and saves artifacts
//! from it.

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

/// The names of a copied tree in the directory of an artifact or source, and of the manifest beside
/// it.
const TREE: &str = "tree";
const MODES: &str = "modes.json";

/// The errors of workspaces and artifacts.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// A directory cannot be made.
    #[error("failed to make the workspace")]
    Make(#[source] io::Error),
    /// The workspace could not be mounted before the runner started.
    #[error("failed to mount the workspace: {0}")]
    Mount(String),
    /// The source tree cannot be copied.
    #[error("failed to copy the source tree")]
    Source(#[source] StoreError),
    /// An artifact to restore does not exist.
    #[error("artifact `{name}` was not saved by job `{from}`")]
    NotSaved {
        /// The artifact.
        name: String,
        /// The job that should have saved it.
        from: String,
    },
    /// An artifact cannot be restored.
    #[error("failed to restore artifact `{name}`")]
    Restore {
        /// The artifact.
        name: String,
        /// The cause.
        source: StoreError,
    },
    /// An artifact to save does not exist.
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
        /// The cause.
        source: StoreError,
    },
}

/// Makes the workspace, `$HOME` and the directory of files, and copies the source tree.
///
/// Fails at the first file that cannot be made or copied.
pub fn prepare(spec: &JobSpec, paths: &JobPaths) -> Result<(), WorkspaceError> {
    if let Some(reason) = spec.mount_source.then(|| unmounted(paths)).flatten() {
        return Err(WorkspaceError::Mount(reason));
    }
    for directory in [paths.workspace(), paths.home()] {
        match fs::create_dir(&directory) {
            // The workspace is mounted.
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
            // An earlier attempt may have changed its mode.
            let mode = fs::metadata(paths.overlay_source()).map_err(WorkspaceError::Make)?;
            fs::set_permissions(&workspace, mode.permissions()).map_err(WorkspaceError::Make)?;
            // An earlier attempt was removed from the mount. Only root can mount it anew, and
            // second attempts are rare enough to copy.
            TreeCopy::new(&paths.overlay_source(), &workspace, ModePolicy::Keep)
                .all()
                .map_err(WorkspaceError::Source)?;
        }
    } else if spec.copy_source {
        restore_tree(&spec.shared_directory.join("source"), &paths.workspace())
            .map_err(WorkspaceError::Source)?;
    }
    Ok(())
}

/// Restores one artifact.
///
/// Fails if the artifact does not exist or cannot be copied.
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
    // The source tree or another job's artifact may contain a link at this path that leads out of
    // the workspace.
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

/// Saves one artifact. Returns a warning for each file that was left out. If `done`, nobody needs
/// the workspace any more, and files may be moved out of it.
///
/// Fails if the artifact does not exist or cannot be copied. Then no part of it is kept.
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
    // Files cannot be renamed out of a mount, but the job's changes also lie beside it.
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
            // An incomplete artifact is useless and only takes space. Its missing manifest marks it
            // as incomplete.
            let _ = store::remove_tree(&artifact.join(TREE));
            Err(WorkspaceError::Save { name, source })
        }
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

fn restore_tree(saved: &Path, to: &Path) -> Result<(), StoreError> {
    let modes: Modes = store::read_untrusted_json(&saved.join(MODES))?.unwrap_or_default();
    TreeCopy::new(&saved.join(TREE), to, ModePolicy::Restore(&modes))
        .all()
        .map(drop)
}

/// Returns why the job's unit could not mount the workspace, if that failed.
fn unmounted(paths: &JobPaths) -> Option<String> {
    fs::read_to_string(paths.overlay_error()).ok()
}
