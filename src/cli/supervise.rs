//! The hidden command of the supervisor's unit.

use std::{io, path::Path};

use tracing_journald::Layer;
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use super::{CliError, Exit, block_on};
use crate::{catalog::Message, ids::RunId, supervisor};

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
    match journal() {
        Ok(journal) => registry.with(journal).init(),
        Err(_) => registry
            .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr))
            .init(),
    }
}

/// Returns the way to the journal, for messages of this program.
fn journal() -> io::Result<Layer> {
    let journal = tracing_journald::layer()?;
    // Without a prefix, so that the fields have the same names as those of the jobs' runners.
    Ok(journal
        .with_field_prefix(None)
        .with_syslog_identifier("nixactions".to_owned()))
}

/// Tells the journal, if there is one, of a run that a command has found lost and closed.
pub(super) fn tell_lost(run: &RunId) {
    let Ok(journal) = journal() else {
        return;
    };
    let to_journal = tracing_subscriber::registry().with(journal);
    tracing::subscriber::with_default(to_journal, || {
        tracing::warn!(
            MESSAGE_ID = Message::RunLost.id(),
            nixactions_lost = %run,
            "run {run} was lost; its record is closed now"
        );
    });
}
