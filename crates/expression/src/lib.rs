//! GitHub's expressions, as pure functions
//! (<https://docs.github.com/en/actions/reference/workflows-and-actions/expressions>).
//!
//! [`parse`] turns a text into a tree, [`check`] finds the names and types in it that cannot be
//! right, [`evaluate`] computes its value, and [`template`] finds the expressions in a text. Knows
//! nothing of plans, jobs or files: contexts and status functions come from the caller.

mod check;
mod evaluate;
mod functions;
mod lexer;
mod number;
mod parser;
mod syntax_error;
pub mod template;
mod value;

pub use check::{Fault, Kind, Shape, check};
pub use evaluate::{Contexts, Status, evaluate};
pub use functions::{Failure, Function, STATUS_FUNCTIONS, TEXT_MAX};
pub use parser::{CONTEXTS, Expression, Sign, parse};
pub use syntax_error::SyntaxError;
pub use value::Value;
