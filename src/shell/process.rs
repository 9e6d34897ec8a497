//! Finds the process of a job's running step, and reads what a shell beside it needs (proc(5)).
//!
//! Only processes in the control group of the job's unit count, which no stranger can enter. A
//! process of the job may pretend to be a runner or a step. That misleads a shell at most to
//! another process of the job.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use nix::unistd::{Gid, Uid};
use procfs::{
    ProcError,
    process::{Limit, LimitValue, Limits, all_processes},
};
use rustix::{
    fs::{Mode, OFlags},
    process::{Pid, PidfdFlags, Resource, Rlimit, pidfd_open},
    thread::{CapabilitySet, ThreadNameSpaceType},
};

use crate::unit::{HOLDER, RUNNER};

/// The namespaces of a process, by their names in `/proc/PID/ns`.
const NAMESPACES: [(&str, ThreadNameSpaceType); 7] = [
    ("user", ThreadNameSpaceType::USER),
    ("mnt", ThreadNameSpaceType::MOUNT),
    ("pid", ThreadNameSpaceType::PROCESS_ID),
    ("net", ThreadNameSpaceType::NETWORK),
    ("ipc", ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION),
    ("uts", ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME),
    ("cgroup", ThreadNameSpaceType::CONTROL_GROUP),
];
/// The hierarchies of control groups, by the beginning of a line of `/proc/PID/cgroup` without its
/// number, and their places.
const HIERARCHIES: [(&str, &str); 3] = [
    ("0::", "/sys/fs/cgroup"),
    ("0::", "/sys/fs/cgroup/unified"),
    ("name=systemd:", "/sys/fs/cgroup/systemd"),
];

/// The process of a step.
#[derive(Debug)]
pub(super) struct Process {
    /// Its directory in `/proc`, which stays its own after this process has changed its namespaces.
    /// All that is read of it is read from here: another process may get its id.
    directory: procfs::process::Process,
    pidfd: OwnedFd,
}

/// The rights of a process, with the ids that its user namespace has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rights {
    pub user: Uid,
    pub group: Gid,
    pub bounding: CapabilitySet,
    pub no_new_privileges: bool,
    pub umask: Mode,
}

impl Process {
    /// Returns the process of the step that runs in the job of a unit: a child of the runner that
    /// has the job's directory as its argument. The directory has another path for the job.
    pub fn of_step(unit: &OsStr, job: &Path) -> Option<Self> {
        let meta = fs::metadata(job).ok()?;
        let wanted = (meta.dev(), meta.ino());
        let processes = || all_processes().into_iter().flatten().flatten();
        let runners: BTreeMap<i32, PathBuf> = processes()
            .filter_map(|process| Some((process.pid(), runner_argument(&process)?)))
            .collect();
        let mut others: Vec<_> = processes()
            .filter(|process| !runners.contains_key(&process.pid()))
            .collect();
        others.sort_unstable_by_key(procfs::process::Process::pid);
        others.into_iter().find_map(|process| {
            let step = Self::of(process)?;
            let argument = runners.get(&step.parent()?)?;
            let is_step = step.sees(argument)? == wanted && step.is_in(unit)?;
            is_step.then_some(step)
        })
    }

    fn of(directory: procfs::process::Process) -> Option<Self> {
        let pidfd = pidfd_open(Pid::from_raw(directory.pid())?, PidfdFlags::empty()).ok()?;
        let process = Self { directory, pidfd };
        // The directory is still that of a process, so the descriptor is of the same one.
        process.parent().map(|_| process)
    }

    /// Returns the process that has started it.
    fn parent(&self) -> Option<i32> {
        Some(self.directory.status().ok()?.ppid)
    }

    /// Returns whether it only holds the job for a shell.
    pub fn is_holder(&self) -> bool {
        let line = self.read("cmdline").unwrap_or_default();
        line.split(|byte| *byte == 0).next() == Some(HOLDER.as_bytes())
    }

    /// Returns whether it is in the control group of a unit.
    fn is_in(&self, unit: &OsStr) -> Option<bool> {
        let groups = self.read("cgroup").ok()?;
        let mut parts = groups.split(|byte| matches!(byte, b'/' | b'\n'));
        Some(parts.any(|part| part == unit.as_bytes()))
    }

    /// Returns the device and the inode of what lies at an absolute path that the process has.
    fn sees(&self, path: &Path) -> Option<(u64, u64)> {
        let path = Path::new("root").join(path.strip_prefix("/").ok()?);
        let meta = self.open(path, OFlags::PATH).ok()?.metadata().ok()?;
        Some((meta.dev(), meta.ino()))
    }

    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Returns its working directory, opened.
    pub fn working_directory(&self) -> io::Result<File> {
        self.open("cwd", OFlags::PATH | OFlags::DIRECTORY)
    }

    /// Returns its variables.
    pub fn environment(&self) -> io::Result<HashMap<OsString, OsString>> {
        self.directory.environ().map_err(plain)
    }

    /// Returns the kinds of namespaces that differ from those of this process.
    pub fn namespaces(&self) -> io::Result<ThreadNameSpaceType> {
        let mut differing = ThreadNameSpaceType::empty();
        for (name, kind) in NAMESPACES {
            // The inode tells the namespace (namespaces(7)).
            let path = Path::new("ns").join(name);
            let theirs = self.open(&path, OFlags::empty())?.metadata()?;
            let ours = fs::metadata(Path::new("/proc/self").join(path))?;
            if (theirs.dev(), theirs.ino()) != (ours.dev(), ours.ino()) {
                differing |= kind;
            }
        }
        Ok(differing)
    }

