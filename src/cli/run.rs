//! `nixactions run`.

use std::path::Path;

use super::{CliError, Exit, args::RunArgs};

pub(super) fn main(_args: &RunArgs, _state: &Path) -> Result<Exit, CliError> {
    Ok(Exit::Trouble)
}
