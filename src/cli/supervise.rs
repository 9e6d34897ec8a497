//! The hidden commands that units start.

use super::{CliError, Exit, args::DirArgs};

pub(super) fn main(_args: &DirArgs) -> Result<Exit, CliError> {
    Ok(Exit::Trouble)
}

pub(super) fn job(_args: &DirArgs) -> Result<Exit, CliError> {
    Ok(Exit::Trouble)
}
