//! The supervisor: `nixactions-<run>.service`, one a run.
//!
//! It submits the DAG, merges what jobs tell into `events.jsonl`, handles cancellation and
//! timeouts, and writes the record. PID 1 runs the jobs: when the supervisor dies, systemd restarts
//! it and it takes the run over from the run directory, and the jobs never notice. It knows nothing
//! of terminals.

mod engine;
mod progress;
mod status_line;
mod watch;

use std::{
    io,
    path::{Path, PathBuf},
};

use status_line::StatusLine;

use crate::{
    graph::{Graph, GraphError},
    plan::Plan,
    store::{self, RunDir, StoreError},
    systemd::{Manager, SystemdError},
    unit::{ManagerKind, RunSpec, UnitName},
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
    /// Somebody removed the run directory, or what it cannot do without.
    #[error("`{}` was removed while the run went on", .0.display())]
    Removed(PathBuf),
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

/// Supervises a run until its record is written. A run that has one is left alone, one whose
/// directory was removed is stopped.
///
/// # Errors Fails when the run directory or systemd cannot be used; systemd starts the supervisor
/// again then.
pub async fn supervise(directory: &Path) -> Result<(), SuperviseError> {
    let run = RunDir::at(directory)?;
    // What is not there will not be there after a restart either; what cannot be read may.
    let is_gone = |path: &Path| path.try_exists().is_ok_and(|there| !there);
    if [&run.spec(), &run.plan(), &run.control()]
        .into_iter()
        .any(|path| is_gone(path))
    {
        return abandon(&run).await;
    }
    if run.record().exists() {
        // Without this word systemd takes an early end for a failure, and starts the supervisor
        // again and again.
        drop(StatusLine::ready());
        return Ok(());
    }
    let Some(_lock) = run.lock_supervisor()? else {
        return Err(SuperviseError::Taken);
    };
    let spec: RunSpec = store::read_document(&run.spec())?;
    let plan: Plan = store::read_document(&run.plan())?;
    let graph = Graph::new(&plan)?;
    let manager = Manager::connect(spec.manager.into()).await?;
    tokio::spawn(status_line::feed_watchdog());
    engine::Engine::new(run, &spec, &plan, &graph, manager)
        .await?
        .run()
        .await
}

/// Stops what goes on of a run whose directory was removed: there is nothing left to go by, and
/// nowhere to put a record. An embedded manager ends with this process anyway.
async fn abandon(run: &RunDir) -> Result<(), SuperviseError> {
    tracing::error!(
        "`{}` was removed while the run went on, stopping its jobs",
        run.path().display()
    );
    drop(StatusLine::ready());
    // Which manager it is stood in the directory; root asked for another one than the system's at
    // most by name.
    let kind = if nix::unistd::geteuid().is_root() {
        ManagerKind::System
    } else {
        ManagerKind::User
    };
    Ok(Manager::connect(kind.into())
        .await?
        .stop(&UnitName::run_slice(run.id()))
        .await?)
}
