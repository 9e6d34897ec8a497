//! Copies of file trees, for workspaces and artifacts.
//!
//! Trees are walked by directory descriptors and no link is ever followed, whoever changes them
//! meanwhile. What is the same file stays so (hard links), holes stay holes, blocks are shared
//! where the file system can. A copy that another user must read is *opened*: its modes let others
//! read, and a manifest keeps the real ones.
//!
//! Knows nothing of what the trees are for.

mod content;
mod modes;
mod unlock;
mod walk;

use std::{
    ffi::OsStr,
    os::fd::{AsFd, OwnedFd},
    path::{Component, Path, PathBuf},
    sync::atomic::AtomicUsize,
};

use rustix::{
    fs::{self, AtFlags, CWD, FileType, Mode, OFlags},
    io::Errno,
};

use self::walk::Walk;
use super::StoreError;
pub use modes::{ModePolicy, Modes};

/// What a copy is made of, and how.
#[derive(Debug, Clone, Copy)]
pub struct TreeCopy<'a> {
    /// The directory that is copied from.
    pub from: &'a Path,
    /// The directory that is copied to; it is there.
    pub to: &'a Path,
    /// What happens to modes.
    pub modes: ModePolicy<'a>,
    /// A directory like `from`, whose files may be taken by renaming them, where that can be done.
    pub take_from: Option<&'a Path>,
    /// A number that ends the copy, with an error, soon after it is not zero any more.
    pub stop: Option<&'a AtomicUsize>,
    /// Whether files and directories that their owner, who copies them, may not read are opened for
    /// as long as that takes.
    pub unlock: bool,
}

/// What a copy has come to.
#[derive(Debug, Default)]
pub struct Copied {
    /// The real modes of what was opened.
    pub modes: Modes,
    /// What was left out, each with what it is.
    pub skipped: Vec<(PathBuf, &'static str)>,
    /// How many files, links and directories were made.
    pub entries: u64,
    /// The size of the files.
    pub bytes: u64,
}

impl TreeCopy<'_> {
    /// Copies everything below `from`. What lies at `to` already is replaced, directories are
    /// merged.
    ///
    /// # Errors
    /// Fails at the first file that cannot be copied, with its path.
    pub fn all(&self) -> Result<Copied, StoreError> {
        let mut walk = Walk::new(self)?;
        walk.add_all();
        walk.run()
    }

    /// Copies one path (a file, a link, or a directory with all below it) to the same place, making
    /// the directories that lead there with the modes they have. `None` where there is no such
    /// path.
    ///
    /// # Errors Fails at the first file that cannot be copied, with its path; also where a link
    /// leads to it, or it is no file at all.
    pub fn one(&self, relative: &Path) -> Result<Option<Copied>, StoreError> {
        let mut walk = Walk::new(self)?;
        if relative.file_name().is_none() {
            walk.add_all();
            return walk.run().map(Some);
        }
        match walk.kind(relative)?.map(content::special) {
            None => Ok(None),
            Some(Some(kind)) => Err(StoreError::Special {
                path: self.from.join(relative),
                kind,
            }),
            Some(None) => {
                walk.add(relative)?;
                walk.run().map(Some)
            }
        }
    }

    /// Copies files and directories by name: `names` are relative, and none lies below another.
    /// What is gone is passed over.
    ///
    /// # Errors
    /// Fails at the first file that cannot be copied, with its path.
    pub fn named(&self, names: &[PathBuf]) -> Result<Copied, StoreError> {
        let mut walk = Walk::new(self)?;
        names.iter().try_for_each(|name| walk.add(name))?;
        walk.run()
    }
}

/// Makes the directories of a relative path below a directory, where they are not there; none of
/// them is reached through a link.
///
/// # Errors
/// Fails at the first that cannot be made, or where a link or file is in the way.
pub fn make_beneath(root: &Path, relative: &Path) -> Result<(), StoreError> {
    let directory = open_root(root)?;
    let mut part = PathBuf::new();
    for component in relative.components() {
        part.push(component);
        make_directory(&directory, &part, 0o777)
            .map_err(|error| failed("create", &root.join(&part), error))?;
    }
    Ok(())
}

/// Returns a path in a tree in its plain form: `dist/` and `./dist` name the same place.
pub fn plain(path: &str) -> PathBuf {
    Path::new(path)
        .components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .collect()
}

fn open_root(path: &Path) -> Result<OwnedFd, StoreError> {
    open_in(CWD, path.as_os_str(), OFlags::RDONLY).map_err(|error| failed("open", path, error))
}

/// Opens a directory below another, component by component, so that no link is followed: what
/// openat2(2) does by itself is denied in a job (`RestrictSUIDSGID=`, systemd.exec(5)). A link on
/// the way, or at its end, is `ELOOP`. The path has no `..`.
fn open_directory(root: &OwnedFd, relative: &Path) -> rustix::io::Result<OwnedFd> {
    let Some(name) = relative.file_name() else {
        return open_in(root, OsStr::new("."), OFlags::RDONLY);
    };
    let mut above: Option<OwnedFd> = None;
    for part in relative.parent().into_iter().flat_map(Path::components) {
        // To go through a directory one need not be allowed to read it.
        above = Some(open_in(
            above.as_ref().unwrap_or(root),
            part.as_os_str(),
            OFlags::PATH,
        )?);
    }
    open_in(above.as_ref().unwrap_or(root), name, OFlags::RDONLY)
}

/// Opens a directory by its name in another.
fn open_in(parent: impl AsFd, name: &OsStr, access: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = access | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match fs::openat(&parent, name, flags, Mode::empty()) {
        Err(Errno::NOTDIR) if is_link(&parent, name) => Err(Errno::LOOP),
        other => other,
    }
}

fn is_link(parent: impl AsFd, name: &OsStr) -> bool {
    fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

/// Makes a directory below another whose parent is there; returns whether it was made now.
fn make_directory(root: &OwnedFd, relative: &Path, mode: u32) -> rustix::io::Result<bool> {
    let parent = open_directory(root, relative.parent().unwrap_or(Path::new("")))?;
    make_directory_in(&parent, relative.file_name().unwrap_or_default(), mode)
}

fn make_directory_in(parent: &OwnedFd, name: &OsStr, mode: u32) -> rustix::io::Result<bool> {
    match fs::mkdirat(parent, name, Mode::from_raw_mode(mode)) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => open_in(parent, name, OFlags::PATH).map(|_| false),
        Err(error) => Err(error),
    }
}

fn failed(action: &'static str, path: &Path, error: Errno) -> StoreError {
    if error == Errno::LOOP {
        return StoreError::ThroughLink {
            path: path.to_owned(),
        };
    }
    StoreError::io(action, path, error.into())
}

#[cfg(test)]
mod tests;
