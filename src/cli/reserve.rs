//! `run --disk-reserve` and `--memory-pressure-limit`: a run does not start while a disk of its
//! state directory has less room, or while more processes wait for memory. Also the hidden command
//! `await-room DIRECTORY OPTION…`, for a service that fills the disk before.

use std::{ffi::OsString, path::Path, time::Duration};

use nix::sys::statvfs::statvfs;
use procfs::{Current as _, MemoryPressure, ProcResult};
use tokio::time::sleep;

use super::{CliError, Exit, amounts::bytes, block_on, notify, output::say};
use crate::{interrupts::Interrupts, report::Bytes, start::StartError};

/// The time between two looks at the machine.
const POLL: Duration = Duration::from_secs(1);
/// The time that a service's start may take until the next look, and after the wait.
const UNTIL_NEXT: Duration = Duration::from_secs(60);
const AFTER: Duration = Duration::from_secs(600);

/// The bounds beyond which no run starts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bounds {
    /// The least free room on the disk, in bytes.
    pub disk: Option<u64>,
    /// The largest pressure on memory, in percent.
    pub pressure: Option<u8>,
}

/// Waits for the bounds that the arguments of the hidden command name.
pub(super) fn main(directory: &Path, options: &[OsString]) -> Result<Exit, CliError> {
    let mut bounds = Bounds::default();
    for option in options {
        let option = option.to_string_lossy();
        if let Some(size) = option.strip_prefix("--disk-reserve=") {
            bounds.disk = Some(bytes(size)?);
        } else if let Some(percent) = option.strip_prefix("--memory-pressure-limit=") {
            bounds.pressure = percent.parse().ok();
        }
    }
    block_on(async {
        let mut interrupts = Interrupts::catch().map_err(CliError::Runtime)?;
        let wait = interrupts.unless(wait(directory, bounds)).await;
        wait.map_err(StartError::Interrupted)?;
        Ok(Exit::Success)
    })
}

/// Waits until the machine keeps these bounds. Says so once, and to the service manager.
pub(super) async fn wait(state: &Path, bounds: Bounds) {
    if bounds.pressure.is_some()
        && let Err(error) = pressure()
    {
        say(&format!(
            "this machine does not tell the pressure on its memory ({error}), starting without a \
             look at it"
        ));
    }
    let mut has_waited = false;
    loop {
        let text = match (short_of_room(state, bounds), short_of_memory(bounds)) {
            (None, None) => break,
            (Some(text), None) | (None, Some(text)) => text,
            (Some(room), Some(memory)) => format!("{room}; {memory}"),
        };
        notify::waiting(&text, UNTIL_NEXT);
        if !has_waited {
            say(&text);
            has_waited = true;
        }
        sleep(POLL).await;
    }
    if has_waited {
        let text = "the machine has room again; starting the run";
        notify::waiting(text, AFTER);
        say(text);
    }
}

/// Says how much room a disk lacks, if it does: the state directory's, or that of its runs, which
/// may be another one.
fn short_of_room(state: &Path, bounds: Bounds) -> Option<String> {
    let size = bounds.disk?;
    let mut places = [state.to_owned(), state.join("runs")].into_iter();
    let (place, free) = places.find_map(|place| {
        let free = free(&place).filter(|free| *free < size)?;
        Some((place, free))
    })?;
    let (place, size, free) = (place.display(), Bytes(size), Bytes(free));
    Some(format!(
        "waiting for {size} of free room for `{place}`; there is {free}"
    ))
}

/// Says how much pressure there is on memory, if it is too much.
fn short_of_memory(bounds: Bounds) -> Option<String> {
    let limit = bounds.pressure?;
    let pressure = pressure().ok()?;
    (pressure > f32::from(limit)).then(|| {
        format!(
            "waiting for less pressure on memory than {limit}%: some process waited for memory in \
             {pressure}% of the last 10 s"
        )
    })
}

/// Returns the free bytes of the disk that has, or will have, a directory. A disk that does not
/// tell holds no run up.
fn free(directory: &Path) -> Option<u64> {
    let directory = std::path::absolute(directory).ok()?;
    let disk = directory.ancestors().find_map(|path| statvfs(path).ok())?;
    Some(disk.blocks_available() * disk.fragment_size())
}

/// Returns the share of the last ten seconds in which some process waited for memory, in percent
/// (<https://docs.kernel.org/accounting/psi.html>).
fn pressure() -> ProcResult<f32> {
    Ok(MemoryPressure::current()?.some.avg10)
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
