//! Events: what happens in a run, one JSON object a line.
//!
//! A run's `events.jsonl` is the single source of its record: [`RunRecord`] is a fold over it
//! ([`Event::apply`]). A job's own `events.jsonl` holds the same type. Knows nothing of files or
//! clocks.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{JobName, RunId, WorkflowName},
    record::{Annotation, Conclusion, JobRecord, JobResult, RECORD_VERSION, RunRecord, StepRecord},
};

/// One thing that happened, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Event {
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub event: EventKind,
}

/// What can happen in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum EventKind {
    /// The run directory was made; nothing has been started yet.
    RunCreated {
        /// The run's id.
        run: RunId,
        /// The workflow's name.
        workflow: WorkflowName,
        /// How many jobs the plan has.
        jobs: usize,
        /// The run that is run again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rerun_of: Option<RunId>,
    },
    /// A supervisor took the run over: the first, or one that systemd started after the last one
    /// died.
    SupervisorStarted {
        /// Its process id, as its manager sees it.
        pid: u32,
    },
    /// The supervisor is about to submit these jobs in one call. After a crash this line says which
    /// jobs PID 1 may know.
    JobsSubmitted {
        /// The wave's number, from 0.
        wave: u32,
        /// The jobs of the wave.
        jobs: Vec<JobName>,
    },
    /// A job's runner started.
    JobStarted {
        /// The job.
        job: JobName,
    },
    /// An attempt at a job failed, or its runner was killed, and another attempt begins.
    JobRetried {
        /// The job.
        job: JobName,
        /// The attempt, from 2.
        attempt: u32,
    },
    /// A step of a job began an attempt.
    StepStarted {
        /// The job.
        job: JobName,
        /// The step's position, from 0.
        index: usize,
        /// The step's name.
        name: String,
        /// The attempt, from 1.
        attempt: u32,
    },
    /// A step of a job ended or was skipped, after all its attempts; once for each attempt at the
    /// job.
    StepFinished {
        /// The job.
        job: JobName,
        /// The step's position, from 0.
        index: usize,
        /// How it ended.
        step: StepRecord,
    },
    /// A step said something of a place in the source.
    Annotation {
        /// The job.
        job: JobName,
        /// What it said.
        annotation: Annotation,
    },
    /// A job's runner began. Stands in the job's own file only: as its first line, and once more for
    /// each runner that follows one that was killed.
    RunnerStarted {
        /// The job.
        job: JobName,
        /// The runner's process id, as it sees it.
        pid: u32,
        /// Its user's id, as it sees it.
        uid: u32,
    },
    /// A job's runner says how the job ended. Stands in the job's own file only, as its last line.
    RunnerEnded {
        /// The job.
        job: JobName,
        /// What it leaves for dependents and the supervisor.
        result: JobResult,
    },
    /// A job ended, was skipped, or was found to have been killed.
    JobFinished {
        /// The job.
        job: JobName,
        /// How it ended.
        record: JobRecord,
    },
    /// Somebody asked for the run to end.
    CancelRequested {
        /// Who or what: `client`, `nixactions cancel`, `timeout`, `SIGTERM`, `shutdown`.
        by: String,
        /// Whether the jobs were killed outright.
        kill: bool,
    },
    /// The run waits for another run of its concurrency group to end.
    GroupWaiting {
        /// The group.
        group: String,
        /// The run that holds it, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        held_by: Option<RunId>,
    },
    /// It is the run's turn in its concurrency group.
    GroupEntered {
        /// The group.
        group: String,
    },
    /// A job failed, and so the other jobs of its matrix group are cancelled (`failFast`).
    MatrixCancelled {
        /// The group.
        group: String,
        /// The job that failed.
        job: JobName,
    },
    /// A warning about the run as a whole, such as a limit that does not hold here.
    Warning {
        /// What and what follows from it.
        message: String,
    },
    /// The run ended; nothing of it is left in any cgroup.
    RunFinished {
        /// How.
        conclusion: Conclusion,
        /// Why, where the jobs do not show it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

impl Event {
    /// Returns the record of a run before its first event.
    pub fn empty_record(run: RunId, workflow: WorkflowName, started_at: Timestamp) -> RunRecord {
        RunRecord {
            version: RECORD_VERSION,
            run,
            workflow,
            conclusion: None,
            reason: None,
            rerun_of: None,
            started_at,
            finished_at: None,
            jobs: BTreeMap::new(),
        }
    }

    /// Returns whether this is an event that a job may tell of itself: what a job's own file holds
    /// beside these is not believed.
    pub fn is_told_by(&self, name: &JobName) -> bool {
        self.told_by() == Some(name)
    }

    /// Returns the job that tells this of itself, where one does.
    pub fn told_by(&self) -> Option<&JobName> {
        match &self.event {
            EventKind::JobStarted { job }
            | EventKind::JobRetried { job, .. }
            | EventKind::StepStarted { job, .. }
            | EventKind::StepFinished { job, .. }
            | EventKind::Annotation { job, .. } => Some(job),
            _ => None,
        }
    }

    /// Applies the event to the record it belongs to. An event that is applied twice changes
    /// nothing the second time, so a supervisor that repeats its last line after a crash does no
    /// harm.
    pub fn apply(&self, record: &mut RunRecord) {
        match &self.event {
            EventKind::JobFinished { job, record: ended } => {
                record
                    .jobs
                    .entry(job.clone())
                    .or_insert_with(|| ended.clone());
            }
            EventKind::RunFinished { conclusion, reason } => {
                record.conclusion.get_or_insert(*conclusion);
                if record.finished_at.is_none() {
                    record.reason.clone_from(reason);
                    record.finished_at = Some(self.at);
                }
            }
            EventKind::RunCreated { rerun_of, .. } => record.rerun_of.clone_from(rerun_of),
            EventKind::SupervisorStarted { .. }
            | EventKind::JobsSubmitted { .. }
            | EventKind::RunnerStarted { .. }
            | EventKind::RunnerEnded { .. }
            | EventKind::JobStarted { .. }
            | EventKind::JobRetried { .. }
            | EventKind::StepStarted { .. }
            | EventKind::StepFinished { .. }
            | EventKind::Annotation { .. }
            | EventKind::CancelRequested { .. }
            | EventKind::GroupWaiting { .. }
            | EventKind::GroupEntered { .. }
            | EventKind::MatrixCancelled { .. }
            | EventKind::Warning { .. } => {}
        }
    }
}
