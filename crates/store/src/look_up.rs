//! The way of a path through links, and the users who could make it lead elsewhere.
//!
//! Root opens paths that people name. Another user than root, who may change a directory on the
//! way, could put a link there to any private place.
//!
//! Knows nothing of the purpose of the paths.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

use nix::libc;

/// The most links on the way to a file (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// The end of the way of a path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LookUp {
    /// The path of the file without any link.
    pub end: PathBuf,
    /// The owners of the links on the way, and of the directories that lead to those links.
    pub owners: Vec<u32>,
}

/// Follows an absolute path to its end, as the kernel does.
///
/// # Errors
/// The path leads nowhere.
pub fn look_up(path: &Path) -> io::Result<LookUp> {
    let mut found = LookUp::default();
    let mut left: Vec<PathBuf> = parts(path);
    let mut links = 0;
    while let Some(part) = left.pop() {
        if part == Path::new("..") {
            found.end.pop();
            continue;
        }
        let next = found.end.join(&part);
        let meta = fs::symlink_metadata(&next)?;
        if !meta.is_symlink() {
            found.end = next;
            continue;
        }
        links += 1;
        if links > LINKS_MAX {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        let target = fs::read_link(&next)?;
        let mut above: Vec<&Path> = found.end.ancestors().collect();
        above.reverse();
        for directory in above {
            found.owners.push(fs::symlink_metadata(directory)?.uid());
        }
        found.owners.push(meta.uid());
        left.extend(parts(&target));
    }
    Ok(found)
}

/// Returns the parts of a path that lead somewhere, the last one first.
fn parts(path: &Path) -> Vec<PathBuf> {
    let parts = path.components().rev();
    parts
        .filter(|part| *part != Component::CurDir)
        .map(|part| PathBuf::from(part.as_os_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    #[test]
    fn a_path_leads_where_the_kernel_goes() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let path = |name: &str| root.join(name);
        fs::create_dir_all(path("a/b")).unwrap();
        fs::create_dir_all(path("c/d")).unwrap();
        symlink("../c/d", path("a/relative")).unwrap();
        symlink(path("a/relative"), path("absolute")).unwrap();
        symlink("loop", path("loop")).unwrap();
        for (name, links) in [
            ("a/b", 0),
            ("a/b/..", 0),
            ("a/./b/../relative", 1),
            ("a/relative/..", 1),
            ("absolute", 2),
            ("absolute/../d/", 2),
        ] {
            let found = look_up(&path(name)).unwrap();
            assert_eq!(found.end, path(name).canonicalize().unwrap(), "{name}");
            assert_eq!(found.owners.is_empty(), links == 0, "{name}");
        }
        for name in ["loop", "none", "a/b/none"] {
            look_up(&path(name)).unwrap_err();
        }
    }

    #[test]
    fn the_owners_are_those_of_links_and_of_directories_above_them() {
        if !crate::can_give_files_away() {
            eprintln!("skipped: only root of all user ids can make files of other users");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let path = |name: &str| root.join(name);
        fs::create_dir_all(path("5/own")).unwrap();
        fs::create_dir(path("plain")).unwrap();
        symlink("own", path("5/link")).unwrap();
        symlink("5/link", path("link")).unwrap();
        chown(path("5"), Some(5), None).unwrap();
        chown(path("5/own"), Some(6), None).unwrap();
        let owners = |name: &str| {
            let owners = look_up(&path(name)).unwrap().owners;
            owners.into_iter().find(|owner| *owner != 0)
        };
        assert_eq!(owners("5/own"), None, "there is no link");
        assert_eq!(owners("plain"), None);
        assert_eq!(
            owners("5/link"),
            Some(5),
            "the directory could get another link"
        );
        assert_eq!(owners("link"), Some(5), "by way of a link of root");
    }
}
