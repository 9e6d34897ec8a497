//! Takes over a run from an earlier supervisor, and compares the supervisor's view with systemd's.

use super::*;

impl Engine<'_> {
    /// Replays the events of earlier supervisors, and compares the result with systemd's view.
    pub(super) async fn take_over(&mut self, past: &[Event]) -> Result<(), SuperviseError> {
        let graph = self.context.graph;
        let mut waves: Vec<(u32, Timestamp, Vec<JobIx>)> = Vec::new();
        let mut told: BTreeMap<JobIx, usize> = BTreeMap::new();
        let mut changes = Vec::new();
        for event in past {
            event
                .told_by()
                .and_then(|job| graph.ix(job))
                .into_iter()
                .for_each(|ix| *told.entry(ix).or_default() += 1);
            match &event.event {
                EventKind::JobsSubmitted { wave, jobs } => {
                    let jobs = jobs.iter().filter_map(|job| graph.ix(job)).collect();
                    waves.push((*wave, event.at, jobs))
                }
                EventKind::JobWaiting { job } => {
                    changes.extend(graph.ix(job).map(|ix| (ix, state::Change::Wait)));
                }
                EventKind::JobStarted { job } => changes.extend(
                    graph
                        .ix(job)
                        .map(|ix| (ix, state::Change::Start(self.end_by(ix, event.at)))),
                ),
                EventKind::JobPlaced { job } | EventKind::JobRetried { job, .. } => changes.extend(
                    graph
                        .ix(job)
                        .map(|ix| (ix, state::Change::Place(self.end_by(ix, event.at)))),
                ),
                EventKind::CancelRequested { kill: false, .. } => {
                    self.cancel = Cancel::Ending(Instant::now() + CANCEL_DEADLINE)
                }
                EventKind::CancelRequested { kill: true, .. } => self.cancel = Cancel::Killed,
                EventKind::MatrixCancelled { group, job } => self.note_cancelled(group, job),
                EventKind::Warning { message } => _ = self.warned.insert(message.clone()),
                EventKind::JobFinished { .. }
                | EventKind::RunnerStarted { .. }
                | EventKind::RunnerEnded { .. }
                | EventKind::GroupWaiting { .. }
                | EventKind::GroupEntered { .. }
                | EventKind::RunCreated { .. }
                | EventKind::SupervisorStarted { .. }
                | EventKind::JobHeld { .. }
                | EventKind::ServiceReady { .. }
                | EventKind::ServiceEnded { .. }
                | EventKind::StepStarted { .. }
                | EventKind::StepFinished { .. }
                | EventKind::Annotation { .. }
                | EventKind::RunFinished { .. } => {}
            }
        }
        let is_new = waves.is_empty();
        let loaded = if is_new {
            Vec::new()
        } else {
            self.loaded().await?
        };
        for (wave, since, jobs) in waves {
            // The event is written before the call, so PID 1 may not have the wave. It has the wave
            // if the wave's slice is loaded, which stays until the supervisor stops it, or if any
            // of its jobs left a trace.
            let main = UnitName::wave(&self.context.run.run, wave);
            let known = loaded.iter().any(|unit| unit.name == main.as_str());
            let traced = jobs
                .iter()
                .any(|ix| store::has_started(&self.run.job(graph.name(*ix))));
            if known || traced {
                for ix in jobs {
                    // The user goes with the run: the client or an earlier supervisor made it.
                    self.jobs
                        .apply(ix, state::Change::Submit { wave, user: None });
                    self.watch_job(ix, told.get(&ix).copied().unwrap_or(0), since)?;
                }
            }
        }
        for (ix, change) in changes {
            self.jobs.apply(ix, change);
        }
        for (job, ended) in &self.record.jobs {
            if let Some(ix) = graph.ix(job) {
                self.jobs.apply(ix, state::Change::Finish(ended.conclusion));
                self.watch.remove(ix);
            }
        }
        if is_new {
            return Ok(());
        }
        // Beside a request, the flag holds the reason why the run failed as a whole.
        self.failure = store::read_reason(&self.run.cancelled())
            .flatten()
            .filter(|_| self.cancel != Cancel::No);
        self.superseded = self.run.superseded().filter(|_| self.cancel != Cancel::No);
        // The last supervisor may have died between an event and its consequences.
        match self.cancel {
            Cancel::No => {}
            Cancel::Ending(_) => self.cancel_jobs().await?,
            Cancel::Killed => self.kill().await?,
        }
        for group in self.cancelled_groups.keys().cloned().collect::<Vec<_>>() {
            self.cancel_group(&group).await?;
        }
        for ix in self.jobs.failed_jobs().collect::<Vec<_>>() {
            self.fail_fast(ix).await?;
        }
        self.reconcile().await
    }

    pub(super) async fn loaded(&self) -> Result<Vec<crate::systemd::UnitState>, SuperviseError> {
        let run = &self.context.run.run;
        let slice = UnitName::run_slice(run);
        // Unlike in glob(7), a backslash stands for itself here.
        let children = format!("{}-*.slice", slice.as_str().trim_end_matches(".slice"));
        let jobs = format!("{}*.service", self.unit_prefix);
        Ok(self.manager.list(&[&jobs, &children]).await?)
    }

    /// Finishes the jobs that have ended in systemd without the supervisor's notice.
    pub(super) async fn reconcile(&mut self) -> Result<(), SuperviseError> {
        let loaded = self.loaded().await?;
        self.look_at_services(&loaded).await?;
        let running: std::collections::HashSet<&str> = loaded
            .iter()
            .filter(|unit| unit.is_pending())
            .map(|unit| unit.name.as_str())
            .collect();
        let pending: Vec<JobIx> = self.jobs.pending().collect();
        for ix in pending {
            let unit = UnitName::job(&self.context.run.run, self.context.graph.name(ix));
            if running.contains(unit.as_str()) {
                continue;
            }
            let never_started = self.has_never_started(ix);
            if never_started && !self.needs_are_finished(ix) {
                self.jobs.apply(ix, state::Change::CallOff);
            } else {
                let unseen = || QueueResult::Unknown("unseen".to_owned());
                let result = if never_started && self.is_blocked(ix) {
                    QueueResult::Dependency
                } else {
                    unseen()
                };
                self.finish_job(ix, result).await?;
            }
        }
        Ok(())
    }

    /// Returns a job that was called off and whose needs have ended.
    fn next_called_off(&self) -> Option<JobIx> {
        let mut jobs = self.jobs.called_off();
        jobs.find(|ix| self.needs_are_finished(*ix))
    }

    /// Records the jobs that were called off and whose needs have ended since.
    pub(super) async fn settle(&mut self) -> Result<(), SuperviseError> {
        while let Some(ix) = self.next_called_off() {
            let result = if self.is_blocked(ix) {
                QueueResult::Dependency
            } else {
                QueueResult::Canceled
            };
            self.finish_job(ix, result).await?;
        }
        Ok(())
    }

    pub(super) fn has_never_started(&self, ix: JobIx) -> bool {
        !store::has_started(&self.run.job(self.context.graph.name(ix)))
    }

    pub(super) fn needs_are_finished(&self, ix: JobIx) -> bool {
        self.jobs.is_ready(self.context.graph, ix)
    }

    /// Returns whether the needs of a job keep it from running. A job that runs whatever its needs
    /// do (`always()`) is never blocked.
    fn is_blocked(&self, ix: JobIx) -> bool {
        let condition = self.context.job(ix).1.condition.as_deref();
        Condition::parse(condition).implies_success()
            && self.jobs.why_blocked(self.context.graph, ix).is_some()
    }
}
