//! Writes the entries of layers into a tree. No entry names a place outside of it.
//!
//! Each entry's directory is opened below the tree's own (`RESOLVE_IN_ROOT`, openat2(2)): a link in
//! the tree leads where it leads in the container, and `..` stops at the tree's root. The last
//! component of a name is never followed. Knows nothing of images and their formats.

mod attributes;
mod finish;
mod place;
#[cfg(test)]
mod tests;
mod whiteout;

use std::{
    collections::{BTreeMap, HashSet},
    io::{self, Read},
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags},
    io::Errno,
};

use crate::{
    ImageError,
    archive::{self, Entry, Kind, shown},
    stop::Stop,
};
use finish::Directory;

/// The notes on skipped parts that are kept. Further ones are only counted.
const NOTES_MAX: usize = 20;
/// The size of the buffer between archive and file, in bytes.
const BUFFER: usize = 256 << 10;

/// The bounds of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of all files together.
    pub bytes: u64,
    /// The most entries of all layers together.
    pub entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 64 << 30,
            entries: 4_000_000,
        }
    }
}

/// The parts of an image that were left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Notes {
    /// A sentence each.
    pub notes: Vec<String>,
    /// The number of further notes.
    pub more: u64,
}

impl Notes {
    fn add(&mut self, note: impl FnOnce() -> String) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(note());
        } else {
            self.more += 1;
        }
    }
}

/// A tree that is being unpacked.
pub(crate) struct Tree {
    root: OwnedFd,
    limits: Limits,
    stop: Stop,
    /// The bytes and entries so far.
    bytes: u64,
    entries: u64,
    /// Whether this process may give files to other users.
    is_root: bool,
    /// The metadata of directories by their names, which are set when all layers are there.
    directories: BTreeMap<Vec<u8>, Directory>,
    /// The names that the current layer has written, each with the inode of its directory: a
    /// directory may be reached by links, and a file may have names of other layers.
    written: HashSet<(u64, Vec<u8>)>,
    /// The directory of the last entry and its name.
    last: Option<(Vec<u8>, OwnedFd)>,
    notes: Notes,
    buffer: Vec<u8>,
}

/// The kinds of archives: a layer has whiteouts, and a tree of its own has files with such names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whiteouts {
    Obeyed,
    Files,
}

