//! Workspaces whose cost does not depend on the size of the source tree: overlay mounts (see
//! overlayfs in the kernel's documentation).
//!
//! The run has one copy of the source tree, which is the lower layer of all its jobs' workspaces.
//! The changes of a job go into a layer of its own. The files of the copy belong to root and must
//! appear to belong to the job: an id-mapped mount (mount_setattr(2)) gives them to the job's user.
//! systemd chooses that user when it starts the job's unit. So the unit's `ExecStartPre=` mounts
//! the workspace, with full privileges, outside of the job's sandbox and before any process of the
//! job runs. The job's own processes never have more rights than the sandbox gives them. The
//! supervisor unmounts the workspace when the job is over.
//!
//! `root` mounts the root file systems of jobs that have one of their own, and `nspawn` runs
//! containers in such a file system. By `shared`, several jobs join one container.
//!
//! This module knows the layout of the run directory, and nothing of plans and records.

mod beneath;
mod disk;
mod nspawn;
mod root;
mod shared;
mod users;

pub use root::unmount_root;

use std::{
    env,
    ffi::OsString,
    fs::{self, DirBuilder, File, Permissions},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, lchown},
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use nix::{
    errno::Errno,
    libc,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    unistd::User,
};
use rustix::{
    fs::{CWD, Dir, Mode, OFlags, openat, readlinkat, symlinkat},
    mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree},
};

use crate::{
    error::describe,
    store::{self, ModePolicy, TreeCopy},
    unit::{
        JOIN_COMMAND, JobPaths, MOUNT_COMMAND, MOUNT_ROOT_COMMAND, NSPAWN_COMMAND, RootPaths,
        RunPaths, SHARED_COMMAND,
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
/// The most entries of a workspace among which links are looked for.
const ENTRIES_MAX: usize = 10_000;
/// A user other than root.
const NOBODY: Ids = Ids {
    user: 65534,
    group: 65534,
};

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

/// Returns whether workspaces can be mounted below a directory: the kernel and the file system
/// support it, and this process may do it. The directory must be writable. A test mount is made, in
/// the mount namespace of systemd if it is `running`; a systemd that is still to be booted will
/// have this process's namespace. A service with few rights may not enter systemd's namespace and
/// tests in its own. If a job then cannot mount, it copies the tree.
pub fn works_below(directory: &Path, running: bool) -> bool {
    let try_it = |probe: &str| {
        Command::new(OWN_PROGRAM)
            .arg(probe)
            .arg(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .ok()
            .and_then(|status| status.code())
    };
    match running.then(|| try_it(PROBE_IN_PID1)) {
        None => try_it(PROBE) == Some(0),
        Some(code) if code == Some(NOT_ENTERED.into()) => try_it(PROBE) == Some(0),
        Some(code) => code == Some(0),
    }
}

/// Unmounts a job's workspace, if it is mounted. The job's changes stay in [`JobPaths::changes`].
pub fn unmount(job: &JobPaths) {
    if !job.overlay().exists() {
        return;
    }
    // Without its links, Nix's garbage collector would remove what the job has built. A failure
    // costs no more than that.
    if let Err(error) = keep_links(job) {
        tracing::debug!(
            "failed to keep links of `{}`: {error}",
            job.path().display()
        );
    }
    for path in [job.workspace(), job.overlay_source()] {
        // This fails if nothing is mounted, which is the goal.
        let _ = umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
    }
    // The kernel's files there are of no use now. Files that cannot be removed go with the run.
    let _ = fs::remove_dir_all(job.overlay());
}

/// Copies the job's links into Nix's store to the directory below the mounted workspace, where they
/// are seen once it is unmounted. The job's user owns both directories, and may have replaced them
/// by links.
fn keep_links(job: &JobPaths) -> io::Result<()> {
    let open = |at: BorrowedFd<'_>, path: &Path| {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(at, path, flags, Mode::empty())
    };
    let changes = open(CWD, &job.changes())?;
    let links: Vec<_> = Dir::read_from(&changes)?
        .take(ENTRIES_MAX)
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().to_owned();
            let target = readlinkat(&changes, &name, Vec::new()).ok()?;
            let leads_into_store = target.to_bytes().starts_with(b"/nix/store/");
            leads_into_store.then_some((name, target))
        })
        .collect();
    if links.is_empty() {
        return Ok(());
    }
    // A copy of the mount without those below it: there, nothing hides the directory.
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let work = open_tree(CWD, job.work(), flags)?;
    let workspace = job.workspace();
    let name = workspace.file_name().unwrap_or_default();
    let workspace = open(work.as_fd(), Path::new(name))?;
    for (name, target) in links {
        match symlinkat(&target, &workspace, &name) {
            Err(rustix::io::Errno::EXIST) => {}
            other => other?,
        }
    }
    Ok(())
}

/// Enters systemd's mount namespace. A command of a unit has its own mount namespace even with full
/// privileges (`PrivateTmp=`). systemd makes the runner's namespace from its own, so the runner
/// sees mounts that are made there.
fn enter_pid1() -> Result<(), OverlayError> {
    let namespace = File::open("/proc/1/ns/mnt").at("find the mount namespace of systemd")?;
    setns(namespace, CloneFlags::CLONE_NEWNS).at("enter the mount namespace of systemd")
}

