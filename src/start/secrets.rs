//! The place of a run's secret variables: in memory, readable only for the manager, and never in
//! the run's directory.
//!
//! The system's and a user's manager share their runtime directory with the client, which writes
//! the file there. An embedded manager has a /run of its own, so it gets the file through the pipe
//! with its other instructions.

use std::path::{Path, PathBuf};

use crate::{
    ids::RunId,
    plan::Env,
    store::{self, StoreError},
    unit::{ManagerKind, RunSpec, Secrets},
};

/// Returns the secrets of a run's spec, in a file beside `runtime`, or `None` if there are none.
pub(super) fn of(runtime: &Path, run: &RunId, secrets: &Env) -> Option<Secrets> {
    if secrets.is_empty() {
        return None;
    }
    // Run ids are unique only within a state directory.
    let name = format!(
        "{run}.{}.{}",
        std::process::id(),
        jiff::Timestamp::now().as_nanosecond()
    );
    Some(Secrets {
        file: runtime.with_file_name("nixactions-secrets").join(name),
        names: secrets.keys().cloned().collect(),
    })
}

/// Writes the secret variables for the manager, or returns the file that an embedded manager must
/// write itself.
pub(super) fn hand_over(
    spec: &RunSpec,
    secrets: &Env,
) -> Result<Option<(PathBuf, String)>, StoreError> {
    let Some(Secrets { file, .. }) = &spec.secrets else {
        return Ok(None);
    };
    if spec.manager == ManagerKind::Embedded {
        let json = serde_json::to_string(secrets).expect("invariant: names and values are texts");
        return Ok(Some((file.clone(), json)));
    }
    store::write_secrets(file, secrets).map(|()| None)
}
