//! Starts the units that the run names for its end (`--notify`).

use crate::{
    error::describe,
    record::Conclusion,
    store::{RunDir, StateDir},
    systemd::Manager,
    unit::{ManagerKind, RunSpec},
};

/// Starts the units that a run names for its conclusion, unless another process did. The record of
/// the run has been written. A unit that cannot start is a warning: the run has ended. A supervisor
/// that dies in the middle leaves this to the next one, which may start a unit again.
pub(super) async fn notify(
    run: &RunDir,
    spec: &RunSpec,
    conclusion: Option<Conclusion>,
    manager: &Manager,
) {
    if spec.notify.is_empty() || run.is_told() {
        return;
    }
    for unit in units(spec, conclusion) {
        let unit = unit.replacen('@', &format!("@{}", run.id()), 1);
        if let Err(error) = manager.start_unit(&unit).await {
            tracing::warn!(nixactions_run = %run.id(), "{}, nobody hears of the run by this unit", describe(&error));
        }
    }
    run.note_told();
}

/// Starts the units of a run that has a record, unless its supervisor did: the run was lost, or the
/// supervisor died between the record and this.
pub async fn notify_late(run: &RunDir, spec: &RunSpec) {
    if spec.notify.is_empty() || spec.manager == ManagerKind::Embedded {
        return;
    }
    let conclusion = run.load_record().ok().and_then(|record| record.conclusion);
    if let Ok(manager) = Manager::connect(spec.manager.into()).await {
        notify(run, spec, conclusion, &manager).await;
    }
}

/// Returns the template units for a conclusion.
fn units(spec: &RunSpec, conclusion: Option<Conclusion>) -> Vec<&str> {
    let has_recovered = || {
        let before = StateDir::open(&spec.state_directory)
            .ok()
            .and_then(|state| state.before(&spec.run));
        before.is_some_and(|(_, conclusion)| conclusion == Conclusion::Failure)
    };
    let notify = &spec.notify;
    let mut units: Vec<&str> = Vec::new();
    match conclusion {
        Some(Conclusion::Failure) => units.extend(notify.failure.iter().map(String::as_str)),
        Some(Conclusion::Success) => {
            units.extend(notify.success.iter().map(String::as_str));
            if !notify.recovery.is_empty() && has_recovered() {
                units.extend(notify.recovery.iter().map(String::as_str));
            }
        }
        Some(Conclusion::Cancelled | Conclusion::Skipped) | None => {}
    }
    units
}
