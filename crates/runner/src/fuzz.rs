//! The parsers of what a step wrote, for the fuzz targets in `fuzz/`. Nothing else is built with
//! `cfg(fuzzing)`. Tests are built with it as well, so that it stays whole.

pub use crate::{
    commands::{Commands, Heard, Stopped},
    files::{FILE_MAX, FileError, StepFiles, Written, is_name},
    gate::NeedResult,
    variables::{Variables, of_needs},
};
