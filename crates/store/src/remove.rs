//! Trees are removed and measured here, however deep they are, in linear time and with a single
//! descriptor open: a job may have nested directories until no path reaches the last.
//!
//! The walk goes up again by `..`, and looks whether that leads where it came from. No link is
//! followed.

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    io::{self, ErrorKind},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::{
    fs::{self, AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat},
    io::Errno,
};

/// What the owner needs to list a directory and to change what lies in it.
const ALL_OF_OWNER: u32 = 0o700;
/// The size of what `st_blocks` counts, in bytes (inode(7)).
const BLOCK: u64 = 512;

/// What is done to the entries of a tree; the directory that holds them is open.
trait Visitor {
    /// Whether directories are opened for their owner first.
    const UNLOCKS: bool;
    /// Takes in what is no directory.
    fn file(&mut self, directory: &OwnedFd, name: &OsStr) -> rustix::io::Result<()>;
    /// Takes in a directory; all below it has been visited.
    fn directory(&mut self, parent: &OwnedFd, name: &OsStr) -> rustix::io::Result<()>;
}

/// Removes a file or tree, also below directories that a job made unwritable. A file that is gone
/// already does no harm.
///
/// # Errors
/// Fails with the system's reason for the first that could not be removed.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    struct Remove;
    impl Visitor for Remove {
        const UNLOCKS: bool = true;
        fn file(&mut self, directory: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
            fs::unlinkat(directory, name, AtFlags::empty())
        }
        fn directory(&mut self, parent: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
            fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
        }
    }
    let removed = match walk(path, &mut Remove) {
        Ok(()) => std::fs::remove_dir(path),
        Err(Errno::NOTDIR | Errno::LOOP) => std::fs::remove_file(path),
        Err(errno) => Err(errno.into()),
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Returns the room that a tree takes on its disk, in bytes. A file of several names counts once.
///
/// # Errors
/// Fails with the system's reason where a directory cannot be read.
pub fn disk_usage(path: &Path) -> io::Result<u64> {
    struct Measure {
        bytes: u64,
        linked: HashSet<(u64, u64)>,
    }
    impl Measure {
        fn add(&mut self, stat: &Stat, is_file: bool) {
            let seen =
                is_file && stat.st_nlink > 1 && !self.linked.insert((stat.st_dev, stat.st_ino));
            if !seen {
                self.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * BLOCK;
            }
        }
    }
    impl Visitor for Measure {
        const UNLOCKS: bool = false;
        fn file(&mut self, directory: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
            self.add(&stat(directory, name)?, true);
            Ok(())
        }
        fn directory(&mut self, parent: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
            self.add(&stat(parent, name)?, false);
            Ok(())
        }
    }
    let mut measure = Measure {
        bytes: 0,
        linked: HashSet::new(),
    };
    walk(path, &mut measure)?;
    Ok(measure.bytes)
}

/// A directory that the walk is in or below.
struct Level {
    /// Its name in the directory above.
    name: OsString,
    /// Which directory it is: device and inode.
    id: (u64, u64),
    /// The directories in it that have not been visited.
    left: Vec<OsString>,
}

/// Visits all that lies below a directory, which itself is not visited.
fn walk<V: Visitor>(root: &Path, visitor: &mut V) -> rustix::io::Result<()> {
    let mut current = open(CWD, root.as_os_str(), V::UNLOCKS)?;
    let mut levels = vec![enter(&current, OsString::new(), visitor)?];
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.left.pop() {
            match open(&current, &name, V::UNLOCKS) {
                Ok(child) => {
                    levels.push(enter(&child, name, visitor)?);
                    current = child;
                }
                // Another process removes the same tree.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
            continue;
        }
        let done = levels.pop();
        if let (Some(done), Some(above)) = (done, levels.last()) {
            let parent = open(&current, OsStr::new(".."), false)?;
            if id(&fs::fstat(&parent)?) != above.id {
                // A directory was moved meanwhile.
                return Err(Errno::STALE);
            }
            current = parent;
            absent(visitor.directory(&current, &done.name))?;
        }
    }
    Ok(())
}

/// Visits the files of a directory, and notes its directories.
fn enter<V: Visitor>(
    directory: &OwnedFd,
    name: OsString,
    visitor: &mut V,
) -> rustix::io::Result<Level> {
    let mut level = Level {
        name,
        id: id(&fs::fstat(directory)?),
        left: Vec::new(),
    };
    // All names first: what is removed while a directory is read may hide another.
    let mut files = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => match stat(directory, name) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(errno),
            },
            kind => kind,
        };
        let list = if kind == FileType::Directory {
            &mut level.left
        } else {
            &mut files
        };
        list.push(name.to_owned());
    }
    for file in files {
        absent(visitor.file(directory, &file))?;
    }
    Ok(level)
}

