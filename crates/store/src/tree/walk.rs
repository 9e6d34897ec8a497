//! Walks over a tree and copies it. Directories are tasks in one queue, and several threads take
//! them.
//!
//! Most of a copy's time goes into creating files, and the kernel can do that in several
//! directories at once. The calling thread copies a small tree alone.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    ffi::{OsStr, OsString},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    thread,
};

use rustix::{
    fs::{self, AtFlags, Dir, FileType, Mode, OFlags, Stat, Timestamps},
    io::Errno,
};

use super::{
    Copied, StoreError, TreeCopy,
    content::{Means, special, times},
    failed, make_directory, make_directory_in,
    modes::{SETGID, surviving},
    open_directory, open_root,
    unlock::{self, Unlocked},
};

/// The most threads that copy one tree.
const THREADS_MAX: usize = 8;
/// One thread copies a tree with fewer entries than this.
const ALONE: u64 = 128;
/// The number of files of one directory in a task.
const CHUNK: usize = 256;

/// A part of the work: the entries of a directory, or some of them.
#[derive(Debug)]
struct Task {
    directory: PathBuf,
    /// The entries to copy. `None` means all.
    names: Option<Vec<(OsString, FileType)>>,
}

/// The results of one thread.
#[derive(Default)]
struct Part {
    copied: Copied,
    directories: Vec<Made>,
    buffer: Vec<u8>,
}

/// A new directory. It gets its mode and times after all its entries are there.
struct Made {
    path: PathBuf,
    mode: u32,
    times: Timestamps,
}

impl Part {
    fn add(&mut self, other: Self) {
        self.copied.modes.0.extend(other.copied.modes.0);
        self.copied.skipped.extend(other.copied.skipped);
        self.copied.entries += other.copied.entries;
        self.copied.bytes += other.copied.bytes;
        self.directories.extend(other.directories);
    }
}

#[derive(Default)]
struct Queue {
    tasks: VecDeque<Task>,
    /// The number of working threads. They may still add tasks.
    busy: usize,
    error: Option<StoreError>,
}

/// A running copy.
pub(super) struct Walk<'a> {
    copy: &'a TreeCopy<'a>,
    from: OwnedFd,
    to: OwnedFd,
    take_from: Option<OwnedFd>,
    means: Means,
    /// The first copy of each file with several names, by device and inode.
    links: Mutex<HashMap<(u64, u64), PathBuf>>,
    /// The first known mode of each such file.
    modes: Mutex<HashMap<(u64, u64), u32>>,
    queue: Mutex<Queue>,
    changed: Condvar,
    /// The results of the calling thread.
    own: Part,
    /// The parent directories of the added paths.
    parents: HashSet<PathBuf>,
    unlocked: Unlocked,
}

/// The open directories of a task.
struct Place<'a> {
    relative: &'a Path,
    from: OwnedFd,
    to: OwnedFd,
    take_from: Option<OwnedFd>,
}

impl<'a> Walk<'a> {
    /// Opens both trees.
    pub fn new(copy: &'a TreeCopy<'a>) -> Result<Self, StoreError> {
        Ok(Self {
            copy,
            from: open_root(copy.from)?,
            to: open_root(copy.to)?,
            take_from: copy.take_from.map(open_root).transpose()?,
            means: Means::default(),
            links: Mutex::default(),
            modes: Mutex::default(),
            queue: Mutex::default(),
            changed: Condvar::new(),
            own: Part::default(),
            parents: HashSet::new(),
            unlocked: Unlocked::default(),
        })
    }

    /// Returns the file type at a path, or `None` if the path does not exist.
    pub fn kind(&self, relative: &Path) -> Result<Option<FileType>, StoreError> {
        let stat = self
            .open_from(relative.parent().unwrap_or(Path::new("")))
            .and_then(|directory| {
                fs::statat(
                    &directory,
                    relative.file_name().unwrap_or_default(),
                    AtFlags::SYMLINK_NOFOLLOW,
                )
            });
        match stat {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(failed("read", &self.copy.from.join(relative), error)),
        }
    }

    /// Adds the whole tree.
    pub fn add_all(&mut self) {
        self.push(Task {
            directory: PathBuf::new(),
            names: None,
        });
    }

    /// Adds a path and makes its parent directories.
    pub fn add(&mut self, relative: &Path) -> Result<(), StoreError> {
        let (Some(name), Some(parent)) = (relative.file_name(), relative.parent()) else {
            return Ok(());
        };
        if !self.make_parents(parent)? {
            return Ok(());
        }
        let tasks = &mut self
            .queue
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .tasks;
        let name = (name.to_owned(), FileType::Unknown);
        match tasks.back_mut() {
            Some(Task {
                directory,
                names: Some(names),
            }) if directory == parent && names.len() < CHUNK => names.push(name),
            _ => tasks.push_back(Task {
                directory: parent.to_owned(),
                names: Some(vec![name]),
            }),
        }
        Ok(())
    }

