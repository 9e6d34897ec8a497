//! Walks over a tree and copies it. Directories are tasks in one queue, and several threads take
//! them.
//!
//! Most of a copy's time goes into creating files, and the kernel can do that in several
//! directories at once. The calling thread copies a small tree alone.

use std::{
    collections::{HashMap, VecDeque},
    ffi::{OsStr, OsString},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    thread,
};

use rustix::{
    fs::{self, AtFlags, Dir, FileType, Mode, OFlags, Stat, Timestamps},
    io::Errno,
};

use super::{
    Copied, StoreError, TreeCopy,
    content::{Means, special, times},
    failed,
    level::{Cache, Id, Level, Open, id},
    make_directory_in,
    modes::{Listed, SETGID, surviving},
    nodes::Nodes,
    open_in, open_root,
    unlock::Unlocked,
};

/// The most threads that copy one tree.
const THREADS_MAX: usize = 8;
/// One thread copies a tree with fewer entries than this.
const ALONE: u64 = 128;
/// The number of files of one directory in a task.
const CHUNK: usize = 256;

/// A part of the work: what lies in a directory, or some of it.
struct Task {
    directory: Arc<Level>,
    /// All, where there is no list.
    names: Option<Vec<(OsString, FileType)>>,
}

/// The work that one thread has done.
#[derive(Default)]
pub(super) struct Part {
    pub copied: Copied,
    pub buffer: Vec<u8>,
}

impl Part {
    fn add(&mut self, other: Self) {
        self.copied.modes.0.extend(other.copied.modes.0);
        self.copied.skipped.extend(other.copied.skipped);
        self.copied.withheld.extend(other.copied.withheld);
        self.copied.entries += other.copied.entries;
        self.copied.bytes += other.copied.bytes;
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
    pub copy: &'a TreeCopy<'a>,
    root: Arc<Level>,
    roots: Arc<Open>,
    /// The manifest that modes are restored from.
    listed: Listed,
    cache: Cache,
    /// The directories that get their modes and times when all that belongs into them is there.
    nodes: Nodes,
    pub means: Means,
    /// The first copy of each file that has several names.
    pub links: Mutex<HashMap<Id, (Arc<Level>, OsString)>>,
    /// The mode that each such file had when it was first met.
    pub modes: Mutex<HashMap<Id, u32>>,
    queue: Mutex<Queue>,
    changed: Condvar,
    /// The results of the calling thread.
    own: Part,
    /// The directories that lead to what was added.
    parents: HashMap<PathBuf, Arc<Level>>,
    unlocked: Unlocked,
}

/// The open directories that a task works in.
pub(super) struct Place<'a> {
    pub level: &'a Arc<Level>,
    pub open: Arc<Open>,
}

impl Place<'_> {
    /// Returns the path of something in it, relative to the roots.
    pub fn path(&self, name: &OsStr) -> PathBuf {
        let mut path = self.level.path();
        path.push(name);
        path
    }
}

impl<'a> Walk<'a> {
    /// Opens both trees.
    pub fn new(copy: &'a TreeCopy<'a>) -> Result<Self, StoreError> {
        let listed = copy.modes.listed();
        let roots = Arc::new(Open {
            from: match copy.opened {
                Some(opened) => open_in(opened, OsStr::new("."), OFlags::RDONLY)
                    .map_err(|error| failed("open", copy.from, error))?,
                None => open_root(copy.from)?,
            },
            to: open_root(copy.to)?,
            take_from: copy.take_from.map(open_root).transpose()?,
        });
        Ok(Self {
            copy,
            root: Level::root(Arc::clone(&roots), listed.root()),
            listed,
            roots,
            cache: Cache::default(),
            nodes: Nodes::default(),
            means: Means::default(),
            links: Mutex::default(),
            modes: Mutex::default(),
            queue: Mutex::default(),
            changed: Condvar::new(),
            own: Part::default(),
            parents: HashMap::new(),
            unlocked: Unlocked::default(),
        })
    }

    /// Returns the file type at a path, or `None` if the path does not exist.
    pub fn kind(&self, relative: &Path) -> Result<Option<FileType>, StoreError> {
        let (mut above, mut node): (Option<OwnedFd>, _) = (None, 0);
        let mut look = || {
            for part in relative.parent().into_iter().flat_map(Path::components) {
                let directory = above.as_ref().unwrap_or(&self.roots.from);
                node = self.nodes.add(node, part.as_os_str().to_owned(), None);
                above = Some(self.open_from(directory, part.as_os_str(), node)?.0);
            }
            let directory = above.as_ref().unwrap_or(&self.roots.from);
            let name = relative.file_name().unwrap_or_default();
            fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
        };
        match look() {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(failed("read", &self.copy.from.join(relative), error)),
        }
    }

