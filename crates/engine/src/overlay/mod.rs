//! The mounts of jobs: their workspaces, and their root file systems. Runs the subcommands by which
//! units make these mounts.
//!
//! `workspace` mounts a job's workspace over the source tree. `root` mounts the root file system of
//! a job that has one of its own, and `nspawn` runs a container in such a file system. By `shared`,
//! several jobs join one container.
//!
//! This module knows the layout of the run directory, and nothing of plans and records.

mod beneath;
mod disk;
mod nspawn;
mod root;
mod shared;
mod users;
mod workspace;

pub use self::{
    root::unmount_root,
    workspace::{unmount, works_below},
};

use std::{
    env,
    ffi::OsString,
    fs::{self, DirBuilder, File, Permissions},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::{DirBuilderExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use nix::{
    errno::Errno,
    libc,
    sched::{CloneFlags, setns, unshare},
    unistd::User,
};

use self::workspace::{mount_or_copy_workspace, probe};

use crate::{
    error::describe,
    store,
    unit::{
        JOIN_COMMAND, JobPaths, MOUNT_COMMAND, MOUNT_ROOT_COMMAND, NSPAWN_COMMAND, RootPaths,
        SHARED_COMMAND,
    },
};

/// The subcommand that tests whether workspaces can be mounted.
const PROBE: &str = "workspace-probe";
/// The same test in systemd's mount namespace.
const PROBE_IN_PID1: &str = "workspace-probe-in-pid1";
/// The exit status of that test if this process may not enter the namespace.
const NOT_ENTERED: u8 = 2;
/// The subcommand of the process whose user namespace provides a mapping.
const NAMESPACE: &str = "user-namespace";

/// This very program. The kernel follows this link to the file itself, so it also works in a mount
/// namespace that lacks the program's path or has another file there.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// The directory where systemd keeps the ids of dynamic users.
const DYNAMIC_USERS: &str = "/run/systemd/dynamic-uid";

/// A user and a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ids {
    user: u32,
    group: u32,
}

/// The operation that failed, and its cause.
#[derive(Debug, thiserror::Error)]
#[error("failed to {action}")]
struct OverlayError {
    action: String,
    source: io::Error,
}

trait At<T> {
    fn at(self, action: impl Into<String>) -> Result<T, OverlayError>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, action: impl Into<String>) -> Result<T, OverlayError> {
        self.map_err(|error| OverlayError {
            action: action.into(),
            source: error.into(),
        })
    }
}

/// Runs a subcommand of this module. Returns `None` for any other subcommand.
pub fn entry(argv: &[OsString]) -> Option<ExitCode> {
    let result = match (argv.get(1)?.to_str()?, argv.get(2)) {
        (NSPAWN_COMMAND, Some(root)) => return Some(nspawn::main(root.into(), argv.get(3))),
        (SHARED_COMMAND, Some(root)) => return Some(shared::hold(root.into(), argv.get(3))),
        (JOIN_COMMAND, Some(root)) => return Some(shared::join(root.into())),
        (shared::ENTER, Some(root)) => shared::enter(root),
        (NAMESPACE, None) => hold_namespace(),
        (MOUNT_COMMAND, Some(job)) => enter_pid1().and_then(|()| {
            mount_or_copy_workspace(&JobPaths::at(job.into()), || {
                ids_of(env::var("USER").ok().as_deref())
            })
        }),
        (MOUNT_ROOT_COMMAND, Some(root)) => root::mount_for_job(&RootPaths::at(root.into())),
        (PROBE, Some(directory)) => probe(Path::new(directory)),
        (PROBE_IN_PID1, Some(directory)) => match enter_pid1() {
            Ok(()) => probe(Path::new(directory)),
            Err(_) => return Some(ExitCode::from(NOT_ENTERED)),
        },
        _ => return None,
    };
    Some(match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    })
}

/// Tells of an error. Returns the exit status for it.
fn failed(error: &OverlayError) -> ExitCode {
    // Standard error may be closed; the exit status then tells of the failure.
    let _ = writeln!(io::stderr(), "nixactions: {}", describe(error));
    ExitCode::FAILURE
}

/// Enters systemd's mount namespace. A command of a unit has its own mount namespace even with full
/// privileges (`PrivateTmp=`). systemd makes the runner's namespace from its own, so the runner
/// sees mounts that are made there.
fn enter_pid1() -> Result<(), OverlayError> {
    let namespace = File::open("/proc/1/ns/mnt").at("find the mount namespace of systemd")?;
    setns(namespace, CloneFlags::CLONE_NEWNS).at("enter the mount namespace of systemd")
}

fn directory(path: &Path, mode: u32) -> Result<(), OverlayError> {
    let made = match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    // The umask must not reduce the mode.
    made.and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
        .at(format!("make `{}`", path.display()))
}

