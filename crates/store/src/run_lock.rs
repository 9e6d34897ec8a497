//! The locks on a run, which tell that its supervisor or a client lives.

use std::{
    fs::File,
    io::{self, Write as _},
};

use super::lock;

/// A lock on a run, held by its supervisor or a client until it is dropped.
#[derive(Debug)]
pub struct RunLock(pub(super) File);

impl RunLock {
    /// Turns the lock of the client that starts the run into the lock of a client that follows it.
    /// Several clients may hold the latter.
    ///
    /// # Errors
    /// The system refuses.
    pub fn share(self) -> io::Result<Self> {
        lock::share(&self.0)?;
        Ok(self)
    }

    /// Leaves the id of the machine's boot in the lock's file. Without it, for example on a full
    /// disk, the times of files tell whether the machine has booted since.
    pub fn note_boot(&self) {
        if let Some(id) = boot_id() {
            let _ = self.0.set_len(0).and_then(|()| writeln!(&self.0, "{id}"));
        }
    }
}

/// Returns the id of the machine's boot (random(4)).
pub(super) fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}
