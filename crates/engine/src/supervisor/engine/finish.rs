//! Determines how a finished job ended, from the job's own result and from systemd's.

use std::fs;

use super::*;
use crate::plan::Job;

impl Engine<'_> {
    pub(super) async fn job_removed(&mut self, removed: Removed) -> Result<(), SuperviseError> {
        let Some(ix) = self.job_of(&removed.unit) else {
            self.container_removed(&removed.unit);
            return Ok(());
        };
        if !self.jobs.is_submitted(ix) {
            return Ok(());
        }
        // A job's needs decide its own outcome, so wait for them. The setup of its executor is not
        // one of its needs.
        if removed.result == QueueResult::Dependency
            && !self.needs_are_finished(ix)
            && unit::setup_of(&self.context, ix).is_some()
        {
            self.jobs.apply(ix, state::Change::CallOff);
            return Ok(());
        }
        if removed.result == QueueResult::Canceled
            || removed.result == QueueResult::Done
                && !matches!(
                    store::read_result(&self.run.job(self.context.graph.name(ix))),
                    Ok(Some(_))
                )
        {
            // The unit was stopped from outside. The job ends when its unit has ended, not when its
            // start was called off.
            let states = self.manager.list(&[&removed.unit]).await?;
            if states.iter().any(crate::systemd::UnitState::is_pending) {
                return Ok(());
            }
            // Stopping a unit also stops the units that require it, before the first one has ended.
            if self.has_never_started(ix) {
                self.jobs.apply(ix, state::Change::CallOff);
                return Ok(());
            }
        }
        self.finish_job(ix, removed.result).await
    }

    /// Records how a job ended: by its own result, or by systemd's if it left none.
    pub(super) async fn finish_job(
        &mut self,
        ix: JobIx,
        result: QueueResult,
    ) -> Result<(), SuperviseError> {
        let (name, job) = self.context.job(ix);
        let unit = UnitName::job(&self.context.run.run, name);
        let left = self.left(name);
        let submitted = self.watch.since(ix);
        let past = self.watch.remove(ix);
        let is_clear = matches!(result, QueueResult::Done | QueueResult::Dependency);
        let end = if is_clear {
            None
        } else {
            self.manager.service_end(unit.as_str()).await?
        };
        let claim = left.as_ref().map(Claim::of);
        self.notice_shutdown(claim, end.as_ref()).await?;
        let container = self.container_failure(ix).await?;
        let verdict = self.verdict(ix, &result, claim, end.as_ref(), container);
        let mut record = match left {
            Some(left) if verdict.keeps_report => left,
            _ => {
                let began = end.as_ref().and_then(ServiceEnd::unwritten_since);
                self.run.told_by(name, &unit, verdict.outcome, began)
            }
        };
        (record.outcome, record.conclusion) = (verdict.outcome, verdict.conclusion);
        if let Some(reason) = &verdict.reason {
            record.set_reason(reason);
        }
        let code = verdict.reason.as_ref().and_then(Reason::code);
        if verdict.outcome == Conclusion::Failure && code == Some(ReasonCode::OomKill) {
            fail_stopped_step(&mut record, job);
        }
        if verdict.outcome == Conclusion::Failure
            && !verdict.keeps_report
            && let Some(reason) = self.killed_with_container(ix, end.as_ref()).await?
        {
            record.set_reason(&reason);
        }
        let no_room = end
            .as_ref()
            .and_then(|end| submit::why_not_started(end.evidence(), &self.run));
        if let Some(reason) = no_room
            .as_ref()
            .filter(|_| record.outcome == Conclusion::Failure)
        {
            record.set_reason(reason);
        }
        let missing = end
            .as_ref()
            .and_then(|end| submit::missing_credential(end.evidence(), job));
        if let Some(reason) = missing.as_ref().filter(|_| no_room.is_none()) {
            record.set_reason(reason);
        }
        self.tell_of_memory(name, &mut record);
        record.unit = unit.to_string();
        if let Some(end) = end.as_ref().filter(|_| record.attempts > 0) {
            end.complete(&mut record.usage);
        }
        // Dependents may have begun before the supervisor learned of the job's end.
        let ended = end.as_ref().and_then(ServiceEnd::ended);
        record
            .finished_at
            .get_or_insert_with(|| ended.unwrap_or_else(Timestamp::now));
        if verdict.is_dropped {
            // The job had no runner to write this to the job's log.
            let reason = record.reason.as_deref().unwrap_or("systemd dropped it");
            tracing::info!(nixactions_run = %self.context.run.run, nixactions_job = %name, nixactions_stream = "runner", "{}: {reason}", record.outcome);
        }
        if !is_clear {
            self.manager.reset_failed(unit.as_str()).await?;
        }
        self.unmount(ix);
        self.take_in(past);
        self.claims(ix, submitted, end.as_ref())
            .bound_record(&mut record);
        for cut in bounds::cut_record(&mut record, job.steps_max()) {
            self.warn(format!("job `{name}`: shortened its results: {cut}"));
        }
        let finished_wave = self.finish(ix, record);
        self.stop_container_of(ix).await?;
        self.fail_fast(ix).await?;
        if let Some(reason) = no_room {
            self.fail_rest(reason).await?;
        }
        match finished_wave {
            // The slices of the last wave go with the run's slice.
            Some(wave) if !self.jobs.is_done() => Ok(self
                .manager
                .stop(&UnitName::wave(&self.context.run.run, wave))
                .await?),
            _ => Ok(()),
        }
    }

    /// Returns the record that a job's runner left.
    fn left(&self, name: &JobName) -> Option<JobRecord> {
        match store::read_result(&self.run.job(name)) {
            Ok(left) => left.map(|left| {
                let mut record = left.record;
                claims::bound_reasons(&mut record);
                record
            }),
            Err(error) => {
                tracing::warn!(nixactions_job = %name, "{}, using systemd's result", describe(&error));
                None
            }
        }
    }

    /// Cancels the run if all units are being stopped. At a shutdown systemd stops the jobs and the
    /// supervisor together, and a runner reports a stop of its own unit.
    async fn notice_shutdown(
        &mut self,
        claim: Option<Claim<'_>>,
        end: Option<&ServiceEnd>,
    ) -> Result<(), SuperviseError> {
        let is_stopped = claim.is_some_and(|claim| claim.code == Some(ReasonCode::UnitStopped));
        let is_from_outside = end.is_some_and(|end| end.evidence().is_from_outside());
        if is_stopped
            && !is_from_outside
            && self.cancel == Cancel::No
            && self.manager.is_stopping().await?
        {
            self.request("shutdown", false).await?;
        }
        Ok(())
    }

    /// Decides how a job ended, once its unit has ended.
    fn verdict(
        &self,
        ix: JobIx,
        result: &QueueResult,
        claim: Option<Claim<'_>>,
        end: Option<&ServiceEnd>,
        container: Option<Reason>,
    ) -> Verdict {
        let job = self.context.job(ix).1;
        let has_started = !self.has_never_started(ix);
        let evidence = Evidence::Ended(Box::new(Ended {
            start: match result {
                QueueResult::Done => StartEnd::Done,
                QueueResult::Failed | QueueResult::Timeout => StartEnd::Failed,
                QueueResult::Canceled => StartEnd::Cancelled,
                QueueResult::Dependency => StartEnd::Dependency,
                QueueResult::Unknown(_) => StartEnd::Unseen,
            },
            service: end.map(|end| end.evidence().clone()),
            claim,
            gate: self.gate(ix),
            blocked: self.jobs.why_blocked(self.context.graph, ix),
            implies_success: Condition::parse(job.condition.as_deref()).implies_success(),
            has_started,
            setup: if has_started {
                None
            } else {
                self.setup_failure(ix)
                    .or_else(|| self.root_failure(ix))
                    .or(container)
            },
            cancel: match self.cancel {
                Cancel::No => Cancellation::No,
                Cancel::Ending(_) => Cancellation::Ending,
                Cancel::Killed => Cancellation::Killed,
            },
            matrix: self.matrix_reason(ix),
            overdue: self.jobs.is_overdue(ix).then(|| Reason::JobTimeout {
                seconds: self
                    .context
                    .job_timeout(job)
                    .map_or(0.0, |timeout| timeout.as_secs_f64()),
            }),
        }));
        status::verdict(&evidence, job.continue_on_error)
    }

    /// Returns the bounds of what a job tells of its end.
    fn claims(&self, ix: JobIx, submitted: Option<Timestamp>, end: Option<&ServiceEnd>) -> Claims {
        let submitted = submitted.unwrap_or(self.context.run.created_at);
        let began = end.and_then(ServiceEnd::began);
        let now = Timestamp::now();
        Claims {
            since: began.map_or(submitted, |began| began.max(submitted)),
            until: end
                .and_then(ServiceEnd::ended)
                .map_or(now, |ended| ended.min(now)),
            attempts: self.context.plan.attempts_max(self.context.job(ix).1),
        }
    }

    /// Returns the verdict of a job's gate, as far as its needs are finished.
    pub(super) fn gate(&self, ix: JobIx) -> Gate {
        let job = self.context.job(ix).1;
        let condition = Condition::parse(job.condition.as_deref());
        let needs = self.jobs.needs(self.context.graph, ix);
        let of_matrix = self.matrix_reason(ix);
        let cancelled = self.failure.as_ref().unwrap_or(&Reason::RunCancelled);
        let cancelled = match &condition {
            _ if self.cancel != Cancel::No => Some(cancelled),
            Condition::Expression(_) => of_matrix.as_ref(),
            _ => None,
        };
        let known = Known {
            plan: self.context.plan,
            job,
            inputs: &self.context.run.inputs,
            needs: &needs,
        };
        let gate = status::job_gate(&condition, &needs, cancelled, &|expression, status| {
            known.is_true(expression, status)
        });
        status::matrix_gate(&condition, gate, of_matrix)
    }

    /// Unmounts a job's workspace and its root file system, if they are mounted.
    pub(super) fn unmount(&self, ix: JobIx) {
        if self.context.run.mounts() {
            let name = self.context.graph.name(ix);
            overlay::unmount(&self.run.job(name));
            for service in self.context.job(ix).1.services.keys() {
                self.unmount_root(&self.run.service_root(name, service));
            }
            self.unmount_root(&self.run.root(name));
        }
    }

    /// Unmounts a root file system, if it is mounted, and removes its files.
    pub(super) fn unmount_root(&self, root: &RootPaths) {
        if let Some(aside) = overlay::unmount_root(root) {
            // Other jobs do not wait for the removal, but the supervisor's end does. Files that
            // cannot be removed go with the run.
            tokio::task::spawn_blocking(move || store::remove_tree(&aside));
        }
    }

    /// If the root file system of a job or of its container could not be mounted, returns the
    /// reason.
    fn root_failure(&self, ix: JobIx) -> Option<Reason> {
        let (name, job) = self.context.job(ix);
        let shared = unit::shared_executor(&self.context, job);
        let shared = shared.map(|executor| self.run.shared_root(executor));
        let mut roots = [Some(self.run.root(name)), shared].into_iter().flatten();
        let why = roots.find_map(|root| fs::read_to_string(root.error()).ok())?;
        Some(Reason::Root { why })
    }
}

/// Corrects the step during which a job ran out of memory. systemd stopped the unit, and the runner
/// cannot see why. So it may have reported the step as cancelled.
fn fail_stopped_step(record: &mut JobRecord, job: &Job) {
    let steps = record.steps.iter_mut().enumerate();
    let mut stopped =
        steps.filter(|(_, step)| step.attempts > 0 && step.outcome == Conclusion::Cancelled);
    if let Some((index, step)) = stopped.next() {
        let planned = job.steps.get(index);
        step.outcome = Conclusion::Failure;
        step.conclusion = status::conclude(
            Conclusion::Failure,
            planned.is_some_and(|step| step.continue_on_error),
        );
        step.reason = Some(Reason::OutOfMemory.to_string());
        step.reason_code = Reason::OutOfMemory.code();
    }
}
