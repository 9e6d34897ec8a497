//! The file system that a private manager sees: the host's root with private kernel file systems,
//! /run, /tmp and logs.
//!
//! Everything is mounted in place, in the caller's mount namespace. A path that must stay visible
//! below a covered place is opened first and bound back afterwards.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::Write,
    os::{
        fd::AsRawFd,
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink},
    },
    path::{Path, PathBuf},
};

use nix::{
    fcntl::OFlag,
    mount::{MsFlags, mount},
    sys::stat::{Mode, SFlag, mknod},
};

use super::{
    Spec,
    cgroup::mount_cgroup2,
    error::{At, StageError},
    namespace, units,
};
use crate::store;

/// The part of the run directory that is removed when the run is over.
pub(super) const PRIVATE: &str = "manager";

/// The directories that the run directory must have, with their modes. Parents come first.
pub(super) const DIRECTORIES: &[(&str, u32)] = &[
    ("journal", 0o755),
    (PRIVATE, 0o700),
    ("manager/cgroup", 0o700),
    ("manager/tmp", 0o1777),
    ("manager/var-tmp", 0o1777),
    ("manager/log", 0o755),
    ("manager/log/journal", 0o755),
    ("manager/lib-systemd", 0o755),
];

/// Directories of the host, each with the directory of the run that covers it. A directory that the
/// host lacks is left out.
const COVERED: [(&str, &str); 4] = [
    ("/tmp", "manager/tmp"),
    ("/var/tmp", "manager/var-tmp"),
    ("/var/log", "manager/log"),
    ("/var/lib/systemd", "manager/lib-systemd"),
];

/// Directories whose contents systemd would read or execute, although they belong to the host. They
/// are covered if not empty.
const HIDDEN: [&str; 2] = ["/etc/systemd", "/usr/lib/systemd/system-shutdown"];

/// Devices of the host that exist inside, if the host has them. Builds in virtual machines and
/// containers use `fuse`, `kvm` and `net/tun`. Disks and the kernel's log are left out.
const DEVICES: [&str; 9] = [
    "null", "zero", "full", "random", "urandom", "tty", "fuse", "kvm", "net/tun",
];

/// The directories with the locks of user ids, and of ranges of them, on a host without systemd.
const OWN_LOCKS: [&str; 2] = ["/run/nixactions/dynamic-uid", "/run/nixactions/nspawn-uid"];

/// Links in /run through which NixOS finds its programs.
const RUN_LINKS: [&str; 3] = [
    "/run/current-system",
    "/run/booted-system",
    "/run/opengl-driver",
];

const NO_EXEC: MsFlags = MsFlags::MS_NOSUID
    .union(MsFlags::MS_NODEV)
    .union(MsFlags::MS_NOEXEC);

/// Mounts everything. The caller must be PID 1 of its pid namespace, and alone in its mount, ipc
/// and cgroup namespaces.
pub(super) fn set_up(spec: &Spec) -> Result<(), StageError> {
    namespace::make_slave().at("keep mounts away from the host")?;
    namespace::leave_chroot().at("make the root directory the root of the mount namespace")?;
    let host = Host::open(spec)?;

    mount_new("proc", "/proc", NO_EXEC, None)?;
    // These files are not namespaced, so neither PID 1 nor jobs may write to them.
    for path in ["/proc/sys", "/proc/sysrq-trigger"]
        .map(Path::new)
        .into_iter()
        .filter(|path| path.exists())
    {
        bind_read_only(path, path)?;
    }
    mount_new(
        "tmpfs",
        "/run",
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some("mode=755"),
    )?;
    fill_run(spec, &host)?;
    // In a user namespace, such as systemd-nspawn's, the kernel lets a process mount a proc only
    // where a full one is visible. Parts of the one on /proc are covered.
    let full = "/run/nixactions/proc";
    fs::DirBuilder::new()
        .mode(0o700)
        .create(full)
        .at(format_args!("make `{full}`"))?;
    mount_new("proc", full, NO_EXEC, None)?;
    mount_sysfs()?;
    mount_cgroup2(Path::new("/sys/fs/cgroup"))?;
    fill_dev(&host)?;

    for (source, target) in &host.covers {
        bind(source, target)?;
    }
    bind(&host.journal, Path::new("/var/log/journal"))?;
    bind_read_only(Path::new(units::MACHINE_ID), Path::new("/etc/machine-id"))?;
    for path in HIDDEN.map(Path::new) {
        if fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) {
            bind_read_only(Path::new(units::EMPTY), path)?;
        }
    }
    for kept in &host.kept {
        kept.bind_back()?;
    }
    // A booted machine shares its mounts; in a container, systemd leaves this to the container
    // manager. systemd mounts the credentials of a unit in a separate namespace, and they reach the
    // unit only if /run is shared. The slave mount above keeps all of it from the host.
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_SHARED | MsFlags::MS_REC,
        None::<&str>,
    )
    .at("share mounts with units")
}

