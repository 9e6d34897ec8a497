//! The services of a job: programs that run beside its steps.
//!
//! Each service is a unit of its own, whose main process is the runner's program. It starts the
//! service's program and tells of it by events. Knows nothing of units and plans.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{
    ids::{JobName, RunId, WorkflowName},
    record::Versioned,
    settings::{Argv, Env, Seconds},
};

/// The version of a service's `spec.json`.
pub const SERVICE_SPEC_VERSION: u32 = 1;

/// The argument by which the runner's program runs a service.
pub const SERVICE_COMMAND: &str = "service";
/// The argument by which the runner's program reserves the ports of a job's services.
pub const PORTS_COMMAND: &str = "ports";

/// The file beside a service's events in which the supervisor tells why systemd could not start it.
pub const FAILED: &str = "failed";

/// How a service tells that it is ready for the steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Probe {
    /// All of its ports take connections. Without ports, its program has begun.
    Ports,
    /// This command succeeds.
    Run(Argv),
    /// The program says so (sd_notify(3), `READY=1`).
    Notify,
}

/// The trial of a service, until it counts as ready.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthSpec {
    /// The sign that it is ready.
    pub probe: Probe,
    /// The time between two tries.
    pub interval: Seconds,
    /// The longest time of one try.
    pub timeout: Seconds,
    /// The most tries.
    pub tries: u32,
}

/// A service as its runner gets it: the content of its `spec.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceSpec {
    /// [`SERVICE_SPEC_VERSION`].
    pub version: u32,
    /// The run's id.
    pub run: RunId,
    /// The workflow's name.
    pub workflow: WorkflowName,
    /// The job.
    pub job: JobName,
    /// The service's name.
    pub service: String,
    /// The command.
    pub command: Argv,
    /// The `PATH` of the command.
    pub path: String,
    /// The directory in which the command runs. Without it, an empty directory of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<PathBuf>,
    /// The variables of the image, then those of the plan.
    #[serde(default, skip_serializing_if = "Env::is_empty")]
    pub env: Env,
    /// The ports on which the service listens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
    /// Whether its network is the host's, where other programs may have the ports.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shares_network: bool,
    /// How it tells that it is ready.
    pub health: HealthSpec,
    /// A directory in memory for the files of the health check.
    pub files_directory: PathBuf,
    /// Whether Landlock keeps it from signalling, tracing and reaching other processes.
    pub confine: bool,
    /// Whether it has a root file system of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_root: bool,
    /// Whether it has a PID namespace of its own. Standard input is then the host's /proc.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_pids: bool,
    /// Whether it is the first process of a container of systemd-nspawn. Standard input is then a
    /// directory with the host's /proc.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_container: bool,
    /// Whether a user was made for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own_user: bool,
    /// Whether it goes on when the kernel kills one of its processes for want of memory
    /// (`OOMPolicy=continue`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub goes_on_out_of_memory: bool,
    /// Whether a filter keeps it from setting limits of other processes of its user.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub guard_limits: bool,
}

impl Versioned for ServiceSpec {
    const VERSION: u32 = SERVICE_SPEC_VERSION;

    fn version(&self) -> u32 {
        self.version
    }
}

/// The services of a job, as the job's runner gets them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WatchedServices {
    /// The file that is empty until their ports are held. systemd then starts them.
    pub held: PathBuf,
    /// The services.
    pub each: Vec<WatchedService>,
}

/// A service of a job, as the job's runner gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WatchedService {
    /// The service's name.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// The file of its events. The job cannot write to it.
    pub events: PathBuf,
}
