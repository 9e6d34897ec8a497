//! `nixactions shell`: opens a shell in a running job.

use std::{ffi::OsString, path::Path, process::ExitCode};

use super::{CliError, args::ShellArgs, logs::known_job};
use crate::{shell, store::StateDir, unit::UnitName};

pub(super) fn main(args: &ShellArgs, state: &StateDir) -> Result<ExitCode, CliError> {
    let run = state.run(&args.run)?;
    let job = known_job(&run, &args.job)?;
    let unit = UnitName::job(run.id(), &job);
    let code = shell::open(&unit, run.path(), &args.command)?;
    Ok(ExitCode::from(code))
}

/// The other process: its arguments are the unit, the run's directory and the command.
pub(super) fn enter(
    unit: &OsString,
    run: &Path,
    command: &[OsString],
) -> Result<ExitCode, CliError> {
    Ok(ExitCode::from(shell::enter(unit, run, command)?))
}