/// Returns the ids of the user that systemd names to a unit's processes, or root's if it names
/// none.
fn ids_of(user: Option<&str>) -> Result<Ids, OverlayError> {
    let Some(name) = user.filter(|name| *name != "root") else {
        return Ok(Ids { user: 0, group: 0 });
    };
    if let Some(id) = store::id_of_user(name) {
        return Ok(Ids {
            user: id,
            group: id,
        });
    }
    // The host may lack the setup to look up dynamic users by name (nss-systemd(8)). systemd keeps
    // a file for each, named by the id; it holds the name.
    for entry in fs::read_dir(DYNAMIC_USERS).into_iter().flatten().flatten() {
        let id = entry
            .file_name()
            .to_str()
            .and_then(|text| text.parse().ok());
        if let (Some(id), Ok(held)) = (id, fs::read_to_string(entry.path()))
            && held.trim_end() == name
        {
            return Ok(Ids {
                user: id,
                group: id,
            });
        }
    }
    match User::from_name(name).at(format!("look up user `{name}`"))? {
        Some(user) => Ok(Ids {
            user: user.uid.as_raw(),
            group: user.gid.as_raw(),
        }),
        None => Err(Errno::ENOENT).at(format!("find user `{name}`")),
    }
}

/// Returns a user namespace with these mappings of users and groups (user_namespaces(7)). Only the
/// mappings are used.
fn mapping(users: &str, groups: &str) -> Result<OwnedFd, OverlayError> {
    let action = "make a user namespace";
    let mut child = Command::new(OWN_PROGRAM)
        .arg(NAMESPACE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .at(action)?;
    let namespace = || -> io::Result<OwnedFd> {
        let mut answer = [0];
        child
            .stdout
            .as_mut()
            .ok_or(Errno::EPIPE)?
            .read_exact(&mut answer)?;
        let process = PathBuf::from(format!("/proc/{}", child.id()));
        fs::write(process.join("uid_map"), users)?;
        fs::write(process.join("gid_map"), groups)?;
        Ok(File::open(process.join("ns/user"))?.into())
    };
    let mut namespace = namespace;
    let opened = namespace();
    // The child ends when its standard input closes. Waiting for it leaves no zombie.
    drop(child.stdin.take());
    let _ = child.wait();
    opened.at(action)
}

/// Enters a new user namespace, reports it, and holds it until standard input closes.
fn hold_namespace() -> Result<(), OverlayError> {
    unshare(CloneFlags::CLONE_NEWUSER).at("make a user namespace")?;
    let mut output = io::stdout();
    output
        .write_all(b"\n")
        .and_then(|()| output.flush())
        .at("report the user namespace")?;
    io::copy(&mut io::stdin(), &mut io::sink())
        .map(drop)
        .at("wait for the end of standard input")
}

/// Attributes that are set on mounts.
#[derive(Debug, Clone, Copy)]
struct Attributes {
    flags: u64,
    /// Whether the mounts below get them as well.
    is_recursive: bool,
}

impl Attributes {
    const NONE: Self = Self {
        flags: 0,
        is_recursive: false,
    };
    const READ_ONLY: Self = Self {
        flags: libc::MOUNT_ATTR_RDONLY,
        is_recursive: false,
    };

    /// Adds that devices and set-user-ID programs have no effect.
    fn harmless(self) -> Self {
        Self {
            flags: self.flags | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOSUID,
            ..self
        }
    }

    fn recursive(self) -> Self {
        Self {
            is_recursive: true,
            ..self
        }
    }
}

/// Sets attributes of a mount, and maps its owners as a user namespace does.
#[expect(
    unsafe_code,
    reason = "mount_setattr(2) is wrapped neither by std nor by the crates nix, rustix and libc"
)]
fn set_attributes(
    tree: impl AsFd,
    attributes: Attributes,
    mapping: Option<&OwnedFd>,
) -> io::Result<()> {
    /// `struct mount_attr` of mount_setattr(2).
    #[repr(C)]
    struct MountAttr {
        set: u64,
        clear: u64,
        propagation: u64,
        namespace: u64,
    }
    let idmap = if mapping.is_some() {
        libc::MOUNT_ATTR_IDMAP
    } else {
        0
    };
    let namespace = mapping.map_or(0, |namespace| {
        u64::try_from(namespace.as_raw_fd()).unwrap_or(u64::MAX)
    });
    let argument = MountAttr {
        set: attributes.flags | idmap,
        clear: 0,
        // A clone of a shared mount is a peer of it: what is unmounted below the clone would also
        // be unmounted on the host (mount_namespaces(7)).
        propagation: libc::MS_PRIVATE,
        namespace,
    };
    let recursive = if attributes.is_recursive {
        libc::AT_RECURSIVE
    } else {
        0
    };
    // SAFETY: the path is a string that ends with a null byte, the size is that of the argument,
    // both live until the call returns, and the kernel only reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            std::ptr::from_ref(&argument),
            size_of::<MountAttr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
