//! Checks that a run leaves its host alone: takes snapshots of a place before and after, and puts
//! canary files into its shared directories.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{
    Manager, SOON,
    process::{field, processes},
};

/// The directories that everybody shares, and that a systemd of its own would clean.
const SHARED: [&str; 3] = ["/tmp", "/run", "/var/tmp"];

/// The mounts, processes, control groups and shared files of a manager's place, one line each.
///
/// In a machine it sees everything. The host is shared with others, so there it sees only what
/// mentions the manager's directories.
#[derive(Debug)]
pub struct Snapshot(BTreeSet<String>);

impl Snapshot {
    /// Takes one now.
    pub fn take(manager: &Manager) -> Self {
        let mut lines = BTreeSet::new();
        let pid = manager.machine().map_or_else(
            || std::process::id().cast_signed(),
            |machine| machine.init(),
        );
        lines.extend(mounts(pid));
        lines.extend(
            processes()
                .into_iter()
                .filter(|pid| manager.holds(*pid))
                .filter_map(process_line),
        );
        for directory in SHARED {
            list(&manager.file(directory), |path, _| {
                lines.insert(format!("file {directory}/{}", path.display()));
            });
        }
        if let Some(machine) = manager.machine() {
            list(&machine.cgroup(), |path, is_dir| {
                // A control group's own files are the kernel's.
                if is_dir {
                    lines.insert(format!("cgroup /{}", path.display()));
                }
            });
        }
        if manager.machine().is_none() {
            let own = manager
                .state_dir()
                .parent()
                .expect("invariant: the state directory is in one of ours")
                .to_string_lossy();
            lines.retain(|line| line.contains(&*own) || line.starts_with("process"));
        }
        Self(lines)
    }

    /// Returns the changes until `after`, a line each: `+ mount …`, `- process …`.
    pub fn changes(&self, after: &Self) -> Vec<String> {
        let gone = self.0.difference(&after.0).map(|line| format!("- {line}"));
        let new = after.0.difference(&self.0).map(|line| format!("+ {line}"));
        gone.chain(new).collect()
    }

    /// Waits until the place is as it was; panics with what still differs at the deadline [`SOON`].
    /// Lines that contain one of `allowed` do not count, nor what systemd itself keeps after any
    /// unit.
    pub fn assert_restored(&self, manager: &Manager, allowed: &[&str]) {
        let end = Instant::now() + SOON;
        loop {
            let mut changes = self.changes(&Self::take(manager));
            changes.retain(|line| {
                !allowed.iter().any(|part| line.contains(part)) && !systemd_keeps(line)
            });
            if changes.is_empty() {
                return;
            }
            assert!(
                Instant::now() < end,
                "after {SOON:?} still changed:\n{}",
                changes.join("\n")
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Returns whether a change is one that running any unit makes and that stays until the next boot:
/// empty directories of systemd's and ours, the slices that units are started in, and a file of
/// each unit with LogExtraFields=, which systemd forgets to remove.
fn systemd_keeps(line: &str) -> bool {
    let directories = [
        "/run/systemd/dynamic-uid",
        "/run/systemd/nspawn-uid",
        "/run/systemd/transient",
        "/run/systemd/unit-private-tmp",
        "/nixactions.slice",
        // Where the users of jobs are, on a host that had none yet.
        "/run/userdb",
        "/run/nixactions",
        "/run/nixactions/dynamic-uid",
        "/run/nixactions/nspawn-uid",
    ];
    directories.iter().any(|end| line.ends_with(end))
        || line.contains("/run/systemd/units/log-extra-fields:")
}

fn mounts(pid: i32) -> Vec<String> {
    let describe = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let (point, mut right) = (left.split(' ').nth(4)?, right.split(' '));
        Some(format!("mount {point} {} {}", right.next()?, right.next()?))
    };
    field(pid, "mountinfo")
        .lines()
        .filter_map(describe)
        .collect()
}

/// Describes a process that is alive; a zombie is not.
fn process_line(pid: i32) -> Option<String> {
    let stat = field(pid, "stat");
    let state = stat.rsplit(") ").next()?.chars().next()?;
    (state != 'Z').then(|| {
        format!(
            "process {pid} {}",
            field(pid, "cmdline").replace('\0', " ").trim_end()
        )
    })
}

/// Calls `visit` with every path below `directory`, relative to it, and whether it is a directory;
/// follows no symlink and leaves no file system.
fn list(directory: &Path, mut visit: impl FnMut(&Path, bool)) {
    let Ok(top) = fs::metadata(directory) else {
        return;
    };
    let mut open = vec![PathBuf::new()];
    while let Some(below) = open.pop() {
        for entry in fs::read_dir(directory.join(&below))
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = below.join(entry.file_name());
            let Ok(metadata) = fs::symlink_metadata(directory.join(&path)) else {
                continue;
            };
            visit(&path, metadata.is_dir());
            if metadata.is_dir() && metadata.dev() == top.dev() {
                open.push(path);
            }
        }
    }
}

/// Files in the shared directories. systemd-tmpfiles(8) removes some of them when a systemd boots
/// there.
#[derive(Debug)]
pub struct Canaries(Vec<PathBuf>);

impl Canaries {
    /// Puts them out.
    pub fn put(manager: &Manager) -> Self {
        let name = format!(
            "nixactions-canary-{}-{}",
            std::process::id(),
            manager.dir().display().to_string().replace('/', "_")
        );
        let put = |dir: &str| {
            let path = manager.file(dir).join(&name);
            fs::write(&path, "sing").expect("a shared directory is writable");
            path
        };
        Self(SHARED.map(put).into())
    }

    /// Panics unless all are still there, as they were put.
    pub fn assert_alive(&self) {
        for path in &self.0 {
            assert_eq!(
                fs::read_to_string(path).unwrap_or_default(),
                "sing",
                "canary `{}`",
                path.display()
            );
        }
    }
}

impl Drop for Canaries {
    fn drop(&mut self) {
        for path in &self.0 {
            // In a machine they may be gone with it.
            let _ = fs::remove_file(path);
        }
    }
}
