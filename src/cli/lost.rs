//! Lost runs: finds the runs that nothing sees to their end any more, and closes their records.

use super::supervise;
use crate::{
    embedded,
    store::{Liveness, RunDir, StateDir, StoreError, read_document},
    supervisor::{self, Jobs},
    unit::{ManagerKind, RunSpec},
};

/// Returns whether a run lives, from its directory and, if it has a private manager, from whether
/// that has failed.
pub(super) fn liveness(run: &RunDir) -> Liveness {
    match run.liveness() {
        Liveness::Running if embedded::failure(run.path()).is_some() => Liveness::Lost,
        other => other,
    }
}

/// Closes the record of a lost run: the machine was restarted, the run's private manager was
/// killed, or its supervisor is gone. A run whose jobs go on without a supervisor is closed after
/// them. If the record cannot be written, the run stays lost.
pub(super) async fn close_lost(run: &RunDir, jobs: Jobs) {
    if run.record().exists() {
        return;
    }
    close_unfinished(run, jobs).await;
    if !run.record().exists() {
        return;
    }
    supervise::tell_lost(run.id());
    if let Ok(spec) = read_document::<RunSpec>(&run.spec()) {
        supervisor::notify_late(run, &spec).await;
    }
}

async fn close_unfinished(run: &RunDir, jobs: Jobs) {
    let _ = run.close_lost();
    if run.record().exists() {
        return;
    }
    let spec = match read_document::<RunSpec>(&run.spec()) {
        Ok(spec) => Some(spec),
        Err(error) if error.is_damage() => None,
        Err(_) => return,
    };
    let is_embedded = match &spec {
        Some(spec) => spec.manager == ManagerKind::Embedded,
        None => embedded::was_booted(run.path()),
    };
    if is_embedded {
        // The client may have been killed before it had booted a manager.
        let was_never_there = run.liveness() == Liveness::Lost
            && run.is_supervised().is_none()
            && !embedded::is_alive(run.path());
        if was_never_there || embedded::has_ended(run.path()) {
            let _ = run.close_without_manager();
        }
    } else if run.liveness() == Liveness::Lost {
        let _ = supervisor::close_lost(run, spec.as_ref(), jobs).await;
    }
}

/// Closes the records of all lost runs of a state directory, as [`close_lost`] does.
pub(super) async fn close_all_lost(state: &StateDir) -> Result<(), StoreError> {
    for id in state.runs()? {
        // A run that is not found was removed in the meantime.
        if let Ok(run) = state.run(id.as_str()) {
            close_lost(&run, Jobs::GoOn).await;
        }
    }
    Ok(())
}
