//! Executors: where jobs run, and the file systems of those that run in a root of their own.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Argv, Env, yes};

/// The isolation of a job from the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Sandbox {
    /// A user of its own, a read-only host, no homes, no new privileges, no dangerous system calls.
    /// The default.
    #[default]
    Strict,
    /// A user of its own, a read-only host, and the namespaces and system calls of any user.
    Relaxed,
    /// The manager's own user, with all its rights.
    None,
}

/// The place in which jobs run, and its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Executor {
    /// A transient service on the host, or in a root file system of its own.
    Systemd {
        /// Whether the workspace starts with a copy of the source tree.
        #[serde(default = "yes")]
        copy_repo: bool,
        /// The isolation of a job from the host.
        #[serde(default)]
        sandbox: Sandbox,
        /// Unit properties (systemd.exec(5), systemd.resource-control(5)) of the executor's jobs.
        /// docs/properties.md lists the allowed ones.
        #[serde(default)]
        properties: Env,
        /// Whether the jobs, which are on the host, can build with its Nix daemon.
        #[serde(default, skip_serializing_if = "is_false")]
        nix: bool,
        /// The root file system of the jobs: a directory, a tar archive or a disk image. At most
        /// one of `root` and `image`. Without both, the jobs see the host's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        root: Option<PathBuf>,
        /// The image that holds the root file system of the jobs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image: Option<Image>,
        /// Whether the jobs have the user and the working directory of the image.
        #[serde(default, skip_serializing_if = "is_false")]
        image_user: bool,
        /// Whether all jobs of the executor share one container.
        #[serde(default, skip_serializing_if = "is_default")]
        mode: ContainerMode,
        /// Whether the jobs have the host's network.
        #[serde(default, skip_serializing_if = "is_default")]
        network: Network,
        /// Whether the users in the root file system are other users than those of the host.
        #[serde(default = "yes", skip_serializing_if = "is_true")]
        private_users: bool,
        /// Capabilities of the jobs (capabilities(7)), such as `CAP_SYS_ADMIN`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        capabilities: Vec<String>,
        /// Files and directories of the host that the jobs see.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        bind: Vec<Bind>,
        /// Variables of the jobs' steps. Those of the workflow come after them.
        #[serde(default, skip_serializing_if = "Env::is_empty")]
        env: Env,
    },
    /// A systemd-nspawn container.
    Nspawn {
        /// Whether the workspace starts with a copy of the source tree.
        #[serde(default = "yes")]
        copy_repo: bool,
        /// The container's root file system: a directory, a tar archive or a disk image. Exactly
        /// one of `root` and `image`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        root: Option<PathBuf>,
        /// The image that holds the container's root file system.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image: Option<Image>,
        /// Whether the jobs have the user and the working directory of the image.
        #[serde(default, skip_serializing_if = "is_false")]
        image_user: bool,
        /// Whether all jobs of the executor share one container.
        #[serde(default, skip_serializing_if = "is_default")]
        mode: ContainerMode,
        /// Whether the container shares the host's network.
        #[serde(default)]
        network: Network,
        /// Whether the users in the container are other users than those of the host.
        #[serde(default = "yes", skip_serializing_if = "is_true")]
        private_users: bool,
        /// Capabilities of the jobs (capabilities(7)), such as `CAP_SYS_ADMIN`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        capabilities: Vec<String>,
        /// Files and directories of the host that the jobs see.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        bind: Vec<Bind>,
        /// Variables of the jobs' steps. Those of the workflow come after them.
        #[serde(default, skip_serializing_if = "Env::is_empty")]
        env: Env,
        /// Unit properties of the executor's jobs.
        #[serde(default)]
        properties: Env,
    },
    /// Executables of the user's own.
    Hooks {
        /// Whether the workspace starts with a copy of the source tree.
        #[serde(default = "yes")]
        copy_repo: bool,
        /// Once per executor and run, before its jobs.
        #[serde(default)]
        setup_workspace: Option<Argv>,
        /// Once per executor and run, after its jobs.
        #[serde(default)]
        cleanup_workspace: Option<Argv>,
        /// Before each job.
        #[serde(default)]
        setup_job: Option<Argv>,
        /// Runs a job's steps.
        #[serde(default)]
        execute_job: Option<Argv>,
        /// After each job.
        #[serde(default)]
        cleanup_job: Option<Argv>,
        /// Saves one artifact.
        #[serde(default)]
        save_artifact: Option<Argv>,
        /// Restores one artifact.
        #[serde(default)]
        restore_artifact: Option<Argv>,
    },
}

