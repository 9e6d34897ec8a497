//! Closes the records of runs that ended without one, from the events of their jobs.
//!
//! An orderly shutdown ends the runs like everything else. A machine that loses its power leaves
//! runs without a record. The next command that looks at such a run closes it. For a run whose
//! manager lives, the supervisor's `lost.rs` decides whether it is lost.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{
    EventTail, EventWriter, Liveness, RunDir, RunLock, StoreError, files, has_started, read_result,
};
use crate::{
    bounds,
    claims::{self, Attempts, Claims},
    event::{Event, EventKind},
    ids::JobName,
    names::UnitName,
    plan::{Job, Plan},
    reason::{Loss, Reason},
    record::{Conclusion, JobRecord, StepRecord},
    spec::{JobSpec, RunSpec},
    status::{self, Claim, Evidence},
};

impl RunDir {
    /// Returns a job's record from the job's own events, for a job without a result. The step that
    /// was running gets the outcome of the job. A runner that had no room on the disk for a result
    /// had no room for events either. `unwritten_since` is the start of such a runner.
    pub fn told_by(
        &self,
        job: &JobName,
        unit: &UnitName,
        outcome: Conclusion,
        unwritten_since: Option<Timestamp>,
    ) -> JobRecord {
        let mut record = JobRecord::new(unit.to_string());
        let mut running: Option<(usize, StepRecord)> = None;
        let events = self.events_of(job);
        for event in events.into_iter().filter(|event| event.is_told_by(job)) {
            match event.event {
                EventKind::JobStarted { .. } => {
                    record.started_at.get_or_insert(event.at);
                    record.attempts = record.attempts.max(1);
                }
                EventKind::JobRetried { attempt, .. } => {
                    record.attempts = attempt;
                    running = None;
                    record.steps.clear();
                    record.annotations.clear();
                }
                EventKind::StepStarted {
                    index,
                    name,
                    attempt,
                    ..
                } => {
                    let began = running
                        .take()
                        .filter(|(of, _)| *of == index)
                        .and_then(|(_, step)| step.started_at)
                        .unwrap_or(event.at);
                    running = Some((index, unfinished(name, outcome, attempt, began)));
                }
                EventKind::StepFinished { mut step, .. } => {
                    running = None;
                    claims::bound_step_reason(&mut step);
                    record.steps.push(step);
                }
                EventKind::Annotation { annotation, .. } => record.annotations.push(annotation),
                _ => {}
            }
        }
        if record.attempts == 0 && unwritten_since.is_some() && self.job(job).events().exists() {
            (record.started_at, record.attempts) = (unwritten_since, 1);
        }
        if let Some((index, step)) = running {
            let spec: Option<JobSpec> = files::read_document(&self.job(job).spec()).ok();
            let tolerated = spec.is_some_and(|spec| {
                spec.steps
                    .get(index)
                    .is_some_and(|step| step.continue_on_error)
            });
            record.steps.push(StepRecord {
                conclusion: status::conclude(step.outcome, tolerated),
                ..step
            });
        }
        record
    }

    /// Returns the readable events in a job's own file.
    fn events_of(&self, job: &JobName) -> Vec<Event> {
        let mut tail = EventTail::untrusted(self.job(job).events());
        let mut events = Vec::new();
        // Use the events up to the first error.
        while let Ok(news) = tail.read() {
            events.extend(news.events);
            if !news.more {
                break;
            }
        }
        events
    }

    /// Closes the record of a run that ended when the machine went down. Leaves any other run
    /// alone.
    ///
    /// # Errors
    /// The run's directory cannot be read or written.
    pub fn close_lost(&self) -> Result<(), StoreError> {
        if self.liveness() != Liveness::Lost || !self.is_of_an_earlier_boot() {
            return Ok(());
        }
        self.close(Loss::Machine)
    }

    /// Closes the record of a run whose manager has ended. No supervisor will take over such a run.
    ///
    /// # Errors
    /// The run's directory cannot be read or written.
    pub fn close_without_manager(&self) -> Result<(), StoreError> {
        self.close(Loss::Manager)
    }

