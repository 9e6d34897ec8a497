//! A container that the jobs of an executor share, and how a job joins it.
//!
//! The container's unit runs systemd-nspawn, as that of a job does ([`super::nspawn`]). The
//! container's first process only waits. Once it runs, a file names it, and the unit has started.
//!
//! The main process of a job's unit joins the container for the job. It puts the job's view of its
//! run together in a mount namespace of its own, and starts a second process in the container's
//! PID namespace and in a control group below the unit's. That one enters the container's mount
//! namespace, and makes a copy of it for the job, in which it mounts the view. Up to here it has
//! the rights of the host's root. Then it enters the container's user namespace and the others,
//! copies the mount namespace once more, which locks all mounts for the job
//! (mount_namespaces(7)), gives up the rights that the container does not have, and executes the
//! runner.
//!
//! So the job's processes stay in the job's control group and have the view of no other job. All
//! else is the container's: its files, users, processes, network, System V IPC and host name.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            fs::{MetadataExt, chown},
            process::CommandExt,
        },
    },
    path::{Path, PathBuf},
    process::{ChildStdout, Command, ExitCode, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
    unistd::{Gid, Pid, Uid, setgroups, setresgid, setresuid},
};
use rustix::{
    fs::{CWD, Mode},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
        fsmount, fsopen, move_mount, open_tree,
    },
    process::{DumpableBehavior, PidfdFlags, pidfd_open, set_dumpable_behavior, umask},
    thread::{
        CapabilitySet, ThreadNameSpaceType, capabilities, capability_is_in_bounding_set,
        move_into_thread_name_spaces, remove_capability_from_bounding_set, set_capabilities,
        set_no_new_privs,
    },
};
use serde::{Deserialize, Serialize};

use super::{
    At, Attributes, Ids, OWN_PROGRAM, OverlayError,
    beneath::{Beneath, Kind},
    directory, failed,
    nspawn::{self, CREDENTIALS, Whom},
    root, set_attributes,
    workspace::mount_or_copy_workspace,
};
use crate::{
    store::write_json,
    unit::{CONTAINER_USER, JobPaths, JoinSpec, MEMORY_LIMITS, RootPaths},
};

/// The subcommand of the process that enters a container for a job.
pub(super) const ENTER: &str = "nspawn-enter";
/// The variable with the path of the job's credentials, for that process.
const COPIES: &str = "NIXACTIONS_CREDENTIALS";
/// The variable with the file by which that process joins the job's control group.
const GROUP: &str = "NIXACTIONS_CONTROL_GROUP";
/// The namespaces of a container that a job joins beside those of mounts and processes.
const NAMESPACES: [(&str, ThreadNameSpaceType); 4] = [
    ("user", ThreadNameSpaceType::USER),
    ("net", ThreadNameSpaceType::NETWORK),
    ("ipc", ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION),
    ("uts", ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME),
];
/// The directory of all that a job brings along.
const RUN: &str = "/run";
/// The name of the control group of a job's processes, below that of its unit.
const PAYLOAD: &str = "payload";
/// The files of a control group that its owner may write to (cgroups(7)).
const DELEGATED: [&str; 4] = [
    ".",
    "cgroup.procs",
    "cgroup.subtree_control",
    "cgroup.threads",
];

/// The first process of a container, as the host knows it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Leader {
    pid: i32,
    /// The time of its start, in clock ticks since the boot: another process may get its id.
    since: u64,
    /// The first of the container's user ids.
    first: u32,
    /// The ids of the steps, on the host.
    user: u32,
    group: u32,
    private_users: bool,
}

/// Runs the container with this root file system. Returns its exit status. If there is no
/// container, a file holds the reason for the supervisor.
pub(super) fn hold(directory: PathBuf, user: Option<&OsString>) -> ExitCode {
    let paths = RootPaths::at(directory);
    end(&paths, run(&paths, user.and_then(|user| user.to_str())))
}

/// Runs the job with these files in the container that it shares. Returns its exit status.
pub(super) fn join(directory: PathBuf) -> ExitCode {
    let paths = RootPaths::at(directory);
    end(&paths, live(&paths))
}

fn end(paths: &RootPaths, result: Result<u8, OverlayError>) -> ExitCode {
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            let told = root::record(paths, &error);
            failed(told.as_ref().err().unwrap_or(&error))
        }
    }
}

