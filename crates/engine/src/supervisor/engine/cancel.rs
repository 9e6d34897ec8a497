//! The end that somebody asks for: requests in the control directory, timeouts, signals.
//!
//! A first request cancels, a second one kills. What jobs then still run is the status algebra's
//! business, how a step is ended the runner's.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{Engine, SuperviseError};
use crate::{
    error::describe,
    event::EventKind,
    graph::JobIx,
    record::{Conclusion, JobRecord},
    status, store,
    unit::{CLEANUP_GRACE, INTERRUPT_GRACE, TERMINATE_GRACE, UnitName},
};

/// How long a cancelled job is waited for before it is killed.
pub(super) const CANCEL_DEADLINE: Duration = Duration::from_secs(
    INTERRUPT_GRACE.as_secs() + TERMINATE_GRACE.as_secs() + CLEANUP_GRACE.as_secs() + 5,
);

/// How long a runner that is asked to end may tell nothing: it ends its step first.
const REACTION: Duration =
    Duration::from_secs(INTERRUPT_GRACE.as_secs() + TERMINATE_GRACE.as_secs() + 10);

/// How far a cancellation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cancel {
    /// Nobody asked.
    No,
    /// Jobs are ending; killed at this time.
    Ending(Instant),
    /// Jobs were killed.
    Killed,
}

impl Engine<'_> {
    /// Answers the requests in the control directory.
    pub(super) async fn control(&mut self) -> Result<(), SuperviseError> {
        if !self.run.control().exists() {
            // The next supervisor finds nothing to take over, and stops what goes on.
            return Err(SuperviseError::Removed(self.run.path().to_owned()));
        }
        if self.superseded.is_none()
            && let Some(reason) = self.run.superseded()
            && self.cancel == Cancel::No
        {
            self.request(
                reason.strip_prefix("cancelled by ").unwrap_or(&reason),
                false,
            )
            .await?;
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

    /// Cancels the run, or kills it where it is being cancelled already.
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
    pub(super) async fn fail(&mut self, reason: String) -> Result<(), SuperviseError> {
        tracing::error!("{reason}, cancelling the run");
        self.failure.get_or_insert(reason.clone());
        if self.cancel == Cancel::No {
            self.emit(EventKind::CancelRequested {
                by: reason,
                kill: false,
            });
            self.cancel_jobs().await?;
        }
        Ok(())
    }

    /// Raises the flag that starting runners look for, then signals the running ones: none can fall
    /// between.
    pub(super) async fn cancel_jobs(&mut self) -> Result<(), SuperviseError> {
        self.cancel = Cancel::Ending(Instant::now() + CANCEL_DEADLINE);
        self.flush();
        // Of one that nobody asked for, jobs are told why. An earlier supervisor may have told them.
        let flag = self.run.cancelled();
        let reason = self.failure.as_deref().unwrap_or_default();
        if !flag.exists()
            && let Err(error) = store::raise_flag(&flag, reason, 0o644)
        {
            tracing::warn!(
                "{}, jobs that start from now on are not cancelled by themselves",
                describe(&error)
            );
        }
        self.signal_jobs(true, Signal::SIGTERM).await
    }

    pub(super) async fn kill(&mut self) -> Result<(), SuperviseError> {
        self.cancel = Cancel::Killed;
        self.flush();
        let failure = self.failure.clone().unwrap_or_default();
        for (flag, reason) in [(self.run.cancelled(), &*failure), (self.run.killed(), "")] {
            if let Err(error) = store::raise_flag(&flag, reason, 0o644) {
                tracing::warn!(
                    "{}, jobs that start from now on are not cancelled by themselves",
                    describe(&error)
                );
            }
        }
        self.signal_jobs(false, Signal::SIGKILL).await
    }

    async fn signal_jobs(&mut self, main_only: bool, signal: Signal) -> Result<(), SuperviseError> {
        self.signal_running(|_| true, main_only, signal).await
    }

    /// Signals those running units of the run that are wanted. A runner that has not begun yet sees
    /// the flag, raised before, by itself: it would be ended by a signal that it does not catch
    /// yet, also where its job is to clean up.
    ///
    /// A runner that is asked to end ends its step within the grace, and tells so. One that does
    /// not is taken for stopped, see [`Self::kill_mute`].
    pub(super) async fn signal_running(
        &mut self,
        wanted: impl Fn(&str) -> bool,
        main_only: bool,
        signal: Signal,
    ) -> Result<(), SuperviseError> {
        for unit in self.loaded().await? {
            // What systemd is stopping has been told so.
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
                    // A stopped process takes no other signal than this (signal(7)).
                    self.manager
                        .kill(&unit.name, true, Signal::SIGCONT as i32)
                        .await?;
                    let until = Instant::now() + REACTION;
                    let ix = self.job_of(&unit.name);
                    ix.into_iter()
                        .for_each(|ix| _ = self.asked.entry(ix).or_insert(until));
                }
            }
        }
        Ok(())
    }

    /// Returns when the next runner must have told something that was asked to end.
    pub(super) fn reaction_deadline(&self) -> Option<Instant> {
        self.asked.values().min().copied()
    }

    /// Kills the jobs whose runners were asked to end and have told nothing since: a step may have
    /// stopped them, and does so again.
    pub(super) async fn kill_mute(&mut self, now: Instant) -> Result<(), SuperviseError> {
        let is_late = |(ix, until): (&JobIx, &Instant)| (now >= *until).then_some(*ix);
        let mute: Vec<JobIx> = self.asked.iter().filter_map(is_late).collect();
        for ix in mute {
            self.asked.remove(&ix);
            let name = self.context.graph.name(ix);
            tracing::warn!(nixactions_job = %name, "the runner of job `{name}` does not react to the cancellation, killing the job");
            let unit = UnitName::job(&self.context.run.run, name);
            self.manager
                .kill(unit.as_str(), false, Signal::SIGKILL as i32)
                .await?;
        }
        Ok(())
    }

    /// Returns a job's record, as that of a cancelled one where its unit was stopped because all
    /// are: at a shutdown systemd stops the jobs and the supervisor at once, and a runner cannot
    /// tell that from a stop of its own unit.
    pub(super) async fn unless_shutdown(
        &mut self,
        record: JobRecord,
    ) -> Result<JobRecord, SuperviseError> {
        if record.reason.as_deref() != Some(status::UNIT_STOPPED) {
            return Ok(record);
        }
        if self.cancel == Cancel::No && self.manager.is_stopping().await? {
            self.request("shutdown", false).await?;
        }
        if self.cancel == Cancel::No {
            return Ok(record);
        }
        let (outcome, reason) = (
            Conclusion::Cancelled,
            Some(status::RUN_CANCELLED.to_owned()),
        );
        Ok(JobRecord {
            outcome,
            conclusion: outcome,
            reason,
            ..record
        })
    }

    pub(super) fn cancel_deadline(&self) -> Option<Instant> {
        match self.cancel {
            Cancel::Ending(deadline) => Some(deadline),
            Cancel::No | Cancel::Killed => None,
        }
    }
}
