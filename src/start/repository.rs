//! Finds the repository of a source tree, and decides whether it may be copied with the tree.
//!
//! A tree may be hostile, and root may copy it. Its `.git` can name any repository of the host. So
//! a file `.git` is followed only to the repository of a worktree or submodule that points back,
//! since only that repository's owner can make it do so. A link `.git` is followed only to a place
//! that the tree may show ([`Place::shown_by`]).

use std::{
    ffi::OsStr,
    fs,
    io::{self, Read as _},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;

use super::{
    command::{GIT, Reader},
    place::{Place, Tree},
    source_error::SourceError,
};
use crate::{
    interrupts::Mark,
    store::{self, Allowed, StoreError},
};

/// The longest file that holds a path, in bytes.
const TEXT_MAX: u64 = 64 << 10;

/// The place of a tree's repository.
#[derive(Debug)]
pub(super) enum Repository {
    /// There is no repository.
    None,
    /// A directory in the tree.
    Here(Place),
    /// At this place, which a file names.
    At(Place),
    /// At this place, which a link names, with the files that its copy may hold.
    Linked(Place, Allowed),
    /// At this path, which the tree may not name.
    Foreign(PathBuf),
}

impl Repository {
    /// Finds the repository of a tree without asking git: a directory in the tree, or the
    /// repository of a linked worktree. Returns the repository, and the shared one of a worktree.
    pub fn plain(tree: &Place) -> Option<(Place, Option<Place>)> {
        let place = tree.below(Path::new(GIT)).ok()?;
        if place.is_directory() {
            return Some((place, None));
        }
        let found = Place::find(&target_of(tree)?).ok()?;
        let shared = shared(&found)?;
        names_back(&found, tree)?.then_some((found, Some(shared)))
    }

    /// Finds the repository of a tree, which is the source or lies in it.
    ///
    /// Fails if the file `.git` cannot be read, or names nothing.
    pub fn of(
        tree: &Place,
        links: Tree<'_>,
        reader: Reader,
        mark: &Mark,
    ) -> Result<Self, SourceError> {
        let path = tree.path().join(GIT);
        let unreadable = |error| SourceError::Copy(StoreError::io("read", &path, error));
        let kind = match fs::symlink_metadata(tree.open_path().join(GIT)) {
            Ok(meta) => meta.file_type(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::None),
            Err(error) => return Err(unreadable(error)),
        };
        if kind.is_dir() {
            let place = tree.below(Path::new(GIT)).map_err(unreadable)?;
            return Ok(Self::Here(place));
        }
        if kind.is_symlink() {
            let Ok(found) = Place::find(&tree.open_path().join(GIT)) else {
                return Ok(Self::None);
            };
            return Ok(match found.shown_by(links) {
                Some(allowed) if found.is_directory() => Self::Linked(found, allowed),
                _ => Self::Foreign(found.path().to_owned()),
            });
        }
        let target =
            target_of(tree).ok_or_else(|| unreadable(io::ErrorKind::InvalidData.into()))?;
        let found = Place::find(&target).map_err(|error| {
            SourceError::Copy(StoreError::io("follow `.git` to", &target, error))
        })?;
        // It may still name a directory that its owner has given up, and another user has now.
        let is_own = !geteuid().is_root() || [0, found.owner()].contains(&tree.owner());
        Ok(if is_own && points_back(&found, tree, reader, mark) {
            Self::At(found)
        } else {
            Self::Foreign(found.path().to_owned())
        })
    }
}

/// Returns the path that a file `.git` names.
fn target_of(tree: &Place) -> Option<PathBuf> {
    let text = text(&tree.open_path().join(GIT))?;
    let target = text.strip_prefix(b"gitdir: ")?;
    let target = Path::new(OsStr::from_bytes(target.trim_ascii_end()));
    Some(tree.path().join(target))
}

/// Returns whether a repository names a tree as its own: the repository of a linked worktree, which
/// lies in the shared one, or the repository of a submodule (gitrepository-layout(5)).
fn points_back(repository: &Place, tree: &Place, reader: Reader, mark: &Mark) -> bool {
    names_back(repository, tree).unwrap_or_else(|| {
        let config = store::open_untrusted(&repository.open_path().join("config"));
        let own = config
            .ok()
            .flatten()
            .and_then(|config| reader.path_setting(mark, config, "core.worktree"))
            .and_then(|path| Place::find(&repository.path().join(path)).ok());
        own.is_some_and(|own| own.id() == tree.id())
    })
}

/// As [`points_back`], for the repository of a linked worktree; `None` for any other one.
fn names_back(repository: &Place, tree: &Place) -> Option<bool> {
    let back = named(repository, "gitdir")?;
    let is_back = back.file_name() == Some(OsStr::new(GIT))
        && back
            .parent()
            .and_then(|back| Place::find(back).ok())
            .is_some_and(|back| back.id() == tree.id());
    Some(is_back && shared(repository).is_some())
}

/// Returns the shared repository of a linked worktree's repository, which must lie in it: the file
/// `commondir` alone could name any other repository.
pub(super) fn shared(repository: &Place) -> Option<Place> {
    let shared = Place::find(&named(repository, "commondir")?).ok()?;
    let own = Path::new("worktrees").join(repository.path().file_name()?);
    (shared.below(&own).ok()?.id() == repository.id()).then_some(shared)
}

/// Returns whether a repository has its references in tables (`reftable`, git-refs(1)).
pub(super) fn has_tables(repository: &Place) -> bool {
    repository.below(Path::new("reftable")).is_ok()
}

/// Returns the path that a file of a repository holds.
fn named(repository: &Place, file: &str) -> Option<PathBuf> {
    let text = text(&repository.open_path().join(file))?;
    let path = Path::new(OsStr::from_bytes(text.trim_ascii_end()));
    Some(repository.path().join(path))
}

/// Returns the content of a plain file that is not too long. Does not wait for a named pipe.
fn text(path: &Path) -> Option<Vec<u8>> {
    let mut file = store::open_untrusted(path).ok()??.take(TEXT_MAX + 1);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= TEXT_MAX).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Returns whether the repository of a tree is followed, and its path.
    fn outcome(tree: &Path) -> (bool, PathBuf) {
        let tree = Place::find(tree).unwrap();
        let links = Tree {
            root: tree.path(),
            own: Path::new("/nowhere"),
            owner: tree.owner(),
        };
        match Repository::of(&tree, links, Reader::Caller, &Mark::default()).unwrap() {
            Repository::At(place) | Repository::Linked(place, _) => (true, place.path().to_owned()),
            Repository::Foreign(path) => (false, path),
            other => panic!("{other:?}"),
        }
    }

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
            outcome(&path("tree"))
        };
        let worktree = path("shared.git/worktrees/w");
        let foreign = |repository: &str| (false, path(repository));
        assert_eq!(name("shared.git"), foreign("shared.git"));
        fs::write(worktree.join("commondir"), "../..\n").unwrap();
        fs::write(worktree.join("gitdir"), "/elsewhere/.git\n").unwrap();
        let at = "shared.git/worktrees/w";
        assert_eq!(name(at), foreign(at));
        let back = format!("{}\n", path("tree/.git").display());
        fs::write(worktree.join("gitdir"), &back).unwrap();
        assert_eq!(name(at), (true, worktree));
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
        let found = || outcome(&tree);
        assert_eq!(found(), (true, private.join("repository")));
        fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
        if geteuid().is_root() {
            assert_eq!(found(), (false, private.join("repository")));
        } else {
            assert_eq!(found(), (true, private.join("repository")));
        }
    }
}
