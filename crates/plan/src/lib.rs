//! The plan: what Nix compiles and the orchestrator runs.
//!
//! [`load`] and [`parse`] return a plan that has no fault, or every fault at once: what is not
//! JSON, what does not fit the schema (`structure`), and what the fields mean together
//! (`validate`). Knows nothing of units, runs or the host.

mod document;
mod fault;
pub mod graph;
mod load;
mod model;
pub(crate) mod order;
pub mod properties;
mod rules;
mod schema;
mod structure;
mod support;
mod validate;

use nixactions_core::{error, ids};

pub use document::PLAN_BYTES_MAX;
pub use fault::{FAULTS_SHOWN, Fault, Faults, PlanError};
pub use load::{load, parse};
pub use model::*;
pub use properties::size;
pub use rules::{input_variable, matrix_variable};
pub use schema::{schema, schema_text};
pub use support::unsupported;
pub use validate::{InputError, resolve_inputs, set_by_engine};