/// The parts of the host that are opened before they are covered.
struct Host {
    journal: File,
    covers: Vec<(File, PathBuf)>,
    kept: Vec<Kept>,
    devices: Vec<(&'static str, File)>,
    console: Option<File>,
    links: Vec<(&'static str, PathBuf)>,
    /// See [`users_directories`].
    users: Vec<(&'static str, File)>,
    /// The resolver's settings, where /etc/resolv.conf is a link into /run.
    resolver: Option<(PathBuf, Vec<u8>)>,
}

impl Host {
    fn open(spec: &Spec) -> Result<Self, StageError> {
        let mut covers = Vec::new();
        let mut places: Vec<PathBuf> = ["/run", "/dev"].map(PathBuf::from).to_vec();
        for (target, source) in COVERED {
            // Uses the canonical path: /var/tmp may be a link to /tmp, which must not be covered
            // twice.
            let Ok(target) = Path::new(target).canonicalize() else {
                continue;
            };
            // A caller can ask for all of /tmp to stay visible.
            if !places.contains(&target) && !spec.keep.contains(&target) {
                covers.push((open_path(&spec.run_dir.join(source))?, target.clone()));
                places.push(target);
            }
        }
        let link = Path::new("/etc/resolv.conf")
            .canonicalize()
            .ok()
            .filter(|path| path.starts_with("/run"));
        Ok(Self {
            journal: open_path(&spec.run_dir.join("journal"))?,
            kept: Kept::all(&spec.keep, &places)?,
            covers,
            devices: DEVICES
                .into_iter()
                .filter_map(|name| Some((name, open_path(&Path::new("/dev").join(name)).ok()?)))
                .collect(),
            console: spec
                .console
                .as_deref()
                .and_then(|path| open_path(path).ok()),
            links: RUN_LINKS
                .into_iter()
                .filter_map(|path| Some((path, fs::read_link(path).ok()?)))
                .collect(),
            users: users_directories(),
            resolver: link.and_then(|path| fs::read(&path).ok().map(|text| (path, text))),
        })
    }
}

/// Opens the directories of user ids, so that all managers of a host together give each id only
/// once. Returns them with their paths inside. Where they cannot be opened, each manager gives out
/// ids by itself.
fn users_directories() -> Vec<(&'static str, File)> {
    let inside = [store::LOCKS, store::RANGE_LOCKS];
    let locks = if Path::new("/run/systemd").exists() {
        inside
    } else {
        OWN_LOCKS
    };
    let locks = locks.into_iter().zip(inside);
    [(store::RECORDS, store::RECORDS)]
        .into_iter()
        .chain(locks)
        .filter_map(|(path, inside)| {
            fs::create_dir_all(path).ok()?;
            Some((inside, open_path(Path::new(path)).ok()?))
        })
        .collect()
}

/// Fills the private /run.
fn fill_run(spec: &Spec, host: &Host) -> Result<(), StageError> {
    write(
        "/run/nixactions/machine-id",
        machine_id().at("make a machine id")?,
    )?;
    fs::DirBuilder::new()
        .mode(0o555)
        .create(units::EMPTY)
        .at("make an empty directory")?;
    for (path, text) in units::files(spec) {
        write(path, text)?;
    }
    if let Some((path, text)) = &spec.private_file {
        write_private(path, text)?;
    }
    for (path, target) in &host.links {
        symlink(target, path).at(format_args!("make `{path}`"))?;
    }
    if let Some((path, text)) = &host.resolver {
        write(path, text)?;
    }
    for (path, source) in &host.users {
        fs::create_dir_all(path).at(format_args!("make `{path}`"))?;
        bind(source, Path::new(path))?;
    }
    Ok(())
}

fn write(path: impl AsRef<Path>, text: impl AsRef<[u8]>) -> Result<(), StageError> {
    let path = path.as_ref();
    let made = path.parent().map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::write(path, text))
        .at(format_args!("write `{}`", path.display()))
}

/// Writes a file that only root may read, in a directory of the same kind.
fn write_private(path: &Path, text: &str) -> Result<(), StageError> {
    let at = || format!("write `{}`", path.display());
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(directory)
            .at(at())?;
    }
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .at(at())
}

/// Returns the host's machine id, or a new one if the host has none: without an id, systemd would
/// assume a first boot.
fn machine_id() -> std::io::Result<String> {
    let id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let id = id.trim();
    if id.len() == 32
        && id.bytes().all(|byte| byte.is_ascii_hexdigit())
        && id.bytes().any(|byte| byte != b'0')
    {
        return Ok(format!("{id}\n"));
    }
    Ok(fs::read_to_string("/proc/sys/kernel/random/uuid")?.replace('-', ""))
}

/// Mounts a sysfs without the host's mounts inside it. It is read-only, which also tells systemd
/// that there is no udev.
fn mount_sysfs() -> Result<(), StageError> {
    // The kernel refuses to mount a file system over the very same one, so mount it elsewhere and
    // move it.
    let detour = "/run/nixactions/sys";
    fs::create_dir(detour).at(format_args!("make `{detour}`"))?;
    mount_new("sysfs", detour, NO_EXEC | MsFlags::MS_RDONLY, None)?;
    mount(
        Some(detour),
        "/sys",
        None::<&str>,
        MsFlags::MS_MOVE,
        None::<&str>,
    )
    .at("move sysfs to `/sys`")?;
    fs::remove_dir(detour).at(format_args!("remove `{detour}`"))
}

/// Mounts and fills the private /dev.
fn fill_dev(host: &Host) -> Result<(), StageError> {
    mount_new("tmpfs", "/dev", MsFlags::MS_NOSUID, Some("mode=755"))?;
    let dev = Path::new("/dev");
    for (name, device) in &host.devices {
        make_device(device, &dev.join(name))?;
    }
    if let Some(console) = &host.console {
        bind_file(console, &dev.join("console"))?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "fd/0"),
        ("stdout", "fd/1"),
        ("stderr", "fd/2"),
        ("ptmx", "pts/ptmx"),
        ("core", "/proc/kcore"),
    ] {
        symlink(target, dev.join(name)).at(format_args!("make `/dev/{name}`"))?;
    }
    for name in ["pts", "shm", "mqueue"] {
        fs::create_dir(dev.join(name)).at(format_args!("make `/dev/{name}`"))?;
    }
    let no_exec = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount_new(
        "devpts",
        "/dev/pts",
        no_exec,
        Some("newinstance,ptmxmode=0666,mode=620,gid=5"),
    )?;
    mount_new(
        "tmpfs",
        "/dev/shm",
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some("mode=1777"),
    )?;
    // The kernel may lack mqueue.
    let _ = mount_new("mqueue", "/dev/mqueue", NO_EXEC, None);
    Ok(())
}

