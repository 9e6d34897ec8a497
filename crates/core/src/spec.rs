//! The specs of a run and of a job: `run.json` for the supervisor, `spec.json` for each runner.
//!
//! A runner reads only its own spec. The spec therefore holds everything of the plan that the job
//! needs.

use std::{collections::BTreeMap, path::PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    ids::{JobName, RunId, StepId, WorkflowName},
    image::Digest,
    origin::Origin,
    record::Versioned,
    service::WatchedServices,
    settings::{Argv, Env, Retry, Seconds, Setting},
};

/// The version of `run.json` and `spec.json`.
pub const SPEC_VERSION: u32 = 1;

/// The name of the runner's program. It is a program of its own because every job starts it, and a
/// small program starts in half the time.
pub const RUNNER: &str = "nixactions-runner";

/// The name that a runner's program has while it holds a failed job for a shell.
pub const HOLDER: &str = "nixactions-hold";

/// The argument by which a runner's program is the first process of a container that jobs share.
pub const STAND: &str = "container";

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

/// The spec of a run: the content of `run.json`. Its variables are private, so only the owner can
/// read the file. It holds no secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunSpec {
    /// [`SPEC_VERSION`].
    pub version: u32,
    /// The run's id.
    pub run: RunId,
    /// The workflow's name.
    pub workflow: WorkflowName,
    /// The manager that runs the units.
    pub manager: ManagerKind,
    /// The time at which the client made the run.
    pub created_at: Timestamp,
    /// The program for the supervisor's unit, called with `supervise`. [`RUNNER`] lies beside it.
    pub program: PathBuf,
    /// The directory of the run.
    pub directory: PathBuf,
    /// The state directory around it. Jobs do not see the state directory.
    pub state_directory: PathBuf,
    /// The run's directory on a tmpfs, for data that must not reach a disk. It is removed with the
    /// run.
    pub runtime_directory: PathBuf,
    /// Variables that override the plan's: `--env`, `--env-file` and those taken from the caller.
    pub overrides: Env,
    /// The secret variables, while the run goes on. They lie outside the run's directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Secrets>,
    /// `INPUT_<K>` variables.
    pub inputs: Env,
    /// The `PATH` of the jobs.
    pub path: String,
    /// Whether a copy of the source tree lies in the run's `shared/source`.
    pub has_source: bool,
    /// Whether the jobs' workspaces are mounted over that copy. If not, each job gets a copy of its
    /// own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mounts_source: bool,
    /// The most jobs that may run at once.
    pub max_parallel: u32,
    /// The most jobs of all runs of the state directory that may run at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_jobs: Option<u32>,
    /// The directories of the root file systems, by executor.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub roots: BTreeMap<String, PathBuf>,
    /// The unpacked images among the root file systems, by executor.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, ImageSpec>,
    /// The types of the file systems of those root file systems that are disk images, by executor.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub disks: BTreeMap<String, String>,
    /// Where the run came from. Absent in runs of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The units that start when the run has ended.
    #[serde(default, skip_serializing_if = "Notify::is_empty")]
    pub notify: Notify,
    /// The longest time that a failed job is held for a shell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_failed: Option<Seconds>,
    /// Whether a shutdown of the machine waits for the run, as long as logind lets it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delays_shutdown: bool,
}

/// Template units of the manager, as `mail@.service`. The id of the run is the instance that
/// starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Notify {
    /// Units that start after a failure.
    #[serde(default)]
    pub failure: Vec<String>,
    /// Units that start after a success.
    #[serde(default)]
    pub success: Vec<String>,
    /// Units that start after a success that follows a failure.
    #[serde(default)]
    pub recovery: Vec<String>,
}

impl Notify {
    /// Returns whether nobody wants to know.
    pub fn is_empty(&self) -> bool {
        self.failure.is_empty() && self.success.is_empty() && self.recovery.is_empty()
    }
}

/// An image that was unpacked for an executor. While a run that names it goes on, nobody removes
/// it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImageSpec {
    /// The digest by which the state directory knows the image.
    pub digest: Digest,
    /// The variables of the image.
    #[serde(default, skip_serializing_if = "Env::is_empty")]
    pub env: Env,
    /// The user of the image, and the group after a colon, where the jobs are to have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The command of the image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Argv,
    /// The working directory of the image, where the steps are to start there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<PathBuf>,
}

impl ImageSpec {
    /// Returns whether the programs of the image begin as its root user. They may then become
    /// other users of the image.
    pub fn begins_as_root(&self) -> bool {
        let user = self.user.as_deref().unwrap_or_default();
        let name = user.split_once(':').map_or(user, |(name, _)| name);
        matches!(name, "" | "root" | "0")
    }

