//! `nixactions cancel`: asks a run's supervisor to end the run, through the run directory.

use std::io::Write;

use super::{
    CliError, Exit,
    args::CancelArgs,
    block_on,
    lost::{close_lost, liveness},
};
use crate::{
    follow::FollowError,
    store::{Liveness, StateDir},
    supervisor::Jobs,
};

pub(super) fn main(args: &CancelArgs, state: &StateDir) -> Result<Exit, CliError> {
    let run = state.run(&args.run)?;
    let before = liveness(&run);
    // The jobs of a run without a supervisor are stopped here. If the record cannot be written, the
    // run stays lost.
    block_on(async {
        close_lost(&run, Jobs::Stop).await;
        Ok(())
    })?;
    let id = run.id();
    match liveness(&run) {
        Liveness::Finished if before == Liveness::Lost => {
            writeln!(
                std::io::stdout(),
                "{id}: it was lost; its jobs have ended, and its record is closed"
            )
            .map_err(CliError::Output)?;
            return Ok(Exit::Success);
        }
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
            return Err(CliError::from(FollowError::Lost {
                run: id.to_string(),
            }));
        }
        Liveness::Running => {}
    }
    // As with Ctrl-C, the second request kills the run.
    let by = "nixactions cancel";
    let kill = if args.kill {
        run.request_cancel(by, true).map(|()| true)?
    } else {
        run.request_next(by)?
    };
    let doing = if kill { "killing" } else { "cancelling" };
    writeln!(
        std::io::stdout(),
        "{id}: {doing}; `nixactions attach {id}` follows it to its end"
    )
    .map_err(CliError::Output)?;
    Ok(Exit::Success)
}
