//! CI workflows as systemd units. A plan becomes a DAG of transient units, PID 1 runs it, and the
//! result is a record.
//!
//! The crates and their layers, lowest last. Imports point down only, and modules of one layer
//! never import each other (cargo and `tests/layers.rs` check this):
//!
//! ```text
//! src/cli                      one file per subcommand; the only place that wires layers together
//! src/start                    makes a run of a plan
//! src/follow                   follows a run to its end
//! src/shell                    opens a shell in a running job
//! src/interrupts               the signals that end a command early
//! crates/engine/   supervisor  the live process of a run
//!                  embedded    the private manager
//! crates/runner/               the program `nixactions-runner`, which lives one job
//! crates/engine/   systemd     D-Bus adapter
//!                  overlay     workspaces mounted over the source tree
//!                  roots       images of root file systems
//!                  within      files of a root file system, as its jobs find them
//! src/language                 workflows in Nix
//! src/report                   events to text, JSON, graphs
//! crates/images/               images of containers, from archives and registries to directories
//! crates/store/                the run directory; without its feature `runs`, the runner's part
//! crates/engine/   unit        pure: graph + run -> transient units and job specs
//! crates/plan/                 serde model, validation, JSON Schema; the validated DAG
//! crates/core/                 the data that the programs exchange, the status algebra; no I/O
//! crates/expression/           GitHub's expressions: their form, checks and values
//! ```

// These macros panic if the reader of the output is gone or its disk is full.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;
pub mod follow;
pub mod interrupts;
pub mod language;
pub mod report;
pub mod shell;
pub mod start;

pub use nixactions_core::{
    bounds, catalog, error, event, ids, log, origin, reason, record, status,
};
pub use nixactions_engine::{embedded, overlay, roots, supervisor, systemd, unit};
pub use nixactions_images as images;
pub use nixactions_plan::{self as plan, graph};
pub use nixactions_store::{self as store, programs};
