//! Workspaces that cost the same whatever the size of the source tree: overlay mounts (overlayfs in
//! the kernel's documentation).
//!
//! The run's one copy of the source tree is the lower layer of all its jobs' workspaces; what a job
//! changes goes into a layer of its own. Files of the copy belong to root, and must look as if they
//! were the job's: an id-mapped mount (mount_setattr(2)) of the copy gives them to the job's user,
//! who is known only when systemd has started the job's unit. So it is that unit's `ExecStartPre=`
//! that mounts, with full privileges, outside of the job's sandbox and before anything of the job's
//! runs; the job's own processes never have more than the sandbox gives them. The supervisor
//! unmounts when the job is over.
//!
//! Knows the layout of the run directory, and nothing of plans and records.

use std::{
    env,
    ffi::OsString,
    fs::{self, DirBuilder, File, Permissions},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
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
    fs::CWD,
    mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree},
};

use crate::{
    error::describe,
    store::{self, ModePolicy, TreeCopy},
    unit::{JobPaths, MOUNT_COMMAND, RunPaths},
};

/// The subcommand that finds out whether all this works.
const PROBE: &str = "workspace-probe";
/// The same, where systemd will mount.
const PROBE_IN_PID1: &str = "workspace-probe-in-pid1";
/// How that ends where this process may not go there.
const NOT_ENTERED: u8 = 2;
/// The subcommand of the process whose user namespace is taken for its mapping.
const NAMESPACE: &str = "user-namespace";

/// This very program. The kernel follows this link to the file itself, so it also leads there in a
/// mount namespace that has nothing, or something else, where the program lies.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Where systemd keeps the ids of users that exist as long as a unit.
const DYNAMIC_USERS: &str = "/run/systemd/dynamic-uid";
/// Some user who is not root.
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

/// What could not be done, and why.
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

/// Runs what a process of this module was started for; `None` if it was started for something else.
pub fn entry(argv: &[OsString]) -> Option<ExitCode> {
    let result = match (argv.get(1)?.to_str()?, argv.get(2)) {
        (NAMESPACE, None) => hold_namespace(),
        (MOUNT_COMMAND, Some(job)) => mount_for_job(&JobPaths::at(job.into())),
        (PROBE, Some(directory)) => probe(Path::new(directory)),
        (PROBE_IN_PID1, Some(directory)) => match enter_pid1() {
            Ok(()) => probe(Path::new(directory)),
            Err(_) => return Some(ExitCode::from(NOT_ENTERED)),
        },
        _ => return None,
    };
    Some(match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where nobody can be told, the exit status says it.
            let _ = writeln!(io::stderr(), "nixactions: {}", describe(&error));
            ExitCode::FAILURE
        }
    })
}

/// Returns whether workspaces can be mounted below a directory, which must be writable: the kernel
/// can do it, with this file system, and so may we. It is tried, in the mount namespace of the
/// systemd that is `running`; one that is still to be booted will have ours. A service with few
/// rights may not enter systemd's: then it is tried in its own, and a job that cannot mount after
/// all copies the tree.
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

/// Unmounts a job's workspace, if it is mounted. What the job has changed stays in
/// [`JobPaths::changes`].
pub fn unmount(job: &JobPaths) {
    if !job.overlay().exists() {
        return;
    }
    for path in [job.workspace(), job.overlay_source()] {
        // Nothing may be mounted there (any more): that is all that is wanted.
        let _ = umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
    }
    // What the kernel kept there is of no use now; what stays goes with the run.
    let _ = fs::remove_dir_all(job.overlay());
}

/// Enters systemd's mount namespace. A command of a unit gets one of its own even with full
/// privileges (`PrivateTmp=`); what is mounted in systemd's is there when it makes the runner's.
fn enter_pid1() -> Result<(), OverlayError> {
    let namespace = File::open("/proc/1/ns/mnt").at("find the mount namespace of systemd")?;
    setns(namespace, CloneFlags::CLONE_NEWNS).at("enter the mount namespace of systemd")
}

/// Mounts the workspace of the job whose unit is being started. Where it cannot be, the job gets a
/// copy of the source tree to fill its workspace from; where that fails as well, the reason is left
/// for the job's runner, which has a record to put it in.
fn mount_for_job(job: &JobPaths) -> Result<(), OverlayError> {
    enter_pid1()?;
    let run = job.path().ancestors().nth(2).unwrap_or(Path::new("/"));
    let lower = RunPaths::new(run.to_owned()).source_tree();
    let made = directory(&job.overlay(), 0o755).and_then(|()| {
        let ids = ids_of(env::var("USER").ok().as_deref())?;
        mount_workspace(&lower, job, ids).or_else(|error| {
            copy_for_job(&lower, job, ids)?;
            fs::write(job.overlay_copied(), describe(&error))
                .at("say why the workspace is not mounted")
        })
    });
    match made {
        Ok(()) => Ok(()),
        Err(error) => fs::write(job.overlay_error(), describe(&error))
            .at("say why the workspace is not mounted"),
    }
}

