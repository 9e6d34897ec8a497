//! The containers that the jobs of an executor share: stops each after its last job.
//!
//! A container's unit starts with the first wave. systemd stops it with the run's slice, so none is
//! left however the run ends.

use super::*;
use crate::{reason::ServiceResult, systemd::UnitState};

/// The longest wait for systemd's word on a container whose processes were killed.
const WORD_DEADLINE: Duration = Duration::from_secs(1);
/// The wait between two questions.
const WORD_WAIT: Duration = Duration::from_millis(20);

impl Engine<'_> {
    /// Returns whether a unit holds a container that jobs share.
    pub(super) fn is_container(&self, unit: &str) -> bool {
        self.executor_of_container(unit).is_some()
    }

    fn executor_of_container(&self, unit: &str) -> Option<&str> {
        let run = &self.context.run.run;
        unit::shared_executors(&self.context)
            .map(|(executor, _)| executor)
            .find(|executor| UnitName::container(run, executor).as_str() == unit)
    }

    /// Returns whether all jobs of an executor are over.
    fn is_over(&self, executor: &str) -> bool {
        let mut jobs = self.context.graph.jobs();
        jobs.all(|ix| {
            self.context.job(ix).1.executor.as_deref() != Some(executor)
                || self.jobs.is_finished(ix)
        })
    }

    /// Stops the container that a job shared with others, if it was the last one.
    pub(super) async fn stop_container_of(&mut self, ix: JobIx) -> Result<(), SuperviseError> {
        let job = self.context.job(ix).1;
        match unit::shared_executor(&self.context, job) {
            Some(executor) if self.is_over(executor) => {
                let unit = UnitName::container(&self.context.run.run, executor);
                Ok(self.manager.stop(&unit).await?)
            }
            _ => Ok(()),
        }
    }

    /// Removes the files of a container whose unit has stopped.
    pub(super) fn container_removed(&self, unit: &str) {
        if let Some(executor) = self.executor_of_container(unit)
            && self.is_over(executor)
        {
            self.unmount_root(&self.run.shared_root(executor));
        }
    }

    /// Removes the files of all containers, at the end of the run.
    pub(super) fn unmount_containers(&self) {
        for (executor, _) in unit::shared_executors(&self.context) {
            self.unmount_root(&self.run.shared_root(executor));
        }
    }

    /// Returns systemd's word on the container of a killed job, if the container has ended: the
    /// kernel kills all of its processes with the first one.
    pub(super) async fn killed_with_container(
        &self,
        ix: JobIx,
        end: Option<&ServiceEnd>,
    ) -> Result<Option<Reason>, SuperviseError> {
        let job = self.context.job(ix).1;
        let is_of_systemd_nspawn = self.context.placement(job).nspawn().is_some();
        let shared = unit::shared_executor(&self.context, job).filter(|_| is_of_systemd_nspawn);
        let is_killed = end.is_some_and(|end| end.evidence().result == ServiceResult::Signal);
        let Some(executor) = shared.filter(|_| is_killed && self.cancel == Cancel::No) else {
            return Ok(None);
        };
        let unit = UnitName::container(&self.context.run.run, executor);
        let until = Instant::now() + WORD_DEADLINE;
        // The end of the job may come first.
        while self
            .manager
            .list(&[unit.as_str()])
            .await?
            .iter()
            .any(UnitState::is_pending)
        {
            if Instant::now() > until {
                return Ok(None);
            }
            tokio::time::sleep(WORD_WAIT).await;
        }
        let end = self.manager.service_end(unit.as_str()).await?;
        let end = end.filter(|end| end.evidence().is_from_outside());
        Ok(end.map(|end| Reason::Service {
            result: end.evidence().result.clone(),
            main: end.evidence().main.clone(),
            own: Some(format!("the container of executor `{executor}` has ended")),
        }))
    }

    /// Returns why systemd has not started a job, if the container that it was to join is gone. Its
    /// needs are not the cause.
    pub(super) async fn container_failure(
        &self,
        ix: JobIx,
    ) -> Result<Option<Reason>, SuperviseError> {
        let job = self.context.job(ix).1;
        let is_blocked = self.jobs.why_blocked(self.context.graph, ix).is_some();
        let Some(executor) = unit::shared_executor(&self.context, job) else {
            return Ok(None);
        };
        if is_blocked || !self.has_never_started(ix) {
            return Ok(None);
        }
        let unit = UnitName::container(&self.context.run.run, executor);
        let found = self.manager.list(&[unit.as_str()]).await?;
        let is_there = found.iter().any(UnitState::is_pending);
        Ok((!is_there).then(|| Reason::Root {
            why: format!("the container of executor `{executor}` has ended"),
        }))
    }
}
