//! What a run must leave alone: snapshots of a place before and after, and canary files in its shared directories.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::{
    Manager,
    process::{field, processes},
};

/// The directories that everybody shares, and that a systemd of its own would clean.
const SHARED: [&str; 3] = ["/tmp", "/run", "/var/tmp"];

/// The mounts, processes, control groups and shared files of a manager's place, one line each.
///
/// In a machine it sees everything. The host is shared with others, so there it sees only what mentions the manager's directories.
#[derive(Debug)]
pub struct Snapshot(BTreeSet<String>);

impl Snapshot {
    /// Takes one now.
    pub fn take(manager: &Manager) -> Self {
        let mut lines = BTreeSet::new();
        let pid = manager.machine().map_or_else(|| std::process::id().cast_signed(), |machine| machine.init());
        lines.extend(mounts(pid));
        lines.extend(processes().into_iter().filter(|pid| manager.holds(*pid)).map(process_line));
        let mut directories: Vec<_> = SHARED.map(|dir| manager.file(dir)).into();
        let cgroup = manager.machine().map(|machine| machine.cgroup());
        directories.extend(cgroup.clone());
        for directory in &directories {
            list(directory, &mut |path| {
                // In a control group only groups count, and its files are many.
                if cgroup.as_ref().is_none_or(|cgroup| !path.starts_with(cgroup)) || path.is_dir() {
                    lines.insert(format!("file {}", path.display()));
                }
            });
        }
        if manager.machine().is_none() {
            let own = manager.state_dir().parent().expect("invariant: the state directory is in one of ours").to_string_lossy();
            lines.retain(|line| line.contains(&*own) || line.starts_with("process"));
        }
        Self(lines)
    }

    /// Returns what has changed until `after`, a line each: `+ mount …`, `- process …`.
    pub fn changes(&self, after: &Self) -> Vec<String> {
        let gone = self.0.difference(&after.0).map(|line| format!("- {line}"));
        let new = after.0.difference(&self.0).map(|line| format!("+ {line}"));
        gone.chain(new).collect()
    }

    /// Panics with what has changed until `after`, but for lines that contain one of `allowed`.
    pub fn assert_unchanged(&self, after: &Self, allowed: &[&str]) {
        let mut changes = self.changes(after);
        changes.retain(|line| !allowed.iter().any(|part| line.contains(part)));
        assert!(changes.is_empty(), "changed:\n{}", changes.join("\n"));
    }
}

fn mounts(pid: i32) -> Vec<String> {
    let describe = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let (point, mut right) = (left.split(' ').nth(4)?, right.split(' '));
        Some(format!("mount {point} {} {}", right.next()?, right.next()?))
    };
    field(pid, "mountinfo").lines().filter_map(describe).collect()
}

fn process_line(pid: i32) -> String {
    format!("process {pid} {}", field(pid, "cmdline").replace('\0', " ").trim_end())
}

/// Calls `visit` with every path below `directory`; follows no symlink and leaves no file system.
fn list(directory: &Path, visit: &mut impl FnMut(&Path)) {
    let Ok(parent) = fs::metadata(directory) else { return };
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        visit(&entry.path());
        if fs::symlink_metadata(entry.path()).is_ok_and(|entry| entry.is_dir() && entry.dev() == parent.dev()) {
            list(&entry.path(), visit);
        }
    }
}

/// Files in the shared directories, some of which systemd-tmpfiles(8) removes when a systemd boots there.
#[derive(Debug)]
pub struct Canaries(Vec<PathBuf>);

impl Canaries {
    /// Puts them out.
    pub fn put(manager: &Manager) -> Self {
        let name = format!("nixactions-canary-{}-{}", std::process::id(), manager.dir().display().to_string().replace('/', "_"));
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
            assert_eq!(fs::read_to_string(path).unwrap_or_default(), "sing", "canary `{}`", path.display());
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
