//! The engine: it turns a plan into transient units, and a supervisor watches over them.
//!
//! It knows nothing of the command line or of how a run is shown.

pub mod embedded;
pub mod overlay;
pub mod roots;
pub mod supervisor;
pub mod systemd;
pub mod unit;
mod within;

use nixactions_core::{
    bounds, catalog, claims, error, event, ids, reason, record, service, status,
};
use nixactions_plan::{self as plan, graph};
use nixactions_store::{self as store, programs};