impl Default for Executor {
    fn default() -> Self {
        Self::Systemd {
            copy_repo: true,
            sandbox: Sandbox::Strict,
            properties: Env::new(),
            nix: false,
            root: None,
            image: None,
            image_user: false,
            mode: ContainerMode::default(),
            network: Network::default(),
            private_users: true,
            capabilities: Vec::new(),
            bind: Vec::new(),
            env: Env::new(),
        }
    }
}

/// An image, and the digest that it must have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Image {
    /// The path of an OCI archive, an OCI layout or a docker-archive, or a reference such as
    /// `docker://docker.io/library/alpine:3`.
    pub oci: String,
    /// The digest of the image's manifest, such as `sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// A file or directory of the host, and its place in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bind {
    /// The path on the host.
    pub source: PathBuf,
    /// The path in the container. The default is `source`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<PathBuf>,
    /// Whether the jobs cannot write there.
    #[serde(default)]
    pub read_only: bool,
}

impl Bind {
    /// Returns the path in the container.
    pub fn target(&self) -> &Path {
        self.target.as_deref().unwrap_or(&self.source)
    }
}

/// The number of containers of an executor in a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ContainerMode {
    /// A container for each job. The default.
    #[default]
    Isolated,
    /// One container for all jobs.
    Shared,
}

/// A container's network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Network {
    /// The host's network.
    #[default]
    Host,
    /// Loopback only.
    Private,
    /// A link to the host (`--network-veth`, systemd-nspawn(1)).
    Veth,
}

impl Network {
    /// Returns whether this is the host's network.
    pub fn is_host(&self) -> bool {
        *self == Self::Host
    }
}

/// The settings of jobs in a root file system of their own, whichever type of executor has them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Container<'a> {
    /// The root file system. Exactly one of this and `image` is there.
    pub root: Option<&'a Path>,
    /// The image.
    pub image: Option<&'a Image>,
    /// Whether the jobs have the user and the working directory of the image.
    pub image_user: bool,
    /// The number of containers.
    pub mode: ContainerMode,
    /// The network.
    pub network: Network,
    /// Whether the users are other users than those of the host.
    pub private_users: bool,
    /// The capabilities of the jobs.
    pub capabilities: &'a [String],
    /// The files and directories of the host that the jobs see.
    pub bind: &'a [Bind],
    /// The variables of the jobs' steps.
    pub env: &'a Env,
}

impl Executor {
    /// Returns the settings of jobs in a root file system of their own. Jobs on the host have none.
    pub fn container(&self) -> Option<Container<'_>> {
        self.container_settings()
            .filter(|container| container.root.is_some() || container.image.is_some())
    }

    /// Returns the settings that only jobs in a root file system of their own may have.
    pub fn container_settings(&self) -> Option<Container<'_>> {
        match self {
            Self::Systemd {
                root,
                image,
                image_user,
                mode,
                network,
                private_users,
                capabilities,
                bind,
                env,
                copy_repo: _,
                sandbox: _,
                properties: _,
                nix: _,
            }
            | Self::Nspawn {
                root,
                image,
                image_user,
                mode,
                network,
                private_users,
                capabilities,
                bind,
                env,
                copy_repo: _,
                properties: _,
            } => Some(Container {
                root: root.as_deref(),
                image: image.as_ref(),
                image_user: *image_user,
                mode: *mode,
                network: *network,
                private_users: *private_users,
                capabilities,
                bind,
                env,
            }),
            Self::Hooks { .. } => None,
        }
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_true(value: &bool) -> bool {
    *value
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
