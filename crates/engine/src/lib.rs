//! The engine: a plan becomes transient units, and a supervisor sees them through.
//!
//! Knows nothing of the command line and of how a run is shown.

pub mod embedded;
pub mod overlay;
pub mod supervisor;
pub mod systemd;
pub mod unit;

use nixactions_core::{bounds, error, event, ids, record, status};
use nixactions_plan::{self as plan, graph};
use nixactions_store::{self as store, programs};
