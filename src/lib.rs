//! CI workflows as systemd units. A plan becomes a DAG of transient units, PID 1 runs it, and the
//! result is a record.
//!
//! The crates and their layers, lowest last. Imports point down only, and modules of one layer
//! never import each other (cargo and `tests/layers.rs` check this):
//!
//! ```text
//! src/             the program `nixactions`
//!   cli              one file per subcommand; the only place that wires layers together
//!   report language  events to text, JSON, graphs; workflows in Nix
//! crates/engine/   what starts units and sees them through
//!   supervisor  embedded   the live process of a run, and the private manager
//!   systemd  overlay  roots   D-Bus adapter; file systems that units mount; images of roots
//!   unit                   pure: graph + run -> transient units and job specs
//! crates/runner/   the program `nixactions-runner`, which lives one job
//! crates/store/    the run directory; without its feature `runs` only what a runner needs
//! crates/plan/     serde model, validation, JSON Schema; the validated DAG
//! crates/core/     what the programs tell each other, and the status algebra; no I/O
//! crates/expression/   GitHub's expressions: their form, checks and values
//! ```

// These macros panic if the reader of the output is gone or its disk is full.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;
pub mod language;
pub mod report;

pub use nixactions_core::{bounds, error, event, ids, log, record, status};
pub use nixactions_engine::{embedded, overlay, roots, supervisor, systemd, unit};
pub use nixactions_plan::{self as plan, graph};
pub use nixactions_store::{self as store, programs};
