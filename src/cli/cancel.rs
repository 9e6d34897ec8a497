//! `nixactions cancel`: asks a run's supervisor to end the run, through the run directory.

use std::io::Write;

use super::{
    CliError, Exit,
    args::CancelArgs,
    run::{close_lost, liveness},
};
use crate::store::{Liveness, StateDir};

pub(super) fn main(args: &CancelArgs, state: &StateDir) -> Result<Exit, CliError> {
    let run = state.run(&args.run)?;
    // If the record cannot be written, the run stays lost.
    close_lost(&run);
    let id = run.id();
    match liveness(&run) {
        Liveness::Finished => {
            let conclusion = run.load_record()?.conclusion.map_or_else(
                || "without a conclusion".to_owned(),
                |word| word.to_string(),
            );
            return Err(CliError::AlreadyFinished {
                run: id.to_string(),
                conclusion,
            });
        }
        Liveness::Incomplete => {
            return Err(CliError::NeverStarted {
                run: id.to_string(),
            });
        }
        Liveness::Lost => {
            return Err(CliError::Lost {
                run: id.to_string(),
            });
        }
        Liveness::Running => {}
    }
    // As with Ctrl-C, the second request kills the run.
    let kill = args.kill || run.cancel_requested(false).is_some();
    run.request_cancel("nixactions cancel", kill)?;
    let doing = if kill { "killing" } else { "cancelling" };
    writeln!(
        std::io::stdout(),
        "{id}: {doing}; `nixactions attach {id}` follows it to its end"
    )
    .map_err(CliError::Output)?;
    Ok(Exit::Success)
}