/// A path below a covered place that must stay visible.
struct Kept {
    path: PathBuf,
    source: File,
    directory: bool,
    /// The directories between the covered place and the path, outermost first.
    parents: Vec<(PathBuf, fs::Metadata)>,
}

impl Kept {
    /// Opens the paths that lie below one of the places. A path below another kept path comes with
    /// that one.
    fn all(keep: &[PathBuf], places: &[PathBuf]) -> Result<Vec<Self>, StageError> {
        let mut paths: Vec<(&PathBuf, &PathBuf)> = keep
            .iter()
            .filter_map(|path| {
                Some((
                    path,
                    places
                        .iter()
                        .find(|place| path.starts_with(place) && path != *place)?,
                ))
            })
            .filter(|(path, place)| {
                !keep.iter().any(|other| {
                    other != *path
                        && other != *place
                        && path.starts_with(other)
                        && other.starts_with(place)
                })
            })
            .collect();
        paths.sort();
        paths.dedup();
        paths
            .into_iter()
            .map(|(path, place)| Self::open(path, place))
            .collect()
    }

    fn open(path: &Path, place: &Path) -> Result<Self, StageError> {
        let look =
            |path: &Path| fs::metadata(path).at(format_args!("look at `{}`", path.display()));
        let between: Vec<&Path> = path
            .ancestors()
            .skip(1)
            .take_while(|parent| *parent != place)
            .collect();
        let parents = between
            .into_iter()
            .rev()
            .map(|parent| Ok((parent.to_owned(), look(parent)?)))
            .collect::<Result<_, StageError>>()?;
        Ok(Self {
            path: path.to_owned(),
            source: open_path(path)?,
            directory: look(path)?.is_dir(),
            parents,
        })
    }