/// Opens a directory; for its owner first, where that is wanted and allowed.
fn open(parent: impl AsFd, name: &OsStr, unlock: bool) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if unlock {
        // This descriptor takes no permission, and names the directory whatever becomes of its
        // name.
        let place = fs::openat(
            &parent,
            name,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let mode = fs::fstat(&place)?.st_mode & 0o7777;
        if mode & ALL_OF_OWNER != ALL_OF_OWNER {
            // Where that is refused, opening it says why.
            let path = format!("/proc/self/fd/{}", place.as_raw_fd());
            let _ = fs::chmod(path, Mode::from_raw_mode(mode | ALL_OF_OWNER));
        }
        return fs::openat(&place, ".", flags, Mode::empty());
    }
    fs::openat(parent, name, flags, Mode::empty())
}

fn stat(directory: &OwnedFd, name: &OsStr) -> rustix::io::Result<Stat> {
    fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
}

fn id(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn absent(result: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};

    use super::*;

    /// Nests directories in each other; the last holds a file. No path reaches it.
    fn nest(root: &Path, levels: usize) {
        let mut current = open(CWD, root.as_os_str(), false).unwrap();
        for _ in 0..levels {
            fs::mkdirat(&current, "d", Mode::from_raw_mode(0o700)).unwrap();
            current = open(&current, OsStr::new("d"), false).unwrap();
        }
        let flags = OFlags::CREATE | OFlags::WRONLY;
        fs::openat(&current, "file", flags, Mode::from_raw_mode(0o600)).unwrap();
    }

    #[test]
    fn a_tree_deeper_than_descriptors_and_paths_reach_is_measured_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        // More than a process may have files open, and more than PATH_MAX has bytes.
        nest(&root, 2_500);
        disk_usage(&root).unwrap();
        remove_tree(&root).unwrap();
        assert!(!root.exists());
    }

    #[test]
    fn links_are_removed_and_never_followed() {
        let dir = tempfile::tempdir().unwrap();
        let [root, other] = ["root", "other"].map(|name| dir.path().join(name));
        for path in [&root, &other] {
            std::fs::create_dir(path).unwrap();
        }
        std::fs::write(other.join("file"), "").unwrap();
        std::os::unix::fs::symlink(&other, root.join("link")).unwrap();
        std::os::unix::fs::symlink(&root, dir.path().join("entry")).unwrap();
        remove_tree(&dir.path().join("entry")).unwrap();
        assert!(root.join("link").is_symlink(), "a link to a tree is a file");
        remove_tree(&root).unwrap();
        assert!(!root.exists() && other.join("file").exists());
        remove_tree(&root).unwrap();
    }

    #[test]
    fn closed_directories_are_removed_and_files_are_measured_once() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        let closed = root.join("closed/again");
        std::fs::create_dir_all(&closed).unwrap();
        std::fs::write(closed.join("file"), vec![1; 1 << 20]).unwrap();
        std::fs::hard_link(closed.join("file"), root.join("second")).unwrap();
        let bytes = disk_usage(&root).unwrap();
        assert!((1 << 20..3 << 19).contains(&bytes), "{bytes}");
        for path in [&closed, &root.join("closed")] {
            std::fs::set_permissions(path, Permissions::from_mode(0o000)).unwrap();
        }
        remove_tree(&root).unwrap();
        assert!(!root.exists());
    }
}
