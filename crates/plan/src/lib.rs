//! The plan. Nix compiles it, and the engine runs it.
//!
//! [`load`] and [`parse`] return a plan without faults, or all faults at once: text that is not
//! JSON, values that do not fit the schema (`structure`), and fields that contradict each other
//! (`validate`). Knows nothing of units, runs or the host.

mod document;
mod fault;
pub mod graph;
mod load;
mod model;
mod notes;
pub(crate) mod order;
pub mod properties;
mod rules;
mod schema;
mod structure;
mod support;
mod validate;

use nixactions_core::{error, ids};

pub use document::PLAN_BYTES_MAX;
pub use fault::{FAULTS_SHOWN, Fault, Faults, PlanError, nearest};
pub use load::{load, parse};
pub use model::*;
pub use notes::notes;
pub use properties::size;
pub use rules::{input_variable, matrix_variable};
pub use schema::{schema, schema_text};
pub use support::unsupported;
pub use validate::{InputError, input_values, resolve_inputs, set_by_engine};
