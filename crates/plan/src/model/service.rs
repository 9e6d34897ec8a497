//! Services: programs that run beside the steps of a job.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use nixactions_core::service::{HealthSpec, Probe};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Argv, ContainerMode, Env, Executor, Image, Job, Network, Plan, Sandbox, Seconds};

/// The time between two tries of a service's health, where the plan names none.
const INTERVAL: f64 = 1.0;
/// The longest time of a try, where the plan names none.
const TIMEOUT: f64 = 5.0;
/// The most tries, where the plan names none.
const RETRIES: u32 = 30;
/// The time between two tries whether the ports of a service take connections.
const PORT_INTERVAL: f64 = 0.1;
/// The most such tries: 30 seconds.
const PORT_TRIES: u32 = 300;

/// A program that runs beside the steps of a job, in a unit of its own. The steps start when all
/// services of the job are ready, and find each by its name and at 127.0.0.1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Service {
    /// The program and its arguments. With an `image`, the default is the image's own command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub run: Argv,
    /// The root file system of the service, as an executor has it. At most one of `root` and
    /// `image`. Without both, the program is one of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<PathBuf>,
    /// The image that holds the root file system of the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// Variables of the service. It has no others of the plan.
    #[serde(default, skip_serializing_if = "Env::is_empty")]
    pub env: Env,
    /// Unit properties of the service, such as `MemoryMax`.
    #[serde(default, skip_serializing_if = "Env::is_empty")]
    pub properties: Env,
    /// The TCP ports on which the service listens, from 1024 on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// How the service tells that it is ready. By default, it is ready when all of its ports take
    /// connections, or at once if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

/// A TCP port from 1024 on: a service has no right to listen on a lower one.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct Port(#[schemars(range(min = 1, max = 65535))] pub u16);

/// How a service tells that it is ready for the steps. Exactly one of `run` and `notify`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Health {
    /// A command that succeeds when the service is ready. It runs as the service does: with its
    /// files, user, variables and network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub run: Argv,
    /// Whether the service says by itself that it is ready (`READY=1`, sd_notify(3)).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub notify: bool,
    /// The time between two tries, in seconds. The default is 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Seconds>,
    /// The longest time of one try, in seconds. The default is 5. With `notify`, the longest time
    /// until the service is ready, with 30 as the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Seconds>,
    /// The most tries. The default is 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub retries: Option<u32>,
}

impl Service {
    /// Returns whether the service has a root file system of its own.
    pub fn has_root(&self) -> bool {
        self.root.is_some() || self.image.is_some()
    }

    /// Returns the executor of a job that would have this service's file system and sandbox.
    pub fn executor(&self, sandbox: Sandbox) -> Executor {
        Executor::Systemd {
            copy_repo: false,
            sandbox,
            properties: self.properties.clone(),
            nix: false,
            root: self.root.clone(),
            image: self.image.clone(),
            image_user: self.image.is_some(),
            mode: ContainerMode::Isolated,
            network: Network::Host,
            private_users: true,
            capabilities: Vec::new(),
            bind: Vec::new(),
            env: Env::new(),
        }
    }

    /// Returns how often the service is tried until it counts as ready.
    pub fn health(&self) -> HealthSpec {
        let seconds = |seconds: f64| {
            Seconds::try_from(seconds).expect("invariant: the default times are positive")
        };
        let health = self.health.as_ref();
        let of = |set: Option<Seconds>, default| set.unwrap_or_else(|| seconds(default));
        let (interval, timeout) = (
            health.and_then(|health| health.interval),
            health.and_then(|health| health.timeout),
        );
        let retries = health.and_then(|health| health.retries);
        match health {
            Some(health) if health.notify => HealthSpec {
                probe: Probe::Notify,
                interval: seconds(INTERVAL),
                timeout: of(timeout, f64::from(RETRIES) * INTERVAL),
                tries: 1,
            },
            Some(health) if !health.run.is_empty() => HealthSpec {
                probe: Probe::Run(health.run.clone()),
                interval: of(interval, INTERVAL),
                timeout: of(timeout, TIMEOUT),
                tries: retries.unwrap_or(RETRIES),
            },
            _ => HealthSpec {
                probe: Probe::Ports,
                interval: of(interval, PORT_INTERVAL),
                timeout: of(timeout, TIMEOUT),
                tries: retries.unwrap_or(PORT_TRIES),
            },
        }
    }

    /// Returns the directory of the service's root file system, as the plan names it.
    pub fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }
}

/// An executor that jobs use, or a service with a root file system of its own.
#[derive(Debug)]
pub struct Used<'a> {
    /// The name by which its root file system is known.
    pub key: String,
    /// Its kind and its name, for people.
    pub named: String,
    /// The executor, or one that has the file system of the service.
    pub executor: Cow<'a, Executor>,
    /// The jobs of the executor. Those of a service have none of its files.
    pub jobs: Vec<&'a Job>,
    /// Whether it needs the command of its image.
    pub needs_command: bool,
}

impl Plan {
    /// Returns the executors that jobs use, and the services with root file systems of their own.
    pub fn used(&self) -> Vec<Used<'_>> {
        let jobs_of = |name: &str| {
            let jobs = self.jobs.values();
            let jobs = jobs.filter(|job| job.executor.as_deref() == Some(name));
            jobs.collect::<Vec<_>>()
        };
        let executors = self.executors.iter().map(|(name, executor)| Used {
            key: name.clone(),
            named: format!("executor `{name}`"),
            executor: Cow::Borrowed(executor),
            jobs: jobs_of(name),
            needs_command: false,
        });
        let executors = executors.filter(|used| !used.jobs.is_empty());
        let services = self.jobs.iter().flat_map(|(job, settings)| {
            let services = settings.services.iter();
            let services = services.filter(|(_, service)| service.has_root());
            services.map(move |(name, service)| Used {
                key: service_key(job.as_str(), name),
                named: format!("service `{name}` of job `{job}`"),
                executor: Cow::Owned(service.executor(Sandbox::Strict)),
                jobs: Vec::new(),
                needs_command: service.run.is_empty(),
            })
        });
        executors.chain(services).collect()
    }
}

/// Returns the name by which the root file system of a job's service is known among those of
/// executors. No executor has a name with a colon.
pub fn service_key(job: &str, service: &str) -> String {
    format!("{job}:{service}")
}
