//! `nixactions man`: writes the manual pages, made of the command line's own texts.

use std::io::Write;

use clap::CommandFactory;
use clap_mangen::Man;

use super::{
    CliError, Exit,
    args::{Cli, ManArgs},
};

pub(super) fn main(args: &ManArgs) -> Result<Exit, CliError> {
    match &args.dir {
        Some(dir) => {
            let write = || {
                std::fs::create_dir_all(dir)
                    .and_then(|()| clap_mangen::generate_to(Cli::command(), dir))
            };
            write().map_err(|source| CliError::Write {
                path: dir.clone(),
                source,
            })?;
        }
        None => {
            let mut page = Vec::new();
            Man::new(Cli::command())
                .render(&mut page)
                .map_err(CliError::Output)?;
            std::io::stdout()
                .write_all(&page)
                .map_err(CliError::Output)?;
        }
    }
    Ok(Exit::Success)
}
