//! Finds the repository of a source tree, and decides whether it may be copied with the tree.
//!
//! A tree may be hostile, and root may copy it. Its `.git` can name any repository of the host. So
//! a file `.git` is followed only to the repository of a worktree or submodule that points back,
//! since only that repository's owner can make it do so. A link is followed only to a place that
//! everybody may read, or that belongs to the tree's owner if that is not root.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Read as _},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use super::{command::Reader, git::GIT, source::SourceError};
use crate::{
    interrupts::Mark,
    store::{self, StoreError},
};

/// The longest file that holds a path, in bytes.
const TEXT_MAX: u64 = 64 << 10;

/// The place of a tree's repository.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Repository {
    /// There is no repository.
    None,
    /// A directory in the tree. Some of its parts are links that lead out of the tree and may be
    /// followed; each is listed with its target.
    Here(Vec<(PathBuf, PathBuf)>),
    /// At this path, which a file or link names.
    At(PathBuf),
    /// At this path, which the tree may not name.
    Foreign(PathBuf),
}

impl Repository {
    /// Finds the repository of a tree without asking git: a directory in the tree, or the
    /// repository of a linked worktree.
    pub fn plain(tree: &Path) -> Option<PathBuf> {
        let place = tree.join(GIT);
        let kind = fs::symlink_metadata(&place).ok()?.file_type();
        if kind.is_dir() {
            return Some(place);
        }
        let text = if kind.is_file() {
            text(&place)?
        } else {
            return None;
        };
        let target = text.strip_prefix(b"gitdir: ")?;
        let target = Path::new(OsStr::from_bytes(target.trim_ascii_end()));
        let found = tree.join(target).canonicalize().ok()?;
        names_back(&found, &tree.canonicalize().ok()?)?.then_some(found)
    }

    /// Finds the repository of a tree.
    ///
    /// Fails if the file `.git` cannot be read, or names nothing.
    pub fn of(tree: &Path, reader: Reader, mark: &Mark) -> Result<Self, SourceError> {
        let place = tree.join(GIT);
        let unreadable = |error| SourceError::Copy(StoreError::io("read", &place, error));
        let kind = match fs::symlink_metadata(&place) {
            Ok(meta) => meta.file_type(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::None),
            Err(error) => return Err(unreadable(error)),
        };
        if kind.is_dir() {
            return Ok(Self::Here(links(tree, &place)));
        }
        if kind.is_symlink() {
            let Ok(found) = place.canonicalize() else {
                return Ok(Self::None);
            };
            return Ok(if found.is_dir() && is_open(&found, tree) {
                Self::At(found)
            } else {
                Self::Foreign(found)
            });
        }
        let text = text(&place).unwrap_or_default();
        let target = text
            .strip_prefix(b"gitdir: ")
            .map(|target| Path::new(OsStr::from_bytes(target.trim_ascii_end())))
            .ok_or_else(|| unreadable(io::ErrorKind::InvalidData.into()))?;
        let target = tree.join(target);
        let found = target.canonicalize().map_err(|error| {
            SourceError::Copy(StoreError::io("follow `.git` to", &target, error))
        })?;
        Ok(if points_back(&found, tree, reader, mark) {
            Self::At(found)
        } else {
            Self::Foreign(found)
        })
    }
}

/// Returns whether a repository names a tree as its own: the repository of a linked worktree, which
/// lies in the shared one, or the repository of a submodule (gitrepository-layout(5)).
fn points_back(repository: &Path, tree: &Path, reader: Reader, mark: &Mark) -> bool {
    let Ok(tree) = tree.canonicalize() else {
        return false;
    };
    let Some(names_back) = names_back(repository, &tree) else {
        let config = repository.join("config");
        let own = reader.config(mark, &config, &["--path", "core.worktree"]);
        return own.is_ok_and(|own| {
            let path = Path::new(OsStr::from_bytes(own.stdout.trim_ascii_end()));
            own.status.success()
                && repository
                    .join(path)
                    .canonicalize()
                    .is_ok_and(|own| own == tree)
        });
    };
    names_back
}

/// As [`points_back`], for the repository of a linked worktree; `None` for any other one.
fn names_back(repository: &Path, tree: &Path) -> Option<bool> {
    let back = named(repository, "gitdir")?;
    let is_back = back.file_name() == Some(OsStr::new(GIT))
        && back
            .parent()
            .and_then(|back| back.canonicalize().ok())
            .as_deref()
            == Some(tree);
    Some(is_back && shared(repository).is_some())
}