    /// Makes the path anew and binds the opened source onto it. Users reach
    /// its parents only as on the host.
    fn bind_back(&self) -> Result<(), StageError> {
        for (parent, meta) in self.parents.iter().filter(|(parent, _)| !parent.is_dir()) {
            let made = fs::create_dir(parent)
                .and_then(|()| chown(parent, Some(meta.uid()), Some(meta.gid())))
                .and_then(|()| {
                    fs::set_permissions(parent, fs::Permissions::from_mode(meta.mode() & 0o7777))
                });
            made.at(format_args!("make `{}`", parent.display()))?;
        }
        if self.directory {
            if !self.path.is_dir() {
                fs::create_dir(&self.path).at(format_args!("make `{}`", self.path.display()))?;
            }
            bind(&self.source, &self.path)
        } else {
            bind_file(&self.source, &self.path)
        }
    }
}

fn open_path(path: &Path) -> Result<File, StageError> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)
        .at(format_args!("open `{}`", path.display()))
}

fn mount_new(
    kind: &str,
    target: &str,
    flags: MsFlags,
    data: Option<&str>,
) -> Result<(), StageError> {
    mount(Some(kind), target, Some(kind), flags, data)
        .at(format_args!("mount {kind} on `{target}`"))
}

/// Binds an opened file or directory, with the mounts below it.
fn bind(source: &File, target: &Path) -> Result<(), StageError> {
    let source = format!("/proc/self/fd/{}", source.as_raw_fd());
    mount(
        Some(OsStr::new(&source)),
        target,
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None::<&str>,
    )
    .at(format_args!("bind `{}`", target.display()))
}

/// Makes a device like another one, or binds that one where this is forbidden, as in a container.
/// systemd unmounts each mount below /dev for each job that has a /dev of its own, one after the
/// other, and the kernel takes its time for each.
fn make_device(source: &File, target: &Path) -> Result<(), StageError> {
    write(target, "")?;
    let made = source.metadata().and_then(|meta| {
        fs::remove_file(target)?;
        let kind = SFlag::from_bits_truncate(meta.mode()) & SFlag::S_IFMT;
        mknod(target, kind, Mode::empty(), meta.rdev())?;
        chown(target, Some(meta.uid()), Some(meta.gid()))?;
        fs::set_permissions(target, meta.permissions())
    });
    match made {
        Ok(()) => Ok(()),
        Err(_) => bind_file(source, target),
    }
}

fn bind_file(source: &File, target: &Path) -> Result<(), StageError> {
    write(target, "")?;
    bind(source, target)
}

fn bind_read_only(source: &Path, target: &Path) -> Result<(), StageError> {
    let flags = MsFlags::MS_BIND
        | MsFlags::MS_REMOUNT
        | MsFlags::MS_RDONLY
        | MsFlags::MS_NOSUID
        | MsFlags::MS_NODEV;
    mount(
        Some(source),
        target,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .and_then(|()| mount(None::<&str>, target, None::<&str>, flags, None::<&str>))
    .at(format_args!("bind `{}` read-only", target.display()))
}
