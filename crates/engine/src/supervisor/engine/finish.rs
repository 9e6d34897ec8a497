//! Determines how a finished job ended, from the job's own result and from systemd's.

use std::fs;

use super::*;

impl Engine<'_> {
    pub(super) async fn job_removed(&mut self, removed: Removed) -> Result<(), SuperviseError> {
        let Some(ix) = self.job_of(&removed.unit) else {
            return Ok(());
        };
        if !matches!(self.progress.place(ix), Place::Submitted(_)) {
            return Ok(());
        }
        // A job's needs decide its own outcome, so wait for them. The setup of its executor is not
        // one of its needs.
        if removed.result == JobResult::Dependency
            && !self.needs_are_finished(ix)
            && unit::executor_of(&self.context, ix).is_some()
        {
            self.called_off.insert(ix);
            return Ok(());
        }
        if removed.result == JobResult::Canceled
            || removed.result == JobResult::Done
                && !matches!(
                    store::read_result(&self.run.job(self.context.graph.name(ix))),
                    Ok(Some(_))
                )
        {
            // Somebody stopped the unit. The job ends when its unit has ended, not when its start
            // was called off.
            let states = self.manager.list(&[&removed.unit]).await?;
            if states.iter().any(crate::systemd::UnitState::is_pending) {
                return Ok(());
            }
            // Stopping a unit also stops the units that require it, before the first one has ended.
            if self.has_never_started(ix) {
                self.called_off.insert(ix);
                return Ok(());
            }
        }
        self.finish_job(ix, removed.result).await
    }

    /// Records how a job ended: by its own result, or by systemd's if it left none.
    pub(super) async fn finish_job(
        &mut self,
        ix: JobIx,
        result: JobResult,
    ) -> Result<(), SuperviseError> {
        let (name, job) = self.context.job(ix);
        let unit = UnitName::job(&self.context.run.run, name);
        let left: Option<LeftResult> = match store::read_result(&self.run.job(name)) {
            Ok(left) => left,
            Err(error) => {
                tracing::warn!(nixactions_job = %name, "{}, using systemd's result", describe(&error));
                None
            }
        };
        let left = left.map(|mut left| {
            let outcome = left.record.outcome;
            left.record.conclusion = status::conclude(outcome, job.continue_on_error);
            left
        });
        // A runner's exit status agrees with its result. A job that forges a result and then kills
        // its runner gives a result that disagrees.
        let is_contradicted = |left: &LeftResult| {
            matches!(result, JobResult::Failed | JobResult::Timeout)
                && matches!(
                    left.record.conclusion,
                    Conclusion::Success | Conclusion::Skipped
                )
        };
        let left = left.filter(|left| !is_contradicted(left));
        let submitted = self.watch.since(ix);
        let past = self.watch.remove(ix);
        let gate = self.gate(ix);
        let is_skipped = matches!(gate, Gate::Skip(_));
        // A signal, or a full disk, may keep a runner from saying why its job does not run.
        let is_dropped = result == JobResult::Dependency || is_skipped && left.is_none();
        let setup = if is_skipped || !self.has_never_started(ix) {
            None
        } else {
            self.setup_failure(ix).or_else(|| self.root_failure(ix))
        };
        let is_clear = matches!(result, JobResult::Done | JobResult::Dependency);
        let end = if is_clear {
            None
        } else {
            self.manager.service_end(unit.as_str()).await?
        };
        // systemd stops a runner after the kernel killed a step for its memory, or after a timeout.
        // The runner then reports only that it was stopped.
        let is_from_outside =
            self.cancel != Cancel::Killed && end.as_ref().is_some_and(ServiceEnd::is_from_outside);
        // A job that runs in spite of a cancellation, and could not say how it went.
        let is_untold = matches!(gate, Gate::Run | Gate::Ask(_))
            && end
                .as_ref()
                .is_some_and(|end| end.unwritten_since().is_some());
        let mut record = match left {
            Some(left) if !is_from_outside => self.unless_shutdown(left.record).await?,
            left => {
                let left = left.map(|left| left.record);
                let own = left
                    .as_ref()
                    .and_then(|left| left.reason.as_deref())
                    .filter(|reason| reason.starts_with("step "));
                let words = end.as_ref().map(|end| end.words(own));
                let group = self
                    .matrix_reason(ix)
                    .filter(|_| !is_dropped && !is_untold && self.cancel == Cancel::No);
                let cancelled =
                    !is_untold && (self.cancel != Cancel::No || self.matrix_reason(ix).is_some());
                let (outcome, reason) = match &gate {
                    Gate::Skip(reason) if is_dropped => (Conclusion::Skipped, reason.clone()),
                    _ => self.progress.judge(
                        self.context.graph,
                        ix,
                        &result,
                        words.as_deref(),
                        cancelled,
                    ),
                };
                let (outcome, reason) = match setup {
                    Some(setup) => (
                        if cancelled {
                            Conclusion::Cancelled
                        } else {
                            Conclusion::Failure
                        },
                        setup,
                    ),
                    None => (outcome, group.unwrap_or(reason)),
                };
                let conclusion = status::conclude(outcome, job.continue_on_error);
                let began = end.as_ref().and_then(ServiceEnd::unwritten_since);
                let record = left.unwrap_or_else(|| self.run.told_by(name, &unit, outcome, began));
                JobRecord {
                    outcome,
                    conclusion,
                    reason: Some(reason),
                    ..record
                }
            }
        };
        record.unit = unit.to_string();
        // Dependents may have begun before the supervisor learned of the job's end.
        let ended = end.as_ref().and_then(ServiceEnd::ended);
        record
            .finished_at
            .get_or_insert_with(|| ended.unwrap_or_else(Timestamp::now));
        if record.outcome == Conclusion::Skipped
            && Condition::parse(job.condition.as_deref()).implies_success()
        {
            // A runner takes a need without a result for a failed one. The supervisor knows which
            // needs were skipped.
            record.reason = self
                .progress
                .why_blocked(self.context.graph, ix)
                .or(record.reason);
        }
        if is_dropped {
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
            self.warn(format!("job `{name}`: cut what it leaves: {cut}"));
        }
        self.started.remove(&ix);
        self.release_user(ix);
        self.asked.remove(&ix);
        let finished_wave = self.progress.finish(ix, record.conclusion);
        self.finished(ix, record);
        self.fail_fast(ix).await?;
        match finished_wave {
            // The slices of the last wave go with the run's slice.
            Some(wave) if !self.progress.is_done() => Ok(self
                .manager
                .stop(&UnitName::wave(&self.context.run.run, wave))
                .await?),
            _ => Ok(()),
        }
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

    /// Returns what a job's gate says, as far as its needs are finished.
    pub(super) fn gate(&self, ix: JobIx) -> Gate {
        let job = self.context.job(ix).1;
        let condition = Condition::parse(job.condition.as_deref());
        let needs = self.progress.needs(self.context.graph, ix);
        let of_matrix = self.matrix_reason(ix);
        let cancelled = self.failure.as_deref().unwrap_or(status::RUN_CANCELLED);
        let cancelled = match &condition {
            _ if self.cancel != Cancel::No => Some(cancelled),
            Condition::Expression(_) => of_matrix.as_deref(),
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
            overlay::unmount_root(&self.run.root(name));
        }
    }

    /// Returns why a job has no root file system of its own, if it could not be mounted.
    fn root_failure(&self, ix: JobIx) -> Option<String> {
        let root = self.run.root(self.context.graph.name(ix));
        let reason = fs::read_to_string(root.error()).ok()?;
        Some(format!("its root file system: {reason}"))
    }
}
