//! The places of entries: their names in parts, and the directories that hold them.

use std::os::fd::OwnedFd;

use rustix::{
    fs::{self, Mode, OFlags, ResolveFlags},
    io::Errno,
};

use super::{Context, Tree, finish::Directory};
use crate::ImageError;

/// The most bytes of a name and of a component of it (path_resolution(7)).
const NAME_MAX: usize = 4095;
const COMPONENT_MAX: usize = 255;

/// Returns the components of an entry's name. The root's name has none. A slash at the start means
/// the tree's root.
pub(super) fn components(name: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
    if name.len() > NAME_MAX {
        return Err("has a name that is too long");
    }
    if name.contains(&0) {
        return Err("has a NUL character in its name");
    }
    let parts: Vec<_> = name
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    if parts.contains(&b"..".as_slice()) {
        return Err("has `..` in its name");
    }
    if parts.iter().any(|part| part.len() > COMPONENT_MAX) {
        return Err("has a name that is too long");
    }
    Ok(parts)
}

/// Returns a path of components.
pub(super) fn joined(components: &[&[u8]]) -> Vec<u8> {
    components.join(&b'/')
}

impl Tree {
    /// Opens the directory of an entry. With `make`, makes it and those above it if they are
    /// absent. Returns `None` for one that is absent.
    pub(super) fn parent(
        &mut self,
        context: &Context<'_>,
        components: &[&[u8]],
        make: bool,
    ) -> Result<Option<OwnedFd>, ImageError> {
        let path = joined(components);
        if let Some((_, directory)) = self.last.take_if(|(last, _)| *last == path) {
            return Ok(Some(directory));
        }
        match self.resolve(&path) {
            Ok(directory) => return Ok(Some(directory)),
            Err(Errno::NOENT) if make => {}
            // A layer may hide files below a directory that it replaces by a file.
            Err(Errno::NOENT | Errno::NOTDIR) if !make => return Ok(None),
            Err(errno) => return Err(context.failed("open the directory of", errno)),
        }
        let Some((name, parents)) = components.split_last() else {
            return Ok(None);
        };
        let Some(parent) = self.parent(context, parents, true)? else {
            return Ok(None);
        };
        match fs::mkdirat(&parent, *name, Mode::RWXU) {
            Ok(()) => {
                self.count(context.archive)?;
                self.directories.insert(path.clone(), Directory::implied());
                self.note(&parent, name);
            }
            // A link is there that leads to nothing.
            Err(Errno::EXIST) => {
                return Err(context.refuse("stands below a link that leads nowhere"));
            }
            Err(errno) => return Err(context.failed("create the directory of", errno)),
        }
        self.resolve(&path)
            .map(Some)
            .map_err(|errno| context.failed("open the directory of", errno))
    }

    /// Opens a directory of the tree, with the tree as its root directory.
    pub(super) fn resolve(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        loop {
            match fs::openat2(&self.root, path, flags, Mode::empty(), resolve) {
                // Another process renames a directory somewhere.
                Err(Errno::AGAIN) => {}
                other => return other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_components_and_stay_inside() {
        let of = |name: &str| components(name.as_bytes()).map(|parts| joined(&parts));
        for (name, path) in [
            ("a/b", "a/b"),
            ("./a//b/", "a/b"),
            ("/etc", "etc"),
            ("./", ""),
            ("/", ""),
            ("...", "..."),
        ] {
            assert_eq!(of(name).unwrap(), path.as_bytes(), "{name}");
        }
        for bad in [
            "..",
            "a/../b",
            "/..",
            "a/..",
            &"x".repeat(256),
            &"x/".repeat(2048),
            "a\0b",
        ] {
            of(bad).unwrap_err();
        }
    }
}
