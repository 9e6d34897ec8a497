//! What a run and a job are told: `run.json` for the supervisor, `spec.json` for each runner.
//!
//! A runner reads its own spec only, so everything it needs of the plan is resolved in it.

use std::{collections::BTreeMap, path::PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{JobName, RunId, WorkflowName},
    record::Versioned,
    settings::{Argv, Env, Retry, Seconds, Setting},
};

/// The version of `run.json` and `spec.json`.
pub const SPEC_VERSION: u32 = 1;

/// The runner's program. It stands by itself since it starts for each job, and a program that holds
/// nothing else starts in half the time.
pub const RUNNER: &str = "nixactions-runner";

/// The kind of systemd manager that runs the units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ManagerKind {
    /// The host's PID 1.
    System,
    /// The user's own manager, `systemd --user`.
    User,
    /// A private PID 1 in fresh namespaces, for this run alone.
    Embedded,
}

/// A run as it was asked for: the content of `run.json`. Its values may be secret; the file is its
/// owner's alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunSpec {
    /// [`SPEC_VERSION`].
    pub version: u32,
    /// The run's id.
    pub run: RunId,
    /// The workflow's name.
    pub workflow: WorkflowName,
    /// Who runs the units.
    pub manager: ManagerKind,
    /// When the run was made.
    pub created_at: Timestamp,
    /// The program whose `supervise` subcommand the supervisor's unit runs; [`RUNNER`] lies beside
    /// it.
    pub program: PathBuf,
    /// The directory of the run.
    pub directory: PathBuf,
    /// The state directory it lies in, which jobs do not see.
    pub state_directory: PathBuf,
    /// The run's directory on a tmpfs, which goes with the run: what must not reach a disk.
    pub runtime_directory: PathBuf,
    /// Variables that outrank the plan's: `--env`, `--env-file`, and those taken from the caller.
    pub overrides: Env,
    /// Where the secret variables lie while the run goes on; outside of the run's directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Secrets>,
    /// `INPUT_<K>` variables.
    pub inputs: Env,
    /// `PATH` of the jobs.
    pub path: String,
    /// Whether a copy of the source tree lies in the run's `shared/source`.
    pub has_source: bool,
    /// Whether the jobs' workspaces are mounted over that copy, rather than each having a copy of
    /// its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mounts_source: bool,
    /// How many jobs may run at once.
    pub max_parallel: u32,
}

impl RunSpec {
    /// Returns the program that the jobs' units run.
    pub fn runner(&self) -> PathBuf {
        self.program.with_file_name(RUNNER)
    }
}

/// The secret variables of a run: what is known of them without knowing them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Secrets {
    /// The file that holds them, in memory only; jobs get it by `LoadCredential=`. Gone when the
    /// run is over.
    pub file: PathBuf,
    /// Their names.
    pub names: Vec<String>,
}

/// The credential that holds a run's secret variables, as a JSON object of names and values.
pub const SECRETS_CREDENTIAL: &str = "nixactions.env";

/// An artifact that a job takes in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InputSpec {
    /// The artifact's name.
    pub name: String,
    /// The job that saves it.
    pub from: JobName,
    /// Where in the workspace it is restored.
    pub path: String,
}

/// An artifact that a job saves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutputSpec {
    /// The artifact's name.
    pub name: String,
    /// Where in the workspace it lies.
    pub path: String,
}

/// A step, with everything inherited resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepSpec {
    /// Its name, never empty.
    pub name: String,
    /// What is executed: argv, or a script.
    pub command: Command,
    /// Its variables.
    pub env: Env,
    /// Providers of its variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env_from: Vec<Argv>,
    /// Where in the workspace it runs.
    pub workdir: Option<String>,
    /// Its condition, as in the plan.
    pub condition: Option<String>,
    /// Whether a failure counts as success.
    pub continue_on_error: bool,
    /// The longest it may take.
    pub timeout: Option<Seconds>,
    /// Its own retry; where it inherits, a failure of it is its job's to try again.
    #[serde(default, skip_serializing_if = "Setting::is_inherit")]
    pub retry: Setting<Retry>,
}

