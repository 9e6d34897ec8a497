//! A file or directory that was opened once, with the owner and the mode that it had then.
//!
//! Root copies the source trees of other users. Such a user may change what lies at a path between
//! a check and the copy. So root opens each place once, checks the open file, and copies from it.
//!
//! Knows nothing of git's files.

use std::{
    ffi::OsStr,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

use nix::unistd::geteuid;
use rustix::{
    fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat},
    io::Errno,
};

use crate::store::{Allowed, DirectoryId};

/// The source tree that links belong to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tree<'a> {
    /// The root of the whole source.
    pub root: &'a Path,
    /// The directory of nixactions' own state, which is never copied.
    pub own: &'a Path,
    /// The user who owns the repository with the links, or the tree with a link `.git`.
    pub owner: u32,
}

/// An open file or directory. It can be read by [`Self::open_path`], whatever happens to its path.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    file: OwnedFd,
    stat: Stat,
    way: Way,
}

/// The users who may pass through the directories that lead to a place. Members of groups do not
/// count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    All,
    Only(u32),
    Closed,
}

impl Way {
    fn is_open_to(self, user: u32) -> bool {
        self == Self::All || self == Self::Only(user)
    }

    /// Returns the way through one more directory.
    fn through(self, directory: &Stat) -> Self {
        let owner = directory.st_uid;
        match self {
            _ if directory.st_mode & 0o001 != 0 => self,
            Self::All if directory.st_mode & 0o100 != 0 => Self::Only(owner),
            Self::Only(user) if user == owner && directory.st_mode & 0o100 != 0 => self,
            Self::All | Self::Only(_) | Self::Closed => Self::Closed,
        }
    }
}

impl Place {
    /// Opens what a path leads to. Follows links.
    ///
    /// Fails if the path leads nowhere, or if it changes meanwhile.
    pub fn find(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize()?;
        let root = Self::opened(CWD, OsStr::new("/"), PathBuf::from("/"), Way::All)?;
        root.below(path.strip_prefix("/").unwrap_or(&path))
    }

    /// Opens a path below a directory. Follows no link.
    ///
    /// Fails if a part of the path does not exist or is a link.
    pub fn below(&self, relative: &Path) -> io::Result<Self> {
        let mut place = Self {
            path: self.path.clone(),
            file: self.file.try_clone()?,
            stat: self.stat,
            way: self.way,
        };
        for part in relative.components() {
            let Component::Normal(name) = part else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            let way = place.way.through(&place.stat);
            place = Self::opened(&place.file, name, place.path.join(name), way)?;
        }
        Ok(place)
    }

    /// openat2(2) could resolve a whole path, but services may not use it (`RestrictSUIDSGID=`,
    /// systemd.exec(5)).
    fn opened(parent: impl AsFd, name: &OsStr, path: PathBuf, way: Way) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(parent, name, flags, Mode::empty())?;
        let stat = fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
            return Err(Errno::LOOP.into());
        }
        Ok(Self {
            path,
            file,
            stat,
            way,
        })
    }

    /// Returns the path at which it was found, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a path of this process that leads to it. For a directory, it ends in `.`, and other
    /// paths may be appended (proc_pid_fd(5)).
    pub fn open_path(&self) -> PathBuf {
        let path = PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        if self.is_directory() {
            path.join(".")
        } else {
            path
        }
    }

    /// Returns which directory it is.
    pub fn id(&self) -> DirectoryId {
        (self.stat.st_dev, self.stat.st_ino)
    }

    /// Returns the user who owns it.
    pub fn owner(&self) -> u32 {
        self.stat.st_uid
    }

    /// Returns whether it is a directory.
    pub fn is_directory(&self) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == FileType::Directory
    }

    /// Returns whether it is a plain file.
    pub fn is_file(&self) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == FileType::RegularFile
    }

    /// Returns the files that a copy of this place may hold, if the user of `run` or the owner of
    /// the place has named it: the files of its owner, and the files that its group or everybody
    /// may read. A tree may lie
    /// in a directory of root, such as a mount point, so the owner of its repository counts there.
    pub fn allowed(&self, repository: Option<&Self>) -> Allowed {
        let other = repository.filter(|_| self.owner() == 0).unwrap_or(self);
        Allowed::Of {
            users: [self.stat.st_uid, other.stat.st_uid],
            groups: Some([self.stat.st_gid, other.stat.st_gid]),
        }
    }

    /// Returns the files that a copy of it may hold if a link in a tree leads here, or `None` if
    /// the link may not be followed.
    ///
    /// The place must belong to the tree's owner. This owner must also be able to reach it, since a
    /// user of a container may have the same number. Other users may be able to write into a tree
    /// of root, and could link to any private place. So outside of the source, a place of root is
    /// shown only if everybody may read it.
    pub fn shown_by(&self, tree: Tree<'_>) -> Option<Allowed> {
        let is_state = self.path.starts_with(tree.own) || tree.own.starts_with(&self.path);
        if is_state || self.owner() != tree.owner {
            return None;
        }
        // The kernel lets other callers read no more than they may.
        if self.path.starts_with(tree.root) || !geteuid().is_root() {
            return Some(self.allowed(None));
        }
        match tree.owner {
            0 => self.is_public().then_some(Allowed::Public),
            user if !self.way.is_open_to(user) => None,
            user => Some(Allowed::Of {
                users: [user; 2],
                groups: None,
            }),
        }
    }

    /// Returns whether everybody may read it.
    pub fn is_public(&self) -> bool {
        let is_searchable = !self.is_directory() || self.stat.st_mode & 0o001 != 0;
        self.way == Way::All && is_searchable && self.stat.st_mode & 0o004 != 0
    }
}

