//! What is kept of a run: conclusions, and the records of runs, jobs and steps.
//!
//! These are the types of `record.json`, of a job's result and of the events. Knows nothing
//! of where they are written (`store`) nor of how a conclusion is reached (`status`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::ids::{JobName, RunId, WorkflowName};

/// A document that is kept on disk and says of which version it is.
pub trait Versioned: DeserializeOwned {
    /// The version that this program writes, and the only one there has been.
    const VERSION: u32;

    /// Returns the document's own version.
    fn version(&self) -> u32;
}

/// The version of `record.json` that this program writes.
pub const RECORD_VERSION: u32 = 1;

/// How a run, job or step ended. An *outcome* is what happened; a *conclusion* is what it counts
/// as, after `continueOnError` (GitHub's terms).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Conclusion {
    /// All that had to be done was done.
    Success,
    /// Something failed, was killed, or ran out of time.
    Failure,
    /// It was stopped because its run was cancelled.
    Cancelled,
    /// It was not run: its condition was false.
    Skipped,
}

impl Conclusion {
    /// Returns the word that stands in records and in `NEEDS_<JOB>_RESULT`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }
}

impl std::fmt::Display for Conclusion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a job consumed, read from its cgroup (cgroups(7)); a field that the kernel does not account
/// is absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Usage {
    /// CPU time of all the job's processes, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
    /// The most memory the job's cgroup held at once, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_peak_bytes: Option<u64>,
}

/// One step of a job, as it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepRecord {
    /// The step's name; where the plan gives none, its executable or the beginning of its script.
    pub name: String,
    /// What happened.
    pub outcome: Conclusion,
    /// What it counts as.
    pub conclusion: Conclusion,
    /// The exit status of its last attempt; absent where it never ran or was ended by a signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Why it did not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How often it was tried; 0 where it was skipped.
    pub attempts: u32,
    /// When its first attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When its last attempt ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

/// A job's place in a matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MatrixRecord {
    /// The group.
    pub group: String,
    /// What tells it from the group's other jobs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, String>,
}

/// How grave an annotation is.
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

/// What a step said of a place in the source by `::error file=…::` and its like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Annotation {
    /// How grave it is.
    pub level: AnnotationLevel,
    /// The step that said it.
    pub step: String,
    /// What it said.
    pub message: String,
    /// Its title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The file it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The last line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_line: Option<u32>,
    /// The column, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// The last column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_column: Option<u32>,
}

impl Annotation {
    /// Returns the place as compilers write it: `file:line:column`, as far as it is known.
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

/// One job of a run, as it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobRecord {
    /// The systemd unit the job ran in.
    pub unit: String,
    /// What happened.
    pub outcome: Conclusion,
    /// What it counts as.
    pub conclusion: Conclusion,
    /// Why it did not succeed, or why it was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How often it was tried; 0 where it never started.
    pub attempts: u32,
    /// When its runner began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// What its steps wrote to `$NIXACTIONS_OUTPUT`.
    #[serde(default)]
    pub outputs: BTreeMap<String, String>,
    /// What it consumed.
    #[serde(default)]
    pub usage: Usage,
    /// Its steps in their order; those never reached are absent.
    #[serde(default)]
    pub steps: Vec<StepRecord>,
    /// What its steps said of places in the source; at most 10 of a level and step, and 50 in all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<Annotation>,
    /// How many lines its runner sent to the journal; 0 where a runner was killed before it could
    /// say.
    #[serde(default)]
    pub log_lines: u64,
    /// Its place in a matrix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix: Option<MatrixRecord>,
    /// The run in which it ran, where that is not this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reused_from: Option<RunId>,
}

impl JobRecord {
    /// Returns the record of a job that did nothing yet, and so succeeded so far.
    pub fn new(unit: String) -> Self {
        Self {
            unit,
            outcome: Conclusion::Success,
            conclusion: Conclusion::Success,
            reason: None,
            attempts: 0,
            started_at: None,
            finished_at: None,
            outputs: BTreeMap::new(),
            usage: Usage::default(),
            steps: Vec::new(),
            annotations: Vec::new(),
            log_lines: 0,
            matrix: None,
            reused_from: None,
        }
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
    /// How the run ended; absent while it is going on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conclusion: Option<Conclusion>,
    /// Why the run ended as it did, where that is not to be seen from its jobs (a timeout, an I/O
    /// error).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The run that was run again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_of: Option<RunId>,
    /// When the run was made.
    pub started_at: Timestamp,
    /// When its record was written; absent while it is going on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// The jobs that have ended, by name.
    pub jobs: BTreeMap<JobName, JobRecord>,
}

/// The version of results that this program writes.
pub const RESULT_VERSION: u32 = 1;

/// What a runner leaves behind for its dependents and the supervisor: the last of the
/// job's events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobResult {
    /// [`RESULT_VERSION`].
    pub version: u32,
    /// Whether this job or one of its ancestors concluded failure: what `failure()` asks.
    pub failed: bool,
    /// How the job ended.
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
