//! The job's workspace: makes it, fills it with the source tree and artifacts, and saves artifacts
//! from it.

use std::{fs, io, os::unix::fs::DirBuilderExt, path::PathBuf};

use super::port::Port;
use crate::{
    spec::{InputSpec, JobSpec, OutputSpec},
    store::{self, ModePolicy, StoreError, TreeCopy},
};

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
pub fn prepare(spec: &JobSpec, port: &Port) -> Result<(), WorkspaceError> {
    if let Some(reason) = spec.mount_source.then(|| port.why_not_mounted()).flatten() {
        return Err(WorkspaceError::Mount(reason));
    }
    for directory in [port.workspace(), port.home()] {
        match fs::create_dir(&directory) {
            // The workspace is mounted.
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists
                    && spec.mount_source
                    && directory == port.workspace() => {}
            other => other.map_err(WorkspaceError::Make)?,
        }
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&spec.files_directory)
        .map_err(WorkspaceError::Make)?;
    if spec.mount_source {
        let workspace = port.workspace();
        let is_empty = fs::read_dir(&workspace)
            .map_err(WorkspaceError::Make)?
            .next()
            .is_none();
        if is_empty {
            // An earlier attempt may have changed its mode.
            let mode = fs::metadata(port.mounted_source()).map_err(WorkspaceError::Make)?;
            fs::set_permissions(&workspace, mode.permissions()).map_err(WorkspaceError::Make)?;
            // An earlier attempt was removed from the mount. Only root can mount it anew, and
            // second attempts are rare enough to copy.
            TreeCopy::new(&port.mounted_source(), &workspace, ModePolicy::Keep)
                .all()
                .map_err(WorkspaceError::Source)?;
        }
    } else if spec.copy_source {
        port.source()
            .restore(&port.workspace())
            .map_err(WorkspaceError::Source)?;
    }
    Ok(())
}

/// Restores one artifact.
///
/// Fails if the artifact does not exist or cannot be copied.
pub fn restore(port: &Port, input: &InputSpec) -> Result<(), WorkspaceError> {
    let artifact = port.artifact_of(&input.from, &input.name);
    let artifact = artifact.ok_or_else(|| WorkspaceError::NotSaved {
        name: input.name.clone(),
        from: input.from.to_string(),
    })?;
    let failed = |source| WorkspaceError::Restore {
        name: input.name.clone(),
        source,
    };
    // The source tree or another job's artifact may contain a link at this path that leads out of
    // the workspace.
    let path = store::plain(&input.path);
    let workspace = port.workspace();
    store::make_beneath(&workspace, &path).map_err(|error| match error {
        StoreError::ThroughLink { .. } => WorkspaceError::ThroughLink {
            name: input.name.clone(),
            path: input.path.clone(),
        },
        source => failed(source),
    })?;
    artifact.restore(&workspace.join(path)).map_err(failed)
}

/// Saves one artifact. Returns a warning for each file that was left out. If `done`, nobody needs
/// the workspace any more, and files may be moved out of it.
///
/// Fails if the artifact does not exist or cannot be copied. Then no part of it is kept.
pub fn save(
    spec: &JobSpec,
    port: &Port,
    output: &OutputSpec,
    done: bool,
) -> Result<Vec<String>, WorkspaceError> {
    let workspace = port.workspace();
    let relative = store::plain(&output.path);
    let overlaps = |other: &OutputSpec| {
        let path = store::plain(&other.path);
        other.name != output.name && (path.starts_with(&relative) || relative.starts_with(path))
    };
    let take = done && !spec.outputs.iter().any(overlaps);
    let (name, path) = (output.name.clone(), output.path.clone());
    // Files cannot be renamed out of a mount, but the job's changes also lie beside it.
    let taken_from = if spec.mount_source {
        port.changes()
    } else {
        workspace.clone()
    };
    let taken_from = take.then_some(taken_from.as_path());
    match port.save_artifact(&output.name, &relative, taken_from) {
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
        Err(source) => Err(WorkspaceError::Save { name, source }),
    }
}