    /// Makes a directory and its parents. Returns `false` if one of them is gone or no longer a
    /// directory.
    fn make_parents(&mut self, parent: &Path) -> Result<bool, StoreError> {
        if parent.as_os_str().is_empty() || self.parents.contains(parent) {
            return Ok(true);
        }
        if !self.make_parents(parent.parent().unwrap_or(Path::new("")))? {
            return Ok(false);
        }
        let mut stat = match self.open_from(parent).and_then(fs::fstat) {
            Ok(stat) => stat,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
            Err(error) => return Err(failed("open", &self.copy.from.join(parent), error)),
        };
        stat.st_mode = self.unlocked.mode_before(parent, stat.st_mode);
        let (mode, note) = self.copy.modes.mode(parent, stat.st_mode, true);
        let made = make_directory(&self.to, parent, 0o700 | mode & !SETGID);
        if made.map_err(|error| failed("create", &self.copy.to.join(parent), error))? {
            self.own.directories.push(Made {
                path: parent.to_owned(),
                mode,
                times: times(&stat),
            });
            if note {
                self.own
                    .copied
                    .modes
                    .0
                    .insert(parent.to_owned(), surviving(stat.st_mode, true));
            }
        }
        self.parents.insert(parent.to_owned());
        Ok(true)
    }

    /// Copies everything that was added.
    pub fn run(mut self) -> Result<Copied, StoreError> {
        let copied = self.copy_all();
        self.unlocked.lock_again(&self.from);
        copied
    }

