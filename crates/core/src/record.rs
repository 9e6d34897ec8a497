//! The records of runs, jobs and steps.
//!
//! These are the types of `record.json`, of a job's result and of the events. Knows nothing of
//! their files (`store`) and not how a conclusion is reached (`status`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use crate::conclusion::Conclusion;
use crate::{
    ids::{JobName, RunId, WorkflowName},
    origin::{Origin, Trigger},
    reason::{Reason, ReasonCode},
};

/// A document on disk that states its version.
pub trait Versioned: DeserializeOwned {
    /// The version that this program writes. No other version exists yet.
    const VERSION: u32;

    /// Returns the document's own version.
    fn version(&self) -> u32;
}

/// The version of `record.json` that this program writes.
pub const RECORD_VERSION: u32 = 1;

/// The resources that a job consumed, read from its cgroup (cgroups(7)). A field is absent if the
/// kernel does not account for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Usage {
    /// CPU time of all the job's processes, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
    /// The peak of the memory in the job's cgroup, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_peak_bytes: Option<u64>,
}

/// One finished step of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepRecord {
    /// The step's name. A step without a name in the plan has the name of its executable or the
    /// beginning of its script.
    pub name: String,
    /// The end of the step itself.
    pub outcome: Conclusion,
    /// The end after `continueOnError`.
    pub conclusion: Conclusion,
    /// The exit status of the last attempt. Absent if the step never ran or a signal ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The reason why the step did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The kind of that reason. Absent in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<ReasonCode>,
    /// The number of attempts. 0 if the step was skipped.
    pub attempts: u32,
    /// The start of the first attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// The end of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

impl StepRecord {
    /// Sets the reason's text and kind.
    pub fn set_reason(&mut self, reason: &Reason) {
        (self.reason, self.reason_code) = (Some(reason.to_string()), reason.code());
    }
}

/// A job's place in a matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MatrixRecord {
    /// The group.
    pub group: String,
    /// The values that distinguish the job from the others of its group.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, String>,
}

/// The severity of an annotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AnnotationLevel {
    /// `::notice::`
    Notice,
    /// `::warning::`
    Warning,
    /// `::error::`
    Error,
}

impl AnnotationLevel {
    /// Returns the word that stands in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// A step's report on a place in the source, by `::error file=…::` and similar commands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Annotation {
    /// The severity.
    pub level: AnnotationLevel,
    /// The step that made the report.
    pub step: String,
    /// The text of the report.
    pub message: String,
    /// The title of the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The file of the place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The first line of the place, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The last line of the place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_line: Option<u32>,
    /// The first column of the place, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// The last column of the place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_column: Option<u32>,
}

impl Annotation {
    /// Returns the place as compilers write it, `file:line:column`. Unknown parts are left out.
    pub fn place(&self) -> Option<String> {
        let mut place = self.file.clone()?;
        for number in [self.line, self.line.and(self.column)]
            .into_iter()
            .flatten()
        {
            place.push_str(&format!(":{number}"));
        }
        Some(place)
    }
}

/// The kind of place where a job's steps ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RanAt {
    /// This machine's own file system.
    Host,
    /// A file system of the job's own, on this machine.
    Container,
}

