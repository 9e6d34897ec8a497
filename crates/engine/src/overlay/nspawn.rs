//! Runs the container of a job: mounts its files, and starts systemd-nspawn(1) with the arguments
//! of its unit.
//!
//! This process is the main process of the job's unit. Its mounts are in a mount namespace of its
//! own, so the kernel removes them with the last process of the container, however that ends. It
//! hands on the signals that ask the job to end: systemd-nspawn itself would kill the container at
//! the second one.
//!
//! Of its descriptors, systemd-nspawn passes on the standard ones. Standard output is the file of
//! events, as for any runner. Standard input is a directory with what a runner needs of the host:
//! its /proc, which tells the runner its process id there, the control group of the unit, which
//! tells when the job has run out of memory, and the locks of running jobs, or a service's way to
//! the runner of its job.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs::{self, DirBuilder, File},
    io::{self, BufRead, BufReader, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            fs::{DirBuilderExt, PermissionsExt, chown},
            process::ExitStatusExt,
        },
    },
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, ExitCode, ExitStatus, Stdio},
    thread::{self, JoinHandle},
};

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, unshare},
    sys::{
        signal::{SigSet, Signal, kill, raise},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::Pid,
};
use rustix::{
    fs::CWD,
    mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree},
};

use super::{At, Ids, OverlayError, beneath::Beneath, directory, failed, ids_of, root};
use crate::{
    programs,
    store::{RANGE_IDS, RangeLock},
    unit::{
        CONTAINER_USER, HANDED_GROUP, HANDED_MASKS, HANDED_PROC, HANDED_SLOTS, JobPaths, NSPAWN,
        NspawnSpec, RootPaths, RootSpec, RunPaths, escaped,
    },
};

/// The directory in which systemd-nspawn keeps files of its containers. It leaves them where it is
/// killed.
const STATE: &str = "/run/systemd/nspawn";
/// The variable with the directory of a unit's credentials (systemd.exec(5)).
pub(super) const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// The directory in which systemd-nspawn mounts an empty file system, and those of its directories
/// that are not the image's.
const RUN: &str = "/run";
const RUN_OWN: [&str; 3] = ["host", "nixactions", "systemd"];
/// The time, in milliseconds, after which a signal is sent again.
const ASK_AGAIN: u8 = 100;
/// The number that a shell adds to the signal that ended a program.
const EXIT_SIGNAL: i32 = 128;
/// The lines of systemd-nspawn that are kept as its reason.
const LINES_KEPT: usize = 5;
/// The most bytes of such a line.
const LINE_MAX: usize = 1000;

/// Runs the container of the job with this root file system. `user` was made for the job, or claims
/// its range of ids. Returns the exit status of the container. If there is no container, a file
/// holds the reason for the supervisor.
pub(super) fn main(directory: PathBuf, user: Option<&OsString>) -> ExitCode {
    let paths = RootPaths::at(directory);
    match run(&paths, user.and_then(|user| user.to_str())) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            let told = root::record(&paths, &error);
            failed(told.as_ref().err().unwrap_or(&error))
        }
    }
}

fn run(paths: &RootPaths, user: Option<&str>) -> Result<u8, OverlayError> {
    let spec = root::read(paths)?;
    let (mut command, made) = prepare(paths, &spec, user)?;
    if let Some(directory) = std::env::var_os(CREDENTIALS) {
        let copies = copy_credentials(paths, &directory, made.ids)?;
        let directory = Path::new(&directory);
        command.args([
            format!("--bind-ro={}:{}", escaped(&copies), escaped(directory)),
            format!("--setenv={CREDENTIALS}={}", directory.display()),
        ]);
    }
    let masks = spec
        .nspawn
        .as_ref()
        .and_then(|nspawn| nspawn.masks.as_ref());
    command
        .args(made.command())
        .stdin(handed(paths, &spec.job, masks.map(PathBuf::as_path))?)
        .stderr(Stdio::piped());
    let has_begun =
        || fs::metadata(JobPaths::at(spec.job.clone()).events()).is_ok_and(|meta| meta.len() > 0);
    let mut child = command.spawn().at("start systemd-nspawn")?;
    follow(&mut child, Whom::FirstBelow, has_begun)
}

