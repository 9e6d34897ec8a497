//! The secrets that systemd gives a job: its credentials (<https://systemd.io/CREDENTIALS/>).

use std::{fs, path::PathBuf};

use crate::{
    settings::Env,
    spec::SECRETS_CREDENTIAL,
    store::{self, StoreError},
};

/// The credentials of a job.
#[derive(Default)]
pub(crate) struct Credentials {
    /// The run's secret variables.
    pub(crate) variables: Env,
    /// All others, by name. They are for the steps.
    pub(crate) others: Vec<(String, Vec<u8>)>,
}

/// Reads the job's credentials. Returns `None` if systemd gave it none.
///
/// # Errors
/// Fails if one cannot be read.
pub(crate) fn credentials() -> Result<Option<Credentials>, StoreError> {
    let Some(directory) = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from) else {
        return Ok(None);
    };
    let unreadable = |source| StoreError::io("read", &directory, source);
    let mut credentials = Credentials::default();
    for entry in fs::read_dir(&directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.ends_with(SECRETS_CREDENTIAL) {
            credentials.variables = store::read_json(&path)?;
        } else {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let value = fs::read(&path).map_err(unreadable)?;
            credentials.others.push((name.into_owned(), value));
        }
    }
    Ok(Some(credentials))
}