    /// Closes the record of a run that no supervisor can take over, because its supervisor is gone
    /// for good or its files are damaged. The caller holds the supervisor's lock, and the run's
    /// units have ended.
    ///
    /// # Errors
    /// The run's directory cannot be read or written.
    pub fn close_without_supervisor(&self, _lock: &RunLock) -> Result<(), StoreError> {
        self.close_locked(if self.is_damaged() {
            Loss::Damage
        } else {
            Loss::Supervisor
        })
    }

    /// Returns whether the run's spec or its plan is damaged, so that no supervisor can take the
    /// run over.
    pub fn is_damaged(&self) -> bool {
        let spec = files::read_document::<RunSpec>(&self.spec()).err();
        let plan = files::read_document::<Plan>(&self.plan()).err();
        [spec, plan].iter().flatten().any(StoreError::is_damage)
    }

    fn close(&self, loss: Loss) -> Result<(), StoreError> {
        match self.lock_supervisor()? {
            Some(_lock) => self.close_locked(loss),
            None => Ok(()),
        }
    }

    fn close_locked(&self, loss: Loss) -> Result<(), StoreError> {
        // Another process may have closed the record meanwhile.
        if self.record().exists() {
            return Ok(());
        }
        let past = self.load_events()?;
        let cancelled = past
            .iter()
            .any(|event| matches!(event.event, EventKind::CancelRequested { .. }));
        // The time of the end is unknown. This is the last sign of life.
        let now = Timestamp::now();
        let mut record = self.record_so_far()?;
        let at = past.last().map_or(now, |event| event.at);
        // The clock may have been ahead.
        let at = claims::within(at, record.started_at, now);
        let submitted = submitted(&past);
        let created = record.started_at;
        let missing = self
            .job_names()?
            .into_iter()
            .filter(|job| !record.jobs.contains_key(job));
        let plan: Option<Plan> = files::read_document(&self.plan()).ok();
        let ended = missing.map(|job| {
            let planned = plan.as_ref().and_then(|plan| plan.jobs.get(&job));
            let claims = Claims {
                since: submitted.get(&job).copied().unwrap_or(created),
                until: now,
                attempts: plan
                    .as_ref()
                    .zip(planned)
                    .map_or(UNKNOWN, |(plan, job)| plan.attempts_max(job)),
            };
            let mut record = self.lost_job(&job, at, planned, cancelled, loss);
            claims.bound_record(&mut record);
            bounds::cut_record(&mut record, planned.map_or(0, |job| job.steps_max()));
            EventKind::JobFinished { record, job }
        });
        let mut events: Vec<Event> = ended.map(|event| Event { at, event }).collect();
        let conclusion = if cancelled {
            Conclusion::Cancelled
        } else {
            Conclusion::Failure
        };
        let lost = Reason::Lost { loss };
        events.push(Event {
            at,
            event: EventKind::RunFinished {
                conclusion,
                reason: Some(lost.to_string()),
                reason_code: lost.code(),
            },
        });
        let mut writer = EventWriter::open(&self.events(), 0o600)?;
        let told = writer.append(&events);
        events.iter().for_each(|event| event.apply(&mut record));
        match files::write_json(&self.record(), &record, 0o600, true) {
            Err(error) if error.is_full() => {
                bounds::shorten(&mut record);
                self.write_in_reserve(&record)?;
            }
            written => written?,
        }
        self.release_reserve();
        self.release_package();
        if told.is_err() {
            // Events that do not fit now are still in the record.
            let _ = writer.append(&events);
        }
        Ok(())
    }

    fn lost_job(
        &self,
        job: &JobName,
        at: Timestamp,
        planned: Option<&Job>,
        cancelled: bool,
        loss: Loss,
    ) -> JobRecord {
        let paths = self.job(job);
        let unit = UnitName::job(self.id(), job);
        let tolerated = planned.is_some_and(|job| job.continue_on_error);
        let matrix = planned.and_then(Job::matrix_record);
        let mut left = read_result(&paths).ok().flatten().map(|left| left.record);
        if let Some(left) = &mut left {
            claims::bound_reasons(left);
        }
        let evidence = Evidence::Lost {
            loss,
            claim: left.as_ref().map(Claim::of),
            has_started: has_started(&paths),
            is_cancelled: cancelled,
        };
        let verdict = status::verdict(&evidence, tolerated);
        let mut record = left.unwrap_or_else(|| self.told_by(job, &unit, verdict.outcome, None));
        if let Some(reason) = &verdict.reason {
            record.set_reason(reason);
            record.finished_at = Some(at);
        }
        JobRecord {
            unit: unit.to_string(),
            outcome: verdict.outcome,
            conclusion: verdict.conclusion,
            finished_at: record.finished_at.or(Some(at)),
            matrix,
            // The plan's executors are not looked at here.
            placement: None,
            ..record
        }
    }
}