    /// Returns the user of the image, unless that is root.
    pub fn other_user(&self) -> Option<String> {
        self.user.clone().filter(|_| !self.begins_as_root())
    }
}

impl RunSpec {
    /// Returns whether units of the run's jobs mount file systems, which the supervisor unmounts.
    pub fn mounts(&self) -> bool {
        self.mounts_source || !self.roots.is_empty()
    }

    /// Returns the program for the jobs' units.
    pub fn runner(&self) -> PathBuf {
        self.program.with_file_name(RUNNER)
    }
}

/// The names of a run's secret variables and the file with their values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Secrets {
    /// The file with the values. It lies in memory, jobs get it by `LoadCredential=`, and it is
    /// removed at the end of the run.
    pub file: PathBuf,
    /// The names of the variables.
    pub names: Vec<String>,
}

/// The credential with a run's secret variables, a JSON object of names and values.
pub const SECRETS_CREDENTIAL: &str = "nixactions.env";

/// The variable with the user and the group that the runner of a container becomes, as numbers with
/// a colon between them.
pub const CONTAINER_USER: &str = "NIXACTIONS_CONTAINER_USER";
/// The name of the host's /proc in the directory that the runner of a container is given.
pub const HANDED_PROC: &str = "proc";
/// The name of the locks of running jobs there.
pub const HANDED_SLOTS: &str = "slots";
/// The name of the directory there in which a service's runner reaches the runner of its job
/// ([`crate::paths::JobPaths::masks`]).
pub const HANDED_MASKS: &str = "masks";
/// The name of the control group of the job's unit there, which counts the memory of the job.
pub const HANDED_GROUP: &str = "group";
/// The descriptor of the locks of running jobs, or of the directory of a service's masks, where
/// standard input is something else: the first one that systemd passes (sd_listen_fds(3)).
pub const HANDED_FD: i32 = 3;

/// An artifact that a job restores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InputSpec {
    /// The artifact's name.
    pub name: String,
    /// The job that saves it.
    pub from: JobName,
    /// The destination in the workspace.
    pub path: String,
}

/// An artifact that a job saves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutputSpec {
    /// The artifact's name.
    pub name: String,
    /// The path in the workspace.
    pub path: String,
}

/// A step with all inherited settings resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepSpec {
    /// Its id, by which later steps see how it ended and what it put out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<StepId>,
    /// Its name, never empty.
    pub name: String,
    /// The command: argv, or a script.
    pub command: Command,
    /// The step's variables.
    pub env: Env,
    /// Providers of the step's variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env_from: Vec<Argv>,
    /// The directory in the workspace in which the step runs. It may have expressions.
    pub workdir: Option<String>,
    /// The step's condition, as in the plan.
    pub condition: Option<String>,
    /// Whether a failure counts as success.
    pub continue_on_error: bool,
    /// The longest time that the step may take.
    pub timeout: Option<Seconds>,
    /// The step's own retry. If the step inherits, a failure of it repeats the whole job.
    #[serde(default, skip_serializing_if = "Setting::is_inherit")]
    pub retry: Setting<Retry>,
    /// The position of the step after which this one cleans up, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_of: Option<usize>,
}

/// The command of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Command {
    /// An executable and its arguments.
    Run(Vec<String>),
    /// A script for bash.
    Bash(String),
    /// A script for another program.
    Script {
        /// The program and its arguments. `{0}` in them stands for the script's file.
        shell: Vec<String>,
        /// The text of the script.
        text: String,
    },
}

/// The parts of a job's matrix group that its runner needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MatrixSpec {
    /// The group.
    pub group: String,
    /// The directory that the group's jobs share.
    pub directory: PathBuf,
    /// The most jobs of the group that may run at once. Absent if there is no limit or
    /// systemd enforces it. If present, the runners enforce it with locks.
    pub slots: Option<u32>,
}

/// The values that expressions read of a run's inputs and of a job's place in a matrix: texts,
/// numbers and booleans.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Values {
    /// The inputs by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, serde_json::Value>,
    /// The values of the matrix by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub matrix: BTreeMap<String, serde_json::Value>,
}

