//! The end of a matrix group after one of its jobs failed (`failFast`).
//!
//! As in a cancelled run, a flag is raised before the running jobs are signalled, so that a runner
//! that starts later sees it.

use std::time::Instant;

use nix::sys::signal::Signal;

use super::{
    Engine, SuperviseError,
    cancel::{CANCEL_DEADLINE, Cancel},
};
use crate::{
    error::describe,
    event::EventKind,
    graph::JobIx,
    ids::JobName,
    reason::Reason,
    record::{Conclusion, JobRecord},
    store,
    supervisor::state::State,
    unit::{self, UnitName},
};

/// A matrix group that is being cancelled.
#[derive(Debug)]
pub(super) struct CancelledGroup {
    reason: Reason,
    /// When the rest of the group is killed; `None` once that is done.
    deadline: Option<Instant>,
}

impl Engine<'_> {
    /// Cancels the other jobs of a matrix after its first failed job, if the matrix asks for it.
    pub(super) async fn fail_fast(&mut self, ix: JobIx) -> Result<(), SuperviseError> {
        let (job, plan) = self.context.job(ix);
        let Some(matrix) = plan.matrix.as_ref().filter(|matrix| matrix.fail_fast) else {
            return Ok(());
        };
        let group = &matrix.group;
        let has_run = |ended: &JobRecord| ended.reused_from.is_none();
        if *self.jobs.state(ix) != State::Finished(Conclusion::Failure)
            || !self.record.jobs.get(job).is_some_and(has_run)
            || self.cancel != Cancel::No
            || self.cancelled_groups.contains_key(group)
            || unit::matrix_jobs(&self.context, group)
                .iter()
                .all(|ix| self.jobs.is_finished(*ix))
        {
            return Ok(());
        }
        self.emit(EventKind::MatrixCancelled {
            group: group.clone(),
            job: job.clone(),
        });
        self.note_cancelled(group, job);
        self.flush();
        self.cancel_group(group).await
    }

    /// Raises the flag that starting runners of a cancelled group look for, then signals the
    /// running ones.
    pub(super) async fn cancel_group(&mut self, group: &str) -> Result<(), SuperviseError> {
        let Some(cancelled) = self.cancelled_groups.get(group) else {
            return Ok(());
        };
        if let Err(error) = store::raise_reason(
            &self.run.matrix(group).cancelled(),
            Some(&cancelled.reason),
            0o644,
        ) {
            tracing::warn!(
                "{}, jobs of the matrix that start from now on do not see the cancellation",
                describe(&error)
            );
        }
        self.signal_matrix(group, true, Signal::SIGTERM).await
    }

    /// Notes that a group is being cancelled.
    pub(super) fn note_cancelled(&mut self, group: &str, job: &JobName) {
        let reason = Reason::MatrixFailed {
            job: Some((job.clone(), group.to_owned())),
        };
        let deadline = Some(Instant::now() + CANCEL_DEADLINE);
        self.cancelled_groups
            .entry(group.to_owned())
            .or_insert(CancelledGroup { reason, deadline });
    }

    /// Returns why a job's matrix group is being cancelled, if it is.
    pub(super) fn matrix_reason(&self, ix: JobIx) -> Option<Reason> {
        let group = &self.context.job(ix).1.matrix.as_ref()?.group;
        self.cancelled_groups
            .get(group)
            .map(|cancelled| cancelled.reason.clone())
    }

    /// Returns when the next cancelled group is to be killed.
    pub(super) fn matrix_deadline(&self) -> Option<Instant> {
        self.cancelled_groups
            .values()
            .filter_map(|cancelled| cancelled.deadline)
            .min()
    }

    /// Kills the remaining jobs of groups whose time is over.
    pub(super) async fn kill_late_matrices(&mut self, now: Instant) -> Result<(), SuperviseError> {
        let is_late =
            |cancelled: &CancelledGroup| cancelled.deadline.is_some_and(|deadline| now >= deadline);
        let late: Vec<String> = self
            .cancelled_groups
            .iter()
            .filter(|(_, cancelled)| is_late(cancelled))
            .map(|(group, _)| group.clone())
            .collect();
        for group in late {
            self.signal_matrix(&group, false, Signal::SIGKILL).await?;
            if let Some(cancelled) = self.cancelled_groups.get_mut(&group) {
                cancelled.deadline = None;
            }
        }
        Ok(())
    }

    async fn signal_matrix(
        &mut self,
        group: &str,
        main_only: bool,
        signal: Signal,
    ) -> Result<(), SuperviseError> {
        let jobs = unit::matrix_jobs(&self.context, group);
        let units: Vec<UnitName> = jobs
            .into_iter()
            .filter(|ix| self.jobs.is_submitted(*ix))
            .map(|ix| UnitName::job(&self.context.run.run, self.context.graph.name(ix)))
            .collect();
        self.signal_running(
            |unit| units.iter().any(|of_group| of_group.as_str() == unit),
            main_only,
            signal,
        )
        .await
    }
}
