//! Knows the processes of a run's runners, as only their lines in the journal are believed.
//!
//! Each runner reports its process in its job's events, which no step can write to. A job has one
//! runner, and a further one for each killed runner that another attempt follows.

use std::{cell::RefCell, collections::HashMap, fs, path::PathBuf};

use super::EventTail;
use crate::{event::EventKind, ids::JobName, paths::JobPaths};

/// The process of a job's runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Runner {
    /// The process id.
    pub pid: u32,
    /// The user id of the process.
    pub uid: u32,
}

/// The runners of a run's jobs, as far as callers needed them.
#[derive(Debug, Clone)]
pub(super) struct Runners {
    /// The run's directory of jobs.
    jobs: PathBuf,
    known: RefCell<HashMap<JobName, Known>>,
}

/// The known runners of a job.
#[derive(Debug, Clone, Default)]
struct Known {
    runners: Vec<Runner>,
    /// The length of the job's events when they were read, in bytes.
    length: u64,
}

impl Runners {
    /// Returns the runners of the jobs in this directory.
    pub fn new(jobs: PathBuf) -> Self {
        Self {
            jobs,
            known: RefCell::default(),
        }
    }

    /// Returns whether a process is or was a runner of the job. A runner reports its process before
    /// it sends its first line, so an unknown process is not a runner.
    pub fn has(&self, job: &JobName, process: Runner) -> bool {
        let mut known = self.known.borrow_mut();
        let known = known.entry(job.clone()).or_default();
        if !known.runners.contains(&process) {
            known.update(JobPaths::new(&self.jobs, job).events());
        }
        known.runners.contains(&process)
    }

    /// Returns runners with one known runner of one job.
    #[cfg(test)]
    pub fn known(job: &str, runner: Runner) -> Self {
        let known = Known {
            runners: vec![runner],
            length: 0,
        };
        Self {
            jobs: PathBuf::new(),
            known: RefCell::new(HashMap::from([(job.parse().unwrap(), known)])),
        }
    }
}

impl Known {
    /// Reads the job's events if they have grown.
    fn update(&mut self, events: PathBuf) {
        let length = fs::symlink_metadata(&events).map_or(0, |meta| meta.len());
        if length == self.length {
            return;
        }
        self.length = length;
        self.runners.clear();
        let mut tail = EventTail::untrusted(events);
        loop {
            let news = tail.read().unwrap_or_default();
            let told = news.events.iter().filter_map(|event| match event.event {
                EventKind::RunnerStarted { pid, uid, .. } => Some(Runner { pid, uid }),
                _ => None,
            });
            self.runners.extend(told);
            if !news.more {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_runner_of_a_job_is_known_after_its_start() {
        let jobs = tempfile::tempdir().unwrap();
        let job: JobName = "j".parse().unwrap();
        let events = JobPaths::new(jobs.path(), &job).events();
        fs::create_dir_all(events.parent().unwrap()).unwrap();
        let runners = Runners::new(jobs.path().to_owned());
        let runner = |pid| Runner { pid, uid: 8 };
        assert!(!runners.has(&job, runner(7)));
        let begun = |pid: u32| {
            format!(
                r#"{{"at":"2026-01-01T00:00:00Z","event":{{"type":"runnerStarted","job":"j","pid":{pid},"uid":8}}}}"#
            )
        };
        fs::write(&events, begun(7) + "\n").unwrap();
        assert!(runners.has(&job, runner(7)) && !runners.has(&job, runner(9)));
        fs::write(&events, begun(7) + "\n{torn\n" + &begun(9) + "\n").unwrap();
        assert!(runners.has(&job, runner(7)) && runners.has(&job, runner(9)));
        assert!(!runners.has(&job, Runner { pid: 9, uid: 9 }));
    }
}
