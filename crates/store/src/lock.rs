//! Locks on whole files that belong to open file descriptions (fcntl_locking(2)). Unlike the locks
//! of flock(2), they can be tested without being taken. The kernel releases a lock with its file.

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::AsFd,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    libc,
};

/// The kind of a lock that another process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// Several may hold it.
    Shared,
    /// One holds it.
    Exclusive,
}

/// Opens the file of a lock, and creates it if it is absent. Follows no link.
///
/// # Errors
/// Fails with the system's reason.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
}

/// Takes an exclusive lock. Returns `false` if another process has a lock.
///
/// # Errors
/// Fails with the system's reason.
pub fn try_lock(file: impl AsFd) -> io::Result<bool> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&whole(libc::F_WRLCK))) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Waits for an exclusive lock.
///
/// # Errors
/// Fails with the system's reason.
pub fn lock(file: &File) -> io::Result<()> {
    loop {
        match fcntl(file, FcntlArg::F_OFD_SETLKW(&whole(libc::F_WRLCK))) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Turns an exclusive lock into a shared one.
///
/// # Errors
/// Fails with the system's reason.
pub fn share(file: &File) -> io::Result<()> {
    Ok(fcntl(file, FcntlArg::F_OFD_SETLK(&whole(libc::F_RDLCK))).map(drop)?)
}

/// Returns the lock that another process has on a file.
///
/// # Errors
/// Fails with the system's reason.
pub fn held(file: &File) -> io::Result<Option<Held>> {
    let mut lock = whole(libc::F_WRLCK);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(match i32::from(lock.l_type) {
        libc::F_UNLCK => None,
        libc::F_RDLCK => Some(Held::Shared),
        _ => Some(Held::Exclusive),
    })
}

/// Returns a description of a lock on a whole file.
fn whole(kind: i32) -> libc::flock {
    libc::flock {
        l_type: i16::try_from(kind).expect("invariant: a lock type is small"),
        l_whence: i16::try_from(libc::SEEK_SET).expect("invariant: a whence is small"),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_belongs_to_the_open_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let [first, second] = [(); 2].map(|()| open(&path).unwrap());
        assert_eq!(held(&second).unwrap(), None);
        assert!(try_lock(&first).unwrap() && !try_lock(&second).unwrap());
        assert_eq!(held(&second).unwrap(), Some(Held::Exclusive));
        share(&first).unwrap();
        assert_eq!(held(&second).unwrap(), Some(Held::Shared));
        assert!(!try_lock(&second).unwrap());
        drop(first);
        assert_eq!(held(&second).unwrap(), None);
        lock(&second).unwrap();
        std::os::unix::fs::symlink(&path, dir.path().join("link")).unwrap();
        assert!(open(&dir.path().join("link")).is_err());
    }
}
