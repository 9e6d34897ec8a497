//! Temporarily opens files that their owner may not read. A changed mode lets the owner in during
//! the copy, and then the old mode is restored.
//!
//! The mode is changed through a descriptor of the very file, never by path, so no link is
//! followed.

use std::{
    collections::HashMap,
    ffi::OsStr,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    sync::{Mutex, MutexGuard, PoisonError},
};

use nix::unistd::geteuid;
use rustix::{
    fs::{self, CWD, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use super::{
    level::{Id, id},
    nodes::Nodes,
    open_in,
};

/// The permissions that the owner needs to list and enter a directory.
const LIST: u32 = 0o500;
/// The permission that the owner needs to read a file.
const READ: u32 = 0o400;

/// The modes that directories had before they were opened, by which they are.
#[derive(Default)]
pub(super) struct Unlocked(Mutex<HashMap<Id, u32>>);

impl Unlocked {
    /// Opens a directory in another for reading, and for its owner where that is needed. Returns it
    /// with what was known of it before, and whether its mode was changed now.
    pub fn directory(
        &self,
        parent: &OwnedFd,
        name: &OsStr,
    ) -> rustix::io::Result<(OwnedFd, Stat, bool)> {
        let directory = match open_in(parent, name, OFlags::RDONLY) {
            Err(Errno::ACCESS) => open_in(parent, name, OFlags::PATH)?,
            opened => opened?,
        };
        let mut stat = fs::fstat(&directory)?;
        if stat.st_mode & LIST == LIST || !is_own(&stat) {
            if let Some(mode) = self.modes().get(&id(&stat)) {
                stat.st_mode = *mode;
            }
            return Ok((directory, stat, false));
        }
        set(&directory, stat.st_mode | LIST)?;
        let opened = open_in(&directory, OsStr::new("."), OFlags::RDONLY)?;
        self.modes()
            .entry(id(&fs::fstat(&opened)?))
            .or_insert(stat.st_mode);
        Ok((opened, stat, true))
    }

    /// Gives all directories their modes back.
    pub fn lock_again(&self, nodes: &Nodes, root: &OwnedFd) {
        nodes.lock_again(root, &self.modes(), set);
    }

    fn modes(&self) -> MutexGuard<'_, HashMap<Id, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