/// Copies `lower` for a job of this user to where it would be mounted: from there the runner fills
/// a workspace that is empty.
fn copy_for_job(lower: &Path, job: &JobPaths, ids: Ids) -> Result<(), OverlayError> {
    for path in [job.workspace(), job.overlay_source()] {
        // Nothing may be mounted there, as is wanted.
        let _ = umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
        directory(&path, 0o755)?;
    }
    let copied = TreeCopy {
        from: lower,
        to: &job.overlay_source(),
        modes: ModePolicy::Keep,
        take_from: None,
        stop: None,
        unlock: false,
    }
    .all();
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

/// Makes a user the owner of a tree that nobody else can change.
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
            // To change the owner takes away what was set-user-ID.
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
        Some(mapping(ids)?)
    };
    set_attributes(&view, namespace.as_ref())
        .at("map the source tree's owner to the job's user")?;
    move_mount(
        view,
        "",
        CWD,
        job.overlay_source(),
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .at("mount the source tree")?;
    // Relative paths, since in mount options some characters mean something.
    env::set_current_dir(job.path()).at(format!("go to `{}`", job.path().display()))?;
    let relative = |path: PathBuf| {
        path.strip_prefix(job.path())
            .unwrap_or(&path)
            .display()
            .to_string()
    };
    let options = format!(
        // A job may rename directories of the source tree. Nothing of a workspace has to outlive a
        // crash: without `volatile` each unmount would write all that is in memory of the file
        // system to disk.
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
    // Whatever the umask is.
    made.and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
        .at(format!("make `{}`", path.display()))
}

/// Returns the ids of the user that systemd names to a unit's processes; root where it names none.
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
    // The host need not be set up to look these up by name (nss-systemd(8)). Each is a file named
    // by the id, which holds the name.
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

/// Returns a user namespace in which root is the given user: its mapping is all that is wanted of
/// it.
fn mapping(ids: Ids) -> Result<OwnedFd, OverlayError> {
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
        fs::write(process.join("uid_map"), format!("0 {} 1", ids.user))?;
        fs::write(process.join("gid_map"), format!("0 {} 1", ids.group))?;
        Ok(File::open(process.join("ns/user"))?.into())
    };
    let mut namespace = namespace;
    let opened = namespace();
    // It ends when its standard input does; it is waited for so that no process is left of it.
    drop(child.stdin.take());
    let _ = child.wait();
    opened.at(action)
}

/// Enters a user namespace of its own, says so, and stays until nobody wants it any more.
fn hold_namespace() -> Result<(), OverlayError> {
    unshare(CloneFlags::CLONE_NEWUSER).at("make a user namespace")?;
    let mut output = io::stdout();
    output
        .write_all(b"\n")
        .and_then(|()| output.flush())
        .at("say that it is made")?;
    io::copy(&mut io::stdin(), &mut io::sink())
        .map(drop)
        .at("wait")
}

/// Makes a mount read-only, and maps its owners by a user namespace's mapping.
#[expect(
    unsafe_code,
    reason = "mount_setattr(2) is wrapped neither by std nor by the crates nix, rustix and libc"
)]
fn set_attributes(tree: impl AsFd, mapping: Option<&OwnedFd>) -> io::Result<()> {
    /// `struct mount_attr` of mount_setattr(2).
    #[repr(C)]
    struct Attributes {
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
    let attributes = Attributes {
        set: libc::MOUNT_ATTR_RDONLY | idmap,
        clear: 0,
        propagation: 0,
        namespace,
    };
    // SAFETY: the path is a string that ends with a null byte, the attributes are of the size that
    // is told, both live until the call returns, and the kernel only reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            std::ptr::from_ref(&attributes),
            size_of::<Attributes>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Mounts a workspace in a mount namespace of its own, with which it goes away, and looks whether a
/// file of the tree can be given away.
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
        .at("keep mounts to ourselves")?;
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
        let owner = fs::metadata(&file).at("look at a file")?.uid();
        // It must be possible to make it the user's own, as by changing its mode.
        fs::set_permissions(&file, Permissions::from_mode(0o600)).at("copy a file up")?;
        if owner == NOBODY.user {
            Ok(())
        } else {
            Err(Errno::EPERM).at("map owners")
        }
    };
    let result = look();
    let job = JobPaths::at(directory.join("job"));
    unmount(&job);
    let _ = env::set_current_dir("/").and_then(|()| fs::remove_dir_all(directory));
    result
}
