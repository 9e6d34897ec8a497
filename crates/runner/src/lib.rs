//! The job runner, which a job's unit starts.
//!
//! The runner reads the job's spec and the results of its needs, and nothing else of the run. It
//! evaluates the gate, prepares the workspace, runs the steps, saves artifacts and reports the end
//! of the job. If the job has a `retry`, one more process is the parent of its runners (`parent`).
//! The runner is synchronous and small, because a run starts thousands of them. It knows nothing of
//! D-Bus, and of systemd only its unit's cgroup and journald's socket.

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
mod exit;
mod files;
mod fit;
mod forms;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod gate;
mod hash;
mod hide;
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
mod watched;
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
