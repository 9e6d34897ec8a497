//! The parsers of what a step wrote, for the fuzz targets in `fuzz/`. Nothing else is built with
//! `cfg(fuzzing)`.

pub use crate::{
    commands::{Commands, Heard, Stopped},
    files::{FILE_MAX, FileError, StepFiles, Written, is_name},
    gate::NeedResult,
    needs::{Variables, variables},
};