impl Tree {
    /// Starts a tree in an empty directory.
    pub(crate) fn new(path: &Path, limits: Limits, stop: Stop) -> Result<Self, ImageError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = fs::open(path, flags, Mode::empty())
            .map_err(|errno| ImageError::io("open", path, errno))?;
        let mut tree = Self {
            root,
            limits,
            stop,
            bytes: 0,
            entries: 0,
            is_root: rustix::process::geteuid().is_root(),
            directories: BTreeMap::new(),
            written: HashSet::new(),
            last: None,
            notes: Notes::default(),
            buffer: vec![0; BUFFER],
        };
        // An archive may say nothing of the root itself.
        tree.directories.insert(Vec::new(), Directory::implied());
        Ok(tree)
    }

    /// Writes a layer over the layers before it.
    pub(crate) fn add(
        &mut self,
        archive: &str,
        reader: impl Read,
        whiteouts: Whiteouts,
    ) -> Result<(), ImageError> {
        self.written.clear();
        self.last = None;
        archive::for_each(archive, reader, |entry, content| {
            self.count(archive)?;
            self.apply(&Context { archive, entry }, content, whiteouts)
        })
    }

    /// Returns whether any entry has been written.
    pub(crate) fn has_entries(&self) -> bool {
        self.entries > 0
    }

    /// Counts a file or directory.
    fn count(&mut self, archive: &str) -> Result<(), ImageError> {
        self.stop.check().map_err(|source| ImageError::Broken {
            archive: archive.to_owned(),
            source,
        })?;
        self.entries += 1;
        if self.entries <= self.limits.entries {
            return Ok(());
        }
        Err(ImageError::TooLarge {
            archive: archive.to_owned(),
            limit: format!("{} entries", self.limits.entries),
        })
    }

    /// Sets the metadata of all directories, and returns the size of all files and the notes.
    pub(crate) fn finish(mut self) -> Result<(u64, Notes), ImageError> {
        self.set_directories()?;
        Ok((self.bytes, self.notes))
    }

    fn apply(
        &mut self,
        context: &Context<'_>,
        content: &mut dyn Read,
        whiteouts: Whiteouts,
    ) -> Result<(), ImageError> {
        let entry = context.entry;
        let components = place::components(&entry.name).map_err(|fault| context.refuse(fault))?;
        let Some((name, parents)) = components.split_last() else {
            return self.apply_to_root(context);
        };
        if whiteouts == Whiteouts::Obeyed && name.starts_with(whiteout::PREFIX) {
            return self.whiteout(context, parents, name);
        }
        let parent = self.parent(context, parents, true)?;
        let Some(parent) = parent else {
            return Err(context.refuse("has no directory"));
        };
        let path = place::joined(&components);
        match &entry.kind {
            Kind::Directory => self.directory(context, &parent, name, path)?,
            Kind::File => self.file(context, &parent, name, content)?,
            Kind::Symlink(target) => self.symlink(context, &parent, name, target)?,
            Kind::HardLink(target) => self.hard_link(context, &parent, name, target)?,
            Kind::Fifo => self.fifo(context, &parent, name)?,
            Kind::Device => {
                self.notes
                    .add(|| format!("device `{}` was left out", entry.shown()));
                self.last = Some((place::joined(parents), parent));
                return Ok(());
            }
        }
        self.note(&parent, name);
        self.last = Some((place::joined(parents), parent));
        Ok(())
    }

    /// Takes note of a name that the current layer has written.
    fn note(&mut self, parent: &OwnedFd, name: &[u8]) {
        if let Ok(stat) = fs::fstat(parent) {
            self.written.insert((stat.st_ino, name.to_owned()));
        }
    }

    /// Takes note of the metadata of the root itself.
    fn apply_to_root(&mut self, context: &Context<'_>) -> Result<(), ImageError> {
        if context.entry.kind != Kind::Directory {
            return Err(context.refuse("would replace the root directory"));
        }
        let root = self
            .root
            .try_clone()
            .map_err(|error| context.failed("open", error))?;
        self.attributes(context, root.as_fd());
        self.directories
            .insert(Vec::new(), Directory::of(context.entry));
        Ok(())
    }

    fn directory(
        &mut self,
        context: &Context<'_>,
        parent: &OwnedFd,
        name: &[u8],
        path: Vec<u8>,
    ) -> Result<(), ImageError> {
        match fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {}
            Ok(_) => {
                self.remove(context, parent, name, &path)?;
                self.make_directory(context, parent, name)?;
            }
            Err(_) => self.make_directory(context, parent, name)?,
        }
        let made = self.open(context, parent, name, OFlags::RDONLY | OFlags::DIRECTORY)?;
        self.attributes(context, made.as_fd());
        self.directories.insert(path, Directory::of(context.entry));
        Ok(())
    }

    fn make_directory(
        &self,
        context: &Context<'_>,
        parent: &OwnedFd,
        name: &[u8],
    ) -> Result<(), ImageError> {
        fs::mkdirat(parent, name, Mode::RWXU).map_err(|errno| context.failed("create", errno))
    }

    fn file(
        &mut self,
        context: &Context<'_>,
        parent: &OwnedFd,
        name: &[u8],
        content: &mut dyn Read,
    ) -> Result<(), ImageError> {
        // A header may say any size. The limit holds before a byte is written.
        if context.entry.size > self.limits.bytes.saturating_sub(self.bytes) {
            return Err(ImageError::TooLarge {
                archive: context.archive.to_owned(),
                limit: format!("{} bytes", self.limits.bytes),
            });
        }
        self.make_room(context, parent, name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let file = self.open(context, parent, name, flags)?;
        let mut file = std::fs::File::from(file);
        let mut left = context.entry.size;
        loop {
            let count = self
                .stop
                .check()
                .and_then(|()| content.read(&mut self.buffer))
                .map_err(|source| ImageError::Broken {
                    archive: context.archive.to_owned(),
                    source,
                })?;
            if count == 0 {
                break;
            }
            left = left.saturating_sub(count as u64);
            io::Write::write_all(&mut file, &self.buffer[..count])
                .map_err(|error| context.failed("write", error))?;
        }
        if left > 0 {
            return Err(context.refuse("ends too early"));
        }
        self.bytes += context.entry.size;
        self.own(context, file.as_fd())?;
        self.attributes(context, file.as_fd());
        // A change of the owner takes the set-user-ID bits away, and so may a write.
        fs::fchmod(&file, Mode::from_raw_mode(context.entry.mode))
            .map_err(|errno| context.failed("set the mode of", errno))?;
        fs::futimens(&file, &finish::times(context.entry.modified))
            .map_err(|errno| context.failed("set the time of", errno))
    }

    fn symlink(
        &mut self,
        context: &Context<'_>,
        parent: &OwnedFd,
        name: &[u8],
        target: &[u8],
    ) -> Result<(), ImageError> {
        self.make_room(context, parent, name)?;
        fs::symlinkat(target, parent, name).map_err(|errno| context.failed("create", errno))?;
        self.own_link(context, parent, name)?;
        Self::time_link(context, parent, name)
    }

    fn hard_link(
        &mut self,
        context: &Context<'_>,
        parent: &OwnedFd,
        name: &[u8],
        target: &[u8],
    ) -> Result<(), ImageError> {
        let components = place::components(target)
            .map_err(|fault| context.refuse(format!("links to a name that {fault}")))?;
        let absent = || context.refuse(format!("links to `{}`, which is not there", shown(target)));
        let (base, parents) = components.split_last().ok_or_else(absent)?;
        let other = self.parent(context, parents, false)?.ok_or_else(absent)?;
        let stat = fs::statat(&other, *base, AtFlags::SYMLINK_NOFOLLOW).map_err(|_| absent())?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Err(context.refuse(format!("links to the directory `{}`", shown(target))));
        }
        let is_itself = fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|own| (own.st_dev, own.st_ino) == (stat.st_dev, stat.st_ino));
        if is_itself {
            return Ok(());
        }
        self.make_room(context, parent, name)?;
        // Without AT_SYMLINK_FOLLOW, a link to a link is another name of that link.
        fs::linkat(&other, *base, parent, name, AtFlags::empty())
            .map_err(|errno| context.failed("create", errno))
    }

    fn fifo(
        &mut self,
        context: &Context<'_>,
        parent: &OwnedFd,
        name: &[u8],
    ) -> Result<(), ImageError> {
        self.make_room(context, parent, name)?;
        let mode = Mode::from_raw_mode(context.entry.mode);
        fs::mknodat(parent, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .map_err(|errno| context.failed("create", errno))?;
        self.own_link(context, parent, name)?;
        fs::chmodat(parent, name, mode, AtFlags::empty())
            .map_err(|errno| context.failed("set the mode of", errno))?;
        Self::time_link(context, parent, name)
    }

    /// Sets the time of a link or another file that cannot be opened.
    fn time_link(context: &Context<'_>, parent: &OwnedFd, name: &[u8]) -> Result<(), ImageError> {
        let times = finish::times(context.entry.modified);
        fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| context.failed("set the time of", errno))
    }

    /// Removes the file or tree that an entry replaces.
    fn make_room(
        &mut self,
        context: &Context<'_>,
        parent: &OwnedFd,
        name: &[u8],
    ) -> Result<(), ImageError> {
        match fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {
                let components = place::components(&context.entry.name).unwrap_or_default();
                self.remove(context, parent, name, &place::joined(&components))
            }
            Err(errno) => Err(context.failed("replace", errno)),
        }
    }

    /// Opens a file or makes it, without following a link.
    fn open(
        &self,
        context: &Context<'_>,
        parent: &OwnedFd,
        name: &[u8],
        flags: OFlags,
    ) -> Result<OwnedFd, ImageError> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| context.failed("open", errno))
    }
}

/// The entry that is being written.
pub(crate) struct Context<'a> {
    archive: &'a str,
    entry: &'a Entry,
}

impl Context<'_> {
    fn refuse(&self, fault: impl Into<String>) -> ImageError {
        ImageError::Entry {
            archive: self.archive.to_owned(),
            entry: self.entry.shown(),
            fault: fault.into(),
        }
    }

    fn failed(&self, action: &'static str, source: impl Into<io::Error>) -> ImageError {
        ImageError::Write {
            archive: self.archive.to_owned(),
            entry: self.entry.shown(),
            action,
            source: source.into(),
        }
    }
}