/// The bounds of a job's attempts if the plan cannot be read.
const UNKNOWN: Attempts = Attempts {
    job: u32::MAX,
    step: u32::MAX,
};

/// Returns when each job was submitted.
fn submitted(events: &[Event]) -> BTreeMap<JobName, Timestamp> {
    let waves = events.iter().filter_map(|event| match &event.event {
        EventKind::JobsSubmitted { jobs, .. } => Some((event.at, jobs)),
        _ => None,
    });
    waves
        .flat_map(|(at, jobs)| jobs.iter().map(move |job| (job.clone(), at)))
        .collect()
}

/// Returns the record of a step whose runner ended before the step. The step's own end is unknown.
fn unfinished(name: String, of_job: Conclusion, attempts: u32, began: Timestamp) -> StepRecord {
    let outcome = if of_job == Conclusion::Cancelled {
        Conclusion::Cancelled
    } else {
        Conclusion::Failure
    };
    StepRecord {
        name,
        outcome,
        conclusion: outcome,
        exit_code: None,
        reason: Some(Reason::Unfinished.to_string()),
        reason_code: Reason::Unfinished.code(),
        attempts,
        started_at: Some(began),
        finished_at: None,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::SystemTime};

    use super::*;
    use crate::{StateDir, create_job};
    use crate::{reason::ReasonCode, record::JobResult};

    fn event(event: EventKind) -> Event {
        Event {
            at: Timestamp::from_second(1).unwrap(),
            event,
        }
    }

    #[test]
    fn a_running_step_is_recorded_beside_the_finished_ones() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(dir.path()).unwrap();
        let run = state.create_run(&"ci".parse().unwrap()).unwrap();
        let job: JobName = "j".parse().unwrap();
        create_job(&run.job(&job), &[]).unwrap();
        let unit = UnitName::job(run.id(), &job);
        let at = |second| Timestamp::from_second(second).unwrap();
        let started = |second, index, name: &str, attempt| Event {
            at: at(second),
            event: EventKind::StepStarted {
                job: job.clone(),
                index,
                name: name.to_owned(),
                attempt,
            },
        };
        let done = StepRecord {
            outcome: Conclusion::Success,
            finished_at: Some(at(2)),
            reason: None,
            reason_code: None,
            ..unfinished("a".into(), Conclusion::Failure, 1, at(1))
        };
        let finished = Event {
            at: at(2),
            event: EventKind::StepFinished {
                job: job.clone(),
                index: 0,
                step: done.clone(),
            },
        };
        let mut events = EventWriter::open(&run.job(&job).events(), 0o600).unwrap();
        let told = |outcome| run.told_by(&job, &unit, outcome, None).steps;

        events
            .append(&[
                event(EventKind::JobStarted { job: job.clone() }),
                started(1, 0, "a", 1),
            ])
            .unwrap();
        assert_eq!(
            told(Conclusion::Failure),
            [unfinished("a".into(), Conclusion::Failure, 1, at(1))]
        );
        events.append(&[finished]).unwrap();
        assert_eq!(told(Conclusion::Failure), [done]);
        events
            .append(&[started(3, 1, "b", 1), started(4, 1, "b", 2)])
            .unwrap();
        let cut = told(Conclusion::Cancelled).pop().unwrap();
        assert_eq!(
            (cut.name.as_str(), cut.outcome, cut.conclusion),
            ("b", Conclusion::Cancelled, Conclusion::Cancelled)
        );
        assert_eq!(
            (
                cut.attempts,
                cut.started_at,
                cut.finished_at,
                cut.reason_code
            ),
            (2, Some(at(3)), None, Some(ReasonCode::Unfinished))
        );
        events
            .append(&[event(EventKind::JobRetried {
                job: job.clone(),
                attempt: 2,
            })])
            .unwrap();
        assert_eq!(told(Conclusion::Failure), []);
    }

    #[test]
    fn a_run_that_a_reboot_ended_gets_a_truthful_record() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(dir.path()).unwrap();
        let run = state.create_run(&"ci".parse().unwrap()).unwrap();
        let names = ["done", "left", "running", "tolerated", "waiting"]
            .map(|name| name.parse::<JobName>().unwrap());
        let [done, left, running, tolerated, waiting] = &names;
        let plan = r#"{ "version": 1, "name": "ci", "jobs": { "done": { "steps": [{ "bash": "x" }] }, "left": { "steps": [{ "bash": "x" }] },
            "running": { "steps": [{ "bash": "x" }] }, "tolerated": { "continueOnError": true, "steps": [{ "bash": "x" }] },
            "waiting": { "needs": ["running"], "steps": [{ "bash": "x" }] } } }"#;
        fs::write(run.plan(), plan).unwrap();
        fs::write(run.spec(), "{}").unwrap();
        names
            .iter()
            .for_each(|name| create_job(&run.job(name), &[]).unwrap());
        let success = JobRecord::new("unit".to_owned());
        let mut events = EventWriter::open(&run.events(), 0o600).unwrap();
        let created = EventKind::RunCreated {
            run: run.id().clone(),
            workflow: "ci".parse().unwrap(),
            jobs: 5,
            rerun_of: None,
            origin: None,
        };
        let finished = EventKind::JobFinished {
            job: done.clone(),
            record: success.clone(),
        };
        events.append(&[event(created), event(finished)]).unwrap();
        for name in [left, running, tolerated] {
            let started = event(EventKind::JobStarted { job: name.clone() });
            EventWriter::open(&run.job(name).events(), 0o600)
                .unwrap()
                .append(&[started])
                .unwrap();
        }
        let result = JobResult {
            version: 1,
            failed: false,
            record: success,
        };
        let ended = event(EventKind::RunnerEnded {
            job: left.clone(),
            result,
        });
        EventWriter::open(&run.job(left).events(), 0o600)
            .unwrap()
            .append(&[ended])
            .unwrap();

        run.close_lost().unwrap();
        assert!(
            !run.record().exists(),
            "the run is as young as one that goes on"
        );
        fs::File::options()
            .write(true)
            .open(run.events())
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH)
            .unwrap();
        let lock = run.lock_supervisor().unwrap();
        run.close_lost().unwrap();
        assert!(!run.record().exists(), "the run has a supervisor");
        drop(lock);
        run.close_lost().unwrap();

        let record = run.load_record().unwrap();
        assert_eq!(
            (record.conclusion, record.reason_code),
            (Some(Conclusion::Failure), Some(ReasonCode::Lost))
        );
        assert_eq!(record.finished_at, Some(Timestamp::from_second(1).unwrap()));
        let of = |job: &JobName| {
            (
                record.jobs[job].outcome,
                record.jobs[job].conclusion,
                record.jobs[job].reason.as_deref().unwrap_or_default(),
            )
        };
        assert_eq!(of(done), (Conclusion::Success, Conclusion::Success, ""));
        assert_eq!(of(left), (Conclusion::Success, Conclusion::Success, ""));
        assert_eq!(
            of(running),
            (
                Conclusion::Failure,
                Conclusion::Failure,
                "lost: the machine went down"
            )
        );
        assert_eq!(
            of(tolerated),
            (
                Conclusion::Failure,
                Conclusion::Success,
                "lost: the machine went down"
            )
        );
        assert_eq!(
            of(waiting),
            (
                Conclusion::Cancelled,
                Conclusion::Cancelled,
                "the machine went down before it started"
            )
        );
        assert_eq!(
            (record.jobs[running].attempts, record.jobs[waiting].attempts),
            (1, 0)
        );
        assert_eq!(run.liveness(), Liveness::Finished);
        assert_eq!(
            run.record_so_far().unwrap(),
            record,
            "the record is a fold over the events"
        );
    }
}