/// A container that is ready to start.
pub(super) struct Made {
    /// Its first user id.
    pub(super) first: u32,
    /// The ids of the steps.
    pub(super) ids: Ids,
    command: Vec<String>,
    /// Held as long as the container lives: another systemd-nspawn finds the range taken.
    _lock: Option<RangeLock>,
}

impl Made {
    /// Returns the arguments with the command in the container, which come last.
    pub(super) fn command(&self) -> impl Iterator<Item = String> + '_ {
        let end = std::iter::once("--".to_owned());
        end.chain(self.command.iter().cloned())
    }
}

/// Mounts the files of a container, and returns the command that starts it, without its end.
pub(super) fn prepare(
    paths: &RootPaths,
    spec: &RootSpec,
    user: Option<&str>,
) -> Result<(Command, Made), OverlayError> {
    let Some(nspawn) = &spec.nspawn else {
        return Err(io::Error::from(io::ErrorKind::InvalidData)).at("read how to run a container");
    };
    separate()?;
    let Some(user) = user else {
        return Err(io::Error::from(io::ErrorKind::AddrNotAvailable))
            .at("run a container without user ids of its own (none were free)");
    };
    let ids = root::make(paths, spec, Some(user.to_owned()))?;
    let first = ids_of(Some(user))?.user;
    let lock = nspawn.private_users.then(|| lock(first)).transpose()?;
    fs::create_dir_all(STATE).at(format!("make `{STATE}`"))?;
    own_tmpfs(Path::new(STATE), 0o755)?;
    let mut command = Command::new(program(nspawn)?);
    command
        .env_clear()
        // /tmp is a part of the writable layer, which need not fit into memory.
        .env("SYSTEMD_NSPAWN_TMPFS_TMP", "0")
        .args(&nspawn.arguments)
        .args(arguments(nspawn, first, ids));
    if nspawn.shows_run {
        command.args(show_run(paths)?);
    }
    // Without another name, the variables name root.
    let of_image = spec.user.as_deref().and_then(|user| user.split(':').next());
    if let Some(name) = of_image.or((!nspawn.private_users).then_some(user)) {
        for variable in ["USER", "LOGNAME"] {
            command.arg(format!("--setenv={variable}={name}"));
        }
    }
    let made = Made {
        first,
        ids,
        command: nspawn.command.clone(),
        _lock: lock,
    };
    Ok((command, made))
}

/// Returns the arguments that show the directories in the image's /run. systemd-nspawn mounts an
/// empty file system there.
fn show_run(paths: &RootPaths) -> Result<Vec<String>, OverlayError> {
    let action = format!("show `{RUN}` of the image");
    let root = Beneath::open(&paths.tree()).at(action.clone())?;
    let Some((view, names)) = root.mount_of(Path::new(RUN)).at(action.clone())? else {
        return Ok(Vec::new());
    };
    // By its path in the root file system, a link could lead to the host's files.
    let source = paths.path().join("run");
    directory(&source, 0o700)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(view, "", CWD, &source, flags).at(action)?;
    let shown = names
        .iter()
        .filter(|name| !RUN_OWN.contains(&name.as_str()));
    let bind = |name: &String| {
        let (from, to) = (source.join(name), Path::new(RUN).join(name));
        format!("--bind={}:{}", escaped(&from), escaped(&to))
    };
    Ok(shown.map(bind).collect())
}

/// Makes a mount namespace of this process's own.
pub(super) fn separate() -> Result<(), OverlayError> {
    unshare(CloneFlags::CLONE_NEWNS).at("make a mount namespace")?;
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_SLAVE | MsFlags::MS_REC,
        None::<&str>,
    )
    .at("separate the mounts from the host's")
}

