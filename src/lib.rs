//! CI workflows as systemd units: a plan becomes a DAG of transient units, PID 1 runs it, a record
//! comes out.
//!
//! The layers, lowest last; imports point down only, and modules of one layer never import each
//! other (`tests/layers.rs` holds this):
//!
//! ```text
//! main.rs   bin/                   the two programs: `nixactions`, and `nixactions-runner`, which is the runner alone
//! cli                              one file per subcommand; the only place that wires layers together
//! supervisor   runner   embedded   the live processes, and the private manager
//! systemd   overlay   language     D-Bus adapter; workspaces mounted over the source tree; workflows in Nix
//! report   store                   events to text, JSON, graphs; the run directory
//! unit                             pure: graph + run -> transient units and job specs
//! graph   status                   pure: plan -> validated DAG; the status algebra
//! plan                             serde model, validation, JSON Schema
//! event / record / ids / bounds    the central types, and how much a job may add to them
//! error / programs                 what all need
//! ```

// They panic where nobody reads the output, or where its disk is full.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod bounds;
pub mod cli;
pub mod embedded;
pub mod error;
pub mod event;
pub mod graph;
pub mod ids;
pub mod language;
pub mod log;
pub mod overlay;
pub mod plan;
pub mod programs;
pub mod record;
pub mod report;
pub mod runner;
pub mod status;
pub mod store;
pub mod supervisor;
pub mod systemd;
pub mod unit;
