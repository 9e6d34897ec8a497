//! Turns a graph and a run into transient units and job specs. Pure.

mod commands;
mod compile;
mod context;
mod disk;
mod file;
mod hooks;
mod matrix;
mod memory;
mod mounting;
mod nspawn;
mod parts;
mod placement;
mod properties;
mod root;
mod sandbox;
mod services;
mod setup;
mod shared;
mod spec;
mod steps;
mod supervisor;
mod value;
mod view;
mod warnings;

pub use commands::*;
pub use compile::{Users, Wave, pure_success, wants_range, wants_user, wave};
pub use context::{Context, DEFAULT_JOB_TIMEOUT, Features, inputs};
pub use file::{command_line, sections};
pub use hooks::{executor_of, executors_with, has_hooks, hook_spec, hook_unit};
pub use matrix::{matrix_groups, matrix_jobs, supervised_timeout};
pub use mounting::root_spec;
pub use nixactions_core::{grace::*, names::*, paths::*, spec::*};
pub use nspawn::{MEMORY_LIMITS, NSPAWN, NspawnSpec, escaped};
pub use placement::{Nspawn, Placement, shared_executor, shared_executors};
pub use root::{NIX_STORE, RootSpec};
pub use services::{
    STOP_TIMEOUT as SERVICE_STOP_TIMEOUT, has_private_network, ports_directory, service_files,
    services_want_users, shared_ports,
};
pub use setup::setup_of;
pub use shared::{JoinSpec, container_spec, container_unit, join_spec};
pub use spec::job_spec;
pub use steps::step_name;
pub use supervisor::{runtime_directory, supervisor};
pub use value::*;
pub use view::home_inside;
pub use warnings::{KernelSupport, NO_SCOPES, warnings};