/// Follows a process until its end. Returns the exit status that stands for that. A process that
/// fails before it has begun is an error, with its messages as the cause.
pub(super) fn follow(
    child: &mut Child,
    whom: Whom,
    has_begun: impl Fn() -> bool,
) -> Result<u8, OverlayError> {
    let signals = handled();
    block_signals()?;
    let lines = child.stderr.take().map(keep_lines);
    let (status, asked) = wait(child, &signals, whom, &has_begun).at("wait for the container")?;
    let lines = lines
        .and_then(|lines| lines.join().ok())
        .unwrap_or_default();
    if status.success() || has_begun() {
        return Ok(exit_status(status));
    }
    if let Some(signal) = asked {
        // It ends the unit as it would have before the start of the process.
        let ended = signals.thread_unblock().and_then(|()| raise(signal));
        return ended.map(|()| exit_status(status)).at("end by a signal");
    }
    let why = match lines.len() {
        0 => status.to_string(),
        _ => lines.join("; "),
    };
    Err(io::Error::other(why)).at(match whom {
        Whom::FirstBelow => "run systemd-nspawn",
        Whom::Itself => "join the container",
    })
}

/// The process to which requests to end are handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whom {
    /// The first process in the container of a systemd-nspawn.
    FirstBelow,
    /// The process itself.
    Itself,
}

/// Returns the exit status that stands for the end of systemd-nspawn, as a shell says it.
pub(super) fn exit_status(status: ExitStatus) -> u8 {
    let signal = || status.signal().map(|signal| EXIT_SIGNAL + signal);
    let code = status.code().or_else(signal);
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX)
}

/// Returns the path of systemd-nspawn.
fn program(nspawn: &NspawnSpec) -> Result<PathBuf, OverlayError> {
    let directories = programs::directories(OsStr::new(&nspawn.path)).chain(programs::brought());
    programs::find(directories, NSPAWN)
        .ok_or(io::Error::from(io::ErrorKind::NotFound))
        .at(format!("find the program {NSPAWN}"))
}

/// Returns the arguments that depend on the job's user. `first` is the first id of the container,
/// and `ids` are those of the steps.
fn arguments(nspawn: &NspawnSpec, first: u32, ids: Ids) -> Vec<String> {
    let (users, inside) = if nspawn.private_users {
        let inside = Ids {
            user: ids.user - first,
            group: ids.group - first,
        };
        (format!("{first}:{RANGE_IDS}"), inside)
    } else {
        ("no".to_owned(), ids)
    };
    let Ids { user, group } = inside;
    vec![
        format!("--private-users={users}"),
        // The id-mapped mount of the image does it.
        "--private-users-ownership=off".to_owned(),
        format!("--setenv={CONTAINER_USER}={user}:{group}"),
    ]
}

/// Makes a place of its own in this mount namespace.
fn place(paths: &RootPaths, name: &str, mode: u32) -> Result<PathBuf, OverlayError> {
    let place = paths.path().join(name);
    let made = match DirBuilder::new().mode(0o700).create(&place) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    made.at(format!("make `{}`", place.display()))?;
    own_tmpfs(&place, mode)?;
    Ok(place)
}

/// Mounts an empty file system at a place. Only this process and those of the container see it. The
/// kernel never writes it to a disk, as systemd's own credentials, from Linux 6.4 on (tmpfs(5)).
fn own_tmpfs(place: &Path, mode: u32) -> Result<(), OverlayError> {
    let mounted = |options: String| {
        mount(
            Some("nixactions"),
            place,
            Some("tmpfs"),
            MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
            Some(options.as_str()),
        )
    };
    let made = match mounted(format!("mode={mode:o},noswap")) {
        Err(Errno::EINVAL) => mounted(format!("mode={mode:o}")),
        made => made,
    };
    made.at(format!("mount `{}`", place.display()))
}

/// Locks the range of ids that starts with this one.
fn lock(first: u32) -> Result<RangeLock, OverlayError> {
    let action = || format!("lock the user ids from {first} on");
    let lock = RangeLock::take(first).at(action())?;
    let taken = io::Error::other("another program has taken them for a container");
    lock.ok_or(taken).at(action())
}

