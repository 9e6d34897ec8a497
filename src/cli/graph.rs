//! `nixactions graph`: draws a plan's jobs and their needs.

use std::io::{self, Write};

use super::{
    CliError, Exit,
    args::{GraphArgs, GraphFormat},
    check::load,
};
use crate::{error::escaped_lines, report};

pub(super) fn main(args: &GraphArgs) -> Result<Exit, CliError> {
    let (plan, graph) = load(&args.target)?;
    let text = match args.format {
        GraphFormat::Tree => report::tree(&plan, &graph),
        GraphFormat::Dot => report::dot(&plan, &graph),
        GraphFormat::Mermaid => report::mermaid(&plan, &graph),
    };
    io::stdout()
        .write_all(escaped_lines(&text).as_bytes())
        .map_err(CliError::Output)?;
    Ok(Exit::Success)
}
