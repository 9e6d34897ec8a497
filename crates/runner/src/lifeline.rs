//! A lock on a file that tells whether a process lives: the kernel releases the lock when the
//! process ends, however it ends.
//!
//! Only a process that may write to the file can take such a lock (F_OFD_SETLK(2const)). Steps may
//! only read the files of services, so none can pass for a service.

use std::{fs::File, io, os::fd::AsFd, path::Path};

use nix::{
    fcntl::{FcntlArg, fcntl},
    libc::{self, c_int},
};

/// Takes the lock of a file, for as long as the file is open.
pub(super) fn hold(file: impl AsFd) -> io::Result<()> {
    let lock = lock(libc::F_WRLCK)?;
    fcntl(file, FcntlArg::F_OFD_SETLK(&lock))?;
    Ok(())
}

/// Returns whether a process holds the lock of the file with this path. Takes no lock meanwhile.
pub(super) fn is_held(path: &Path) -> bool {
    let ask = || -> io::Result<bool> {
        // Only locks of writers are in the way of a reader's.
        let mut lock = lock(libc::F_RDLCK)?;
        let file = File::open(path)?;
        fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock))?;
        Ok(c_int::from(lock.l_type) != libc::F_UNLCK)
    };
    ask().unwrap_or(false)
}

/// Returns a lock of a whole file.
fn lock(kind: c_int) -> io::Result<libc::flock> {
    let short = |number: c_int| libc::c_short::try_from(number).map_err(io::Error::other);
    Ok(libc::flock {
        l_type: short(kind)?,
        l_whence: short(libc::SEEK_SET)?,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    })
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
        let of_reader = lock(libc::F_RDLCK).unwrap();
        drop(writer);
        fcntl(&reader, FcntlArg::F_OFD_SETLK(&of_reader)).unwrap();
        assert!(!is_held(&path), "the process has ended");
        assert!(!is_held(&place.path().join("none")));
    }
}
