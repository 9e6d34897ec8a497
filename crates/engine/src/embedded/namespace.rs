//! Moves the process between mount namespaces, also if it was started in a chroot, as in build
//! environments.
//!
//! Entering a mount namespace, even the current one, moves the process to that namespace's root
//! directory and so out of a chroot (setns(2)). [`make_slave`] uses this to reach the root;
//! [`Place::enter`] undoes it.

use std::{env, fs::File, io, os::unix::fs::MetadataExt};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns},
    unistd::{chdir, chroot, fchdir},
};

/// A mount namespace and a root directory in it.
pub(super) struct Place {
    namespace: File,
    root: File,
}

impl Place {
    /// Returns the current place of the process.
    pub fn current() -> io::Result<Self> {
        Ok(Self {
            namespace: File::open("/proc/self/ns/mnt")?,
            root: File::open("/")?,
        })
    }

    /// Moves the process to the place.
    pub fn enter(&self) -> io::Result<()> {
        setns(&self.namespace, CloneFlags::CLONE_NEWNS)?;
        fchdir(&self.root)?;
        Ok(chroot(".")?)
    }
}

/// Lets mounts and unmounts of the host come into the current mount namespace, and lets none go
/// out.
pub(super) fn make_slave() -> io::Result<()> {
    let here = Place::current()?;
    setns(&here.namespace, CloneFlags::CLONE_NEWNS)?;
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_SLAVE | MsFlags::MS_REC,
        None::<&str>,
    )?;
    here.enter()
}

/// Makes the root directory of the process the root of its mount namespace, if it is not: the
/// kernel gives no user namespace to a process in a chroot. The mount namespace must belong to this
/// process alone.
pub(super) fn leave_chroot() -> io::Result<()> {
    let Place { namespace, root } = Place::current()?;
    let was = root.metadata()?;
    setns(namespace, CloneFlags::CLONE_NEWNS)?;
    let is = File::open("/")?.metadata()?;
    if (was.dev(), was.ino()) == (is.dev(), is.ino()) {
        return Ok(());
    }
    fchdir(&root)?;
    // Only a mount can be moved, not a directory. The directory's name leads to the mount on top of
    // it.
    mount(
        Some("."),
        ".",
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None::<&str>,
    )?;
    chdir(&env::current_dir()?)?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
    chroot(".")?;
    Ok(chdir("/")?)
}
