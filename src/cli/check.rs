//! `nixactions check`.

use super::{CliError, Exit, args::CheckArgs};

pub(super) fn main(_args: &CheckArgs) -> Result<Exit, CliError> {
    Ok(Exit::Trouble)
}