impl AsFd for Place {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn an_opened_place_stays_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir_all(path("own/d")).unwrap();
        fs::write(path("own/d/file"), "own").unwrap();
        fs::create_dir_all(path("other/d")).unwrap();
        fs::write(path("other/d/file"), "other").unwrap();
        let place = Place::find(&path("own/d")).unwrap();
        fs::rename(path("own"), path("moved")).unwrap();
        std::os::unix::fs::symlink(path("other"), path("own")).unwrap();
        let text = fs::read_to_string(place.open_path().join("file"));
        assert_eq!(text.unwrap(), "own");
        let linked = Place::find(&path("own/d")).unwrap();
        assert!(linked.path().ends_with("other/d"), "the link is followed");
        let above = Place::find(dir.path()).unwrap();
        assert!(above.below(Path::new("own/d")).is_err(), "not followed");
        assert!(above.below(Path::new("../d")).is_err());
        assert_eq!(above.below(Path::new("other/d")).unwrap().id(), linked.id());
    }

    #[test]
    fn a_place_is_public_if_everybody_may_reach_and_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let allow = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let [above, inside] = ["a", "a/b"].map(|name| dir.path().join(name));
        fs::create_dir_all(&inside).unwrap();
        allow(dir.path(), 0o755);
        for (outer, inner, is_public) in [
            (0o755, 0o755, true),
            (0o711, 0o755, true),
            (0o700, 0o755, false),
            (0o755, 0o711, false),
            (0o755, 0o744, false),
        ] {
            allow(&above, outer);
            allow(&inside, inner);
            let place = Place::find(&inside).unwrap();
            assert_eq!(place.is_public(), is_public, "{outer:o} {inner:o}");
        }
    }

    /// Returns whether this process may make directories of other users. The root of a user
    /// namespace may not, if the namespace has no other user.
    fn has_other_users() -> bool {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(dir.path(), Some(5), Some(5)).is_ok()
    }

    #[test]
    fn a_place_is_shown_to_its_owner_on_a_way_that_the_owner_may_go() {
        if !has_other_users() {
            eprintln!("skipped: only root can make directories of other users");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let make = |path: &str, owner, mode| {
            let path = dir.path().join(path);
            fs::create_dir(&path).unwrap();
            std::os::unix::fs::chown(&path, Some(owner), Some(owner)).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let tree = make("tree", 5, 0o755);
        let state = make("state", 0, 0o700);
        for (above, owner, mode, is_shown) in [
            ("open", 0, 0o755, true),
            ("own", 5, 0o700, true),
            ("locked", 5, 0o600, false),
            ("container", 0, 0o700, false),
            ("other", 6, 0o700, false),
        ] {
            make(above, owner, mode);
            let inside = make(&format!("{above}/inside"), 5, 0o700);
            let tree = Tree {
                root: &tree,
                own: &state,
                owner: 5,
            };
            let place = Place::find(&inside).unwrap();
            assert_eq!(place.shown_by(tree).is_some(), is_shown, "{above}");
        }
    }

    #[test]
    fn the_owner_of_a_repository_counts_in_a_directory_of_root() {
        if !has_other_users() {
            eprintln!("skipped: only root can make directories of other users");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        for (tree, repository, users) in [(0, 5, [0, 5]), (5, 0, [5, 5]), (5, 6, [5, 5])] {
            let [tree, repository] = [tree, repository].map(|owner: u32| {
                let path = dir.path().join(owner.to_string());
                let _ = fs::create_dir(&path);
                std::os::unix::fs::chown(&path, Some(owner), Some(owner)).unwrap();
                Place::find(&path).unwrap()
            });
            assert_eq!(
                tree.allowed(Some(&repository)),
                Allowed::Of {
                    users,
                    groups: Some(users)
                }
            );
        }
    }
}
