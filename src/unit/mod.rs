//! Pure: a graph and a run become transient units and job specs.

mod compile;
mod names;
mod paths;
mod sandbox;
mod spec;
mod value;

pub use compile::*;
pub use names::*;
pub use paths::*;
pub use spec::*;
pub use value::*;