fn run(paths: &RootPaths, user: Option<&str>) -> Result<u8, OverlayError> {
    if user.is_none() {
        return Err(io::Error::from(io::ErrorKind::AddrNotAvailable))
            .at("make a user for the jobs that share the container (none was free)");
    }
    let spec = root::read(paths)?;
    let (mut command, made) = nspawn::prepare(paths, &spec, user)?;
    let private_users = spec.nspawn.as_ref().is_some_and(|own| own.private_users);
    command
        .args(made.command())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().at("start systemd-nspawn")?;
    // Block signals before starting the thread. Otherwise the kernel may give the signal of the
    // child's end to the thread, which ignores it.
    nspawn::block_signals()?;
    let begun = Arc::new(AtomicBool::new(false));
    let leader = Leader {
        pid: 0,
        since: 0,
        first: made.first,
        user: made.ids.user,
        group: made.ids.group,
        private_users,
    };
    let pid = i32::try_from(child.id()).map_err(io::Error::other);
    let pid = Pid::from_raw(pid.at("find systemd-nspawn")?);
    if let Some(output) = child.stdout.take() {
        let (begun, paths) = (Arc::clone(&begun), paths.clone());
        thread::spawn(move || {
            if let Err(error) = announce(output, pid, leader, &paths, &begun) {
                // Without this, systemd ends the unit after its time.
                let _ = root::record(&paths, &error);
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
            }
        });
    }
    nspawn::follow(&mut child, Whom::FirstBelow, || {
        begun.load(Ordering::Relaxed)
    })
}

/// Waits until the first process of a container stands there, and tells systemd and the jobs.
fn announce(
    mut output: ChildStdout,
    nspawn: Pid,
    leader: Leader,
    paths: &RootPaths,
    begun: &AtomicBool,
) -> Result<(), OverlayError> {
    if output.read_exact(&mut [0]).is_err() {
        // It has ended. Its messages tell why.
        return Ok(());
    }
    let action = "find the first process of the container";
    let gone = || io::Error::from(io::ErrorKind::NotFound);
    let pid = nspawn::first_process(nspawn).ok_or_else(gone).at(action)?;
    let leader = Leader {
        pid: pid.as_raw(),
        since: since(pid.as_raw()).at(action)?,
        ..leader
    };
    begun.store(true, Ordering::Relaxed);
    write_json(&paths.leader(), &leader, 0o600, false)
        .map_err(io::Error::other)
        .at("write down the first process of the container")?;
    sd_notify::notify(&[sd_notify::NotifyState::Ready]).at("tell systemd of the container")
}

/// Returns when a process started (proc_pid_stat(5)).
fn since(pid: i32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let found = text
        .rsplit_once(") ")
        .and_then(|(_, rest)| rest.split(' ').nth(19)?.parse().ok());
    found.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn read<T: serde::de::DeserializeOwned>(path: &Path, action: &str) -> Result<T, OverlayError> {
    let text = fs::read(path).at(action)?;
    serde_json::from_slice(&text)
        .map_err(io::Error::from)
        .at(action)
}

fn live(paths: &RootPaths) -> Result<u8, OverlayError> {
    let spec: JoinSpec = read(&paths.spec(), "read how to join the container")?;
    let container = RootPaths::at(spec.container.clone());
    let leader: Leader = read(&container.leader(), "find the container")?;
    let opened = open(&leader).at("find the container")?;
    nspawn::separate()?;
    let ids = Ids {
        user: leader.user,
        group: leader.group,
    };
    let job = JobPaths::at(spec.job.clone());
    if spec.mounts_workspace {
        mount_or_copy_workspace(&job, || Ok(ids))?;
    }
    make_view(paths, &spec)?;
    let mut command = Command::new(OWN_PROGRAM);
    command.arg(ENTER).arg(paths.path()).env_clear();
    if let Some(directory) = std::env::var_os(CREDENTIALS) {
        let copies = nspawn::copy_credentials(paths, &directory, ids)?;
        command.env(CREDENTIALS, directory).env(COPIES, copies);
    }
    command
        .env("PATH", &spec.path)
        .env("HOME", "/root")
        .env("container", "systemd-nspawn")
        .env(CONTAINER_USER, inside(&leader));
    let of_image = spec.user.as_deref().and_then(|user| user.split(':').next());
    let made = fs::read_to_string(container.user()).ok();
    let name = of_image.or(made.as_deref().filter(|_| !leader.private_users));
    for variable in ["USER", "LOGNAME"] {
        command.env(variable, name.unwrap_or("root"));
    }
    if let Some(group) = make_group(&leader)? {
        command.env(GROUP, group.join("cgroup.procs"));
    }
    command
        .stdin(nspawn::handed(paths, &spec.job, None)?)
        .stderr(Stdio::piped());
    let own = File::open("/proc/self/ns/pid").at("find the own PID namespace")?;
    move_into_thread_name_spaces(opened.as_fd(), ThreadNameSpaceType::PROCESS_ID)
        .at("enter the container's PID namespace")?;
    let child = command.spawn();
    // Without this, the process could have no threads.
    setns(own, CloneFlags::CLONE_NEWPID).at("come back from the container's PID namespace")?;
    let mut child = child.at("start the process that enters the container")?;
    let has_begun = || fs::metadata(job.events()).is_ok_and(|meta| meta.len() > 0);
    nspawn::follow(&mut child, Whom::Itself, has_begun)
}

/// Returns a descriptor of the container's first process, if it is still there.
fn open(leader: &Leader) -> io::Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(leader.pid).ok_or(io::ErrorKind::InvalidData)?;
    let ended = || io::Error::other("its first process has ended");
    let opened = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| ended())?;
    // The descriptor is that of the same process if this is.
    match since(leader.pid) {
        Ok(since) if since == leader.since => Ok(opened),
        _ => Err(ended()),
    }
}

