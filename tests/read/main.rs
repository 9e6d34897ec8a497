//! Everything that reads and shows a run, on run directories made by hand and without any manager.
//! Lines of the journal are not in here: they need a journald, and come with the tests that boot
//! one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cli;
mod common;
mod follow;
mod program;
mod report;
mod times;