/// Returns the shared repository of a linked worktree's repository, which must lie in it: the file
/// `commondir` alone could name any other repository.
pub(super) fn shared(repository: &Path) -> Option<PathBuf> {
    let shared = named(repository, "commondir")?.canonicalize().ok()?;
    let repository = repository.canonicalize().ok()?;
    (repository.parent() == Some(&shared.join("worktrees"))).then_some(shared)
}

/// Returns the path that a file of a repository holds.
fn named(repository: &Path, file: &str) -> Option<PathBuf> {
    let text = text(&repository.join(file))?;
    let path = Path::new(OsStr::from_bytes(text.trim_ascii_end()));
    Some(repository.join(path))
}

/// Returns the content of a plain file that is not too long. Does not wait for a named pipe.
fn text(path: &Path) -> Option<Vec<u8>> {
    let mut file = store::open_untrusted(path).ok()??.take(TEXT_MAX + 1);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= TEXT_MAX).then_some(bytes)
}

/// Returns whether a tree may link to a place: everybody may read the place, or it belongs to the
/// tree's owner, unless that is root, whom others may have misled.
fn is_open(place: &Path, tree: &Path) -> bool {
    let owner = |path: &Path| fs::metadata(path).map(|meta| meta.uid()).ok();
    let of_others = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.permissions().mode());
    owner(place).is_some_and(|uid| owner(tree) == Some(uid))
        && (owner(tree) != Some(0)
            || of_others(place) & 0o004 != 0
                && place
                    .ancestors()
                    .filter(|path| path.is_dir())
                    .all(|path| of_others(path) & 0o001 != 0))
}

/// Returns the links directly in a repository that lead out of its tree and may be followed.
fn links(tree: &Path, repository: &Path) -> Vec<(PathBuf, PathBuf)> {
    let root = tree.canonicalize().unwrap_or_else(|_| tree.to_owned());
    let entries = fs::read_dir(repository).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()))
        .filter_map(|entry| {
            let found = entry.path().canonicalize().ok()?;
            let follow = !found.starts_with(&root) && is_open(&found, tree);
            follow.then(|| (Path::new(GIT).join(entry.file_name()), found))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_followed_only_to_a_repository_that_points_back() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let path = |name: &str| root.join(name);
        let shared = path("shared.git");
        for name in ["tree", "shared.git/worktrees/w", "fake/worktrees/w"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        let name = |repository: &str| {
            fs::write(
                path("tree/.git"),
                format!("gitdir: {}\n", path(repository).display()),
            )
            .unwrap();
            Repository::of(&path("tree"), Reader::Caller, &Mark::default()).unwrap()
        };
        let worktree = path("shared.git/worktrees/w");
        let foreign = |repository: &str| Repository::Foreign(path(repository));
        assert_eq!(name("shared.git"), foreign("shared.git"));
        fs::write(worktree.join("commondir"), "../..\n").unwrap();
        fs::write(worktree.join("gitdir"), "/elsewhere/.git\n").unwrap();
        let at = "shared.git/worktrees/w";
        assert_eq!(name(at), foreign(at));
        let back = format!("{}\n", path("tree/.git").display());
        fs::write(worktree.join("gitdir"), &back).unwrap();
        assert_eq!(name(at), Repository::At(worktree));
        // It points back, but the shared repository does not know it.
        let fake = "fake/worktrees/w";
        fs::write(path(fake).join("gitdir"), &back).unwrap();
        fs::write(
            path(fake).join("commondir"),
            format!("{}\n", shared.display()),
        )
        .unwrap();
        assert_eq!(name(fake), foreign(fake));
    }

    #[test]
    fn a_link_is_followed_only_to_public_or_own_places() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        let [tree, private] = ["tree", "private"].map(|name| root.join(name));
        fs::create_dir_all(&tree).unwrap();
        fs::create_dir_all(private.join("repository")).unwrap();
        std::os::unix::fs::symlink(private.join("repository"), tree.join(GIT)).unwrap();
        let found = || Repository::of(&tree, Reader::Caller, &Mark::default()).unwrap();
        assert_eq!(found(), Repository::At(private.join("repository")));
        fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
        if nix::unistd::geteuid().is_root() {
            assert_eq!(found(), Repository::Foreign(private.join("repository")));
        } else {
            assert_eq!(found(), Repository::At(private.join("repository")));
        }
    }
}