    /// Returns the files by which another process joins its control groups, opened.
    pub fn control_groups(&self) -> io::Result<Vec<File>> {
        groups_of(&self.read("cgroup")?)
    }

    /// Returns its groups, with the ids that the user namespace of this process has.
    pub fn groups(&self) -> io::Result<Vec<Gid>> {
        let status = self.directory.status().map_err(plain)?;
        Ok(status.groups.into_iter().map(Gid::from_raw).collect())
    }

    /// Returns its rights. The ids are those of the user namespace of this process.
    pub fn rights(&self) -> io::Result<Rights> {
        let status = self.directory.status().map_err(plain)?;
        let rights = || {
            Some(Rights {
                user: Uid::from_raw(status.ruid),
                group: Gid::from_raw(status.rgid),
                bounding: CapabilitySet::from_bits_retain(status.capbnd?),
                no_new_privileges: status.nonewprivs? != 0,
                umask: Mode::from_raw_mode(status.umask?),
            })
        };
        rights().ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Returns its resource limits.
    pub fn limits(&self) -> io::Result<Vec<(Resource, Rlimit)>> {
        let limits = self.directory.limits().map_err(plain)?;
        let all = by_resource(&limits).map(|(resource, limit)| (resource, rlimit(limit)));
        Ok(all.into())
    }

    fn open(&self, name: impl AsRef<Path>, flags: OFlags) -> io::Result<File> {
        self.directory
            .open_relative_flags(name, flags | OFlags::CLOEXEC)
            .map_err(plain)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        self.open(name, OFlags::RDONLY)?.read_to_end(&mut text)?;
        Ok(text)
    }
}

fn by_resource(limits: &Limits) -> [(Resource, Limit); 16] {
    [
        (Resource::Cpu, limits.max_cpu_time),
        (Resource::Fsize, limits.max_file_size),
        (Resource::Data, limits.max_data_size),
        (Resource::Stack, limits.max_stack_size),
        (Resource::Core, limits.max_core_file_size),
        (Resource::Rss, limits.max_resident_set),
        (Resource::Nproc, limits.max_processes),
        (Resource::Nofile, limits.max_open_files),
        (Resource::Memlock, limits.max_locked_memory),
        (Resource::As, limits.max_address_space),
        (Resource::Locks, limits.max_file_locks),
        (Resource::Sigpending, limits.max_pending_signals),
        (Resource::Msgqueue, limits.max_msgqueue_size),
        (Resource::Nice, limits.max_nice_priority),
        (Resource::Rtprio, limits.max_realtime_priority),
        (Resource::Rttime, limits.max_realtime_timeout),
    ]
}

fn rlimit(limit: Limit) -> Rlimit {
    let number = |value| match value {
        LimitValue::Unlimited => None,
        LimitValue::Value(number) => Some(number),
    };
    Rlimit {
        current: number(limit.soft_limit),
        maximum: number(limit.hard_limit),
    }
}

/// Returns the system's error, which callers tell apart by its kind.
fn plain(error: ProcError) -> io::Error {
    match error {
        ProcError::PermissionDenied(_) => io::ErrorKind::PermissionDenied.into(),
        ProcError::NotFound(_) => io::ErrorKind::NotFound.into(),
        ProcError::Io(error, _) => error,
        other => io::Error::other(other),
    }
}

/// Returns the files by which this process comes back to its control groups, opened.
pub(super) fn own_groups() -> io::Result<Vec<File>> {
    groups_of(&fs::read("/proc/self/cgroup")?)
}

/// Moves this process into control groups.
pub(super) fn join(groups: &[File]) -> io::Result<()> {
    groups
        .iter()
        .try_for_each(|mut group| group.write_all(b"0"))
}

fn groups_of(text: &[u8]) -> io::Result<Vec<File>> {
    let mut groups = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        for (begin, place) in HIERARCHIES {
            let path = line.strip_prefix(begin.as_bytes()).or_else(|| {
                let at = line.iter().position(|byte| *byte == b':')?;
                line[at + 1..].strip_prefix(begin.as_bytes())
            });
            let Some(path) = path.and_then(|path| path.strip_prefix(b"/")) else {
                continue;
            };
            let file = Path::new(place)
                .join(OsStr::from_bytes(path))
                .join("cgroup.procs");
            match OpenOptions::new().write(true).open(file) {
                Ok(file) => groups.push(file),
                // The other place of the hierarchy.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(groups)
}

/// Returns the argument of a runner, or `None` for another process. Everybody may read it, also of
/// a process that is not dumpable.
fn runner_argument(process: &procfs::process::Process) -> Option<PathBuf> {
    let mut line = Vec::new();
    let mut file = process.open_relative("cmdline").ok()?;
    file.read_to_end(&mut line).ok()?;
    let mut words = line.split(|byte| *byte == 0).map(OsStr::from_bytes);
    let program = Path::new(words.next()?);
    (program.file_name()? == RUNNER).then(|| words.next().map(PathBuf::from))?
}
