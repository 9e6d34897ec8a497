//! The secrets of a job: its credentials.
//!
//! One credential may hold the run's secret variables, which outrank the plan's. All others are for
//! the steps. The runner masks all of them.

use super::{
    journal::{Journal, Priority},
    mask::{Limited, Masker, TooMuch},
    port,
};
use crate::{spec::JobSpec, store::StoreError};

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
    let Some(given) = port::credentials().map_err(SecretsError::Unreadable)? else {
        return if spec.has_secrets {
            Err(SecretsError::Missing)
        } else {
            Ok(())
        };
    };
    let variables = given.variables.iter();
    let variables = variables.map(|(name, value)| (name, value.as_bytes()));
    let others = given.others.iter();
    let others = others.map(|(name, value)| (name, value.as_slice()));
    for (name, value) in variables.chain(others) {
        let why = masker.add(value)?;
        limited.extend(why.map(|why| (name.clone(), why)));
    }
    spec.overrides.extend(given.variables);
    Ok(())
}
