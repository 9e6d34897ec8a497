//! The secrets that systemd gives a job: its credentials (<https://systemd.io/CREDENTIALS/>).
//!
//! One credential may hold the run's secret variables, which outrank the plan's. All others are for
//! the steps. The runner masks all of them.

use std::{fs, path::PathBuf};

use super::{
    journal::{Journal, Priority},
    mask::{Limited, Masker, TooMuch},
};
use crate::{
    settings::Env,
    spec::{JobSpec, SECRETS_CREDENTIAL},
    store::{self, StoreError},
};

/// The reason why a job cannot get its secrets.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// systemd gave the job no credentials.
    #[error("the job did not get its secret variables: $CREDENTIALS_DIRECTORY is not set")]
    Missing,
    /// The credentials cannot be read.
    #[error("failed to read the job's credentials")]
    Unreadable(#[source] StoreError),
    /// There are too many values to mask.
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
}

/// Takes the secret variables, and masks them and all other credentials from now on.
///
/// Fails if a credential cannot be read or masked.
pub fn take(spec: &mut JobSpec, journal: &mut Journal) -> Result<(), SecretsError> {
    let mut limited = Vec::new();
    let taken = take_all(spec, &mut journal.masker, &mut limited);
    // Warn only after all of them are masked.
    for (name, why) in limited {
        journal.note(&format!("the value of `{name}` {why}"), Priority::Warning);
    }
    taken
}

fn take_all(
    spec: &mut JobSpec,
    masker: &mut Masker,
    limited: &mut Vec<(String, Limited)>,
) -> Result<(), SecretsError> {
    let Some(directory) = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from) else {
        return if spec.has_secrets {
            Err(SecretsError::Missing)
        } else {
            Ok(())
        };
    };
    let unreadable = |source| SecretsError::Unreadable(StoreError::io("read", &directory, source));
    for entry in fs::read_dir(&directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.ends_with(SECRETS_CREDENTIAL) {
            let variables: Env = store::read_json(&path).map_err(SecretsError::Unreadable)?;
            for (name, value) in &variables {
                let why = masker.add(value.as_bytes())?;
                limited.extend(why.map(|why| (name.clone(), why)));
            }
            spec.overrides.extend(variables);
        } else {
            let why = masker.add(&fs::read(&path).map_err(unreadable)?)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            limited.extend(why.map(|why| (name.into_owned(), why)));
        }
    }
    Ok(())
}