/// A service of a job: a program that ran beside its steps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceRecord {
    /// The systemd unit of the service.
    pub unit: String,
    /// The time from which it was ready for the steps. Absent if it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_at: Option<Timestamp>,
    /// How it ended, if it ended before the job's steps did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One finished job of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobRecord {
    /// The systemd unit of the job.
    pub unit: String,
    /// The end of the job itself.
    pub outcome: Conclusion,
    /// The end after `continueOnError`.
    pub conclusion: Conclusion,
    /// The reason why the job did not succeed or was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The kind of that reason. Absent in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<ReasonCode>,
    /// Where the job's steps ran. Absent if the job never started, and in records of earlier
    /// versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<RanAt>,
    /// The number of attempts. 0 if the job never started.
    pub attempts: u32,
    /// The start of the job's runner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// The end of the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// The outputs that the job's steps wrote to `$NIXACTIONS_OUTPUT`.
    #[serde(default)]
    pub outputs: BTreeMap<String, String>,
    /// The resources that the job consumed.
    #[serde(default)]
    pub usage: Usage,
    /// The job's steps in their order. Steps that were never reached are absent.
    #[serde(default)]
    pub steps: Vec<StepRecord>,
    /// The job's services by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<String, ServiceRecord>,
    /// The annotations of the job's steps: at most 10 for each level and step, and at most 50 in
    /// all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<Annotation>,
    /// The number of lines that the job's runner sent to the journal. 0 if a killed runner did not
    /// report the number.
    #[serde(default)]
    pub log_lines: u64,
    /// The job's place in a matrix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix: Option<MatrixRecord>,
    /// The run in which the job ran, if that is another run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reused_from: Option<RunId>,
}

impl JobRecord {
    /// Returns the record of a job that has not run any step yet, with the conclusion success.
    pub fn new(unit: String) -> Self {
        Self {
            unit,
            outcome: Conclusion::Success,
            conclusion: Conclusion::Success,
            reason: None,
            reason_code: None,
            placement: None,
            attempts: 0,
            started_at: None,
            finished_at: None,
            outputs: BTreeMap::new(),
            usage: Usage::default(),
            steps: Vec::new(),
            services: BTreeMap::new(),
            annotations: Vec::new(),
            log_lines: 0,
            matrix: None,
            reused_from: None,
        }
    }

    /// Sets the reason's text and kind.
    pub fn set_reason(&mut self, reason: &Reason) {
        (self.reason, self.reason_code) = (Some(reason.to_string()), reason.code());
    }
}

/// A whole run: the content of `record.json` and of `nixactions show --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunRecord {
    /// [`RECORD_VERSION`].
    pub version: u32,
    /// The run's id.
    pub run: RunId,
    /// The workflow's name.
    pub workflow: WorkflowName,
    /// The end of the run. Absent while the run goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conclusion: Option<Conclusion>,
    /// The reason of the conclusion, if the jobs do not show it (a timeout, an I/O error).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The kind of that reason. Absent in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<ReasonCode>,
    /// The run that this run repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_of: Option<RunId>,
    /// The cause of the run's start. Absent in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// The source tree's repository, without credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// The branch that was checked out.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<String>,
    /// The commit that was checked out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The user who started the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The time at which the client made the run.
    pub started_at: Timestamp,
    /// The time at which the supervisor wrote the record. Absent while the run goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// The finished jobs by name.
    pub jobs: BTreeMap<JobName, JobRecord>,
}

impl RunRecord {
    /// Sets where the run came from.
    pub fn set_origin(&mut self, origin: &Origin) {
        self.trigger = Some(origin.trigger);
        self.repository.clone_from(&origin.repository);
        self.git_ref.clone_from(&origin.git_ref);
        self.commit.clone_from(&origin.commit);
        self.actor.clone_from(&origin.actor);
    }
}

/// The version of job results that this program writes.
pub const RESULT_VERSION: u32 = 1;

/// The result that a runner leaves for its dependents and the supervisor. It is in the last of the
/// job's events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobResult {
    /// [`RESULT_VERSION`].
    pub version: u32,
    /// Whether this job or one of its ancestors concluded failure. The condition `failure()` reads
    /// this.
    pub failed: bool,
    /// The finished job.
    pub record: JobRecord,
}

impl Versioned for RunRecord {
    const VERSION: u32 = RECORD_VERSION;

    fn version(&self) -> u32 {
        self.version
    }
}

impl Versioned for JobResult {
    const VERSION: u32 = RESULT_VERSION;

    fn version(&self) -> u32 {
        self.version
    }
}
