//! How to mount the root file system of a job: what the command that mounts it reads.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::NspawnSpec;
use crate::plan::Bind;

/// The directory of the Nix store.
pub const NIX_STORE: &str = "/nix/store";

/// How to mount the root file system of a job: the content of [`super::RootPaths::spec`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RootSpec {
    /// The directory of the image, or its file.
    pub image: PathBuf,
    /// The type of the file system in that file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_system: Option<String>,
    /// The user of the image that the job's user stands for, and the group after a colon. Without
    /// it, the job's user stands for the owner of the image's directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The job's directory.
    pub job: PathBuf,
    /// The job's `$HOME`, as the job sees it.
    pub home: PathBuf,
    /// Files and directories of the host.
    pub binds: Vec<Bind>,
    /// Whether the job needs the host's Nix store, whatever its image has.
    pub needs_store: bool,
    /// Whether the job uses the host's network.
    pub uses_network: bool,
    /// Whether the job's workspace is mounted over the run's source tree.
    pub mounts_workspace: bool,
    /// The names of hosts that stand for this machine: those of the job's services.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// How to run a container in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nspawn: Option<NspawnSpec>,
}
