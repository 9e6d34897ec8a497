//! Removes and measures trees of any depth, in linear time and with one open descriptor. A job may
//! have nested directories so deeply that no path reaches the last one.
//!
//! The walk goes up by `..` and checks that it arrives in the directory that it came from. It
//! follows no link, and enters no directory on which something is mounted: that may be a directory
//! of the host which a job has bound.

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
    fs::{self, AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, StatxFlags},
    io::Errno,
};

/// The permissions that the owner needs to list and change a directory.
const ALL_OF_OWNER: u32 = 0o700;
/// The unit of `st_blocks`, in bytes (inode(7)).
const BLOCK: u64 = 512;

/// The actions on the entries of a tree. The parent directory of an entry is open.
trait Visitor {
    /// Whether the walk first gives the owner access to a directory.
    const UNLOCKS: bool;
    /// Handles an entry that is not a directory.
    fn file(&mut self, directory: &OwnedFd, name: &OsStr) -> rustix::io::Result<()>;
    /// Handles a directory after all its entries.
    fn directory(&mut self, parent: &OwnedFd, name: &OsStr) -> rustix::io::Result<()>;
}

/// Removes a file or tree, also below directories that a job made unwritable. Ignores files that
/// are already gone.
///
/// # Errors
/// The system refuses to remove an entry. The error is that of the first one.
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

/// Returns the disk space of a tree, in bytes. A file with several names counts once.
///
/// # Errors
/// A directory cannot be read.
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

/// A directory on the path from the root to the walk's current place.
struct Level {
    /// The directory's name in its parent.
    name: OsString,
    /// The directory's device and inode.
    id: (u64, u64),
    /// The directory's children that have not been visited.
    left: Vec<OsString>,
}

/// Visits everything below a directory, but not the directory itself.
fn walk<V: Visitor>(root: &Path, visitor: &mut V) -> rustix::io::Result<()> {
    let mut current = open(CWD, root.as_os_str(), V::UNLOCKS)?;
    let mount = mount_id(&current)?;
    let mut levels = vec![enter(&current, OsString::new(), visitor)?];
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.left.pop() {
            match open(&current, &name, V::UNLOCKS) {
                Ok(child) if mount_id(&child)? != mount => return Err(Errno::XDEV),
                Ok(child) => {
                    levels.push(enter(&child, name, visitor)?);
                    current = child;
                }
                // Another process is removing the same tree.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
            continue;
        }
        let done = levels.pop();
        if let (Some(done), Some(above)) = (done, levels.last()) {
            let parent = open(&current, OsStr::new(".."), false)?;
            if id(&fs::fstat(&parent)?) != above.id {
                // Another process moved a directory.
                return Err(Errno::STALE);
            }
            current = parent;
            absent(visitor.directory(&current, &done.name))?;
        }
    }
    Ok(())
}

/// Visits the files of a directory and notes its directories.
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
    // Read all names first: removing an entry while the directory is read may hide another one.
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

/// Returns the number of the mount to which a file belongs (statx(2)). An older kernel tells none.
fn mount_id(file: &OwnedFd) -> rustix::io::Result<u64> {
    let flags = AtFlags::EMPTY_PATH;
    fs::statx(file, "", flags, StatxFlags::MNT_ID).map(|stat| stat.stx_mnt_id)
}

/// Opens a directory. With `unlock`, first gives its owner access, if the system allows that.
fn open(parent: impl AsFd, name: &OsStr, unlock: bool) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if unlock {
        // Opening with `O_PATH` needs no permission. The descriptor keeps naming this directory if
        // its name changes.
        let place = fs::openat(
            &parent,
            name,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let mode = fs::fstat(&place)?.st_mode & 0o7777;
        if mode & ALL_OF_OWNER != ALL_OF_OWNER {
            // If this fails, opening the directory reports the reason.
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

    /// Nests directories in each other. The last one holds a file that no path can reach.
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
    fn a_tree_too_deep_for_descriptors_and_paths_is_measured_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir(&root).unwrap();
        // This exceeds the number of files that a process may open, and the bytes of PATH_MAX.
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
    fn unwritable_directories_are_removed_and_files_are_measured_once() {
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
