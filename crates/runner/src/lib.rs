//! The job runner, which a job's unit starts.
//!
//! Above the runner of a job that has a `retry` stands one more process (`parent`). The runner
//! reads the job's spec and nothing else of the run but its needs' results; evaluates the gate,
//! prepares the workspace, runs the steps, saves artifacts and tells how the job ended. It is
//! synchronous and small: thousands of these start in a run. It knows nothing of D-Bus, and of
//! systemd only its unit's cgroup and journald's socket.

mod attempt;
mod calls;
mod cgroup;
mod clean;
mod commands;
mod condition;
mod confine;
mod container;
mod contexts;
mod env;
mod files;
mod fit;
mod forms;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod gate;
mod hash;
mod hold;
mod interleave;
mod job;
mod journal;
mod keys;
mod leave;
mod lifeline;
mod mask;
mod masks;
mod not_started;
mod output;
mod parent;
mod places;
mod port;
mod process;
mod provider;
mod retry;
mod script;
mod secrets;
mod serve;
mod services;
mod signals;
mod slots;
mod step;
mod stop;
mod variables;
mod workspace;

use nixactions_core::{
    bounds, error, event, grace, ids, log, paths, reason, record, settings, spec, status,
};
use nixactions_store as store;
use nixactions_store::programs;

pub use container::stand;
pub use hold::wait as hold;
pub use job::main;
pub use nixactions_core::{
    service::{PORTS_COMMAND, SERVICE_COMMAND},
    spec::{HOLDER, STAND},
};
pub use serve::{main as service, ports};