/// Copies the credentials of the unit, which belong to root, for the job's user. Returns the
/// directory of the copies.
pub(super) fn copy_credentials(
    paths: &RootPaths,
    directory: &OsStr,
    ids: Ids,
) -> Result<PathBuf, OverlayError> {
    let action = "give the credentials to the job's user";
    let copies = place(paths, "credentials", 0o500)?;
    for entry in fs::read_dir(directory).at(action)? {
        let entry = entry.at(action)?;
        let copy = copies.join(entry.file_name());
        let content = fs::read(entry.path()).at(action)?;
        fs::write(&copy, content).at(action)?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o400)).at(action)?;
        chown(&copy, Some(ids.user), Some(ids.group)).at(action)?;
    }
    chown(&copies, Some(ids.user), Some(ids.group)).at(action)?;
    Ok(copies)
}

/// Returns the directory with what a runner needs of the host. `masks` is the directory by which a
/// service reaches its job.
pub(super) fn handed(
    paths: &RootPaths,
    job: &Path,
    masks: Option<&Path>,
) -> Result<File, OverlayError> {
    let action = "give the runner its descriptors";
    let handed = place(paths, "handed", 0o555)?;
    let put = |view: OwnedFd, name: &str| {
        let place = handed.join(name);
        fs::create_dir(&place)?;
        Ok::<_, io::Error>(move_mount(
            view,
            "",
            CWD,
            place,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )?)
    };
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let proc = open_tree(CWD, "/proc", clone).at(action)?;
    put(proc, HANDED_PROC).at(action)?;
    let group = own_group().at(action)?;
    if let Some(group) = group.filter(|group| group.join("memory.events").exists()) {
        put(open_tree(CWD, &group, clone).at(action)?, HANDED_GROUP).at(action)?;
    }
    let input = io::stdin().as_fd().try_clone_to_owned().map(File::from);
    if input.at(action)?.metadata().is_ok_and(|meta| meta.is_dir()) {
        // systemd opened the directory in another mount namespace, whose mounts cannot be cloned.
        let run = job.ancestors().nth(2).unwrap_or(Path::new("/"));
        let slots = RunPaths::new(run.to_owned()).slots();
        put(
            open_tree(CWD, slots.path(), clone).at(action)?,
            HANDED_SLOTS,
        )
        .at(action)?;
    }
    if let Some(masks) = masks {
        put(open_tree(CWD, masks, clone).at(action)?, HANDED_MASKS).at(action)?;
    }
    File::open(&handed).at(action)
}

/// Returns the control group of this process. `None` on a host without the unified hierarchy.
pub(super) fn own_group() -> io::Result<Option<PathBuf>> {
    let text = fs::read_to_string("/proc/self/cgroup")?;
    let own = text.lines().find_map(|line| line.strip_prefix("0::/"));
    let mut places = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .into_iter()
        .filter_map(|place| Some(Path::new(place).join(own?)));
    Ok(places.find(|place| place.join("cgroup.procs").exists()))
}

/// Hands on the messages of systemd-nspawn, and keeps the last lines. systemd-nspawn and the runner
/// write messages only where something fails.
fn keep_lines(from: ChildStderr) -> JoinHandle<Vec<String>> {
    thread::spawn(move || {
        let mut kept = VecDeque::new();
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        loop {
            line.clear();
            match from.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return kept.into(),
                Ok(_) => {}
            }
            // Where nobody can be told, the reason of the job still says it.
            let _ = io::stderr().write_all(&line);
            line.truncate(LINE_MAX);
            kept.push_back(String::from_utf8_lossy(&line).trim().to_owned());
            if kept.len() > LINES_KEPT {
                kept.pop_front();
            }
        }
    })
}

/// Returns the signals that this process waits for, in place of being ended by them.
fn handled() -> SigSet {
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD]
        .into_iter()
        .collect()
}

/// Blocks these signals, also for threads that start afterwards. Not before the start of the
/// process to follow, which would inherit the mask. A signal that comes before this ends the unit,
/// as it ends a runner that has not begun.
pub(super) fn block_signals() -> Result<(), OverlayError> {
    handled().thread_block().at("block signals")
}

