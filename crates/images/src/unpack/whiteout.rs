//! Whiteouts: entries of a layer that remove files of the layers below it (OCI image-spec,
//! layer.md).
//!
//! A whiteout never removes what its own layer has written, whichever of the two comes first.

use std::os::fd::OwnedFd;

use rustix::{
    fs::{self, AtFlags, Dir, FileType, Mode, OFlags},
    io::Errno,
};

use super::{Context, Tree, place};
use crate::ImageError;

/// The start of the names of whiteouts.
pub(super) const PREFIX: &[u8] = b".wh.";
/// The whiteout of all files of a directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// The start of the names of files of aufs itself, which mean nothing here.
const OWN: &[u8] = b".wh..wh.";
/// The deepest tree that a layer may remove. The walk holds a descriptor for each level.
const DEPTH_MAX: usize = 512;

impl Tree {
    pub(super) fn whiteout(
        &mut self,
        context: &Context<'_>,
        parents: &[&[u8]],
        name: &[u8],
    ) -> Result<(), ImageError> {
        // Nothing is removed where nothing is.
        let Some(parent) = self.parent(context, parents, false)? else {
            return Ok(());
        };
        let path = place::joined(parents);
        if name == OPAQUE {
            self.prune_all(context, &parent, &path, true, 0)?;
        } else if !name.starts_with(OWN) {
            let hidden = &name[PREFIX.len()..];
            if hidden.is_empty() || hidden == b"." || hidden == b".." {
                return Err(context.refuse("is a whiteout of no file"));
            }
            self.prune(context, &parent, hidden, &below(&path, hidden), true, 0)?;
        }
        Ok(())
    }

    /// Removes a file or tree, also one that the current layer has written.
    pub(super) fn remove(
        &mut self,
        context: &Context<'_>,
        parent: &OwnedFd,
        name: &[u8],
        path: &[u8],
    ) -> Result<(), ImageError> {
        self.prune(context, parent, name, path, false, 0)
    }

    /// Removes a file or tree. With `spare`, leaves what the current layer has written.
    fn prune(
        &mut self,
        context: &Context<'_>,
        parent: &OwnedFd,
        name: &[u8],
        path: &[u8],
        spare: bool,
        depth: usize,
    ) -> Result<(), ImageError> {
        let stat = match fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(context.failed("remove files for", errno)),
        };
        let is_spared = spare
            && fs::fstat(parent)
                .is_ok_and(|above| self.written.contains(&(above.st_ino, name.to_owned())));
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return if is_spared {
                Ok(())
            } else {
                fs::unlinkat(parent, name, AtFlags::empty())
                    .map_err(|errno| context.failed("remove files for", errno))
            };
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = fs::openat(parent, name, flags, Mode::empty())
            .map_err(|errno| context.failed("remove files for", errno))?;
        self.prune_all(context, &directory, path, spare, depth)?;
        if is_spared {
            return Ok(());
        }
        // The descriptor may be that of a directory which is gone now.
        self.last = None;
        match fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) => {
                self.directories.remove(path);
                Ok(())
            }
            // A file of the current layer is in it.
            Err(Errno::NOTEMPTY | Errno::EXIST) if spare => Ok(()),
            Err(errno) => Err(context.failed("remove files for", errno)),
        }
    }

    /// Removes all files and trees of a directory as [`Self::prune`] does.
    fn prune_all(
        &mut self,
        context: &Context<'_>,
        directory: &OwnedFd,
        path: &[u8],
        spare: bool,
        depth: usize,
    ) -> Result<(), ImageError> {
        if depth > DEPTH_MAX {
            return Err(context.refuse("removes a tree that is too deep"));
        }
        let list = || -> rustix::io::Result<Vec<Vec<u8>>> {
            let mut names = Vec::new();
            for entry in Dir::read_from(directory)? {
                let name = entry?.file_name().to_bytes().to_owned();
                if name != b"." && name != b".." {
                    names.push(name);
                }
            }
            Ok(names)
        };
        for name in list().map_err(|errno| context.failed("remove files for", errno))? {
            let path = below(path, &name);
            self.prune(context, directory, &name, &path, spare, depth + 1)?;
        }
        Ok(())
    }
}

/// Returns the path of a file in a directory of the tree.
fn below(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() {
        name.to_owned()
    } else {
        [path, b"/", name].concat()
    }
}