    /// Adds the whole tree.
    pub fn add_all(&mut self) {
        self.push(Task {
            directory: Arc::clone(&self.root),
            names: None,
        });
    }

    /// Adds a path and makes its parent directories.
    pub fn add(&mut self, relative: &Path) -> Result<(), StoreError> {
        let (Some(name), Some(parent)) = (relative.file_name(), relative.parent()) else {
            return Ok(());
        };
        let Some(parent) = self.parent(parent)? else {
            return Ok(());
        };
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
            }) if Arc::ptr_eq(directory, &parent) && names.len() < CHUNK => names.push(name),
            _ => tasks.push_back(Task {
                directory: parent,
                names: Some(vec![name]),
            }),
        }
        Ok(())
    }

    /// Makes the directories that lead somewhere, and returns the last. `None` where they are gone,
    /// or no directories any more.
    fn parent(&mut self, path: &Path) -> Result<Option<Arc<Level>>, StoreError> {
        let Some(name) = path.file_name() else {
            return Ok(Some(Arc::clone(&self.root)));
        };
        if let Some(known) = self.parents.get(path) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(above) = self.parent(path.parent().unwrap_or(Path::new("")))? else {
            return Ok(None);
        };
        let open = self.open(&above)?;
        let node = self.nodes.add(above.node, name.to_owned(), None);
        let stat = match self.open_from(&open.from, name, node) {
            Ok((_, stat)) => stat,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(error) => return Err(failed("open", &self.copy.from.join(path), error)),
        };
        if self.is_without(&stat) {
            self.own.copied.leave_out(path.to_owned());
            return Ok(None);
        }
        if !self.may_copy(&stat) {
            self.own.copied.withheld.push(path.to_owned());
            return Ok(None);
        }
        let listed = self.listed.below(above.listed, name);
        let (mode, note) = self
            .copy
            .modes
            .mode(self.listed.mode(listed), stat.st_mode, true);
        let made = make_directory_in(&open.to, name, 0o700 | mode & !SETGID);
        if made.map_err(|error| failed("create", &self.copy.to.join(path), error))? {
            self.nodes.made(node, mode, times(&stat));
            if note {
                self.own
                    .copied
                    .modes
                    .0
                    .insert(path.to_owned(), surviving(stat.st_mode, true));
            }
        }
        let level = Level::new(&above, name.to_owned(), node, listed);
        self.parents.insert(path.to_owned(), Arc::clone(&level));
        Ok(Some(level))
    }

    /// Copies everything that was added.
    pub fn run(mut self) -> Result<Copied, StoreError> {
        let copied = self.copy_all();
        self.unlocked.lock_again(&self.nodes, &self.roots.from);
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
        self.finish_directories()?;
        all.copied.skipped.sort();
        all.copied.skipped.dedup();
        all.copied.withheld.sort();
        all.copied.withheld.dedup();
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
        if self.is_stopped() {
            let directory = self.copy.from.join(task.directory.path());
            return Err(failed("copy", &directory, Errno::INTR));
        }
        let place = Place {
            level: &task.directory,
            open: self.open(&task.directory)?,
        };
        match &task.names {
            Some(names) => names
                .iter()
                .try_for_each(|(name, kind)| self.entry(&place, name, *kind, part)),
            None => self.list(&place, part),
        }
    }

    /// Returns the mode that the manifest has for a file.
    pub fn listed_mode(&self, place: &Place<'_>, name: &OsStr) -> Option<u32> {
        let listed = self.listed.below(place.level.listed, name);
        self.listed.mode(listed)
    }

    /// Opens a directory in all trees.
    pub fn open(&self, level: &Arc<Level>) -> Result<Arc<Open>, StoreError> {
        self.cache.open(level, |above, level| {
            let failed = |root: &Path, error| failed("open", &root.join(level.path()), error);
            let from = self.open_from(&above.from, level.name(), level.node);
            let to = open_in(&above.to, level.name(), OFlags::RDONLY);
            let (from, stat) = from.map_err(|error| failed(self.copy.from, error))?;
            if !self.may_copy(&stat) {
                // It has changed since it was listed.
                return Err(failed(self.copy.from, Errno::ACCESS));
            }
            Ok(Open {
                from,
                to: to.map_err(|error| failed(self.copy.to, error))?,
                // It holds only what differs; what is not there is copied.
                take_from: above
                    .take_from
                    .as_ref()
                    .and_then(|above| open_in(above, level.name(), OFlags::RDONLY).ok()),
            })
        })
    }

    /// Opens a directory that is copied; returns it with what was known of it before.
    fn open_from(
        &self,
        parent: &OwnedFd,
        name: &OsStr,
        node: usize,
    ) -> rustix::io::Result<(OwnedFd, Stat)> {
        if !self.copy.unlock {
            let open = open_in(parent, name, OFlags::RDONLY)?;
            let stat = fs::fstat(&open)?;
            return Ok((open, stat));
        }
        let (open, stat, is_unlocked) = self.unlocked.directory(parent, name)?;
        if is_unlocked {
            self.nodes.unlocked(node);
        }
        Ok((open, stat))
    }

    /// Returns whether a directory is to be left out.
    fn is_without(&self, directory: &Stat) -> bool {
        self.copy.without == Some(id(directory))
    }

    /// Returns whether a file or directory may be copied.
    pub fn may_copy(&self, stat: &Stat) -> bool {
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let allowed = self.copy.allowed;
        allowed.is_none_or(|allowed| allowed.allows_stat(stat, is_directory))
    }

    fn is_stopped(&self) -> bool {
        let stop = self.copy.stop;
        stop.is_some_and(|stop| stop.load(Ordering::Relaxed) != 0)
    }

    fn list(&self, place: &Place<'_>, part: &mut Part) -> Result<(), StoreError> {
        let unreadable = |error| failed("read", &self.copy.from.join(place.level.path()), error);
        let mut chunk = Vec::new();
        for entry in Dir::read_from(&place.open.from).map_err(unreadable)? {
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
                    directory: Arc::clone(place.level),
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
        let stat = if matches!(kind, FileType::RegularFile | FileType::Symlink) {
            None
        } else {
            match fs::statat(&place.open.from, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Some(stat),
                // The entry is gone since the directory was listed.
                Err(Errno::NOENT) => return Ok(()),
                Err(error) => {
                    let source = self.copy.from.join(place.path(name));
                    return Err(failed("read", &source, error));
                }
            }
        };
        let kind = stat.map_or(kind, |stat| FileType::from_raw_mode(stat.st_mode));
        match (kind, stat) {
            (FileType::Symlink, _) => self.link(place, name)?,
            (FileType::Directory, Some(stat)) if self.is_without(&stat) => {
                part.copied.leave_out(place.path(name));
                return Ok(());
            }
            (FileType::Directory, Some(stat)) if !self.may_copy(&stat) => {
                part.copied.withheld.push(place.path(name));
                return Ok(());
            }
            (FileType::Directory, Some(stat)) => self.directory(place, name, &stat, part)?,
            (FileType::RegularFile, _) => {
                if !self.file(place, name, part)? {
                    return Ok(());
                }
            }
            (kind, _) => {
                let path = place.path(name);
                part.copied
                    .skipped
                    .push((path, special(kind).unwrap_or("of an unknown type")));
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
        stat: &Stat,
        part: &mut Part,
    ) -> Result<(), StoreError> {
        let listed = self.listed.below(place.level.listed, name);
        let (mode, note) = self
            .copy
            .modes
            .mode(self.listed.mode(listed), stat.st_mode, true);
        if note {
            part.copied
                .modes
                .0
                .insert(place.path(name), surviving(stat.st_mode, true));
        }
        make_directory_in(&place.open.to, name, 0o700 | mode & !SETGID)
            .map_err(|error| failed("create", &self.copy.to.join(place.path(name)), error))?;
        let made = Some((mode, times(stat)));
        let node = self.nodes.add(place.level.node, name.to_owned(), made);
        self.push(Task {
            directory: Level::new(place.level, name.to_owned(), node, listed),
            names: None,
        });
        Ok(())
    }

    fn link(&self, place: &Place<'_>, name: &OsStr) -> Result<(), StoreError> {
        let target = match fs::readlinkat(&place.open.from, name, Vec::new()) {
            Ok(target) => target,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => {
                let source = self.copy.from.join(place.path(name));
                return Err(failed("read", &source, error));
            }
        };
        self.replacing(place, name, "link", || {
            fs::symlinkat(&target, &place.open.to, name)
        })
    }

    /// Sets the modes and times of the directories.
    fn finish_directories(&self) -> Result<(), StoreError> {
        let set = |directory: &OwnedFd, mode: u32, times: &Timestamps| {
            fs::futimens(directory, times)?;
            match fs::fchmod(directory, Mode::from_raw_mode(mode)) {
                // A sandbox may forbid it (`RestrictSUIDSGID=`, systemd.exec(5)).
                Err(Errno::PERM) if mode & SETGID != 0 => {
                    fs::fchmod(directory, Mode::from_raw_mode(mode & !SETGID))
                }
                other => other,
            }
        };
        self.nodes
            .finish(&self.roots.to, set)
            .map_err(|(path, error)| failed("set the mode of", &self.copy.to.join(path), error))
    }
}
