//! The supervisor: `nixactions-<run>.service`, one a run.
//!
//! It submits the DAG, merges what jobs tell into `events.jsonl`, handles cancellation and timeouts, and writes the
//! record. PID 1 runs the jobs: when the supervisor dies, systemd restarts it and it takes the run over from the run
//! directory, and the jobs never notice. It knows nothing of terminals.

mod engine;
mod progress;
mod status_line;
mod watch;

use std::{io, path::Path};

pub use progress::QUEUE_MAX;

use crate::{
    graph::{Graph, GraphError},
    plan::Plan,
    store::{self, RunDir, StoreError},
    systemd::{Manager, SystemdError},
    unit::RunSpec,
};

/// Why a supervisor gave up.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// The run directory cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// systemd does not do what it is asked for.
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    /// The stored plan is not what was validated.
    #[error("the stored plan is no DAG any more")]
    Graph(#[from] GraphError),
    /// Another supervisor lives.
    #[error("the run has a supervisor already")]
    Taken,
    /// The thread that waits for the concurrency group is not there.
    #[error("failed to wait for the concurrency group")]
    Thread(#[source] io::Error),
    /// Signals cannot be handled.
    #[error("failed to handle signals")]
    Signals(#[source] io::Error),
}

/// Supervises a run until its record is written. A run that has one is left alone.
///
/// # Errors
/// Fails when the run directory or systemd cannot be used; systemd starts the supervisor again then.
pub async fn supervise(directory: &Path) -> Result<(), SuperviseError> {
    let run = RunDir::at(directory)?;
    if run.record().exists() {
        return Ok(());
    }
    let Some(_lock) = run.lock_supervisor()? else { return Err(SuperviseError::Taken) };
    let spec: RunSpec = store::read_json(&run.spec())?;
    let plan: Plan = store::read_json(&run.plan())?;
    let graph = Graph::new(&plan)?;
    let manager = Manager::connect(spec.manager.into()).await?;
    engine::Engine::new(run, &spec, &plan, &graph, manager).await?.run().await
}