    fn copy_all(&mut self) -> Result<Copied, StoreError> {
        let mut own = std::mem::take(&mut self.own);
        while own.copied.entries < ALONE {
            let Some(task) = self.queue().tasks.pop_front() else {
                break;
            };
            self.work_on(&task, &mut own)?;
        }
        let mut parts = vec![own];
        if !self.queue().tasks.is_empty() {
            let threads = thread::available_parallelism()
                .map_or(1, usize::from)
                .min(THREADS_MAX);
            thread::scope(|scope| {
                let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(|| self.work())).collect();
                parts.push(self.work());
                parts.extend(helpers.into_iter().filter_map(|helper| helper.join().ok()));
            });
        }
        if let Some(error) = self.queue().error.take() {
            return Err(error);
        }
        let mut all = Part::default();
        parts.into_iter().for_each(|part| all.add(part));
        self.finish_directories(all.directories)?;
        all.copied.skipped.sort();
        Ok(all.copied)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // A thread that panicked left no half-taken task.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes tasks until the queue is empty and no thread can add more.
    fn work(&self) -> Part {
        let mut part = Part::default();
        let mut queue = self.queue();
        loop {
            if queue.error.is_some() {
                break;
            }
            // Take the newest task: a depth-first walk keeps the queue short.
            let Some(task) = queue.tasks.pop_back() else {
                if queue.busy == 0 {
                    break;
                }
                queue = self
                    .changed
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            queue.busy += 1;
            drop(queue);
            let result = self.work_on(&task, &mut part);
            queue = self.queue();
            queue.busy -= 1;
            if let Err(error) = result {
                queue.error.get_or_insert(error);
            }
            if queue.busy == 0 || queue.error.is_some() {
                self.changed.notify_all();
            }
        }
        part
    }

    fn push(&self, task: Task) {
        self.queue().tasks.push_back(task);
        self.changed.notify_one();
    }

    fn work_on(&self, task: &Task, part: &mut Part) -> Result<(), StoreError> {
        let relative = task.directory.as_path();
        if self.is_stopped() {
            return Err(failed("copy", &self.copy.from.join(relative), Errno::INTR));
        }
        let place = Place {
            relative,
            from: self
                .open_from(relative)
                .map_err(|error| failed("open", &self.copy.from.join(relative), error))?,
            to: open_directory(&self.to, relative)
                .map_err(|error| failed("open", &self.copy.to.join(relative), error))?,
            // This tree holds only the files that differ. Other files are copied.
            take_from: self
                .take_from
                .as_ref()
                .and_then(|root| open_directory(root, relative).ok()),
        };
        match &task.names {
            Some(names) => names
                .iter()
                .try_for_each(|(name, kind)| self.entry(&place, name, *kind, part)),
            None => self.list(&place, part),
        }
    }

    /// Opens a directory of the source.
    fn open_from(&self, relative: &Path) -> rustix::io::Result<OwnedFd> {
        if self.copy.unlock {
            self.unlocked.directory(&self.from, relative)
        } else {
            open_directory(&self.from, relative)
        }
    }

    fn is_stopped(&self) -> bool {
        let stop = self.copy.stop;
        stop.is_some_and(|stop| stop.load(Ordering::Relaxed) != 0)
    }

    fn list(&self, place: &Place<'_>, part: &mut Part) -> Result<(), StoreError> {
        let unreadable = |error| failed("read", &self.copy.from.join(place.relative), error);
        let mut chunk = Vec::new();
        for entry in Dir::read_from(&place.from).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            chunk.push((
                OsString::from(<OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name)),
                entry.file_type(),
            ));
            if chunk.len() == CHUNK {
                self.push(Task {
                    directory: place.relative.to_owned(),
                    names: Some(std::mem::take(&mut chunk)),
                });
            }
        }
        chunk
            .iter()
            .try_for_each(|(name, kind)| self.entry(place, name, *kind, part))
    }

    fn entry(
        &self,
        place: &Place<'_>,
        name: &OsStr,
        kind: FileType,
        part: &mut Part,
    ) -> Result<(), StoreError> {
        let relative = place.relative.join(name);
        let source = || self.copy.from.join(&relative);
        let stat = if matches!(kind, FileType::RegularFile | FileType::Symlink) {
            None
        } else {
            match fs::statat(&place.from, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Some(stat),
                // The entry is gone since the directory was listed.
                Err(Errno::NOENT) => return Ok(()),
                Err(error) => return Err(failed("read", &source(), error)),
            }
        };
        let kind = stat.map_or(kind, |stat| FileType::from_raw_mode(stat.st_mode));
        match (kind, stat) {
            (FileType::Symlink, _) => self.link(place, name, &relative)?,
            (FileType::Directory, Some(stat)) => {
                self.directory(place, name, relative, &stat, part)?
            }
            (FileType::RegularFile, _) => {
                if !self.file(place, name, &relative, part)? {
                    return Ok(());
                }
            }
            (kind, _) => {
                part.copied
                    .skipped
                    .push((relative, special(kind).unwrap_or("of an unknown type")));
                return Ok(());
            }
        }
        part.copied.entries += 1;
        Ok(())
    }

    fn directory(
        &self,
        place: &Place<'_>,
        name: &OsStr,
        relative: PathBuf,
        stat: &Stat,
        part: &mut Part,
    ) -> Result<(), StoreError> {
        let (mode, note) = self.copy.modes.mode(&relative, stat.st_mode, true);
        if note {
            part.copied
                .modes
                .0
                .insert(relative.clone(), surviving(stat.st_mode, true));
        }
        make_directory_in(&place.to, name, 0o700 | mode & !SETGID)
            .map_err(|error| failed("create", &self.copy.to.join(&relative), error))?;
        part.directories.push(Made {
            path: relative.clone(),
            mode,
            times: times(stat),
        });
        self.push(Task {
            directory: relative,
            names: None,
        });
        Ok(())
    }

    fn link(&self, place: &Place<'_>, name: &OsStr, relative: &Path) -> Result<(), StoreError> {
        let target = match fs::readlinkat(&place.from, name, Vec::new()) {
            Ok(target) => target,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(failed("read", &self.copy.from.join(relative), error)),
        };
        self.replacing(place, name, relative, "link", || {
            fs::symlinkat(&target, &place.to, name)
        })
    }

    /// Makes an entry. Removes a file or link that is in the way, and never writes through a link.
    fn replacing<T>(
        &self,
        place: &Place<'_>,
        name: &OsStr,
        relative: &Path,
        action: &'static str,
        mut make: impl FnMut() -> rustix::io::Result<T>,
    ) -> Result<T, StoreError> {
        let made = match make() {
            Err(Errno::EXIST) => {
                fs::unlinkat(&place.to, name, AtFlags::empty()).and_then(|()| make())
            }
            other => other,
        };
        made.map_err(|error| failed(action, &self.copy.to.join(relative), error))
    }

    /// Copies or takes a file. Returns `false` if the file is gone.
    fn file(
        &self,
        place: &Place<'_>,
        name: &OsStr,
        relative: &Path,
        part: &mut Part,
    ) -> Result<bool, StoreError> {
        let source = || self.copy.from.join(relative);
        // The entry may have changed: follow no link and wait for no pipe.
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = match fs::openat(&place.from, name, flags, Mode::empty()) {
            Err(Errno::ACCESS) if self.copy.unlock => unlock::file(&place.from, name),
            opened => opened.and_then(|from| fs::fstat(&from).map(|stat| (from, stat))),
        };
        let (from, stat) = match opened {
            Ok(opened) => opened,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(failed("open", &source(), error)),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::RegularFile {
            part.copied.skipped.push((
                relative.to_owned(),
                special(kind).unwrap_or("changed while it was copied"),
            ));
            return Ok(false);
        }
        let mut stat = stat;
        if stat.st_nlink > 1 {
            // Use the first known mode: taking the file by its first name may have changed its
            // mode.
            let mut modes = self.modes.lock().unwrap_or_else(PoisonError::into_inner);
            let first = modes.entry((stat.st_dev, stat.st_ino));
            stat.st_mode = *first.or_insert(stat.st_mode);
        }
        let (mode, note) = self.copy.modes.mode(relative, stat.st_mode, false);
        if note {
            part.copied
                .modes
                .0
                .insert(relative.to_owned(), surviving(stat.st_mode, false));
        }
        part.copied.bytes += u64::try_from(stat.st_size).unwrap_or(0);
        if self.take(place, name, &from, &stat, mode).is_some() {
            return Ok(true);
        }
        if stat.st_nlink <= 1 {
            self.contents(place, name, relative, &from, &stat, mode, part)?;
            return Ok(true);
        }
        // Hold the lock until the file is complete: another thread may find the file's other name.
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(first) = links.get(&(stat.st_dev, stat.st_ino)) {
            let directory = open_directory(&self.to, first.parent().unwrap_or(Path::new("")));
            let directory =
                directory.map_err(|error| failed("open", &self.copy.to.join(first), error))?;
            let base = first.file_name().unwrap_or_default();
            self.replacing(place, name, relative, "link", || {
                fs::linkat(&directory, base, &place.to, name, AtFlags::empty())
            })?;
        } else {
            self.contents(place, name, relative, &from, &stat, mode, part)?;
            links.insert((stat.st_dev, stat.st_ino), relative.to_owned());
        }
        Ok(true)
    }

    /// Takes a file by renaming it, if possible.
    fn take(
        &self,
        place: &Place<'_>,
        name: &OsStr,
        from: &OwnedFd,
        stat: &Stat,
        mode: u32,
    ) -> Option<()> {
        let directory = place.take_from.as_ref()?;
        let there = fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        if FileType::from_raw_mode(there.st_mode) != FileType::RegularFile
            || there.st_size != stat.st_size
        {
            return None;
        }
        if stat.st_mode & 0o7777 != mode {
            fs::fchmod(from, Mode::from_raw_mode(mode)).ok()?;
        }
        fs::renameat(directory, name, &place.to, name).ok()
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the file's place, metadata and open descriptor"
    )]
    fn contents(
        &self,
        place: &Place<'_>,
        name: &OsStr,
        relative: &Path,
        from: &OwnedFd,
        stat: &Stat,
        mode: u32,
        part: &mut Part,
    ) -> Result<(), StoreError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let to = self.replacing(place, name, relative, "create", || {
            fs::openat(&place.to, name, flags, Mode::from_raw_mode(mode))
        })?;
        let copy = || {
            self.means.copy(from, &to, stat, &mut part.buffer)?;
            // The umask changed the mode at the file's creation.
            fs::fchmod(&to, Mode::from_raw_mode(mode))?;
            // Build tools compare times.
            fs::futimens(&to, &times(stat))
        };
        let mut copy = copy;
        copy().map_err(|error| failed("copy", &self.copy.from.join(relative), error))
    }

    /// Sets the modes and times of the directories, the deepest first: a mode may close a directory
    /// to us.
    fn finish_directories(&self, mut directories: Vec<Made>) -> Result<(), StoreError> {
        directories.sort_by(|a, b| b.path.cmp(&a.path));
        for Made { path, mode, times } in directories {
            let finish = || {
                let directory = open_directory(&self.to, &path)?;
                fs::futimens(&directory, &times)?;
                match fs::fchmod(&directory, Mode::from_raw_mode(mode)) {
                    // A sandbox may forbid this (`RestrictSUIDSGID=`, systemd.exec(5)).
                    Err(Errno::PERM) if mode & SETGID != 0 => {
                        fs::fchmod(&directory, Mode::from_raw_mode(mode & !SETGID))
                    }
                    other => other,
                }
            };
            finish()
                .map_err(|error| failed("set the mode of", &self.copy.to.join(&path), error))?;
        }
        Ok(())
    }
}
