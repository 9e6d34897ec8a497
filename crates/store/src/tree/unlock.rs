//! Temporarily opens files that their owner may not read. A changed mode lets the owner in during
//! the copy, and then the old mode is restored.
//!
//! The mode is changed through a descriptor of the very file, never by path, so no link is
//! followed.

use std::{
    ffi::OsStr,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use nix::unistd::geteuid;
use rustix::{
    fs::{self, CWD, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use super::open_directory;

/// The permissions that the owner needs to list and enter a directory.
const LIST: u32 = 0o500;
/// The permission that the owner needs to read a file.
const READ: u32 = 0o400;

/// A directory that was opened.
struct Opened {
    path: PathBuf,
    /// The old mode.
    mode: u32,
    id: (u64, u64),
}

/// The directories of a tree that are open during a copy.
#[derive(Default)]
pub(super) struct Unlocked(Mutex<Vec<Opened>>);

impl Unlocked {
    /// Opens a directory below a root for reading, and first gives its owner access if needed.
    pub fn directory(&self, root: &OwnedFd, relative: &Path) -> rustix::io::Result<OwnedFd> {
        let directory = match (open_directory(root, relative), relative.file_name()) {
            (Err(Errno::ACCESS), Some(name)) => {
                let parent = self.directory(root, relative.parent().unwrap_or(Path::new("")))?;
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                fs::openat(&parent, name, flags, Mode::empty())?
            }
            (opened, _) => opened?,
        };
        let stat = fs::fstat(&directory)?;
        if stat.st_mode & LIST == LIST || !is_own(&stat) {
            return Ok(directory);
        }
        set(&directory, stat.st_mode | LIST)?;
        let mut opened = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        opened.push(Opened {
            path: relative.to_owned(),
            mode: stat.st_mode,
            id: (stat.st_dev, stat.st_ino),
        });
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        fs::openat(&directory, ".", flags, Mode::empty())
    }

    /// Returns the old mode of a directory.
    pub fn mode_before(&self, relative: &Path, now: u32) -> u32 {
        let opened = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = opened.iter().find(|opened| opened.path == relative);
        before.map_or(now, |opened| opened.mode)
    }

    /// Restores the modes of all directories. The last opened directory comes first, because no
    /// other one lies in it.
    pub fn lock_again(&self, root: &OwnedFd) {
        let mut opened = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(Opened { path, mode, id }) = opened.pop() {
            // Skip a directory that is gone or has been replaced.
            if let Ok(directory) = open_directory(root, &path)
                && fs::fstat(&directory).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == id)
            {
                let _ = fs::fchmod(&directory, Mode::from_raw_mode(mode & 0o7777));
            }
        }
    }
}

/// Opens a file that its owner may not read. Returns it with its old `stat`.
pub(super) fn file(directory: impl AsFd, name: &OsStr) -> rustix::io::Result<(OwnedFd, Stat)> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = fs::openat(directory, name, flags, Mode::empty())?;
    let stat = fs::fstat(&place)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || !is_own(&stat) {
        return Err(Errno::ACCESS);
    }
    set(&place, stat.st_mode | READ)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = fs::openat(CWD, path_of(&place), flags, Mode::empty());
    set(&place, stat.st_mode)?;
    Ok((file?, stat))
}

/// Returns whether a mode can keep this user out. It can if the user owns the file and is not root.
fn is_own(stat: &Stat) -> bool {
    let user = geteuid();
    !user.is_root() && stat.st_uid == user.as_raw()
}

fn set(file: &OwnedFd, mode: u32) -> rustix::io::Result<()> {
    fs::chmod(path_of(file), Mode::from_raw_mode(mode & 0o7777))
}

/// Returns a path to an open file, for calls that do not accept an `O_PATH` descriptor (open(2)).
fn path_of(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}
