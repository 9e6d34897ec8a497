//! Removes the files of a job and of its attempts.

use std::{
    ffi::OsStr,
    fs::{self, Permissions},
    mem::MaybeUninit,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::Path,
};

use rustix::fs::{Mode, OFlags, RawDir, open};

use super::job::Job;
use crate::{record::Conclusion, store};

/// The permissions that the owner needs to list and change a directory.
const ALL_OF_OWNER: u32 = 0o700;

impl Job<'_> {
    /// Removes the job's files from its workspace, unless a user may want to look at them after a
    /// failure. The directories stay: an ext4 without a journal avoids inodes that were freed
    /// recently, so each removal makes the creations of the next few seconds expensive.
    ///
    /// If the job builds with Nix, the workspace's links into the store stay: they keep Nix's
    /// garbage collector from the results.
    pub(super) fn clean_up(&mut self) {
        if matches!(
            self.record.outcome,
            Conclusion::Success | Conclusion::Skipped
        ) {
            // Removing through the mount would mark each file of the source tree as removed.
            let workspace = if self.spec.mount_source && !self.port.is_copied() {
                self.port.changes()
            } else {
                self.port.workspace()
            };
            let uses_nix = self.spec.uses_nix;
            empty_but_for(&workspace, |path| uses_nix && store::leads_into_store(path));
            empty(&self.port.home());
        }
        empty(&self.spec.files_directory);
    }

    /// Removes all files of an attempt, so that the next one starts without them.
    pub(super) fn remove_work(&self) {
        empty(&self.spec.files_directory);
        if self.spec.mount_source {
            // A mount point cannot be removed.
            empty(&self.port.workspace());
        } else {
            let _ = store::remove_tree(&self.port.workspace());
        }
        let _ = store::remove_tree(&self.port.home());
    }

    /// Removes the artifacts of an attempt.
    pub(super) fn remove_artifacts(&self) {
        for output in &self.spec.outputs {
            empty(&self.port.own_artifact(&output.name));
        }
    }
}

/// Gives the job's user the rights to a directory that a step has taken away, for example by
/// `chmod 000 .`. The directory belongs to the same user as the steps.
pub(super) fn unlock(directory: &Path) {
    let Ok(meta) = fs::symlink_metadata(directory) else {
        return;
    };
    let mode = meta.permissions().mode() & 0o7777;
    if meta.is_dir() && mode & ALL_OF_OWNER != ALL_OF_OWNER {
        // If this fails, the next action tells why.
        let _ = fs::set_permissions(directory, Permissions::from_mode(mode | ALL_OF_OWNER));
    }
}

/// Removes the contents of a directory, as far as possible. Remaining files harm nothing: retention
/// removes them with the run.
fn empty(directory: &Path) {
    empty_but_for(directory, |_| false);
}

/// As [`empty`], but leaves what `stays` says.
fn empty_but_for(directory: &Path, stays: impl Fn(&Path) -> bool) {
    unlock(directory);
    let Ok(opened) = open(
        directory,
        OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    ) else {
        return;
    };
    // Most directories hold little or nothing, and readdir(3) would allocate 32 KiB for each.
    let mut buffer = [MaybeUninit::uninit(); 1024];
    let mut entries = RawDir::new(opened, &mut buffer);
    let mut names = Vec::new();
    while let Some(Ok(entry)) = entries.next() {
        names.push(OsStr::from_bytes(entry.file_name().to_bytes()).to_owned());
    }
    names
        .iter()
        .filter(|name| *name != "." && *name != "..")
        .map(|name| directory.join(name))
        .filter(|path| !stays(path))
        .for_each(|path| _ = store::remove_tree(&path));
}