/// Mounts the workspace of the job whose unit is being started. If that fails, the job gets a copy
/// of the source tree to fill its workspace from. If that fails as well, a file holds the reason
/// for the job's runner, which has a record to put it in.
fn mount_or_copy_workspace(
    job: &JobPaths,
    ids: impl FnOnce() -> Result<Ids, OverlayError>,
) -> Result<(), OverlayError> {
    let run = job.path().ancestors().nth(2).unwrap_or(Path::new("/"));
    let lower = RunPaths::new(run.to_owned()).source_tree();
    let made = directory(&job.overlay(), 0o755).and_then(|()| {
        let ids = ids()?;
        mount_workspace(&lower, job, ids).or_else(|error| {
            copy_for_job(&lower, job, ids)?;
            fs::write(job.overlay_copied(), describe(&error))
                .at("record why the workspace is not mounted")
        })
    });
    match made {
        Ok(()) => Ok(()),
        Err(error) => fs::write(job.overlay_error(), describe(&error))
            .at("record why the workspace is not mounted"),
    }
}

/// Copies `lower` for a job of this user to the place of the mount. The runner fills an empty
/// workspace from there.
fn copy_for_job(lower: &Path, job: &JobPaths, ids: Ids) -> Result<(), OverlayError> {
    for path in [job.workspace(), job.overlay_source()] {
        // This fails if nothing is mounted, which is the goal.
        let _ = umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
        directory(&path, 0o755)?;
    }
    let copied = TreeCopy::new(lower, &job.overlay_source(), ModePolicy::Keep).all();
    copied
        .map_err(io::Error::other)
        .at("copy the source tree")?;
    for path in [job.workspace(), job.changes()] {
        directory(&path, 0o755)?;
        chown(&path, Some(ids.user), Some(ids.group))
            .at(format!("give `{}` to the job's user", path.display()))?;
    }
    give_away(&job.overlay_source(), ids).at("give the source tree to the job's user")
}

/// Makes a user the owner of a tree that no other process can change.
fn give_away(tree: &Path, ids: Ids) -> io::Result<()> {
    let mut left = vec![tree.to_owned()];
    while let Some(path) = left.pop() {
        let meta = fs::symlink_metadata(&path)?;
        lchown(&path, Some(ids.user), Some(ids.group))?;
        if meta.is_dir() {
            for entry in fs::read_dir(&path)? {
                left.push(entry?.path());
            }
        } else if meta.is_file() {
            // chown(2) clears the set-user-ID bit, so set the mode again.
            fs::set_permissions(&path, meta.permissions())?;
        }
    }
    Ok(())
}

/// Mounts `lower` as the workspace of a job of this user.
fn mount_workspace(lower: &Path, job: &JobPaths, ids: Ids) -> Result<(), OverlayError> {
    for path in [job.changes(), job.workspace()] {
        directory(&path, 0o755)?;
        chown(&path, Some(ids.user), Some(ids.group))
            .at(format!("give `{}` to the job's user", path.display()))?;
    }
    for path in [job.overlay_source(), job.overlay_work()] {
        directory(&path, 0o700)?;
    }
    let view = open_tree(
        CWD,
        lower,
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
    )
    .at(format!("take `{}` as a mount", lower.display()))?;
    let namespace = if ids.user == 0 {
        None
    } else {
        Some(mapping(
            &format!("0 {} 1", ids.user),
            &format!("0 {} 1", ids.group),
        )?)
    };
    set_attributes(&view, Attributes::READ_ONLY, namespace.as_ref())
        .at("map the source tree's owner to the job's user")?;
    move_mount(
        view,
        "",
        CWD,
        job.overlay_source(),
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .at("mount the source tree")?;
    // The paths are relative, since some characters have a meaning in mount options.
    env::set_current_dir(job.path()).at(format!("go to `{}`", job.path().display()))?;
    let relative = |path: PathBuf| {
        path.strip_prefix(job.path())
            .unwrap_or(&path)
            .display()
            .to_string()
    };
    let options = format!(
        // `redirect_dir` lets a job rename directories of the source tree. A workspace need not
        // survive a crash: without `volatile` each unmount would write the whole file system's data
        // in memory to disk.
        "lowerdir={},upperdir={},workdir={},redirect_dir=on,index=off,metacopy=off,volatile",
        relative(job.overlay_source()),
        relative(job.changes()),
        relative(job.overlay_work()),
    );
    mount(
        Some("nixactions"),
        &job.workspace(),
        Some("overlay"),
        MsFlags::MS_NODEV | MsFlags::MS_NOSUID,
        Some(options.as_str()),
    )
    .at("mount the workspace over the source tree")
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

/// Mounts a workspace in a mount namespace of its own, which goes away with the process, and checks
/// that the files of the tree belong to another user.
fn probe(directory: &Path) -> Result<(), OverlayError> {
    let look = || -> Result<(), OverlayError> {
        unshare(CloneFlags::CLONE_NEWNS).at("make a mount namespace")?;
        mount(
            None::<&str>,
            "/",
            None::<&str>,
            MsFlags::MS_PRIVATE | MsFlags::MS_REC,
            None::<&str>,
        )
        .at("make mounts private")?;
        let (lower, job) = (directory.join("lower"), JobPaths::at(directory.join("job")));
        for path in [directory, &lower, job.path(), &job.work(), &job.overlay()] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .at("make a directory")?;
        }
        fs::write(lower.join("file"), "").at("make a file")?;
        mount_workspace(&lower, &job, NOBODY)?;
        let file = job.workspace().join("file");
        let owner = fs::metadata(&file)
            .at("read the attributes of a file")?
            .uid();
        // The user must be able to make a copy of the file, for example by changing its mode.
        fs::set_permissions(&file, Permissions::from_mode(0o600)).at("copy a file up")?;
        if owner == NOBODY.user {
            Ok(())
        } else {
            Err(Errno::EPERM).at("map the owners of files")
        }
    };
    let result = look();
    let job = JobPaths::at(directory.join("job"));
    unmount(&job);
    let _ = env::set_current_dir("/").and_then(|()| fs::remove_dir_all(directory));
    result
}
