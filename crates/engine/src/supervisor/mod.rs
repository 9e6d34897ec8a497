//! The supervisor: `nixactions-<run>.service`, one for each run.
//!
//! It submits the DAG, merges the events of jobs into `events.jsonl`, handles cancellation and
//! timeouts, and writes the record. PID 1 runs the jobs. When the supervisor dies, systemd restarts
//! it, and it takes the run over from the run directory; the jobs do not notice. It knows nothing
//! of terminals.

mod engine;
mod lost;
mod notify;
mod state;
mod status_line;
mod submission;
mod watch;
mod wave;

use std::{
    io,
    path::{Path, PathBuf},
};

pub use lost::{Jobs, close_lost, likely_manager, reaches_manager};
pub use notify::notify_late;
use status_line::StatusLine;
pub use submission::launch;

use crate::{
    graph::{Graph, GraphError},
    plan::Plan,
    store::{self, RunDir, StoreError},
    systemd::{Manager, ShutdownDelay, SystemdError},
    unit::{ManagerKind, RunSpec, UnitName},
};

/// Why a supervisor gave up.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// The run directory cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A call to systemd failed.
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    /// The stored plan is not valid any more.
    #[error("the stored plan is not a valid DAG")]
    Graph(#[from] GraphError),
    /// Somebody removed the run directory, or a file that the supervisor needs.
    #[error("`{}` was removed while the run went on", .0.display())]
    Removed(PathBuf),
    /// Another supervisor of the run lives.
    #[error("the run already has a supervisor")]
    Taken,
    /// The jobs of a damaged run have not ended in their time.
    #[error("the jobs of the run have not ended yet")]
    JobsGoOn,
    /// The thread that waits for the concurrency group failed.
    #[error("failed to wait for the concurrency group")]
    Thread(#[source] io::Error),
    /// Signals cannot be handled.
    #[error("failed to handle signals")]
    Signals(#[source] io::Error),
}

/// Supervises a run until its record is written. It leaves a run with a record alone, and stops a
/// run whose directory was removed.
///
/// # Errors
/// Fails when the run directory or systemd cannot be used; systemd then restarts the supervisor.
pub async fn supervise(directory: &Path) -> Result<(), SuperviseError> {
    let run = RunDir::at(directory)?;
    // A missing file stays missing after a restart, but an unreadable one may become readable.
    let is_gone = |path: &Path| path.try_exists().is_ok_and(|there| !there);
    if [&run.spec(), &run.plan(), &run.control()]
        .into_iter()
        .any(|path| is_gone(path))
    {
        return abandon(&run).await;
    }
    if run.record().exists() {
        // Without this message systemd takes an early end for a failure, and restarts the
        // supervisor again and again.
        drop(StatusLine::ready());
        if let Ok(spec) = store::read_document(&run.spec()) {
            notify::notify_late(&run, &spec).await;
        }
        return Ok(());
    }
    let Some(lock) = run.lock_supervisor()? else {
        return Err(SuperviseError::Taken);
    };
    lock.note_boot();
    let (spec, plan, graph) = match documents(&run) {
        // systemd would start a supervisor again and again, and each would find the same.
        Err(error) if error.is_damage() => {
            tracing::error!("{}, ending the run", crate::error::describe(&error));
            drop(StatusLine::ready());
            tokio::spawn(status_line::feed_watchdog());
            return lost::close_damaged(&run, &lock).await;
        }
        documents => documents?,
    };
    let manager = Manager::connect(spec.manager.into()).await?;
    tokio::spawn(status_line::feed_watchdog());
    let delay = delay_shutdown(&spec).await;
    let mut engine = engine::Engine::new(run, &spec, &plan, &graph, manager).await?;
    let _delay = delay.map_err(|warning| engine.warn(warning)).ok();
    engine.run().await
}

/// Has a shutdown of the machine wait for the run, if the run asks for that. Fails with a warning.
async fn delay_shutdown(spec: &RunSpec) -> Result<Option<ShutdownDelay>, String> {
    if !spec.delays_shutdown {
        return Ok(None);
    }
    let reason = match spec.manager {
        ManagerKind::Embedded => "an embedded manager has no logind".to_owned(),
        ManagerKind::System | ManagerKind::User => {
            let why = format!("run {} goes on", spec.run);
            match ShutdownDelay::take(&why).await {
                Ok(delay) => return Ok(Some(delay)),
                Err(error) => crate::error::describe(&error),
            }
        }
    };
    Err(format!("a shutdown does not wait for the run: {reason}"))
}

/// Reads a run's spec and its plan.
fn documents(run: &RunDir) -> Result<(RunSpec, Plan, Graph), SuperviseError> {
    let spec = store::read_document(&run.spec())?;
    let plan = store::read_document(&run.plan())?;
    let graph = Graph::new(&plan)?;
    Ok((spec, plan, graph))
}

impl SuperviseError {
    /// Returns whether a document of the run is not what was written.
    fn is_damage(&self) -> bool {
        match self {
            Self::Store(error) => error.is_damage(),
            Self::Graph(_) => true,
            Self::Systemd(_)
            | Self::Removed(_)
            | Self::Taken
            | Self::JobsGoOn
            | Self::Thread(_)
            | Self::Signals(_) => false,
        }
    }
}

/// Stops the jobs of a run whose directory was removed. The plan is gone, and so is the place for a
/// record. An embedded manager ends with this process anyway.
async fn abandon(run: &RunDir) -> Result<(), SuperviseError> {
    tracing::error!(
        "`{}` was removed while the run went on, stopping its jobs",
        run.path().display()
    );
    drop(StatusLine::ready());
    // The directory named the manager.
    Ok(Manager::connect(likely_manager().into())
        .await?
        .stop(&UnitName::run_slice(run.id()))
        .await?)
}
