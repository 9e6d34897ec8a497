//! Ends a run early, on requests in the control directory, timeouts and signals.
//!
//! The first request cancels the run, the second one kills it. The status algebra decides which
//! jobs still run after that, and the runner ends its steps (`stop.rs` there has the signals).

use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sys::signal::Signal;

use super::{Engine, SuperviseError};
use crate::{
    error::describe,
    event::EventKind,
    graph::JobIx,
    reason::{Reason, next_run},
    store,
    supervisor::state::Change,
    unit::{self, CLEANUP_GRACE, INTERRUPT_GRACE, TERMINATE_GRACE, UnitName},
};

/// The time that a cancelled job may take before it is killed.
pub(super) const CANCEL_DEADLINE: Duration = Duration::from_secs(
    INTERRUPT_GRACE.as_secs() + TERMINATE_GRACE.as_secs() + CLEANUP_GRACE.as_secs() + 5,
);

/// The longest silence of a runner after a request to end. The runner first ends its step, and then
/// reports.
const REACTION: Duration =
    Duration::from_secs(INTERRUPT_GRACE.as_secs() + TERMINATE_GRACE.as_secs() + 10);

/// The state of a cancellation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cancel {
    /// No cancellation was requested.
    No,
    /// Jobs are ending. Those left at this time are killed.
    Ending(Instant),
    /// Jobs were killed.
    Killed,
}

