//! The types that client, supervisor and runner share, and the decisions that they share.
//!
//! The three of them communicate through files and the journal. The first two are the program
//! `nixactions`, the third is `nixactions-runner`. This crate holds the types of that data. It
//! knows nothing of reading or writing: no module here does any I/O.

pub mod bounds;
pub mod catalog;
pub mod claims;
mod conclusion;
pub mod conditions;
pub mod error;
pub mod event;
pub mod grace;
pub mod ids;
pub mod image;
pub mod log;
pub mod names;
pub mod origin;
pub mod paths;
pub mod reason;
pub mod record;
pub mod service;
pub mod settings;
pub mod spec;
pub mod status;
