//! Finds the process of a job's running step, and reads what a shell beside it needs (proc(5)).
//!
//! Any process of the job may pretend to be a runner or a step. That misleads a shell at most to
//! another process of the job.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags, openat},
    process::{Resource, Rlimit},
    thread::{CapabilitySet, ThreadNameSpaceType},
};

use crate::unit::RUNNER;

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
/// The resource limits, by their names in `/proc/PID/limits`.
const LIMITS: [(&str, Resource); 16] = [
    ("Max cpu time", Resource::Cpu),
    ("Max file size", Resource::Fsize),
    ("Max data size", Resource::Data),
    ("Max stack size", Resource::Stack),
    ("Max core file size", Resource::Core),
    ("Max resident set", Resource::Rss),
    ("Max processes", Resource::Nproc),
    ("Max open files", Resource::Nofile),
    ("Max locked memory", Resource::Memlock),
    ("Max address space", Resource::As),
    ("Max file locks", Resource::Locks),
    ("Max pending signals", Resource::Sigpending),
    ("Max msgqueue size", Resource::Msgqueue),
    ("Max nice priority", Resource::Nice),
    ("Max realtime priority", Resource::Rtprio),
    ("Max realtime timeout", Resource::Rttime),
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
    id: i32,
    /// Its directory in `/proc`, which stays its own after this process has changed its namespaces.
    directory: File,
}

/// The rights of a process, with the ids that its user namespace has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rights {
    pub user: u32,
    pub group: u32,
    pub bounding: CapabilitySet,
    pub no_new_privileges: bool,
}

impl Process {
    /// Returns the process of the step that runs in a job: a child of the runner that has the job's
    /// directory as its argument. The directory has another path for the job.
    pub fn of_step(job: &Path) -> Option<Self> {
        let wanted = identity(job)?;
        let runners: BTreeMap<i32, PathBuf> = processes()
            .filter_map(|id| Some((id, runner_argument(id)?)))
            .collect();
        let mut steps: Vec<i32> = processes()
            .filter(|id| !runners.contains_key(id))
            .filter(|id| {
                let argument = parent(*id).and_then(|parent| runners.get(&parent));
                let seen = argument
                    .and_then(|path| identity(&root_of(*id).join(path.strip_prefix("/").ok()?)));
                seen == Some(wanted)
            })
            .collect();
        steps.sort_unstable();
        let id = *steps.first()?;
        let directory = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::DIRECTORY.bits().cast_signed())
            .open(place(id))
            .ok()?;
        Some(Self { id, directory })
    }

    pub fn id(&self) -> i32 {
        self.id
    }

    /// Returns its working directory, opened.
    pub fn working_directory(&self) -> io::Result<File> {
        self.open("cwd", OFlags::PATH | OFlags::DIRECTORY)
    }

    /// Returns its variables.
    pub fn environment(&self) -> io::Result<Vec<(OsString, OsString)>> {
        let text = self.read("environ")?;
        let pairs = text.split(|byte| *byte == 0).filter_map(|pair| {
            let at = pair.iter().position(|byte| *byte == b'=')?;
            let of = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
            Some((of(&pair[..at]), of(&pair[at + 1..])))
        });
        Ok(pairs.collect())
    }

    /// Returns the kinds of namespaces that differ from those of this process.
    pub fn namespaces(&self) -> io::Result<ThreadNameSpaceType> {
        let mut differing = ThreadNameSpaceType::empty();
        for (name, kind) in NAMESPACES {
            let [theirs, ours] = [place(self.id), "/proc/self".into()]
                .map(|at| fs::read_link(at.join("ns").join(name)));
            if theirs? != ours? {
                differing |= kind;
            }
        }
        Ok(differing)
    }

    /// Returns the files by which another process joins its control groups, opened.
    pub fn groups(&self) -> io::Result<Vec<File>> {
        groups_of(&self.read("cgroup")?)
    }

    /// Returns its rights. The ids are those of the user namespace of this process.
    pub fn rights(&self) -> io::Result<Rights> {
        let status = self.read("status")?;
        let status = String::from_utf8_lossy(&status);
        let field = |name: &str, radix| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            u64::from_str_radix(line.split_whitespace().next()?, radix).ok()
        };
        let id = |name| u32::try_from(field(name, 10)?).ok();
        let rights = || {
            Some(Rights {
                user: id("Uid:")?,
                group: id("Gid:")?,
                bounding: CapabilitySet::from_bits_retain(field("CapBnd:", 16)?),
                no_new_privileges: field("NoNewPrivs:", 10)? != 0,
            })
        };
        rights().ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Returns its resource limits.
    pub fn limits(&self) -> io::Result<Vec<(Resource, Rlimit)>> {
        let text = self.read("limits")?;
        let text = String::from_utf8_lossy(&text);
        let limit = |(name, resource): (&str, Resource)| {
            let values = text.lines().find_map(|line| line.strip_prefix(name))?;
            // A limit may be `unlimited`.
            let mut values = values.split_whitespace().map(|value| value.parse().ok());
            let (current, maximum) = (values.next()?, values.next()?);
            Some((resource, Rlimit { current, maximum }))
        };
        Ok(LIMITS.into_iter().filter_map(limit).collect())
    }

    fn open(&self, name: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::CLOEXEC;
        Ok(openat(&self.directory, name, flags, Mode::empty())?.into())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        self.open(name, OFlags::RDONLY)?.read_to_end(&mut text)?;
        Ok(text)
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

fn place(id: i32) -> PathBuf {
    Path::new("/proc").join(id.to_string())
}

fn root_of(id: i32) -> PathBuf {
    place(id).join("root")
}

fn processes() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let meta = fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

/// Returns the argument of a runner, or `None` for another process. Everybody may read it, also of
/// a process that is not dumpable.
fn runner_argument(id: i32) -> Option<PathBuf> {
    let line = fs::read(place(id).join("cmdline")).ok()?;
    let mut words = line.split(|byte| *byte == 0).map(OsStr::from_bytes);
    let program = Path::new(words.next()?);
    (program.file_name()? == RUNNER).then(|| words.next().map(PathBuf::from))?
}

fn parent(id: i32) -> Option<i32> {
    let status = fs::read_to_string(place(id).join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok()
}