impl Engine<'_> {
    /// Handles the requests in the control directory.
    pub(super) async fn control(&mut self) -> Result<(), SuperviseError> {
        if !self.run.control().exists() {
            // The next supervisor finds no directory to take over, and stops the running jobs.
            return Err(SuperviseError::Removed(self.run.path().to_owned()));
        }
        if self.superseded.is_none()
            && let Some(reason) = self.run.superseded()
            && self.cancel == Cancel::No
        {
            let by = match &reason {
                Reason::CancelledBy { run } => next_run(run.as_ref()),
                other => other.to_string(),
            };
            self.request(&by, false).await?;
            self.superseded = Some(reason);
        }
        if let Some(by) = self.run.cancel_requested(true) {
            return self.request(&by, true).await;
        }
        match self.run.cancel_requested(false) {
            Some(by) if self.cancel == Cancel::No => self.request(&by, false).await,
            _ => Ok(()),
        }
    }

    /// Cancels the run, or kills it if it is being cancelled already.
    pub(super) async fn request(&mut self, by: &str, kill: bool) -> Result<(), SuperviseError> {
        match self.cancel {
            Cancel::No if !kill => {
                self.emit(EventKind::CancelRequested {
                    by: by.to_owned(),
                    kill: false,
                });
                self.cancel_jobs().await
            }
            Cancel::No | Cancel::Ending(_) => {
                self.emit(EventKind::CancelRequested {
                    by: by.to_owned(),
                    kill: true,
                });
                self.kill().await
            }
            Cancel::Killed => Ok(()),
        }
    }

    /// Ends the run early as a failure.
    pub(super) async fn fail(&mut self, reason: Reason) -> Result<(), SuperviseError> {
        tracing::error!("{reason}, cancelling the run");
        self.failure.get_or_insert(reason.clone());
        if self.cancel == Cancel::No {
            self.emit(EventKind::CancelRequested {
                by: reason.to_string(),
                kill: false,
            });
            self.cancel_jobs().await?;
        }
        Ok(())
    }

    /// Raises the flag that starting runners look for, then signals the running ones, so that no
    /// runner is missed.
    pub(super) async fn cancel_jobs(&mut self) -> Result<(), SuperviseError> {
        self.cancel = Cancel::Ending(Instant::now() + CANCEL_DEADLINE);
        self.flush();
        // The flag tells jobs the reason, unless a user asked for the cancellation. An earlier
        // supervisor may have raised the flag.
        let flag = self.run.cancelled();
        if !flag.exists()
            && let Err(error) = store::raise_reason(&flag, self.failure.as_ref(), 0o644)
        {
            tracing::warn!(
                "{}, jobs that start from now on do not see the cancellation",
                describe(&error)
            );
        }
        self.signal_jobs(true, Signal::SIGTERM).await
    }

    pub(super) async fn kill(&mut self) -> Result<(), SuperviseError> {
        self.cancel = Cancel::Killed;
        self.flush();
        let flags = [
            (self.run.cancelled(), self.failure.as_ref()),
            (self.run.killed(), None),
        ];
        for (flag, reason) in flags {
            if let Err(error) = store::raise_reason(&flag, reason, 0o644) {
                tracing::warn!(
                    "{}, jobs that start from now on do not see the cancellation",
                    describe(&error)
                );
            }
        }
        self.signal_jobs(false, Signal::SIGKILL).await
    }

    async fn signal_jobs(&mut self, main_only: bool, signal: Signal) -> Result<(), SuperviseError> {
        self.signal_running(|_| true, main_only, signal).await
    }

    /// Signals the running units of the run that `wanted` selects. A runner that has not begun yet
    /// gets no signal: it does not catch the signal yet, and would end even if it has to clean up.
    /// It sees the flag, which was raised before.
    ///
    /// A runner that is asked to end ends its step within the grace and reports it. A runner that
    /// does not is taken for stopped, see [`Self::kill_mute`].
    pub(super) async fn signal_running(
        &mut self,
        wanted: impl Fn(&str) -> bool,
        main_only: bool,
        signal: Signal,
    ) -> Result<(), SuperviseError> {
        for unit in self.loaded().await? {
            // A container ends after its last job, which may still have to clean up in it, and a
            // service ends after its job.
            let outlives_jobs = self.is_container(&unit.name) || self.is_service(&unit.name);
            if main_only && outlives_jobs {
                continue;
            }
            // A unit that systemd is stopping has its signal already.
            let has_begun = !main_only
                || self
                    .job_of(&unit.name)
                    .is_none_or(|ix| !self.has_never_started(ix));
            let is_to_be_told = has_begun
                && (unit.active == "activating" || unit.active == "deactivating" && !main_only);
            if is_to_be_told && wanted(&unit.name) {
                self.manager
                    .kill(&unit.name, main_only, signal as i32)
                    .await?;
                if main_only {
                    // A stopped process handles SIGTERM only after SIGCONT (signal(7)).
                    self.manager
                        .kill(&unit.name, true, Signal::SIGCONT as i32)
                        .await?;
                    let until = Instant::now() + REACTION;
                    let ix = self.job_of(&unit.name);
                    ix.into_iter()
                        .for_each(|ix| _ = self.jobs.apply(ix, Change::Ask(until)));
                }
            }
        }
        Ok(())
    }

    /// Returns the earliest time by which a runner that was asked to end must have reported
    /// something.
    pub(super) fn reaction_deadline(&self) -> Option<Instant> {
        self.jobs.asked().map(|(_, until)| until).min()
    }

    /// Kills the jobs whose runners were asked to end and have reported nothing since: a step may
    /// have stopped its runner, and may do so again.
    pub(super) async fn kill_mute(&mut self, now: Instant) -> Result<(), SuperviseError> {
        let is_late = |(ix, until): (JobIx, Instant)| (now >= until).then_some(ix);
        let mute: Vec<JobIx> = self.jobs.asked().filter_map(is_late).collect();
        for ix in mute {
            self.jobs.apply(ix, Change::Report);
            let name = self.context.graph.name(ix);
            tracing::warn!(nixactions_job = %name, "the runner of job `{name}` does not react to the cancellation, killing the job");
            let unit = UnitName::job(&self.context.run.run, name);
            self.manager
                .kill(unit.as_str(), false, Signal::SIGKILL as i32)
                .await?;
        }
        Ok(())
    }

    /// Returns when the supervisor is to end a job that began at this time, if PID 1 does not.
    pub(super) fn end_by(&self, ix: JobIx, began: Timestamp) -> Option<Instant> {
        let limit = unit::supervised_timeout(&self.context, self.context.job(ix).1)?;
        let spent = Timestamp::now().duration_since(began);
        // The clock may have been set back.
        let spent = Duration::try_from(spent).unwrap_or_default();
        Instant::now().checked_add(limit.saturating_sub(spent))
    }

    /// Returns the earliest time at which the supervisor is to end a job.
    pub(super) fn next_overdue(&self) -> Option<Instant> {
        self.jobs.bounded().map(|(_, end_by)| end_by).min()
    }

    /// Kills the jobs that took too long, in spite of their runners: a step may have stopped its
    /// runner. PID 1 ends other jobs (`TimeoutStartUSec`).
    pub(super) async fn kill_overdue(&mut self, now: Instant) -> Result<(), SuperviseError> {
        let is_late = |(ix, end_by): (JobIx, Instant)| (now >= end_by).then_some(ix);
        let late: Vec<JobIx> = self.jobs.bounded().filter_map(is_late).collect();
        for ix in late {
            self.jobs.apply(ix, Change::Expire);
            let name = self.context.graph.name(ix);
            tracing::warn!(nixactions_job = %name, "the runner of job `{name}` does not end it after its timeout, killing the job");
            let unit = UnitName::job(&self.context.run.run, name);
            self.manager
                .kill(unit.as_str(), false, Signal::SIGKILL as i32)
                .await?;
        }
        Ok(())
    }

    pub(super) fn cancel_deadline(&self) -> Option<Instant> {
        match self.cancel {
            Cancel::Ending(deadline) => Some(deadline),
            Cancel::No | Cancel::Killed => None,
        }
    }
}
