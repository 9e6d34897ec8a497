//! Closes a run that has lost its supervisor for good: systemd will not start the supervisor again,
//! as its unit is gone or inactive. A client calls this when it finds such a run. The store writes
//! the record.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    time::{Duration, Instant},
};

use nix::unistd::geteuid;
use tokio::time::sleep;

use super::SuperviseError;
use crate::{
    overlay,
    store::{self, RunDir, RunLock, StoreError},
    systemd::{Manager, UnitState},
    unit::{
        self, CLEANUP_GRACE, INTERRUPT_GRACE, ManagerKind, RUNNER_SLACK, RootPaths, RunSpec,
        TERMINATE_GRACE, UnitName,
    },
};

/// The longest wait for the slice of a run without processes to stop.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// The longest wait for running jobs to end, which get their time for cleaning up: longer than
/// `TimeoutStopSec=` of their units.
const JOBS_DEADLINE: Duration = Duration::from_secs(
    10 + INTERRUPT_GRACE.as_secs()
        + TERMINATE_GRACE.as_secs()
        + CLEANUP_GRACE.as_secs()
        + RUNNER_SLACK.as_secs(),
);
const STOP_POLL: Duration = Duration::from_millis(50);

/// The fate of jobs that still run without their supervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jobs {
    /// They go on, and the run is not closed yet.
    GoOn,
    /// systemd stops them first.
    Stop,
}

/// Returns whether this process reaches the manager of the run's units. A user's manager is reached
/// only by the user, and root has one of its own.
pub fn reaches_manager(run: &RunDir, manager: ManagerKind) -> bool {
    manager != ManagerKind::User
        || fs::metadata(run.path()).is_ok_and(|meta| meta.uid() == geteuid().as_raw())
}

/// Returns the manager of the host that a run has if its spec is damaged. Root uses another one
/// than the system's only if asked to by name.
pub fn likely_manager() -> ManagerKind {
    if geteuid().is_root() {
        ManagerKind::System
    } else {
        ManagerKind::User
    }
}

/// Closes the record of a lost run under a manager of the host, unless the manager may still start
/// its supervisor, or its jobs go on. Removes what a supervisor removes at the end of its run. The
/// spec is absent if it is damaged.
///
/// The caller has found the run lost before: no client is starting it. From then on only the
/// manager can start a supervisor, and only while the supervisor's unit is not inactive.
///
/// # Errors
/// Fails when the run directory or the manager cannot be used. The run is then not closed.
pub async fn close_lost(
    run: &RunDir,
    spec: Option<&RunSpec>,
    jobs: Jobs,
) -> Result<(), SuperviseError> {
    let kind = spec.map_or_else(likely_manager, |spec| spec.manager);
    if !reaches_manager(run, kind) {
        return Ok(());
    }
    let Some(lock) = run.lock_supervisor()? else {
        return Ok(());
    };
    if run.record().exists() {
        return Ok(());
    }
    let manager = Manager::connect(kind.into()).await?;
    // In this order: a run of another state directory may get the same id, but not while a slice of
    // that name is loaded.
    let slice = UnitName::run_slice(run.id());
    let has_slice = manager.is_loaded(&slice).await?;
    let supervisor = UnitName::supervisor(run.id());
    let found = manager.list(&[supervisor.as_str()]).await?;
    if found.iter().any(UnitState::is_pending) {
        return Ok(());
    }
    let busy = has_pending_services(&manager, run).await?;
    if busy && jobs == Jobs::GoOn {
        return Ok(());
    }
    if has_slice {
        manager.stop(&slice).await?;
        let longest = if busy { JOBS_DEADLINE } else { STOP_DEADLINE };
        if !is_unloaded_within(&manager, &slice, longest).await? {
            return Ok(());
        }
    }
    clear_up(run, spec)?;
    Ok(run.close_without_supervisor(&lock)?)
}

/// Returns whether a job or a hook of the run runs or is still to run. A setup that has ended, and
/// a container that waits for jobs, are active without end.
async fn has_pending_services(manager: &Manager, run: &RunDir) -> Result<bool, SuperviseError> {
    let prefix = UnitName::job_prefix(run.id());
    // The services of run `ci-1-2` match the pattern of run `ci-1` as well. A job's name begins
    // with a letter or an underscore.
    let is_own = |unit: &UnitState| {
        unit.name
            .strip_prefix(&prefix)
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
    };
    let listed = manager.list(&[&format!("{prefix}*.service")]).await?;
    let is_job = |unit: &UnitState| {
        let name = unit.name.trim_end_matches(".service");
        // Names of jobs have no dot.
        !name.contains('.') || unit.active != "active" || unit.queued
    };
    let mut own = listed.iter().filter(|unit| is_own(unit));
    Ok(own.any(|unit| unit.is_pending() && is_job(unit)))
}

async fn is_unloaded_within(
    manager: &Manager,
    unit: &UnitName,
    longest: Duration,
) -> Result<bool, SuperviseError> {
    let end = Instant::now() + longest;
    while manager.is_loaded(unit).await? {
        if Instant::now() > end {
            return Ok(false);
        }
        sleep(STOP_POLL).await;
    }
    Ok(true)
}

/// Stops the jobs of a run whose spec or plan is damaged, and closes its record. The caller is the
/// run's supervisor, so it runs under the run's manager.
pub(super) async fn close_damaged(run: &RunDir, lock: &RunLock) -> Result<(), SuperviseError> {
    let spec: Option<RunSpec> = store::read_document(&run.spec()).ok();
    let kind = spec
        .as_ref()
        .map_or_else(likely_manager, |spec| spec.manager);
    let manager = Manager::connect(kind.into()).await?;
    let slice = UnitName::run_slice(run.id());
    if manager.is_loaded(&slice).await? {
        manager.stop(&slice).await?;
        if !is_unloaded_within(&manager, &slice, JOBS_DEADLINE).await? {
            // systemd starts the supervisor again.
            return Err(SuperviseError::JobsGoOn);
        }
    }
    clear_up(run, spec.as_ref())?;
    Ok(run.close_without_supervisor(lock)?)
}

/// Removes secrets, users, mounts and the run's directory on a tmpfs. Without a spec, the place of
/// the secrets is unknown: they are gone with the next boot.
fn clear_up(run: &RunDir, spec: Option<&RunSpec>) -> Result<(), StoreError> {
    store::forget_secrets(spec.and_then(|spec| spec.secrets.as_ref()));
    if geteuid().is_root() {
        store::remove_users(run.path());
    }
    if spec.is_none_or(RunSpec::mounts) {
        for job in run.job_names()? {
            overlay::unmount(&run.job(&job));
        }
        // Those of jobs, and of containers that jobs share.
        for root in fs::read_dir(run.roots()).into_iter().flatten().flatten() {
            if let Some(aside) = overlay::unmount_root(&RootPaths::at(root.path())) {
                // Files that cannot be removed go with the run.
                let _ = store::remove_tree(&aside);
            }
        }
    }
    // A directory that cannot be removed goes with the next boot.
    let usual = || unit::runtime_directory(likely_manager(), run.id());
    let _ = store::remove_tree(&spec.map_or_else(usual, |spec| spec.runtime_directory.clone()));
    Ok(())
}
