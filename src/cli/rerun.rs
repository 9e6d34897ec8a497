//! `nixactions rerun`: starts a run from what another one left, and follows it to its end.

use std::path::Path;

use super::{
    CliError, Exit,
    args::RerunArgs,
    block_on,
    run::{choice, show, while_signals_end},
    start::{RerunRequest, Which, rerun},
};

pub(super) fn main(args: &RerunArgs, state: &Path) -> Result<Exit, CliError> {
    let request = RerunRequest {
        run: &args.run,
        which: match &args.job {
            Some(job) => Which::Job(job.clone()),
            None if args.failed => Which::Failed,
            None => Which::All,
        },
        manager: args.manager.map(choice),
        env: &args.env,
        env_files: &args.env_file,
        secret_env_files: &args.secret_env_file,
    };
    block_on(async {
        show(
            while_signals_end(rerun(&request, state)).await??,
            state,
            args.detach,
            args.output,
        )
        .await
    })
}
