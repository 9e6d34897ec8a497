//! Pure: a graph and a run become transient units and job specs.

mod names;
mod spec;

pub use names::*;
pub use spec::*;
