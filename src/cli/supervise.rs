//! The hidden command of the supervisor's unit.

use std::path::Path;

use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use super::{CliError, Exit, block_on};
use crate::supervisor;

pub(super) fn main(directory: &Path) -> Result<Exit, CliError> {
    log_to_journal();
    block_on(async {
        supervisor::supervise(directory)
            .await
            .map_err(CliError::from)
    })?;
    Ok(Exit::Success)
}

/// Sends the supervisor's own messages to the journal with their priorities, or to standard error
/// if there is no journal.
fn log_to_journal() {
    let filter =
        EnvFilter::try_from_env("NIXACTIONS_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    match tracing_journald::layer() {
        // Without a prefix, so that the fields have the same names as those of the jobs' runners.
        Ok(journal) => registry
            .with(
                journal
                    .with_field_prefix(None)
                    .with_syslog_identifier("nixactions".to_owned()),
            )
            .init(),
        Err(_) => registry
            .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr))
            .init(),
    }
}
