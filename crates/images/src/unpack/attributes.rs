//! Owners and extended attributes.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::{
    fs::{self, AtFlags, Gid, Uid, XattrFlags},
    io::Errno,
};

use super::{Context, Tree};
use crate::{ImageError, archive::shown};

/// Attributes that the kernel or an overlay would obey on the host: a hostile image could redirect
/// an overlay's look-ups by them (`trusted.overlay.redirect`), and labels are the host's.
const NEVER: &[&[u8]] = &[
    b"trusted.",
    b"user.overlay.",
    b"security.selinux",
    b"security.ima",
    b"security.evm",
];

impl Tree {
    /// Gives a file to the entry's user and group, where this process may do so.
    pub(super) fn own(
        &self,
        context: &Context<'_>,
        file: BorrowedFd<'_>,
    ) -> Result<(), ImageError> {
        if !self.is_root {
            return Ok(());
        }
        let (uid, gid) = owner(context);
        fs::fchown(file, uid, gid).map_err(|errno| context.failed("set the owner of", errno))
    }

    /// Does the same for a link or another file that cannot be opened.
    pub(super) fn own_link(
        &self,
        context: &Context<'_>,
        parent: &OwnedFd,
        name: &[u8],
    ) -> Result<(), ImageError> {
        if !self.is_root {
            return Ok(());
        }
        let (uid, gid) = owner(context);
        fs::chownat(parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| context.failed("set the owner of", errno))
    }

    /// Sets the extended attributes that the file system takes.
    pub(super) fn attributes(&mut self, context: &Context<'_>, file: BorrowedFd<'_>) {
        for (name, value) in &context.entry.attributes {
            let set = if NEVER.iter().any(|never| name.starts_with(never)) {
                Err(Errno::PERM)
            } else {
                fs::fsetxattr(file, name.as_slice(), value, XattrFlags::empty())
            };
            if set.is_err() {
                self.notes.add(|| {
                    let (name, entry) = (shown(name), context.entry.shown());
                    format!("attribute `{name}` of `{entry}` was left out")
                });
            }
        }
    }
}

fn owner(context: &Context<'_>) -> (Option<Uid>, Option<Gid>) {
    let entry = context.entry;
    (
        Some(Uid::from_raw(entry.uid)),
        Some(Gid::from_raw(entry.gid)),
    )
}
