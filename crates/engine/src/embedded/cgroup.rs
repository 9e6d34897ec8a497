//! The run's cgroup. It lies below the caller's own cgroup, so the limits of a container hold for
//! the run. It is removed after PID 1 has ended.
//!
//! The hierarchy is mounted anew and held only by a file descriptor. So it does not matter where
//! the machine has mounted its own hierarchy, whether it has one, or whether it is read-only (as in
//! Docker). See cgroups(7).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{
    fcntl::OFlag,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::statvfs::{FsFlags, statvfs},
};

use super::{
    error::{At, StageError},
    namespace::{self, Place},
};
use crate::ids::RunId;

/// The controllers that limits of units need.
pub(super) const CONTROLLERS: [&str; 4] = ["cpu", "io", "memory", "pids"];
/// The time that the kernel may take to release a cgroup whose processes are dead.
const REMOVAL: Duration = Duration::from_secs(5);

/// A run's cgroup and its parent.
#[derive(Debug)]
pub(super) struct Cgroup {
    /// Keeps the detached mount alive.
    _hierarchy: File,
    parent: PathBuf,
    path: PathBuf,
}

impl Cgroup {
    /// Makes a cgroup for a run. `mount_point` is an empty directory, used for a moment.
    pub fn create(run: &RunId, mount_point: &Path) -> Result<Self, StageError> {
        let hierarchy = open_hierarchy(mount_point)?;
        // Paths through the descriptor reach the mount although no namespace contains it.
        let root = PathBuf::from(format!("/proc/self/fd/{}", hierarchy.as_raw_fd()));
        let parent = root.join(own_cgroup().at("read `/proc/self/cgroup`")?);
        sweep(&parent);
        let path = (0..)
            .map(|n| parent.join(format!("nixactions-{run}.{}.{n}", std::process::id())))
            .map(|path| (fs::create_dir(&path), path))
            .find(|(made, _)| {
                !made
                    .as_ref()
                    .is_err_and(|error| error.kind() == ErrorKind::AlreadyExists)
            });
        let (made, path) = path.expect("invariant: the numbers do not end");
        made.at("make the run's cgroup")?;
        for controller in CONTROLLERS {
            // This fails below a cgroup that has processes. The supervisor warns about controllers
            // that are missing.
            let _ = fs::write(
                parent.join("cgroup.subtree_control"),
                format!("+{controller}"),
            );
        }
        Ok(Self {
            _hierarchy: hierarchy,
            parent,
            path,
        })
    }

    /// Returns the path of the cgroup, as seen by this process.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the calling process into the cgroup.
    pub fn enter(&self) -> Result<(), StageError> {
        fs::write(self.path.join("cgroup.procs"), "0").at("enter the run's cgroup")
    }

    /// Moves the calling process back to its former cgroup.
    pub fn leave(&self) -> Result<(), StageError> {
        fs::write(self.parent.join("cgroup.procs"), "0").at("leave the run's cgroup")
    }

    /// Removes the cgroup and the cgroups below it. Their processes must have ended.
    pub fn remove(&self) -> io::Result<()> {
        let deadline = Instant::now() + REMOVAL;
        loop {
            match remove_tree(&self.path) {
                Err(error)
                    if error.kind() == ErrorKind::ResourceBusy && Instant::now() < deadline =>
                {
                    std::thread::sleep(Duration::from_millis(2));
                }
                result => return result,
            }
        }
    }
}

/// Mounts a cgroup2 hierarchy and returns its root. No namespace contains the mount when this
/// returns, and the kernel drops the mount when the file is closed.
fn open_hierarchy(mount_point: &Path) -> Result<File, StageError> {
    let home = Place::current().at("open the mount namespace")?;
    unshare(CloneFlags::CLONE_NEWNS).at("unshare the mount namespace")?;
    let hierarchy = mount_hierarchy(mount_point);
    home.enter().at("return to the mount namespace")?;
    hierarchy
}

fn mount_hierarchy(mount_point: &Path) -> Result<File, StageError> {
    namespace::make_slave().at("keep mounts away from the host")?;
    mount_cgroup2(mount_point)?;
    let root = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_DIRECTORY | OFlag::O_CLOEXEC).bits())
        .open(mount_point)
        .at("open the cgroup hierarchy")?;
    umount2(mount_point, MntFlags::MNT_DETACH).at("detach the cgroup hierarchy")?;
    Ok(root)
}

/// Mounts the cgroup2 hierarchy from the root of the caller's cgroup namespace down.
pub(super) fn mount_cgroup2(target: &Path) -> Result<(), StageError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(
        Some("cgroup2"),
        target,
        Some("cgroup2"),
        flags,
        None::<&str>,
    )
    .at("mount a cgroup2 hierarchy")?;
    // All mounts share one superblock, and a container's first mount may have made it read-only.
    if statvfs(target).is_ok_and(|stat| stat.flags().contains(FsFlags::ST_RDONLY)) {
        mount(
            None::<&str>,
            target,
            None::<&str>,
            MsFlags::MS_REMOUNT | flags,
            None::<&str>,
        )
        .at("make the cgroup hierarchy writable")?;
    }
    Ok(())
}

/// Returns the caller's cgroup, relative to the root that its cgroup namespace shows.
fn own_cgroup() -> io::Result<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup")?;
    let path = text
        .lines()
        .find_map(|line| line.strip_prefix("0::/"))
        .unwrap_or("");
    // `/..` stands for a cgroup outside the namespace. The namespace's root is then the nearest
    // one.
    Ok(if path.starts_with("..") {
        PathBuf::new()
    } else {
        PathBuf::from(path)
    })
}

/// Removes the cgroups of earlier runs whose clearing-up process was killed. Such a cgroup has no
/// processes and bears the id of a dead process in its name.
fn sweep(parent: &Path) {
    for path in fs::read_dir(parent)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
    {
        let pid = path.file_name().and_then(|name| {
            name.to_str()?
                .strip_prefix("nixactions-")?
                .split('.')
                .nth(1)?
                .parse::<u32>()
                .ok()
        });
        let gone = pid.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists());
        if gone
            && fs::read_to_string(path.join("cgroup.events"))
                .is_ok_and(|text| text.contains("populated 0"))
        {
            let _ = remove_tree(&path);
        }
    }
}

/// Removes a directory of cgroups, deepest first. Their files go with them.
fn remove_tree(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}