impl Values {
    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty() && self.matrix.is_empty()
    }
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
    /// The run's `jobs` directory. The needs' directories are in it, too.
    pub jobs_directory: PathBuf,
    /// The run's `shared` directory.
    pub shared_directory: PathBuf,
    /// The directory for scripts and for the files that steps write for the runner. The runner
    /// makes it.
    pub files_directory: PathBuf,
    /// The job's direct needs.
    pub needs: Vec<JobName>,
    /// The needs whose failure counts as success. A killed need leaves no result that would tell
    /// this.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerated_needs: Vec<JobName>,
    /// The needs whose workspace is made by a hook, or that share a container. If the hook or the
    /// container fails, systemd never starts their runners, and the needs count as failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooked_needs: Vec<JobName>,
    /// The job's condition, as in the plan.
    pub condition: Option<String>,
    /// Whether a failure counts as success.
    pub continue_on_error: bool,
    /// Whether the workspace starts with a copy of the source tree.
    pub copy_source: bool,
    /// Whether the job's unit mounts that copy before the runner starts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mount_source: bool,
    /// Whether Landlock keeps the job's processes from signalling, tracing and reaching other
    /// processes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub confine: bool,
    /// Whether the job has a root file system of its own, not the host's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_root: bool,
    /// Whether the job has a PID namespace of its own. The runner's standard input is then the
    /// host's /proc, which tells the runner its process id outside of the namespace. The locks of
    /// running jobs, if it takes any, are descriptor [`HANDED_FD`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_pids: bool,
    /// Whether the runner is the first process of a container, with user ids of its own. Its
    /// standard input is then a directory with [`HANDED_PROC`], [`HANDED_GROUP`] where that counts
    /// memory, and [`HANDED_SLOTS`] if it takes locks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_container: bool,
    /// Whether a filter of system calls keeps the job's processes from those that systemd-nspawn
    /// denies to a container. The job has joined one that runs already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub guard_calls: bool,
    /// Whether a filter of system calls keeps the job's processes from setting limits of other
    /// processes. The job shares its user and its process ids with them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub guard_limits: bool,
    /// Whether the job goes on when the kernel kills one of its processes for want of memory
    /// (`OOMPolicy=continue`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub goes_on_out_of_memory: bool,
    /// Whether a user was made for the job. No other process has the user, and the runner removes
    /// the user's keys.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_user: bool,
    /// Whether the job builds with the host's Nix daemon.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uses_nix: bool,
    /// The most jobs of the run that may run at once. Absent if there is no limit or
    /// systemd enforces it. If present, the runners enforce it with locks.
    pub slots: Option<u32>,
    /// The most jobs of all runs of the state directory that may run at once. The runners enforce
    /// it with locks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_slots: Option<u32>,
    /// The job's matrix group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix: Option<MatrixSpec>,
    /// The `PATH` of the steps.
    pub path: String,
    /// The directory in which steps without a `workdir` run, in a root file system of the job's
    /// own. Without it, they run in the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<PathBuf>,
    /// The executor's variables.
    #[serde(default, skip_serializing_if = "Env::is_empty")]
    pub executor_env: Env,
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
    /// The values that expressions read of inputs and of the matrix.
    #[serde(default, skip_serializing_if = "Values::is_empty")]
    pub values: Values,
    /// The job's outputs by name, where it names them: texts with expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs_from: Option<Env>,
    /// Variables that outrank all others.
    pub overrides: Env,
    /// Whether the job's credentials hold secret variables.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_secrets: bool,
    /// The longest time that the job may take.
    pub timeout: Option<Seconds>,
    /// The job's retry: the number of attempts and the waits between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// The longest time that the job is held for a shell after a step has failed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_failed: Option<Seconds>,
    /// Artifacts that are restored before the first step.
    pub inputs: Vec<InputSpec>,
    /// Artifacts that are saved after the last step.
    pub outputs: Vec<OutputSpec>,
    /// The job's steps, then those that clean up after them, in reverse order.
    pub steps: Vec<StepSpec>,
    /// The services of the job, which run beside its steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<WatchedServices>,
    /// Where the run came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The data for the executor's hooks. If present, the hooks are the job's steps.
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

/// The data for the hooks of an executor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HooksSpec {
    /// The executor's name.
    pub executor: String,
    /// A directory that all hooks of the executor share.
    pub directory: PathBuf,
    /// Whether this hook serves the executor's workspace. If not, it serves one job.
    pub of_workspace: bool,
    /// The steps as in the plan, by job: the content of `$NIXACTIONS_STEPS`.
    pub steps: BTreeMap<JobName, serde_json::Value>,
}

/// A hook that runs once for all jobs of an executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkspaceHook {
    /// `setupWorkspace`, before the executor's first job.
    Setup,
    /// `cleanupWorkspace`, after the executor's last job.
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

    /// Returns the hook's name in the plan.
    pub fn name(self) -> &'static str {
        match self {
            Self::Setup => "setupWorkspace",
            Self::Cleanup => "cleanupWorkspace",
        }
    }
}
