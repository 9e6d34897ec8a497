//! The events of a run, one JSON object a line.
//!
//! A run's `events.jsonl` is the single source of its record: [`RunRecord`] is a fold over it
//! ([`Event::apply`]). A job's own `events.jsonl` holds the same type. Knows nothing of files or
//! clocks.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{JobName, RunId, WorkflowName},
    origin::Origin,
    reason::ReasonCode,
    record::{Annotation, Conclusion, JobRecord, JobResult, RECORD_VERSION, RunRecord, StepRecord},
};

/// An event and its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Event {
    /// The time of the event.
    pub at: Timestamp,
    /// The event itself.
    pub event: EventKind,
}

/// The kinds of events in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum EventKind {
    /// The client made the run directory and has started nothing yet.
    RunCreated {
        /// The run's id.
        run: RunId,
        /// The workflow's name.
        workflow: WorkflowName,
        /// The number of jobs in the plan.
        jobs: usize,
        /// The run that this run repeats.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rerun_of: Option<RunId>,
        /// Where the run came from. Absent in events of earlier versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        origin: Option<Origin>,
    },
    /// A supervisor took over the run: the first one, or one that systemd started after the last
    /// one died.
    SupervisorStarted {
        /// The supervisor's process id, as its manager sees it.
        pid: u32,
    },
    /// The supervisor is about to submit these jobs in one call. After a crash, this event tells
    /// which jobs PID 1 may know.
    JobsSubmitted {
        /// The wave's number, from 0.
        wave: u32,
        /// The jobs of the wave.
        jobs: Vec<JobName>,
    },
    /// A job may start, and its runner waits for a place among the jobs that run at once.
    JobWaiting {
        /// The job.
        job: JobName,
    },
    /// A job has its place, and its runner asks the condition or the providers of variables whether
    /// and how it starts. From here on the job's time counts.
    JobPlaced {
        /// The job.
        job: JobName,
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
    /// A step has failed a job. The runner holds the job for a shell.
    JobHeld {
        /// The job.
        job: JobName,
        /// The end of the time, if no shell ends before it.
        until: Timestamp,
    },
    /// A service of a job is ready for the steps.
    ServiceReady {
        /// The job.
        job: JobName,
        /// The service.
        service: String,
    },
    /// A service of a job has ended.
    ServiceEnded {
        /// The job.
        job: JobName,
        /// The service.
        service: String,
        /// How it ended.
        reason: String,
        /// Its last lines.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        lines: Vec<String>,
        /// Whether it was asked to end, as when its job is over.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        was_stopped: bool,
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
    /// A step of a job ended or was skipped, after all its attempts. The event occurs once for each
    /// attempt of the job.
    StepFinished {
        /// The job.
        job: JobName,
        /// The step's position, from 0.
        index: usize,
        /// The step as it ended.
        step: StepRecord,
    },
    /// A step reported on a place in the source.
    Annotation {
        /// The job.
        job: JobName,
        /// The report.
        annotation: Annotation,
    },
    /// A job's runner started. This event stands only in the job's own file: as its first line, and
    /// again for each runner that follows a killed one.
    RunnerStarted {
        /// The job.
        job: JobName,
        /// The runner's process id, as the runner sees it.
        pid: u32,
        /// The runner's user id, as the runner sees it.
        uid: u32,
    },
    /// A job's runner reports the job's end. This event stands only in the job's own file, as its
    /// last line.
    RunnerEnded {
        /// The job.
        job: JobName,
        /// The result, for the dependents and the supervisor.
        result: JobResult,
    },
    /// A job ended or was skipped, or the supervisor found it killed.
    JobFinished {
        /// The job.
        job: JobName,
        /// The job as it ended.
        record: JobRecord,
    },
    /// A person or a program asked for the end of the run.
    CancelRequested {
        /// The origin: `client`, `nixactions cancel`, `timeout`, `SIGTERM` or `shutdown`.
        by: String,
        /// Whether the jobs were killed at once.
        kill: bool,
    },
    /// The run waits for another run of its concurrency group to end.
    GroupWaiting {
        /// The group.
        group: String,
        /// The run that holds the group, if known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        held_by: Option<RunId>,
    },
    /// The run entered its concurrency group.
    GroupEntered {
        /// The group.
        group: String,
    },
    /// A job failed, and its matrix group has `failFast`: the other jobs of the group are
    /// cancelled.
    MatrixCancelled {
        /// The group.
        group: String,
        /// The job that failed.
        job: JobName,
    },
    /// A warning about the whole run, such as a limit that does not work on this host.
    Warning {
        /// The problem and its consequence.
        message: String,
    },
    /// The run ended. None of its processes is left in a cgroup.
    RunFinished {
        /// The run's conclusion.
        conclusion: Conclusion,
        /// The reason, if the jobs do not show it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// The kind of that reason. Absent in events of earlier versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason_code: Option<ReasonCode>,
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
            reason_code: None,
            rerun_of: None,
            trigger: None,
            repository: None,
            git_ref: None,
            commit: None,
            actor: None,
            started_at,
            finished_at: None,
            jobs: BTreeMap::new(),
        }
    }

    /// Returns whether the job `name` may report this event. The supervisor ignores all other
    /// events in that job's own file.
    pub fn is_told_by(&self, name: &JobName) -> bool {
        self.told_by() == Some(name)
    }

    /// Returns the job that reports this event, if jobs report such events.
    pub fn told_by(&self) -> Option<&JobName> {
        match &self.event {
            EventKind::JobWaiting { job }
            | EventKind::JobPlaced { job }
            | EventKind::JobStarted { job }
            | EventKind::JobRetried { job, .. }
            | EventKind::JobHeld { job, .. }
            | EventKind::ServiceReady { job, .. }
            | EventKind::ServiceEnded { job, .. }
            | EventKind::StepStarted { job, .. }
            | EventKind::StepFinished { job, .. }
            | EventKind::Annotation { job, .. } => Some(job),
            _ => None,
        }
    }

    /// Applies the event to the record of its run. Applying an event twice changes nothing, so a
    /// supervisor may repeat its last line after a crash.
    pub fn apply(&self, record: &mut RunRecord) {
        match &self.event {
            EventKind::JobFinished { job, record: ended } => {
                record
                    .jobs
                    .entry(job.clone())
                    .or_insert_with(|| ended.clone());
            }
            EventKind::RunFinished {
                conclusion,
                reason,
                reason_code,
            } => {
                record.conclusion.get_or_insert(*conclusion);
                if record.finished_at.is_none() {
                    record.reason.clone_from(reason);
                    record.reason_code = *reason_code;
                    record.finished_at = Some(self.at);
                }
            }
            EventKind::RunCreated {
                rerun_of, origin, ..
            } => {
                record.rerun_of.clone_from(rerun_of);
                if let Some(origin) = origin {
                    record.set_origin(origin);
                }
            }
            EventKind::SupervisorStarted { .. }
            | EventKind::JobsSubmitted { .. }
            | EventKind::RunnerStarted { .. }
            | EventKind::RunnerEnded { .. }
            | EventKind::JobWaiting { .. }
            | EventKind::JobPlaced { .. }
            | EventKind::JobStarted { .. }
            | EventKind::JobRetried { .. }
            | EventKind::JobHeld { .. }
            | EventKind::ServiceReady { .. }
            | EventKind::ServiceEnded { .. }
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
