//! `nixactions attach`: follows a run that was started elsewhere.

use super::{
    CliError, Exit, args::AttachArgs, block_on, error::tell_follow, lost::close_lost, notify,
    output::renderer, run::to_the_end,
};
use crate::{
    follow::{FollowOptions, Interrupt, Shown},
    store::{Liveness, StateDir},
    supervisor::Jobs,
};

pub(super) fn main(args: &AttachArgs, state: &StateDir) -> Result<Exit, CliError> {
    let run = state.run(&args.run)?;
    // If the record cannot be written, the run stays lost.
    block_on(async {
        close_lost(&run, Jobs::GoOn).await;
        Ok(())
    })?;
    if run.liveness() == Liveness::Incomplete {
        return Err(CliError::NeverStarted {
            run: args.run.clone(),
        });
    }
    let renderer = renderer(args.output.output, run.id(), true);
    let options = FollowOptions {
        renderer,
        interrupt: Interrupt::Detach,
        interrupts: None,
        shown: Shown::Everything,
        fresh: false,
        is_service: notify::is_service(),
        tell: tell_follow,
    };
    block_on(to_the_end(&run, options))
}
