//! `nixactions rerun`: starts a run again from an earlier one, and follows it to its end.

use std::path::Path;

use super::{
    CliError, Exit,
    args::RerunArgs,
    block_on,
    run::{choice, show},
};
use crate::{
    interrupts::Interrupts,
    start::{ImagesUnit, RerunRequest, Which, rerun},
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
        images_by: match args.images_by.as_slice() {
            [program, name, directory] => Some(ImagesUnit {
                program: Path::new(program),
                name,
                directory: Path::new(directory),
            }),
            _ => None,
        },
    };
    block_on(async {
        let mut interrupts = Interrupts::catch().map_err(CliError::Runtime)?;
        let started = rerun(&request, state, &mut interrupts).await;
        show(started, interrupts, state, args.detach, args.output).await
    })
}
