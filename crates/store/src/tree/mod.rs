//! Copies of file trees, for workspaces and artifacts.
//!
//! The walk uses directory descriptors and never follows a link, whatever other processes change
//! meanwhile. A copy keeps hard links and holes, and it shares blocks if the file system can. A
//! copy that another user must read is *opened*: its modes let others read, and a manifest keeps
//! the real modes.
//!
//! Knows nothing of the purpose of the trees.

mod allowed;
mod content;
mod file;
mod level;
mod modes;
mod nodes;
mod unlock;
mod walk;

use std::{
    ffi::OsStr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Component, Path, PathBuf},
    sync::atomic::AtomicUsize,
};

use rustix::{
    fs::{self, AtFlags, CWD, FileType, Mode, OFlags},
    io::Errno,
};

use self::walk::Walk;
use super::StoreError;
pub use allowed::Allowed;
pub use modes::{ModePolicy, Modes};

/// A request to copy a tree.
#[derive(Debug, Clone, Copy)]
pub struct TreeCopy<'a> {
    /// The directory that is copied.
    pub from: &'a Path,
    /// The existing directory that receives the copy.
    pub to: &'a Path,
    /// The treatment of modes.
    pub modes: ModePolicy<'a>,
    /// A directory like `from` whose files are renamed into the copy if possible, instead of
    /// copied.
    pub take_from: Option<&'a Path>,
    /// A number that stops the copy, with an error, soon after the number becomes non-zero.
    pub stop: Option<&'a AtomicUsize>,
    /// Whether the copy temporarily opens files and directories that their owner, the copying user,
    /// may not read.
    pub unlock: bool,
    /// The directory `from`, opened before. Then `from` only names it in errors, and another user
    /// who changes what lies at that path changes nothing.
    pub opened: Option<BorrowedFd<'a>>,
    /// A directory that is left out, with everything below it.
    pub without: Option<DirectoryId>,
    /// The files and directories that may be copied. Without it, those that this process may read.
    pub allowed: Option<Allowed>,
}

/// The device and the inode of a directory.
pub type DirectoryId = (u64, u64);

/// The result of a copy.
#[derive(Debug, Default)]
pub struct Copied {
    /// The real modes of the opened files and directories.
    pub modes: Modes,
    /// The paths that were left out, each with the kind of the file.
    pub skipped: Vec<(PathBuf, &'static str)>,
    /// The paths that were left out because they may not be copied ([`Allowed`]).
    pub withheld: Vec<PathBuf>,
    /// The number of files, links and directories that were made.
    pub entries: u64,
    /// The total size of the files, in bytes.
    pub bytes: u64,
}

impl Copied {
    /// Notes that a directory was left out on request.
    fn leave_out(&mut self, path: PathBuf) {
        self.skipped.push((path, "a directory of nixactions' own"));
    }
}

impl<'a> TreeCopy<'a> {
    /// Returns the request for a plain copy of a directory.
    pub fn new(from: &'a Path, to: &'a Path, modes: ModePolicy<'a>) -> Self {
        Self {
            from,
            to,
            modes,
            take_from: None,
            stop: None,
            unlock: false,
            opened: None,
            without: None,
            allowed: None,
        }
    }

    /// Copies everything below `from`. Replaces existing files in `to` and merges directories.
    ///
    /// # Errors
    /// A file cannot be copied. The error names the first such path.
    pub fn all(&self) -> Result<Copied, StoreError> {
        let mut walk = Walk::new(self)?;
        walk.add_all();
        walk.run()
    }

    /// Copies one path (a file, a link, or a directory with everything below it) to the same place.
    /// Makes the parent directories with their original modes. Returns `None` if the path does not
    /// exist.
    ///
    /// # Errors
    /// A file cannot be copied, the path leads through a link, or the path is a special file. The
    /// error names the first such path.
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

    /// Copies files and directories by name. The names are relative, and none lies below another
    /// one. Skips names that are gone.
    ///
    /// # Errors
    /// A file cannot be copied. The error names the first such path.
    pub fn named(&self, names: &[PathBuf]) -> Result<Copied, StoreError> {
        let mut walk = Walk::new(self)?;
        names.iter().try_for_each(|name| walk.add(name))?;
        walk.run()
    }
}

/// Makes the missing directories of a relative path below a directory, without following links.
///
/// # Errors
/// A directory cannot be made, or a link or file is in the way.
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

/// Returns a relative path in normal form: `dist/` and `./dist` name the same place.
pub fn plain(path: &str) -> PathBuf {
    Path::new(path)
        .components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .collect()
}

fn open_root(path: &Path) -> Result<OwnedFd, StoreError> {
    open_in(CWD, path.as_os_str(), OFlags::RDONLY).map_err(|error| failed("open", path, error))
}

/// Opens a directory below another one, component by component, so that no link is followed.
/// openat2(2) could do this in one call, but jobs may not use it (`RestrictSUIDSGID=`,
/// systemd.exec(5)). A link in the path or at its end gives `ELOOP`. The path has no `..`.
fn open_directory(root: &OwnedFd, relative: &Path) -> rustix::io::Result<OwnedFd> {
    let Some(name) = relative.file_name() else {
        return open_in(root, OsStr::new("."), OFlags::RDONLY);
    };
    let mut above: Option<OwnedFd> = None;
    for part in relative.parent().into_iter().flat_map(Path::components) {
        // Passing through a directory does not need read permission.
        above = Some(open_in(
            above.as_ref().unwrap_or(root),
            part.as_os_str(),
            OFlags::PATH,
        )?);
    }
    open_in(above.as_ref().unwrap_or(root), name, OFlags::RDONLY)
}

/// Opens a directory by its name in another directory.
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

/// Makes a directory in an existing parent below `root`. Returns whether the directory is new.
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
