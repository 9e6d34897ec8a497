//! What keeps a workflow's store paths: an indirect root of Nix's garbage collector, a link that
//! Nix knows of. When the link is removed, so is what it protected, by the next collection.

use std::{
    io::ErrorKind,
    path::{Component, Path, PathBuf},
};

use super::{
    LanguageError,
    command::{Nix, Told},
};

/// Where Nix keeps what it builds.
const STORE: &str = "/nix/store";

/// Why a path in the store cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// Nix was not there, or was interrupted.
    #[error(transparent)]
    Nix(#[from] LanguageError),
    /// Nix has refused.
    #[error("nix-store: {0}")]
    Refused(String),
}

/// Returns the path in the store that a file is, or lies below.
pub fn store_path(file: &Path) -> Option<PathBuf> {
    let real = file.canonicalize().ok()?;
    match real.strip_prefix(STORE).ok()?.components().next()? {
        Component::Normal(name) => Some(Path::new(STORE).join(name)),
        _ => None,
    }
}

/// Returns whether a file lies in the store by its name, in what is not there any more.
pub fn is_collected(file: &Path) -> bool {
    let name = file
        .strip_prefix(STORE)
        .ok()
        .and_then(|below| below.components().next());
    // Only where it is known, and for all that there is a link of that name.
    name.is_some_and(|name| {
        Path::new(STORE)
            .join(name)
            .symlink_metadata()
            .is_err_and(|error| error.kind() == ErrorKind::NotFound)
    })
}

/// Makes a link to a path in the store that keeps it, and all that it refers to, from being
/// collected, as long as the link is there. There is no moment at which neither what has kept it so
/// far nor the link does.
///
/// # Errors
/// Fails when there is no Nix, or it refuses. Then there is no link.
pub async fn keep(path: &Path, link: &Path) -> Result<(), KeepError> {
    // A path that is there need not be fetched, and one that is not would be of no use any more.
    let nix = Nix::program("nix-store").args(["--option", "substitute", "false", "--realise"]);
    let nix = nix.arg(path).arg("--add-root").arg(link).arg("--indirect");
    let ended = nix.run(Told::Nobody).await?;
    if ended.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    Err(KeepError::Refused(
        said.lines()
            .last()
            .unwrap_or_default()
            .trim_start_matches("error: ")
            .to_owned(),
    ))
}