/// Returns the ids of the steps in the container, as the runner reads them.
fn inside(leader: &Leader) -> String {
    let first = if leader.private_users {
        leader.first
    } else {
        0
    };
    format!("{}:{}", leader.user - first, leader.group - first)
}

/// Puts together what a job sees of its run.
fn make_view(paths: &RootPaths, spec: &JoinSpec) -> Result<(), OverlayError> {
    let view = paths.view();
    directory(&view, 0o755)?;
    let tmpfs = |place: &Path, mode: &str| {
        let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID;
        mount(Some("nixactions"), place, Some("tmpfs"), flags, Some(mode))
            .at(format!("mount `{}`", place.display()))
    };
    tmpfs(&view, "mode=755")?;
    let place = |target: &Path| {
        let rest = target.strip_prefix(&spec.inside).unwrap_or(target);
        view.join(rest.strip_prefix("/").unwrap_or(rest))
    };
    for bind in &spec.binds {
        let action = || format!("show `{}` to the job", bind.source.display());
        let clone = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE;
        let tree = open_tree(CWD, &bind.source, clone).at(action())?;
        let attributes = if bind.read_only {
            Attributes::READ_ONLY
        } else {
            Attributes::NONE
        };
        set_attributes(&tree, attributes.harmless().recursive(), None).at(action())?;
        let target = place(&bind.target);
        let is_directory = fs::metadata(&bind.source).at(action())?.is_dir();
        let above = if is_directory {
            Some(target.as_path())
        } else {
            target.parent()
        };
        above
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| {
                if is_directory {
                    Ok(())
                } else {
                    File::create(&target).map(drop)
                }
            })
            .at(action())?;
        move_mount(
            tree,
            "",
            CWD,
            &target,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
        .at(action())?;
    }
    let files = place(&spec.files);
    fs::create_dir_all(&files).at("make the directory of files")?;
    tmpfs(&files, &format!("mode=1777,{MEMORY_LIMITS}"))
}

/// Makes the control group of the job's processes, which belongs to the container's root user.
/// Returns `None` on a host without the unified hierarchy.
fn make_group(leader: &Leader) -> Result<Option<PathBuf>, OverlayError> {
    let action = "make a control group for the job";
    let Some(own) = nspawn::own_group().at(action)? else {
        return Ok(None);
    };
    let group = own.join(PAYLOAD);
    fs::create_dir(&group).at(action)?;
    if leader.private_users {
        for file in DELEGATED {
            match chown(group.join(file), Some(leader.first), Some(leader.first)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).at(action);
                }
                _ => {}
            }
        }
    }
    Ok(Some(group))
}

