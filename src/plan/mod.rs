//! The plan: what Nix compiles and the orchestrator runs.

pub(crate) mod cycles;
mod model;

pub use model::*;
