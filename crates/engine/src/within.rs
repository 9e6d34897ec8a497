//! Finds files of a root file system by their paths, as a job in it finds them: the check of a root
//! and the command that mounts it follow one rule.
//!
//! The rule: a job sees the host's Nix store if one of its shells, or a link in the root directory,
//! leads to a file of the store that the root lacks. A file that the root has in a store of its own
//! comes first.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use crate::unit::NIX_STORE;

/// The most links on the way to a file (path_resolution(7)).
const LINKS_MAX: usize = 40;
/// The shells that run scripts.
pub(crate) const SHELLS: [&str; 2] = ["/bin/bash", "/bin/sh"];

/// The place of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A file of the root.
    Own(PathBuf),
    /// A file of the host's Nix store.
    InHostStore(PathBuf),
}

impl Found {
    /// Returns the path of the file here.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Own(path) | Self::InHostStore(path) => path,
        }
    }
}

/// Returns the names in the directory of a root that are links to files of the host's Nix store, as
/// in a root that Nix has joined from several packages.
///
/// # Errors
/// Fails with the system's reason.
pub(crate) fn links_into_host_store(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut links = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = Path::new("/").join(entry.file_name());
        if entry.file_type()?.is_symlink() && is_in_host_store(root, &name) {
            links.push(name);
        }
    }
    Ok(links)
}

/// Returns whether a path leads to a file of the host's Nix store.
pub(crate) fn is_in_host_store(root: &Path, path: &Path) -> bool {
    matches!(find(root, path), Some(Found::InHostStore(_)))
}

/// Returns the file that a path names in a root. Absolute links start at the root. The host's Nix
/// store has the files that the root's own lacks.
pub(crate) fn find(root: &Path, path: &Path) -> Option<Found> {
    let mut links = 0;
    let mut left: Vec<PathBuf> = parts(path);
    let mut at = PathBuf::from("/");
    while let Some(part) = left.pop() {
        if part == Path::new("..") {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        match fs::read_link(real(root, &next).path()) {
            Ok(target) => {
                links += 1;
                if links > LINKS_MAX {
                    return None;
                }
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                left.extend(parts(&target));
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => at = next,
            Err(_) if Path::new(NIX_STORE).starts_with(&next) => at = next,
            Err(_) => return None,
        }
    }
    Some(real(root, &at))
}

/// Returns the place of a file of a root, given by a path without links.
fn real(root: &Path, path: &Path) -> Found {
    let own = root.join(path.strip_prefix("/").unwrap_or(path));
    if path.starts_with(NIX_STORE) && own.symlink_metadata().is_err() {
        Found::InHostStore(path.to_owned())
    } else {
        Found::Own(own)
    }
}

/// Returns the parts of a path that lead somewhere, the last one first.
fn parts(path: &Path) -> Vec<PathBuf> {
    let parts = path.components().rev();
    parts
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| PathBuf::from(part.as_os_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_within_the_root() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at("usr/bin")).unwrap();
        fs::write(at("usr/bin/dash"), "").unwrap();
        symlink("usr/bin", at("bin")).unwrap();
        symlink("/etc/alternatives/sh", at("usr/bin/sh")).unwrap();
        fs::create_dir_all(at("etc/alternatives")).unwrap();
        symlink("../../../../../bin/dash", at("etc/alternatives/sh")).unwrap();
        symlink("loop", at("usr/bin/loop")).unwrap();
        let found = |path: &str| find(root.path(), Path::new(path));
        assert_eq!(found("/bin/sh"), Some(Found::Own(at("usr/bin/dash"))));
        assert_eq!(found("/bin/bash"), None);
        assert_eq!(found("/bin/loop"), None);
        // An image may have a store of its own.
        symlink("/nix/store/own/zsh", at("usr/bin/zsh")).unwrap();
        assert_eq!(found("/bin/zsh"), None);
        fs::create_dir_all(at("nix/store/own")).unwrap();
        fs::write(at("nix/store/own/zsh"), "").unwrap();
        let own = Found::Own(at("nix/store/own/zsh"));
        assert_eq!(found("/bin/zsh"), Some(own));
        assert_eq!(
            links_into_host_store(root.path()).unwrap(),
            [""; 0].map(PathBuf::from)
        );
    }
}
