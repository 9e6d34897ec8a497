//! The read model: what a run looks like from outside, for lists, pages and live views.
//!
//! The record ([`Event::apply`]) holds the finished jobs, and [`Progress`] holds the running ones.
//! [`Overview`] is a run in a list. Knows nothing of text, terminals or managers: the caller tells
//! whether the run lives.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::{Liveness, RunDir, StoreError, files::read_document};
use crate::{
    event::{Event, EventKind},
    ids::{JobName, RunId, WorkflowName},
    record::{Conclusion, RunRecord},
    spec::{ManagerKind, RunSpec},
};

/// The state of a run, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has ended.
    Ended(Conclusion),
    /// It goes on.
    Running,
    /// It waits for another run in its concurrency group.
    Waiting,
    /// It is being cancelled.
    Cancelling,
    /// It was never started.
    Incomplete,
    /// Its supervisor is gone and left no record.
    Lost,
    /// Its directory cannot be read.
    Unreadable,
}

impl State {
    /// Returns the state of a run without a final record.
    pub fn of(run: &RunDir, liveness: Liveness, progress: &Progress) -> Self {
        match liveness {
            Liveness::Incomplete => Self::Incomplete,
            Liveness::Lost => Self::Lost,
            Liveness::Running | Liveness::Finished
                if progress.cancelled.is_some() || run.cancel_requested(false).is_some() =>
            {
                Self::Cancelling
            }
            Liveness::Running | Liveness::Finished if progress.waiting.is_some() => Self::Waiting,
            Liveness::Running | Liveness::Finished => Self::Running,
        }
    }

    /// Returns the word that stands in lists.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ended(conclusion) => conclusion.as_str(),
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Cancelling => "cancelling",
            Self::Incomplete => "incomplete",
            Self::Lost => "lost",
            Self::Unreadable => "unreadable",
        }
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A run in a list.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Overview {
    /// The run's id.
    pub run: RunId,
    /// The workflow's name, if known.
    pub workflow: Option<WorkflowName>,
    /// Its state.
    pub state: State,
    /// The time at which the client made the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// The time of its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// The number of finished jobs.
    pub jobs_done: usize,
    /// The number of jobs in the plan, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jobs_total: Option<usize>,
    /// The manager of its units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manager: Option<ManagerKind>,
    /// The run that this one waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<RunId>,
}

impl Overview {
    /// Returns the view of a run. `liveness` tells whether a run without a final record lives.
    pub fn of(run: &RunDir, liveness: impl FnOnce(&RunDir) -> Liveness) -> Self {
        let spec: Option<RunSpec> = read_document(&run.spec()).ok();
        let started = spec.as_ref().map(|spec| spec.created_at);
        let (workflow, manager) = spec.map_or((None, None), |spec| {
            (Some(spec.workflow), Some(spec.manager))
        });
        match known(run, liveness) {
            Ok((state, record, progress)) => Self {
                run: run.id().clone(),
                workflow: Some(record.workflow),
                state,
                started_at: started
                    .or(Some(record.started_at))
                    .filter(|time| *time != Timestamp::default()),
                finished_at: record.finished_at,
                jobs_done: record.jobs.len(),
                jobs_total: progress.total,
                manager,
                waits_for: progress.waiting.and_then(|waiting| waiting.held_by),
            },
            Err(_) => Self {
                run: run.id().clone(),
                workflow,
                state: State::Unreadable,
                started_at: started,
                finished_at: None,
                jobs_done: 0,
                jobs_total: None,
                manager,
                waits_for: None,
            },
        }
    }
}

/// Returns a run's state, its record so far, and its progress.
fn known(
    run: &RunDir,
    liveness: impl FnOnce(&RunDir) -> Liveness,
) -> Result<(State, RunRecord, Progress), StoreError> {
    let record = run.load_record()?;
    if let Some(conclusion) = record.conclusion
        && run.record().exists()
    {
        let progress = Progress {
            total: Some(record.jobs.len()),
            ..Progress::default()
        };
        return Ok((State::Ended(conclusion), record, progress));
    }
    let progress = Progress::of(&run.load_events()?);
    Ok((State::of(run, liveness(run), &progress), record, progress))
}

/// A job that is running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The start of the job's runner.
    pub since: Timestamp,
    /// The current step and its attempt.
    pub step: Option<(String, u32)>,
    /// Whether that step has failed, and the job is held for a shell.
    pub is_held: bool,
}

/// The reason why a run has not begun yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The run's concurrency group.
    pub group: String,
    /// The run that holds the group, if known.
    pub held_by: Option<RunId>,
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
    /// The jobs that wait for a place among the jobs that run at once.
    pub kept_waiting: BTreeSet<JobName>,
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
            EventKind::JobWaiting { job } => {
                if !self.finished.contains(job) && !self.running.contains_key(job) {
                    self.kept_waiting.insert(job.clone());
                }
            }
            EventKind::JobPlaced { job } => _ = self.kept_waiting.remove(job),
            EventKind::JobStarted { job } if !self.finished.contains(job) => {
                self.kept_waiting.remove(job);
                self.running.entry(job.clone()).or_insert(Running {
                    since: event.at,
                    step: None,
                    is_held: false,
                });
            }
            EventKind::StepStarted {
                job, name, attempt, ..
            } => {
                if let Some(running) = self.running.get_mut(job) {
                    running.step = Some((name.clone(), *attempt));
                    running.is_held = false;
                }
            }
            EventKind::JobHeld { job, .. } => {
                if let Some(running) = self.running.get_mut(job) {
                    running.is_held = true;
                }
            }
            EventKind::JobRetried { job, .. } => {
                if let Some(running) = self.running.get_mut(job) {
                    running.step = None;
                }
            }
            EventKind::JobFinished { job, record } => {
                self.running.remove(job);
                self.kept_waiting.remove(job);
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
            | EventKind::ServiceReady { .. }
            | EventKind::ServiceEnded { .. }
            | EventKind::MatrixCancelled { .. }
            | EventKind::StepFinished { .. }
            | EventKind::Annotation { .. } => {}
        }
    }
}
