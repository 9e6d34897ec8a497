//! The job's own cgroup: its processes, and the resources that it consumed (cgroups(7)).
//!
//! All processes of a job stay in its unit's cgroup, whatever they do with sessions and parents. So
//! the cgroup lists all remaining processes of the job.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Read},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::record::Usage;

/// Our cgroup.
#[derive(Debug)]
pub struct Cgroup {
    /// Its directory, where there is one that tells its processes.
    path: Option<PathBuf>,
    /// The cgroup that counts memory, where that is another one.
    counts: Option<OwnedFd>,
    /// The processes that [`Self::kill_all`] spares: this one, and its parent.
    own: Vec<Pid>,
    /// The number of processes that the kernel had killed for memory at the last look.
    oom_kills: u64,
}

impl Cgroup {
    /// Finds the cgroup of this process: the unified hierarchy, or systemd's own on a host with the
    /// legacy one. `above` is the process above a runner, if there is one. `counts` is the cgroup
    /// that counts memory, where that is another one.
    pub fn own(above: Option<Pid>, counts: Option<OwnedFd>) -> Self {
        let text = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
        let candidates = text.lines().filter_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, controllers, path) = (
                parts.next()?,
                parts.next()?,
                parts.next()?.trim_start_matches('/'),
            );
            match controllers {
                "" => Some(vec![
                    format!("/sys/fs/cgroup/{path}"),
                    format!("/sys/fs/cgroup/unified/{path}"),
                ]),
                "name=systemd" => Some(vec![format!("/sys/fs/cgroup/systemd/{path}")]),
                _ => None,
            }
        });
        let path = candidates
            .flatten()
            .map(PathBuf::from)
            .find(|path| path.join("cgroup.procs").exists());
        let mut cgroup = Self {
            path,
            counts,
            own: above.into_iter().chain([Pid::this()]).collect(),
            oom_kills: 0,
        };
        if above.is_some() {
            // Those of an earlier attempt say nothing of this one.
            cgroup.ran_out();
        }
        cgroup
    }

    /// Returns whether the kernel has killed a process for want of memory since the last call.
    pub fn ran_out(&mut self) -> bool {
        let counts = self.counts.as_ref();
        let counts = counts.map(|group| format!("/proc/self/fd/{}", group.as_raw_fd()).into());
        let events = counts.or_else(|| self.path.clone());
        let events = events.map(|group| group.join("memory.events"));
        let text = events.and_then(|path| read(&path).ok()).unwrap_or_default();
        let kills = text
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
            .unwrap_or(0);
        kills > std::mem::replace(&mut self.oom_kills, kills)
    }

    /// Returns all processes but this one and its parent.
    pub fn others(&self) -> HashSet<i32> {
        self.read_others().unwrap_or_default()
    }

    /// Returns all processes but this one and its parent, or `None` if the cgroup does not list its
    /// processes.
    fn read_others(&self) -> Option<HashSet<i32>> {
        let mut all = Vec::new();
        processes(self.path.as_ref()?, &mut all).ok()?;
        all.retain(|pid| *pid > 0 && !self.own.contains(&Pid::from_raw(*pid)));
        Some(all.into_iter().collect())
    }

    /// Kills all processes but this one and its parent. Returns their number, or `None` if the
    /// cgroup does not list its processes.
    pub fn kill_all(&self) -> Option<usize> {
        let others = self.read_others()?;
        for pid in &others {
            // The process may have ended in the meantime.
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        Some(others.len())
    }

    /// Kills all processes but this one, its parent and the spared ones, until none is left. Gives
    /// up after many rounds, since PID 1 kills the rest when the runner ends.
    pub fn kill_others(&self, spared: &HashSet<i32>) {
        for _ in 0..1000 {
            let left: Vec<i32> = self.others().difference(spared).copied().collect();
            if left.is_empty() {
                return;
            }
            for pid in left {
                // The process may have ended in the meantime.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            // The cgroup lists no zombies, so there is no need to wait for a parent to reap one.
            std::thread::yield_now();
        }
    }

    /// Returns the resources that the job has consumed so far.
    pub fn usage(&self) -> Usage {
        let Some(path) = &self.path else {
            return Usage::default();
        };
        let cpu = read(&path.join("cpu.stat")).ok();
        let micros = cpu
            .as_deref()
            .and_then(|text| {
                text.lines()
                    .find_map(|line| line.strip_prefix("usage_usec "))
            })
            .and_then(|v| v.parse::<f64>().ok());
        let memory = read(&path.join("memory.peak"))
            .ok()
            .and_then(|text| text.trim().parse().ok());
        Usage {
            cpu_seconds: micros.map(|micros| micros / 1e6),
            memory_peak_bytes: memory,
        }
    }
}

/// Adds the processes of a cgroup and of those below it: in a container, steps may make some.
fn processes(cgroup: &Path, all: &mut Vec<i32>) -> io::Result<()> {
    let text = read(&cgroup.join("cgroup.procs"))?;
    all.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    if may_have_some_below(fs::metadata(cgroup)?.nlink()) {
        for entry in fs::read_dir(cgroup)?.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                // It may have been removed meanwhile, or list only threads.
                let _ = processes(&entry.path(), all);
            }
        }
    }
    Ok(())
}

/// Returns whether a directory with this number of links may have directories in it. In a cgroup2
/// file system, it has one link for each beside its own two (measured on Linux 6.18). A file system
/// that does not count them has one link for all, as btrfs and overlayfs have.
fn may_have_some_below(links: u64) -> bool {
    links != 2
}

/// Reads a file of the kernel, which does not report its length. Without a buffer of sufficient
/// size, it would be read in small parts.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::with_capacity(4 << 10);
    File::open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_of_cgroups_below_are_found() {
        let top = tempfile::tempdir().unwrap();
        let below = top.path().join("a/b");
        std::fs::create_dir_all(&below).unwrap();
        std::fs::write(top.path().join("cgroup.procs"), "1\n20\n").unwrap();
        std::fs::write(top.path().join("a/cgroup.procs"), "").unwrap();
        std::fs::write(below.join("cgroup.procs"), "30\n").unwrap();
        let cgroup = Cgroup {
            path: Some(top.path().to_owned()),
            counts: None,
            own: vec![Pid::from_raw(1)],
            oom_kills: 0,
        };
        assert_eq!(cgroup.others(), HashSet::from([20, 30]));
    }

    #[test]
    fn directories_are_looked_for_where_links_do_not_tell_their_number() {
        assert!(!may_have_some_below(2));
        assert!(may_have_some_below(3));
        assert!(may_have_some_below(1), "it does not count them");
    }

    #[test]
    fn each_kill_for_memory_is_told_once() {
        let directory = tempfile::tempdir().unwrap();
        let events = directory.path().join("memory.events");
        let above = File::open(directory.path()).unwrap();
        for (path, counts) in [
            (Some(directory.path().to_owned()), None),
            (Some("/nowhere".into()), Some(above.into())),
        ] {
            let mut cgroup = Cgroup {
                path,
                counts,
                own: Vec::new(),
                oom_kills: 0,
            };
            assert!(!cgroup.ran_out(), "there is no memory controller");
            let mut write = |kills: u32| {
                let text =
                    format!("low 0\nhigh 0\nmax 9\noom 9\noom_kill {kills}\noom_group_kill 0\n");
                std::fs::write(&events, text).unwrap();
                cgroup.ran_out()
            };
            assert!(!write(0));
            assert!(write(1));
            assert!(!write(1));
            assert!(write(3));
            std::fs::remove_file(&events).unwrap();
        }
    }
}
