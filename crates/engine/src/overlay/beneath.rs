//! Files below a root directory whose content nobody vouches for. All links are followed as if the
//! directory were the root (openat2(2)), so none leads out.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read, Write},
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Uid},
    fs::{fchown, fstat, mkdirat, openat, openat2, readlinkat, symlinkat, unlinkat},
    io::Errno,
    mount::{OpenTreeFlags, open_tree},
};

/// The kind of a mount point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
}

/// A root directory.
#[derive(Debug)]
pub(super) struct Beneath(OwnedFd);

impl Beneath {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(openat(CWD, root, flags, Mode::empty())?))
    }

    fn at(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(
            &self.0,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        )
    }

    /// Fails if a directory is not of this file system, but of the host's that is mounted there.
    fn is_own(&self, path: &Path) -> rustix::io::Result<()> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat2(&self.0, path, flags, Mode::empty(), resolve).map(drop)
    }

    pub(super) fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.at(path.as_ref(), OFlags::PATH).is_ok()
    }

    /// Reads a regular file of at most this size.
    pub(super) fn read(&self, path: &str, most: u64) -> io::Result<Vec<u8>> {
        // Opening a pipe must not wait for its writer.
        let file = self.at(Path::new(path), OFlags::RDONLY | OFlags::NONBLOCK)?;
        if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(Errno::INVAL.into());
        }
        let mut bytes = Vec::new();
        File::from(file).take(most + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            return Err(Errno::FBIG.into());
        }
        Ok(bytes)
    }

    /// Writes a file anew, in the place of a file or a link. It belongs to this user and group.
    pub(super) fn write(&self, path: &str, bytes: &[u8], ids: (u32, u32)) -> io::Result<()> {
        let path = Path::new(path);
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let above = path.parent().unwrap_or(Path::new("/"));
        let parent = self.directory(above, ids)?;
        self.is_own(above)?;
        match unlinkat(&parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let mut file = File::from(create(&parent, name, ids)?);
        file.write_all(bytes)
    }

    /// Returns a mount point, and makes it where it is missing.
    pub(super) fn place(&self, path: &Path, kind: Kind, ids: (u32, u32)) -> io::Result<OwnedFd> {
        if kind == Kind::Directory {
            return self.directory(path, ids);
        }
        match self.at(path, OFlags::PATH) {
            Ok(file) => return Ok(file),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let above = path.parent().unwrap_or(Path::new("/"));
        let parent = self.directory(above, ids)?;
        self.is_own(above)?;
        match unlinkat(&parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        create(&parent, name, ids)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&parent, name, flags, Mode::empty())?)
    }

    /// Returns whether there is no file in a directory, or no such directory.
    pub(super) fn is_empty(&self, path: &Path) -> bool {
        let opened = self.at(path, OFlags::RDONLY | OFlags::DIRECTORY);
        let entries = opened.and_then(|directory| Dir::read_from(&directory));
        entries.map_or(true, |entries| {
            let mut names = entries.flatten();
            names.all(|entry| matches!(entry.file_name().to_bytes(), b"." | b".."))
        })
    }

    /// Returns a directory as a mount of its own, and the names of the directories in it, without
    /// links to one. `None` where there is no such directory.
    pub(super) fn mount_of(&self, path: &Path) -> io::Result<Option<(OwnedFd, Vec<String>)>> {
        let opened = match self.at(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            opened => opened?,
        };
        let mut names = Vec::new();
        for entry in Dir::read_from(&opened)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let found = fstat(openat(&opened, name, flags, Mode::empty())?)?;
            let is_directory = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
            if is_directory && name != "." && name != ".." {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        Ok(Some((open_tree(&opened, "", flags)?, names)))
    }

    /// Makes a directory in the place of a link to a directory, with a link to each file of that
    /// one.
    pub(super) fn unfold(&self, path: &Path, ids: (u32, u32)) -> io::Result<()> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let parent = self.directory(path.parent().unwrap_or(Path::new("/")), ids)?;
        let target = readlinkat(&parent, name, Vec::new())?;
        let target = Path::new(OsStr::from_bytes(target.to_bytes()));
        let old = self.at(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        unlinkat(&parent, name, AtFlags::empty())?;
        let made = self.directory(path, ids)?;
        for entry in Dir::read_from(&old)? {
            let entry = entry?;
            let file = OsStr::from_bytes(entry.file_name().to_bytes());
            if file != "." && file != ".." {
                symlinkat(target.join(file), &made, file)?;
                own(&made, file, ids)?;
            }
        }
        Ok(())
    }

    /// Returns a directory, and makes it and those above it where they are missing.
    fn directory(&self, path: &Path, ids: (u32, u32)) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let mut sofar = PathBuf::from("/");
        let mut found = self.at(&sofar, flags)?;
        for component in path.components() {
            let Component::Normal(name) = component else {
                continue;
            };
            sofar.push(name);
            found = match self.at(&sofar, flags) {
                Err(Errno::NOENT) => {
                    self.is_own(sofar.parent().unwrap_or(Path::new("/")))?;
                    mkdirat(&found, name, Mode::from_raw_mode(0o755))?;
                    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let made = openat(&found, name, flags, Mode::empty())?;
                    own(&found, name, ids)?;
                    made
                }
                other => other?,
            };
        }
        Ok(found)
    }
}

fn create(parent: impl AsFd, name: &OsStr, ids: (u32, u32)) -> io::Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(parent, name, flags, Mode::from_raw_mode(0o644))?;
    fchown(
        &file,
        Some(Uid::from_raw(ids.0)),
        Some(Gid::from_raw(ids.1)),
    )?;
    Ok(file)
}

fn own(parent: impl AsFd, name: &OsStr, ids: (u32, u32)) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(ids.0), Gid::from_raw(ids.1));
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    Ok(rustix::fs::chownat(
        parent,
        name,
        Some(user),
        Some(group),
        flags,
    )?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn ids() -> (u32, u32) {
        (
            nix::unistd::getuid().as_raw(),
            nix::unistd::getgid().as_raw(),
        )
    }

    #[test]
    fn links_lead_nowhere_outside() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        symlink(outside.path(), root.path().join("out")).unwrap();
        symlink("../../../../etc", root.path().join("up")).unwrap();
        symlink("/dir/file", root.path().join("absolute")).unwrap();
        let beneath = Beneath::open(root.path()).unwrap();
        assert!(beneath.write("/out/file", b"x", ids()).is_err());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        assert!(!beneath.exists("/up/passwd"));
        beneath.write("/dir/file", b"text", ids()).unwrap();
        assert_eq!(beneath.read("/absolute", 9).unwrap(), b"text");
        assert!(root.path().join("dir/file").is_file());
    }

    #[test]
    fn a_written_file_takes_the_place_of_a_link() {
        let root = tempfile::tempdir().unwrap();
        let beneath = Beneath::open(root.path()).unwrap();
        symlink("/etc/passwd", root.path().join("file")).unwrap();
        beneath.write("/file", b"text", ids()).unwrap();
        assert_eq!(std::fs::read(root.path().join("file")).unwrap(), b"text");
    }

    #[test]
    fn mount_points_are_made() {
        let root = tempfile::tempdir().unwrap();
        let beneath = Beneath::open(root.path()).unwrap();
        beneath
            .place(Path::new("/a/b"), Kind::Directory, ids())
            .unwrap();
        beneath.place(Path::new("/c/d"), Kind::File, ids()).unwrap();
        assert!(root.path().join("a/b").is_dir() && root.path().join("c/d").is_file());
    }
}
