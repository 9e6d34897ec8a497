//! `nixactions completions`: prints a shell's completion script.

use std::io::Write;

use clap::CommandFactory;

use super::{
    CliError, Exit,
    args::{Cli, CompletionsArgs},
};

pub(super) fn main(args: &CompletionsArgs) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "nixactions", &mut script);
    std::io::stdout()
        .write_all(&script)
        .map_err(CliError::Output)?;
    Ok(Exit::Success)
}
