//! The `nixactions` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    nixactions::cli::main()
}
