//! One file of a copy: taken by renaming it, linked to its first copy, or copied.

use std::{ffi::OsStr, os::fd::OwnedFd, sync::PoisonError};

use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags, Stat},
    io::Errno,
};

use super::{
    StoreError,
    content::{special, times},
    failed,
    modes::surviving,
    unlock,
    walk::{Part, Place, Walk},
};

/// At most at this depth a file is moved. Deeper files are copied: to move a file to another
/// directory, the kernel goes through all of the file's ancestors (rename(2)), so the time to move
/// a tree grows with the square of its depth.
const TAKEN_DEPTH_MAX: usize = 256;

impl Walk<'_> {
    /// Makes something, in the place of a file or link that is in the way. A link is never written
    /// through.
    pub(super) fn replacing<T>(
        &self,
        place: &Place<'_>,
        name: &OsStr,
        action: &'static str,
        mut make: impl FnMut() -> rustix::io::Result<T>,
    ) -> Result<T, StoreError> {
        let made = match make() {
            Err(Errno::EXIST) => {
                fs::unlinkat(&place.open.to, name, AtFlags::empty()).and_then(|()| make())
            }
            other => other,
        };
        made.map_err(|error| failed(action, &self.copy.to.join(place.path(name)), error))
    }

    /// Copies or takes a file. `false` where there is none any more.
    pub(super) fn file(
        &self,
        place: &Place<'_>,
        name: &OsStr,
        part: &mut Part,
    ) -> Result<bool, StoreError> {
        // Should something else lie there by now: neither follow a link, nor wait for a pipe.
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = match fs::openat(&place.open.from, name, flags, Mode::empty()) {
            Err(Errno::ACCESS) if self.copy.unlock => unlock::file(&place.open.from, name),
            opened => opened.and_then(|from| fs::fstat(&from).map(|stat| (from, stat))),
        };
        let (from, stat) = match opened {
            Ok(opened) => opened,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => {
                let source = self.copy.from.join(place.path(name));
                return Err(failed("open", &source, error));
            }
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::RegularFile {
            part.copied.skipped.push((
                place.path(name),
                special(kind).unwrap_or("changed while it was copied"),
            ));
            return Ok(false);
        }
        if !self.may_copy(&stat) {
            part.copied.withheld.push(place.path(name));
            return Ok(false);
        }
        let mut stat = stat;
        if stat.st_nlink > 1 {
            // Its mode may be another by now: a file is taken by its first name.
            let mut modes = self.modes.lock().unwrap_or_else(PoisonError::into_inner);
            let first = modes.entry((stat.st_dev, stat.st_ino));
            stat.st_mode = *first.or_insert(stat.st_mode);
        }
        let listed = self.listed_mode(place, name);
        let (mode, note) = self.copy.modes.mode(listed, stat.st_mode, false);
        if note {
            part.copied
                .modes
                .0
                .insert(place.path(name), surviving(stat.st_mode, false));
        }
        part.copied.bytes += u64::try_from(stat.st_size).unwrap_or(0);
        if take(place, name, &from, &stat, mode).is_some() {
            return Ok(true);
        }
        if stat.st_nlink <= 1 {
            self.contents(place, name, (&from, &stat), mode, part)?;
            return Ok(true);
        }
        // Held until the file is whole: another thread may meet its other name.
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((level, first)) = links.get(&(stat.st_dev, stat.st_ino)) {
            let directory = self.open(level)?;
            self.replacing(place, name, "link", || {
                fs::linkat(&directory.to, first, &place.open.to, name, AtFlags::empty())
            })?;
        } else {
            self.contents(place, name, (&from, &stat), mode, part)?;
            let first = (place.level.clone(), name.to_owned());
            links.insert((stat.st_dev, stat.st_ino), first);
        }
        Ok(true)
    }

    fn contents(
        &self,
        place: &Place<'_>,
        name: &OsStr,
        (from, stat): (&OwnedFd, &Stat),
        mode: u32,
        part: &mut Part,
    ) -> Result<(), StoreError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let to = self.replacing(place, name, "create", || {
            fs::openat(&place.open.to, name, flags, Mode::from_raw_mode(mode))
        })?;
        let mut copy = || {
            self.means.copy(from, &to, stat, &mut part.buffer)?;
            // The umask has cut the mode that it was made with.
            fs::fchmod(&to, Mode::from_raw_mode(mode))?;
            // Build tools compare times.
            fs::futimens(&to, &times(stat))
        };
        copy().map_err(|error| failed("copy", &self.copy.from.join(place.path(name)), error))
    }
}

/// Takes a file by renaming it, where it may be taken and that can be done.
fn take(place: &Place<'_>, name: &OsStr, from: &OwnedFd, stat: &Stat, mode: u32) -> Option<()> {
    if place.level.depth > TAKEN_DEPTH_MAX {
        return None;
    }
    let directory = place.open.take_from.as_ref()?;
    let there = fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    if FileType::from_raw_mode(there.st_mode) != FileType::RegularFile
        || there.st_size != stat.st_size
    {
        return None;
    }
    if stat.st_mode & 0o7777 != mode {
        fs::fchmod(from, Mode::from_raw_mode(mode)).ok()?;
    }
    fs::renameat(directory, name, &place.open.to, name).ok()
}
