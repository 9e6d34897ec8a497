//! `nixactions graph`.

use super::{CliError, Exit, args::GraphArgs};

pub(super) fn main(_args: &GraphArgs) -> Result<Exit, CliError> {
    Ok(Exit::Trouble)
}
