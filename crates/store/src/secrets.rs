//! The file of a run's secret variables, which lies outside of the run's directory, in memory, as
//! long as the run goes on.

use std::{
    fs::{DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use super::StoreError;
use crate::{settings::Env, spec::Secrets};

/// Writes the file, and makes its directory where it is the first.
///
/// # Errors
/// Fails with the path and the system's reason.
pub fn write_secrets(path: &Path, secrets: &Env) -> Result<(), StoreError> {
    if let Some(directory) = path.parent() {
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(StoreError::io("create", directory, error));
            }
            _ => {}
        }
    }
    let json = serde_json::to_vec(secrets).expect("invariant: names and values are texts");
    let write = || {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?
            .write_all(&json)
    };
    write().map_err(|source| StoreError::io("write", path, source))
}

/// Removes the file of a run that is over.
pub fn forget_secrets(secrets: Option<&Secrets>) {
    if let Some(secrets) = secrets {
        // It may be gone already; else it is gone with the next boot.
        let _ = std::fs::remove_file(&secrets.file);
    }
}
