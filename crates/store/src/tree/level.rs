//! The directories that a copy works in. Each is opened by its name in its parent: a path may be
//! longer than any call takes, and opening each directory from the root takes time that grows with
//! the square of the depth.
//!
//! Only the directories that were used last are open, and those that a thread works in. The others
//! are opened again by `..` from a directory in them, or else from the nearest open one above.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use rustix::fs::{self, OFlags, Stat};

use super::open_in;

/// The number of directories that stay open though no thread works in them.
const CACHED: usize = 8;

/// Which directory it is: device and inode.
pub(super) type Id = super::DirectoryId;

/// Returns which directory it is.
pub(super) fn id(stat: &Stat) -> Id {
    (stat.st_dev, stat.st_ino)
}

/// A directory in all trees of a copy.
pub(super) struct Level {
    above: Option<Arc<Level>>,
    name: OsString,
    /// Its number among those that the copy met.
    pub node: usize,
    /// The number of directories that it lies below.
    pub depth: usize,
    /// Its place in the manifest.
    pub listed: Option<usize>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Option<Arc<Open>>,
    ids: Option<Ids>,
    /// The directory in it that was opened last.
    below: Weak<Level>,
}

/// A directory as it is open in all trees.
pub(super) struct Open {
    pub from: OwnedFd,
    pub to: OwnedFd,
    pub take_from: Option<OwnedFd>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Ids {
    from: Id,
    to: Id,
    take_from: Option<Id>,
}

impl Open {
    fn ids(&self) -> rustix::io::Result<Ids> {
        Ok(Ids {
            from: id(&fs::fstat(&self.from)?),
            to: id(&fs::fstat(&self.to)?),
            take_from: match &self.take_from {
                Some(open) => Some(id(&fs::fstat(open)?)),
                None => None,
            },
        })
    }

    /// Opens the directory that this one lies in, where it is this one.
    fn above(&self, ids: Ids) -> Option<Self> {
        let up = |of: &OwnedFd| open_in(of, OsStr::new(".."), OFlags::RDONLY).ok();
        let open = Self {
            from: up(&self.from)?,
            to: up(&self.to)?,
            take_from: match (&self.take_from, ids.take_from) {
                (Some(of), Some(_)) => Some(up(of)?),
                (_, None) => None,
                (None, Some(_)) => return None,
            },
        };
        open.ids().is_ok_and(|found| found == ids).then_some(open)
    }
}

impl Level {
    /// Returns the roots of the trees.
    pub fn root(open: Arc<Open>, listed: Option<usize>) -> Arc<Self> {
        let state = State {
            open: Some(open),
            ..State::default()
        };
        Arc::new(Self {
            above: None,
            name: OsString::new(),
            node: 0,
            depth: 0,
            listed,
            state: Mutex::new(state),
        })
    }

    /// Returns a directory in another.
    pub fn new(above: &Arc<Self>, name: OsString, node: usize, listed: Option<usize>) -> Arc<Self> {
        Arc::new(Self {
            above: Some(Arc::clone(above)),
            name,
            node,
            depth: above.depth + 1,
            listed,
            state: Mutex::default(),
        })
    }

    /// Returns its name in its parent.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// Returns its path, relative to the roots. It may be of any length.
    pub fn path(&self) -> PathBuf {
        let (mut names, mut level) = (Vec::new(), self);
        while let Some(above) = &level.above {
            names.push(level.name());
            level = above;
        }
        names.into_iter().rev().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Level {
    /// Drops the ancestors that nothing else needs in a loop: recursion over a deep chain would
    /// overflow the stack.
    fn drop(&mut self) {
        let mut next = self.above.take();
        while let Some(mut level) = next.and_then(Arc::into_inner) {
            next = level.above.take();
        }
    }
}

/// The directories that are open though no thread works in them, the oldest first.
#[derive(Default)]
pub(super) struct Cache(Mutex<VecDeque<Arc<Level>>>);

impl Cache {
    /// Opens a directory. `enter` opens it in its parent, and names the call that failed.
    pub fn open<E>(
        &self,
        level: &Arc<Level>,
        enter: impl Fn(&Open, &Level) -> Result<Open, E>,
    ) -> Result<Arc<Open>, E> {
        if let Some(open) = self.at_hand(level) {
            return Ok(open);
        }
        let mut way = vec![Arc::clone(level)];
        let mut open = loop {
            let last = way.last().and_then(|level| level.above.as_ref());
            let above = Arc::clone(last.expect("invariant: the roots are always open"));
            match self.at_hand(&above) {
                Some(open) => break open,
                None => way.push(above),
            }
        };
        while let Some(next) = way.pop() {
            open = Arc::new(enter(&open, &next)?);
            if let Some(above) = &next.above {
                above.state().below = Arc::downgrade(&next);
            }
            self.keep(next, &open);
        }
        Ok(open)
    }

    /// Returns a directory that is open, or that lies above an open one.
    fn at_hand(&self, level: &Arc<Level>) -> Option<Arc<Open>> {
        let (ids, below) = {
            let state = level.state();
            match &state.open {
                Some(open) => return Some(Arc::clone(open)),
                None => (state.ids?, state.below.upgrade()?),
            }
        };
        let below = below.state().open.clone()?;
        let open = Arc::new(below.above(ids)?);
        self.keep(Arc::clone(level), &open);
        Some(open)
    }

    fn keep(&self, level: Arc<Level>, open: &Arc<Open>) {
        {
            let mut state = level.state();
            state.open = Some(Arc::clone(open));
            if state.ids.is_none() {
                state.ids = open.ids().ok();
            }
        }
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cached.push_back(level);
        let oldest = (cached.len() > CACHED)
            .then(|| cached.pop_front())
            .flatten();
        drop(cached);
        if let Some(oldest) = oldest {
            oldest.state().open = None;
        }
    }
}