/// Waits for the end of systemd-nspawn, and hands on the signals that ask the job to end. The
/// kernel drops a signal for the first process of a container that does not catch it yet. So the
/// last one is sent again until the runner has begun: it catches signals before that. Returns that
/// signal as well.
fn wait(
    child: &mut Child,
    handled: &SigSet,
    whom: Whom,
    has_begun: impl Fn() -> bool,
) -> io::Result<(ExitStatus, Option<Signal>)> {
    let signals = SignalFd::with_flags(handled, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let nspawn = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    let mut asked = None;
    let mut is_due = false;
    let mut was_there = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status, asked));
        }
        if let Some(signal) = asked.filter(|_| is_due) {
            // Asked before the signal is sent, which then reaches a runner that catches it.
            is_due = !has_begun();
            let reached = match whom {
                Whom::Itself => Some(nspawn),
                Whom::FirstBelow => {
                    let first = first_process(nspawn);
                    was_there |= first.is_some();
                    // Without a first process, there is nothing that could clean up.
                    first.or((!was_there).then_some(nspawn))
                }
            };
            for signal in [signal, Signal::SIGCONT] {
                // It may have ended meanwhile.
                reached.into_iter().for_each(|pid| _ = kill(pid, signal));
            }
        }
        let timeout = if is_due {
            PollTimeout::from(ASK_AGAIN)
        } else {
            PollTimeout::NONE
        };
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        // An interrupted poll is followed by a look at everything all the same.
        let _ = poll(&mut fds, timeout);
        while let Some(come) = signals.read_signal()? {
            let signal = i32::try_from(come.ssi_signo)
                .ok()
                .and_then(|number| Signal::try_from(number).ok());
            if let Some(Signal::SIGTERM | Signal::SIGINT) = signal {
                (asked, is_due) = (signal, true);
            }
        }
    }
}

/// Returns the first process in the container of this systemd-nspawn.
pub(super) fn first_process(nspawn: Pid) -> Option<Pid> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_first = |number: &i32| {
        let status = fs::read_to_string(format!("/proc/{number}/status")).unwrap_or_default();
        is_first_below(&status, nspawn.as_raw())
    };
    numbers.into_iter().find(is_first).map(Pid::from_raw)
}

/// Returns whether a process is the first one of a PID namespace, and a child of this process
/// (proc_pid_status(5)).
fn is_first_below(status: &str, parent: i32) -> bool {
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let is_child = field("PPid:").is_some_and(|text| text.trim().parse() == Ok(parent));
    let ids: Vec<_> = field("NSpid:")
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    is_child && ids.len() > 1 && ids.last() == Some(&"1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_process_of_a_container_is_a_child_with_an_id_of_1() {
        let status = |parent: u32, ids: &str| {
            format!("Name:\trunner\nPid:\t7\nPPid:\t{parent}\nNSpid:\t{ids}\n")
        };
        assert!(is_first_below(&status(5, "7\t1"), 5));
        assert!(is_first_below(&status(5, "99\t7\t1"), 5));
        assert!(!is_first_below(&status(5, "7\t2"), 5), "not the first");
        assert!(!is_first_below(&status(5, "1"), 5), "no namespace");
        assert!(!is_first_below(&status(6, "7\t1"), 5), "no child");
        assert!(!is_first_below("", 5));
    }

    #[test]
    fn the_steps_have_the_ids_of_the_images_user() {
        let nspawn = NspawnSpec {
            path: String::new(),
            arguments: Vec::new(),
            command: Vec::new(),
            private_users: true,
            shows_run: false,
            masks: None,
        };
        let ids = Ids {
            user: 2_000_999,
            group: 2_000_998,
        };
        let found = arguments(&nspawn, 2_000_000, ids);
        assert_eq!(found[0], "--private-users=2000000:65536");
        assert!(found[2].ends_with("=999:998"), "{found:?}");
    }
}
