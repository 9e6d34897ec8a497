//! Turns a graph and a run into transient units and job specs. Pure.

mod compile;
mod file;
mod hooks;
mod matrix;
mod memory;
mod nspawn;
mod parts;
mod placement;
mod sandbox;
mod services;
mod shared;
mod spec;
mod supervisor;
mod value;
mod warnings;

pub use compile::*;
pub use file::{command_line, sections};
pub use hooks::{executor_of, executors_with, has_hooks, hook_spec, hook_unit};
pub use matrix::{matrix_groups, matrix_jobs, supervised_timeout};
pub use nixactions_core::{grace::*, names::*, paths::*, spec::*};
pub use nspawn::{MEMORY_LIMITS, NSPAWN, NspawnSpec, escaped};
pub use placement::{NIX_STORE, Nspawn, Placement, RootSpec, root_spec};
pub use sandbox::home_inside;
pub use services::{
    STOP_TIMEOUT as SERVICE_STOP_TIMEOUT, has_private_network, ports_directory, service_files,
    services_want_users, shared_ports,
};
pub use shared::{
    JoinSpec, container_spec, container_unit, join_spec, setup_of, shared_executor,
    shared_executors,
};
pub use spec::{job_spec, step_name};
pub use supervisor::{runtime_directory, supervisor};
pub use value::*;
pub use warnings::{KernelSupport, NO_SCOPES, warnings};
