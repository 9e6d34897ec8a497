//! The progress of a run: a fold over its events, for the live view, `list` and `show`.
//!
//! The record ([`Event::apply`]) holds the finished jobs, and this holds the running ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use jiff::Timestamp;

use super::sanitize::clean;
use crate::{
    event::{Event, EventKind},
    ids::{JobName, RunId},
    record::Conclusion,
};

/// A job that is running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The start of the job's runner.
    pub since: Timestamp,
    /// The current step and its attempt.
    pub step: Option<(String, u32)>,
}

/// The reason why a run has not begun yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The run's concurrency group.
    pub group: String,
    /// The run that holds the group, if known.
    pub held_by: Option<RunId>,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waiting for group `{}`", clean(&self.group, false))?;
        self.held_by
            .as_ref()
            .map_or(Ok(()), |run| write!(f, ", held by {run}"))
    }
}

/// The progress of a run.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// The number of jobs in the plan, if known.
    pub total: Option<usize>,
    /// The time at which the run was made.
    pub created: Option<Timestamp>,
    /// The running jobs.
    pub running: BTreeMap<JobName, Running>,
    /// The number of finished jobs, by conclusion.
    pub ended: BTreeMap<Conclusion, usize>,
    /// The origin of the request to cancel the run, and whether to kill it.
    pub cancelled: Option<(String, bool)>,
    /// The number of supervisors that the run has had.
    pub supervisors: u32,
    /// The group that the run waits for before it begins.
    pub waiting: Option<Waiting>,
    /// The warnings of the supervisor.
    pub warnings: Vec<String>,
    finished: BTreeSet<JobName>,
}

impl Progress {
    /// Returns the progress of a run with these events.
    pub fn of(events: &[Event]) -> Self {
        let mut progress = Self::default();
        events.iter().for_each(|event| progress.apply(event));
        progress
    }

    /// Returns the number of finished jobs.
    pub fn done(&self) -> usize {
        self.finished.len()
    }

    /// Adds an event. An event that a supervisor repeats after a crash changes nothing.
    pub fn apply(&mut self, event: &Event) {
        match &event.event {
            EventKind::RunCreated { jobs, .. } => {
                self.total = Some(*jobs);
                self.created = Some(event.at);
            }
            EventKind::SupervisorStarted { .. } => self.supervisors += 1,
            EventKind::JobStarted { job } if !self.finished.contains(job) => {
                self.running.entry(job.clone()).or_insert(Running {
                    since: event.at,
                    step: None,
                });
            }
            EventKind::StepStarted {
                job, name, attempt, ..
            } => {
                if let Some(running) = self.running.get_mut(job) {
                    running.step = Some((name.clone(), *attempt));
                }
            }
            EventKind::JobRetried { job, .. } => {
                if let Some(running) = self.running.get_mut(job) {
                    running.step = None;
                }
            }
            EventKind::JobFinished { job, record } => {
                self.running.remove(job);
                if self.finished.insert(job.clone()) {
                    *self.ended.entry(record.conclusion).or_default() += 1;
                }
            }
            EventKind::CancelRequested { by, kill } => {
                let before = self.cancelled.take();
                self.cancelled = Some(match before {
                    Some((_, true)) if !kill => (by.clone(), true),
                    _ => (by.clone(), *kill),
                });
            }
            EventKind::GroupWaiting { group, held_by } => {
                self.waiting = Some(Waiting {
                    group: group.clone(),
                    held_by: held_by.clone(),
                });
            }
            EventKind::GroupEntered { .. } | EventKind::RunFinished { .. } => self.waiting = None,
            EventKind::Warning { message } => self.warnings.push(message.clone()),
            EventKind::RunnerStarted { .. }
            | EventKind::RunnerEnded { .. }
            | EventKind::JobStarted { .. }
            | EventKind::JobsSubmitted { .. }
            | EventKind::MatrixCancelled { .. }
            | EventKind::StepFinished { .. }
            | EventKind::Annotation { .. } => {}
        }
    }
}
