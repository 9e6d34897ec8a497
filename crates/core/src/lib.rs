//! What the programs of nixactions tell each other, and the decisions that they share.
//!
//! Client, supervisor and runner meet in files and in the journal; these are the types of what lies
//! there. Knows nothing of how it is read and written: no module here does any I/O.

pub mod bounds;
pub mod error;
pub mod event;
pub mod grace;
pub mod ids;
pub mod log;
pub mod names;
pub mod paths;
pub mod record;
pub mod settings;
pub mod spec;
pub mod status;
