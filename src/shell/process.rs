//! Finds the process of a job's running step, and reads what a shell beside it needs (proc(5)).
//!
//! Only processes in the control group of the job's unit count ([`super::group`]). A process of the
//! job may pretend to be a runner or a step. That misleads a shell at most to another process of
//! the job.

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read as _},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    },
    path::Path,
};

use nix::unistd::{Gid, Uid};
use procfs::{
    ProcError,
    process::{Limit, LimitValue, Limits},
};
use rustix::{
    fs::{Mode, OFlags},
    process::{Pid, PidfdFlags, Resource, Rlimit, pidfd_open},
    thread::{CapabilitySet, ThreadNameSpaceType},
};

use super::group::groups_of;
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
/// The process of a step.
#[derive(Debug)]
pub(super) struct Process {
    /// Its directory in `/proc`, which stays its own after this process has changed its namespaces.
    /// All that is read of it is read from here: another process may get its id.
    directory: procfs::process::Process,
    pidfd: OwnedFd,
    is_holder: bool,
}

/// A process of a job's unit.
#[derive(Debug)]
struct Member {
    pid: i32,
    parent: i32,
    /// Whether it leads a process group.
    leads: bool,
    session: i32,
    /// Its start, in clock ticks since the boot.
    since: u64,
    is_runner: bool,
    is_holder: bool,
}

impl Member {
    fn of(pid: i32) -> Option<Self> {
        let process = procfs::process::Process::new(pid).ok()?;
        let stat = process.stat().ok()?;
        let mut line = Vec::new();
        // Everybody may read it, also of a process that is not dumpable.
        let mut file = process.open_relative("cmdline").ok()?;
        file.read_to_end(&mut line).ok()?;
        let name = line.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = Path::new(OsStr::from_bytes(name)).file_name();
        Some(Self {
            pid,
            parent: stat.ppid,
            leads: stat.pgrp == pid,
            session: stat.session,
            since: stat.starttime,
            is_runner: name.is_some_and(|name| name == RUNNER),
            is_holder: name.is_some_and(|name| name == HOLDER),
        })
    }
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
    /// Returns the process of the step that runs, among the processes of a job's unit: a child of
    /// the runner, or a process that holds the job.
    pub fn of_step(members: &[i32]) -> Option<Self> {
        let members: Vec<Member> = members.iter().filter_map(|pid| Member::of(*pid)).collect();
        let runners: Vec<&Member> = members.iter().filter(|member| member.is_runner).collect();
        let is_child = |member: &Member, of: &Member| member.parent == of.pid;
        // Above the runner may stand another process of its program.
        let runner = runners
            .iter()
            .find(|runner| !runners.iter().any(|other| is_child(other, runner)))?;
        // A runner in a namespace of its own also gets the children of processes that have ended.
        // They lead no group, or have a session of their own.
        let is_step = |member: &&Member| {
            is_child(member, runner)
                && !member.is_runner
                && member.leads
                && member.session == runner.session
        };
        let steps = members.iter().filter(is_step);
        let step = steps.max_by_key(|step| (step.is_holder, step.since))?;
        Self::of(step)
    }

    fn of(member: &Member) -> Option<Self> {
        let directory = procfs::process::Process::new(member.pid).ok()?;
        let pidfd = pidfd_open(Pid::from_raw(member.pid)?, PidfdFlags::empty()).ok()?;
        // The directory is still that of the same process, and so is the descriptor.
        let is_same = directory.stat().ok()?.starttime == member.since;
        let is_holder = member.is_holder;
        is_same.then_some(Self {
            directory,
            pidfd,
            is_holder,
        })
    }

    /// Returns whether it only holds the job for a shell.
    pub fn is_holder(&self) -> bool {
        self.is_holder
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
