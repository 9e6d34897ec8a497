//! A lock on a file that tells whether a process lives: the kernel releases the lock when the
//! process ends, however it ends.
//!
//! Only a process that may write to the file can take such a lock (F_OFD_SETLK(2const)). Steps may
//! only read the files of services, so none can pass for a service.

use std::{fs::File, io, os::fd::AsFd, path::Path};

use crate::store::lock::{self, Held};

/// Takes the lock of a file, for as long as the file is open.
pub(super) fn hold(file: impl AsFd) -> io::Result<()> {
    if lock::try_lock(file)? {
        Ok(())
    } else {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

/// Returns whether a process holds the lock of the file with this path. Takes no lock meanwhile.
pub(super) fn is_held(path: &Path) -> bool {
    let held = File::open(path).and_then(|file| lock::held(&file));
    held.is_ok_and(|held| held == Some(Held::Exclusive))
}

#[cfg(test)]
mod tests {
    use nix::fcntl::{Flock, FlockArg};

    use super::*;

    #[test]
    fn a_reader_of_the_file_cannot_pass_for_the_process() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("events");
        let writer = File::create(&path).unwrap();
        assert!(!is_held(&path));
        hold(&writer).unwrap();
        assert!(is_held(&path) && is_held(&path), "a look takes no lock");
        let reader = File::open(&path).unwrap();
        assert!(hold(&reader).is_err());
        let _flock = Flock::lock(File::open(&path).unwrap(), FlockArg::LockExclusive).unwrap();
        drop(writer);
        lock::share(&reader).unwrap();
        assert!(!is_held(&path), "the process has ended");
        assert!(!is_held(&place.path().join("none")));
    }
}
