//! `run --disk-reserve`: a run does not start while the disk of its state directory has less room.
//! Also the hidden command `await-room DIRECTORY SIZE`, for a service that fills the disk before.

use std::{ffi::OsStr, path::Path, time::Duration};

use nix::sys::statvfs::statvfs;
use tokio::time::sleep;

use super::{CliError, Exit, block_on, clean::bytes, notify, output::say};
use crate::{interrupts::Interrupts, report::Bytes, start::StartError};

/// The time between two looks at the disk.
const POLL: Duration = Duration::from_secs(1);
/// The time that a service's start may take until the next look, and after the wait.
const UNTIL_NEXT: Duration = Duration::from_secs(60);
const AFTER: Duration = Duration::from_secs(600);

pub(super) fn main(directory: &Path, size: &OsStr) -> Result<Exit, CliError> {
    let size = bytes(&size.to_string_lossy())?;
    block_on(async {
        let mut interrupts = Interrupts::catch().map_err(CliError::Runtime)?;
        let wait = interrupts.unless(wait(directory, size)).await;
        wait.map_err(StartError::Interrupted)?;
        Ok(Exit::Success)
    })
}

/// Waits until the disk has this many free bytes. Says so once, and to the service manager.
pub(super) async fn wait(state: &Path, size: u64) {
    let mut has_waited = false;
    while let Some(free) = free(state).filter(|free| *free < size) {
        let (state, size, free) = (state.display(), Bytes(size), Bytes(free));
        let text = format!("waiting for {size} of free room for `{state}`; there is {free}");
        notify::waiting(&text, UNTIL_NEXT);
        if !has_waited {
            say(&text);
            has_waited = true;
        }
        sleep(POLL).await;
    }
    if has_waited {
        let text = "there is free room again; starting the run";
        notify::waiting(text, AFTER);
        say(text);
    }
}

/// Returns the free bytes of the disk that has, or will have, a directory. A disk that does not
/// tell holds no run up.
fn free(directory: &Path) -> Option<u64> {
    let directory = std::path::absolute(directory).ok()?;
    let disk = directory.ancestors().find_map(|path| statvfs(path).ok())?;
    Some(disk.blocks_available() * disk.fragment_size())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_will_be_made_has_the_room_of_its_parent() {
        let parent = tempfile::tempdir().unwrap();
        assert!(free(&parent.path().join("not/yet")).is_some_and(|free| free > 0));
        assert!(free(Path::new("not-yet")).is_some_and(|free| free > 0));
    }
}
