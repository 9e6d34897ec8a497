//! Keeps a workflow's store paths by an indirect root of Nix's garbage collector: a link that Nix
//! knows. After the link is removed, the next collection may remove the paths.

use std::{
    io::ErrorKind,
    path::{Component, Path, PathBuf},
};

use super::{
    LanguageError,
    command::{Nix, Told},
};

/// The directory of Nix's store.
const STORE: &str = "/nix/store";

/// The error of keeping a path in the store.
#[derive(Debug, thiserror::Error)]
pub enum GcRootError {
    /// Nix is missing or was interrupted.
    #[error(transparent)]
    Nix(#[from] LanguageError),
    /// Nix refused.
    #[error("nix-store: {0}")]
    Refused(String),
}

/// Returns the store path that a file is or lies in.
pub fn store_path(file: &Path) -> Option<PathBuf> {
    let real = file.canonicalize().ok()?;
    match real.strip_prefix(STORE).ok()?.components().next()? {
        Component::Normal(name) => Some(Path::new(STORE).join(name)),
        _ => None,
    }
}

/// Returns whether a file's path leads into a store path that Nix has collected.
pub fn is_collected(file: &Path) -> bool {
    let name = file
        .strip_prefix(STORE)
        .ok()
        .and_then(|below| below.components().next());
    // A store path may be a dangling link, so ask for the link itself. Other errors tell nothing.
    name.is_some_and(|name| {
        Path::new(STORE)
            .join(name)
            .symlink_metadata()
            .is_err_and(|error| error.kind() == ErrorKind::NotFound)
    })
}

/// Makes a link to a store path. While the link exists, Nix does not collect the path or the paths
/// that it refers to. The path is protected without a gap: the link exists before the earlier
/// protection ends.
///
/// # Errors
/// Nix is missing or refuses. Then there is no link.
pub async fn add_gc_root(path: &Path, link: &Path) -> Result<(), GcRootError> {
    // Do not fetch the path: an existing path needs no fetching, and a missing one is useless here.
    let nix = Nix::program("nix-store").args(["--option", "substitute", "false", "--realise"]);
    let nix = nix.arg(path).arg("--add-root").arg(link).arg("--indirect");
    let ended = nix.run(Told::Nobody).await?;
    if ended.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    Err(GcRootError::Refused(
        said.lines()
            .last()
            .unwrap_or_default()
            .trim_start_matches("error: ")
            .to_owned(),
    ))
}