/// What a step executes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Command {
    /// An executable and its arguments.
    Run(Vec<String>),
    /// A script for bash.
    Bash(String),
}

/// A job's matrix group, as far as its runner must know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MatrixSpec {
    /// What the group's jobs share.
    pub directory: PathBuf,
    /// How many of them may run at once, where the runner itself must see to it with locks.
    pub slots: Option<u32>,
}

/// A job as its runner gets it: the content of `spec.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobSpec {
    /// [`SPEC_VERSION`].
    pub version: u32,
    /// The run's id.
    pub run: RunId,
    /// The workflow's name.
    pub workflow: WorkflowName,
    /// The job's name.
    pub job: JobName,
    /// The job's unit.
    pub unit: String,
    /// The run's `jobs` directory: needs lie beside the job.
    pub jobs_directory: PathBuf,
    /// The run's `shared` directory.
    pub shared_directory: PathBuf,
    /// The directory of scripts and of the files that steps write for the runner, which makes it.
    pub files_directory: PathBuf,
    /// Its direct needs.
    pub needs: Vec<JobName>,
    /// Those of its needs whose failure counts as success: killed, they leave no result that says
    /// so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerated_needs: Vec<JobName>,
    /// Those of its needs whose workspace is made by a hook: where that fails, systemd never starts
    /// their runners, and they have failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooked_needs: Vec<JobName>,
    /// Its condition, as in the plan.
    pub condition: Option<String>,
    /// Whether a failure counts as success.
    pub continue_on_error: bool,
    /// Whether its workspace starts with a copy of the source tree.
    pub copy_source: bool,
    /// Whether that is mounted by the job's unit before the runner starts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mount_source: bool,
    /// Whether its processes are kept from signalling, tracing and reaching others by Landlock.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub confine: bool,
    /// How many of the run's jobs may run at once, where the runner itself must see to it with
    /// locks.
    pub slots: Option<u32>,
    /// Its matrix group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix: Option<MatrixSpec>,
    /// `PATH` of its steps.
    pub path: String,
    /// The workflow's variables.
    pub workflow_env: Env,
    /// The job's variables.
    pub job_env: Env,
    /// Providers of the workflow's variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workflow_env_from: Vec<Argv>,
    /// Providers of the job's variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub job_env_from: Vec<Argv>,
    /// `INPUT_<K>` and `MATRIX_<K>` variables.
    pub inputs_env: Env,
    /// Variables that outrank all others.
    pub overrides: Env,
    /// Whether secret ones come with the job's credentials.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_secrets: bool,
    /// The longest the job may take.
    pub timeout: Option<Seconds>,
    /// How often its steps are tried, and with which waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Artifacts restored before the first step.
    pub inputs: Vec<InputSpec>,
    /// Artifacts saved after the last one.
    pub outputs: Vec<OutputSpec>,
    /// Its steps.
    pub steps: Vec<StepSpec>,
    /// What its executor's hooks, which are its steps then, are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<HooksSpec>,
}

impl Versioned for RunSpec {
    const VERSION: u32 = SPEC_VERSION;

    fn version(&self) -> u32 {
        self.version
    }
}

impl Versioned for JobSpec {
    const VERSION: u32 = SPEC_VERSION;

    fn version(&self) -> u32 {
        self.version
    }
}

/// What the hooks of an executor are told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HooksSpec {
    /// The executor's name.
    pub executor: String,
    /// A directory that all its hooks share.
    pub directory: PathBuf,
    /// Whether it is for all jobs of the executor, and of none.
    pub of_workspace: bool,
    /// The steps as the plan has them, by job: the content of `$NIXACTIONS_STEPS`.
    pub steps: BTreeMap<JobName, serde_json::Value>,
}

/// A hook around all jobs of an executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkspaceHook {
    /// `setupWorkspace`, before the executor's first job.
    Setup,
    /// `cleanupWorkspace`, after its last.
    Cleanup,
}

impl WorkspaceHook {
    /// Returns the word that stands in paths and unit names.
    pub fn word(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Cleanup => "cleanup",
        }
    }

    /// Returns the plan's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Setup => "setupWorkspace",
            Self::Cleanup => "cleanupWorkspace",
        }
    }
}
