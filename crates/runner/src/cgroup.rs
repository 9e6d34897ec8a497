//! The job's own cgroup: who is in it, and what it consumed (cgroups(7)).
//!
//! Everything a job forks stays in its unit's cgroup, whatever it does about sessions and parents,
//! so that is where "all that is left" is read from.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::record::Usage;

/// The directory of our cgroup, where there is one that tells its processes.
#[derive(Debug)]
pub struct Cgroup(Option<PathBuf>);

impl Cgroup {
    /// Finds the cgroup of this process: the unified hierarchy, or systemd's own on a host with the
    /// legacy one.
    pub fn own() -> Self {
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
        Self(
            candidates
                .flatten()
                .map(PathBuf::from)
                .find(|path| path.join("cgroup.procs").exists()),
        )
    }

    /// Returns all processes but this one.
    pub fn others(&self) -> HashSet<i32> {
        let Some(path) = &self.0 else {
            return HashSet::new();
        };
        let own = std::process::id().to_string();
        let text = read(&path.join("cgroup.procs")).unwrap_or_default();
        text.lines()
            .filter(|line| *line != own)
            .filter_map(|line| line.parse().ok())
            .filter(|pid| *pid > 0)
            .collect()
    }

    /// Kills all processes but this one and those to be spared, until none is left; gives up after
    /// many rounds, since PID 1 kills the rest when the runner ends.
    pub fn kill_others(&self, spared: &HashSet<i32>) {
        for _ in 0..1000 {
            let left: Vec<i32> = self.others().difference(spared).copied().collect();
            if left.is_empty() {
                return;
            }
            for pid in left {
                // It may have ended meanwhile.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            // A zombie is not listed any more, so its parent's wait is nothing to wait for here.
            std::thread::yield_now();
        }
    }

    /// Returns what the job consumed so far.
    pub fn usage(&self) -> Usage {
        let Some(path) = &self.0 else {
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

/// Reads a file of the kernel's, which does not say how long it is: without room for it, it would
/// be read in small parts.
fn read(path: &Path) -> io::Result<String> {
    let mut text = String::with_capacity(4 << 10);
    File::open(path)?.read_to_string(&mut text)?;
    Ok(text)
}
