//! `nixactions shell`: opens a shell in a running job.

use std::process::ExitCode;

use super::{CliError, args::ShellArgs, logs::known_job};
use crate::{shell, store::StateDir};

pub(super) fn main(args: &ShellArgs, state: &StateDir) -> Result<ExitCode, CliError> {
    let run = state.run(&args.run)?;
    let job = known_job(&run, &args.job)?;
    let code = shell::open(run.job(&job).path(), job.as_str(), &args.command)?;
    Ok(ExitCode::from(code))
}