/// Enters the container in whose PID namespace this process is, and becomes the job's runner.
/// Returns only if that fails.
pub(super) fn enter(directory: &OsStr) -> Result<(), OverlayError> {
    // The processes of the container see this one. None of them may trace it.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).at("protect this process")?;
    let paths = RootPaths::at(directory.into());
    let spec: JoinSpec = read(&paths.spec(), "read how to join the container")?;
    let container = RootPaths::at(spec.container);
    let leader: Leader = read(&container.leader(), "find the container")?;
    let clone = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let mut trees = vec![(
        open_tree(CWD, paths.view(), clone).at("take the job's view")?,
        spec.inside.clone(),
    )];
    let [copies, credentials] = [COPIES, CREDENTIALS].map(std::env::var_os);
    if let (Some(copies), Some(credentials)) = (copies, credentials) {
        let tree = open_tree(CWD, Path::new(&copies), clone).at("take the credentials")?;
        set_attributes(&tree, Attributes::READ_ONLY.harmless(), None).at("take the credentials")?;
        trees.push((tree, credentials.into()));
    }
    // The container's first process has this id there.
    let first = rustix::process::Pid::INIT;
    let first = pidfd_open(first, PidfdFlags::empty()).at("find the container")?;
    if let Some(group) = std::env::var_os(GROUP) {
        fs::write(group, "0").at("join the job's control group")?;
    }
    move_into_thread_name_spaces(first.as_fd(), ThreadNameSpaceType::MOUNT)
        .at("enter the container's mount namespace")?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWCGROUP)
        .at("make namespaces for the job")?;
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_PRIVATE | MsFlags::MS_REC,
        None::<&str>,
    )
    .at("separate the job's mounts")?;
    let rights = Rights::of_first().at("read the rights of the container")?;
    let namespaces = differing().at("read the namespaces of the container")?;
    // A file system of the container's. All jobs may change the files in it, so none is trusted.
    let run = Beneath::open(Path::new(RUN)).at("open the container's /run")?;
    for (tree, target) in trees {
        let action = || format!("mount `{}`", target.display());
        let below = target.strip_prefix(RUN).map_err(io::Error::other);
        let place = run
            .place(
                below.at(action())?,
                Kind::Directory,
                (leader.first, leader.first),
            )
            .at(action())?;
        let flags =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(tree, "", place, "", flags).at(action())?;
    }
    let root = Beneath::open(Path::new("/")).at("open the container's root directory")?;
    show_groups(&root)?;
    setgroups(&[]).at("leave the host's groups")?;
    if !namespaces.is_empty() {
        move_into_thread_name_spaces(first.as_fd(), namespaces)
            .at("enter the container's namespaces")?;
    }
    if namespaces.contains(ThreadNameSpaceType::USER) {
        unshare(CloneFlags::CLONE_NEWNS).at("lock the job's mounts")?;
    }
    rights.take().at("give up rights")?;
    std::env::set_current_dir("/").at("go to the container's root directory")?;
    let (program, arguments) = spec
        .command
        .split_first()
        .ok_or(io::Error::from(io::ErrorKind::InvalidData))
        .at("find the runner")?;
    let error = Command::new(program)
        .args(arguments)
        .env_remove(COPIES)
        .env_remove(GROUP)
        .exec();
    Err(error).at(format!("start `{program}`"))
}

/// The rights of a container's first process.
struct Rights {
    bounding: CapabilitySet,
    no_new_privileges: bool,
}

impl Rights {
    /// Reads them where this process sees the container's processes (proc_pid_status(5)).
    fn of_first() -> io::Result<Self> {
        let text = fs::read_to_string("/proc/1/status")?;
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        let bounding = field("CapBnd:")
            .and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
            .ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self {
            bounding: CapabilitySet::from_bits_retain(bounding),
            no_new_privileges: field("NoNewPrivs:").is_some_and(|text| text.trim() == "1"),
        })
    }

    /// Gives up all rights but these, and becomes the container's root user.
    fn take(&self) -> io::Result<()> {
        for capability in CapabilitySet::all().iter() {
            let is_held = capability_is_in_bounding_set(capability);
            if is_held.is_ok_and(|held| held) && !self.bounding.contains(capability) {
                remove_capability_from_bounding_set(capability)?;
            }
        }
        if self.no_new_privileges {
            set_no_new_privs(true)?;
        }
        umask(Mode::from_raw_mode(0o022));
        setresgid(Gid::from_raw(0), Gid::from_raw(0), Gid::from_raw(0))?;
        setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0))?;
        // As systemd-nspawn leaves them. The others follow from the bounding set, once the runner
        // is executed.
        let mut sets = capabilities(None)?;
        sets.inheritable = self.bounding;
        set_capabilities(None, sets)?;
        // A change of the user may have changed it.
        Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
    }
}

/// Returns the kinds of namespaces of the container's first process that this one is to enter.
fn differing() -> io::Result<ThreadNameSpaceType> {
    let mut differing = ThreadNameSpaceType::empty();
    for (name, kind) in NAMESPACES {
        // The inode tells the namespace (namespaces(7)).
        let of = |process: &str| fs::metadata(format!("/proc/{process}/ns/{name}"));
        let (theirs, ours) = (of("1")?, of("self")?);
        if (theirs.dev(), theirs.ino()) != (ours.dev(), ours.ino()) {
            differing |= kind;
        }
    }
    Ok(differing)
}

/// Shows the job its own control group, and those below it.
fn show_groups(root: &Beneath) -> Result<(), OverlayError> {
    let places = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
    let found = places
        .into_iter()
        .find(|place| root.exists(format!("{place}/cgroup.procs")));
    let Some(place) = found else { return Ok(()) };
    // mount(2) refuses a file system at the place where it is mounted already.
    let show = || -> io::Result<()> {
        let context = fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&context)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NOEXEC
            | MountAttrFlags::MOUNT_ATTR_NODEV;
        let groups = fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        Ok(move_mount(groups, "", CWD, place, flags)?)
    };
    show().at("show the job its control group")
}
