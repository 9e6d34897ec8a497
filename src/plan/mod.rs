//! The plan: what Nix compiles and the orchestrator runs.

mod model;

pub use model::*;
