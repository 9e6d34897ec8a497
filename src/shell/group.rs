//! The control groups of a job's unit (cgroups(7)): the processes in them, and the way into them.
//!
//! The group of a unit has a fixed path below that of its manager. Other users can make groups of
//! the same name, but not there.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use crate::{
    embedded,
    store::RunDir,
    unit::{ManagerKind, ROOT_SLICE},
};

/// The hierarchies of control groups, by the beginning of a line of `/proc/PID/cgroup` without its
/// number, and their places.
const HIERARCHIES: [(&str, &str); 3] = [
    ("0::", "/sys/fs/cgroup"),
    ("0::", "/sys/fs/cgroup/unified"),
    ("name=systemd:", "/sys/fs/cgroup/systemd"),
];

/// The group of a manager itself, below the one with its units.
const OF_MANAGER: &str = "/init.scope";

/// Returns the processes of a unit of a run's manager, as this process sees them.
pub(super) fn members(run: &RunDir, manager: ManagerKind, unit: &OsStr) -> Vec<i32> {
    let mut pids = Vec::new();
    for units in places_of_units(run, manager) {
        if let Some(group) = find(&units.join(ROOT_SLICE), unit) {
            collect(&group, &mut pids);
        }
    }
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// Returns the directories of the control groups with a manager's units.
fn places_of_units(run: &RunDir, manager: ManagerKind) -> Vec<PathBuf> {
    let init = match manager {
        ManagerKind::System | ManagerKind::User => Some(1),
        ManagerKind::Embedded => embedded::pid(run.path()).map(|pid| pid.as_raw()),
    };
    let below = match manager {
        ManagerKind::System | ManagerKind::Embedded => String::new(),
        ManagerKind::User => {
            let owner = fs::metadata(run.path()).map_or(0, |meta| meta.uid());
            format!("user.slice/user-{owner}.slice/user@{owner}.service")
        }
    };
    let text = init.and_then(|pid| fs::read(format!("/proc/{pid}/cgroup")).ok());
    let places = directories(&text.unwrap_or_default());
    let places = places.into_iter().filter_map(|place| {
        let units = place.to_str()?.strip_suffix(OF_MANAGER)?;
        Some(Path::new(units).join(&below))
    });
    places.collect()
}

/// Finds the group of a unit in a slice or in the slices below it.
fn find(slice: &Path, unit: &OsStr) -> Option<PathBuf> {
    let own = slice.join(unit);
    if own.is_dir() {
        return Some(own);
    }
    let entries = fs::read_dir(slice).ok()?.flatten();
    let slices = entries.map(|entry| entry.path());
    slices
        .filter(|path| path.extension().is_some_and(|kind| kind == "slice"))
        .find_map(|path| find(&path, unit))
}

/// Adds the processes of a group and of the groups below it.
fn collect(group: &Path, pids: &mut Vec<i32>) {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let own = text.lines().filter_map(|line| line.parse::<i32>().ok());
    // 0 is a process that this one does not see.
    pids.extend(own.filter(|pid| *pid != 0));
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    below.for_each(|entry| collect(&entry.path(), pids));
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

/// Returns the files by which another process joins the control groups in a text of
/// `/proc/PID/cgroup`, opened.
pub(super) fn groups_of(text: &[u8]) -> io::Result<Vec<File>> {
    let mut groups = Vec::new();
    for directory in directories(text) {
        let file = directory.join("cgroup.procs");
        match OpenOptions::new().write(true).open(file) {
            Ok(file) => groups.push(file),
            // The other place of the hierarchy.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(groups)
}

/// Returns the directories that the control groups in a text of `/proc/PID/cgroup` may have.
fn directories(text: &[u8]) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        for (begin, place) in HIERARCHIES {
            let path = line.strip_prefix(begin.as_bytes()).or_else(|| {
                let at = line.iter().position(|byte| *byte == b':')?;
                line[at + 1..].strip_prefix(begin.as_bytes())
            });
            let path = path.and_then(|path| path.strip_prefix(b"/"));
            directories.extend(path.map(|path| Path::new(place).join(OsStr::from_bytes(path))));
        }
    }
    directories
}
