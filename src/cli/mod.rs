//! The command line: one file per subcommand, and the only place that wires layers together.
pub mod start;
