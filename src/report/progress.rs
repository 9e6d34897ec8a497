//! Where a run stands: a fold over its events, for the live view, `list` and `show`.
//!
//! The record ([`Event::apply`]) tells what has ended; this tells what is going on.

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
    /// When its runner started.
    pub since: Timestamp,
    /// The step it is at, and the attempt.
    pub step: Option<(String, u32)>,
}

/// What a run waits for before it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its concurrency group.
    pub group: String,
    /// The run that holds the group, where that is known.
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

/// Where a run stands.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// How many jobs the plan has, once known.
    pub total: Option<usize>,
    /// When the run was made.
    pub created: Option<Timestamp>,
    /// The jobs that are running.
    pub running: BTreeMap<JobName, Running>,
    /// How many jobs have ended, by conclusion.
    pub ended: BTreeMap<Conclusion, usize>,
    /// Who asked for the run to be cancelled, and whether to kill it.
    pub cancelled: Option<(String, bool)>,
    /// How many supervisors the run has had.
    pub supervisors: u32,
    /// What it waits for, where it has not begun.
    pub waiting: Option<Waiting>,
    /// What the supervisor warned of.
    pub warnings: Vec<String>,
    finished: BTreeSet<JobName>,
}

impl Progress {
    /// Returns where a run with these events stands.
    pub fn of(events: &[Event]) -> Self {
        let mut progress = Self::default();
        events.iter().for_each(|event| progress.apply(event));
        progress
    }

    /// Returns how many jobs have ended.
    pub fn done(&self) -> usize {
        self.finished.len()
    }

    /// Takes one more event in. One that is repeated after a supervisor's crash changes nothing.
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
