//! Pure: a graph and a run become transient units and job specs.

mod compile;
mod file;
mod hooks;
mod matrix;
mod names;
mod paths;
mod sandbox;
mod spec;
mod supervisor;
mod value;

pub use compile::*;
pub use file::{command_line, sections};
pub use hooks::{WorkspaceHook, executor_of, executors_with, has_hooks, hook_spec, hook_unit};
pub use matrix::{matrix_groups, matrix_jobs};
pub use names::*;
pub use paths::*;
pub use sandbox::home_inside;
pub use spec::*;
pub use supervisor::supervisor;
pub use value::*;
