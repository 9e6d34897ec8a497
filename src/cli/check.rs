//! `nixactions check`: says what is wrong with a plan, or what it would do; starts nothing.

use std::io::{self, Write};

use super::{
    CliError, Exit,
    args::{CheckArgs, TargetArgs},
    block_on,
    start::StartError,
};
use crate::{
    error::escaped_lines,
    graph::Graph,
    plan::{self, Plan},
    report,
};

pub(super) fn main(args: &CheckArgs) -> Result<Exit, CliError> {
    let (plan, graph) = load(&args.target)?;
    let unsupported = plan::unsupported(&plan);
    if !unsupported.is_empty() {
        return Err(StartError::Unsupported(unsupported).into());
    }
    io::stdout()
        .write_all(escaped_lines(&report::explain(&plan, &graph)).as_bytes())
        .map_err(CliError::Output)?;
    Ok(Exit::Success)
}

/// Reads or evaluates the plan of a target, and validates it.
pub(super) fn load(target: &TargetArgs) -> Result<(Plan, Graph), CliError> {
    let plan = block_on(target.plan())?;
    let graph = Graph::new(&plan).map_err(StartError::from)?;
    Ok((plan, graph))
}
