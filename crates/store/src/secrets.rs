//! The file of a run's secret variables. It lies in memory, outside the run's directory, and exists
//! only while the run goes on.

use std::{
    fs::{DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use super::StoreError;
use crate::{settings::Env, spec::Secrets};

/// Writes the file, and first makes its directory if that is missing.
///
/// # Errors
/// Fails with the path and the system's error.
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

/// Removes the file at the end of the run.
pub fn forget_secrets(secrets: Option<&Secrets>) {
    if let Some(secrets) = secrets {
        // The file may be gone already. If it cannot be removed, the next boot removes it.
        let _ = std::fs::remove_file(&secrets.file);
    }
}
