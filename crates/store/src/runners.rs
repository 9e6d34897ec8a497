//! Knows the processes of a run's runners, as only their lines in the journal are believed.
//!
//! Each runner reports its process in its job's events, which no step can write to. A job has one
//! runner, and a further one for each killed runner that another attempt follows.

use std::{cell::RefCell, collections::HashMap, fs, path::PathBuf};

use jiff::{SignedDuration, Timestamp};

use super::EventTail;
use crate::{event::EventKind, ids::JobName, paths::RunPaths};

/// The longest time between the end that a runner reports and its last line. Between them the
/// runner only writes a file and exits. The kernel stamps a line as it is sent, so journald's delay
/// does not count. Another process can have the runner's number only once all other numbers were
/// used.
const LAG: SignedDuration = SignedDuration::from_secs(1);

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
    /// The run's directory.
    run: PathBuf,
    /// Those of jobs, and of their services.
    known: RefCell<HashMap<(JobName, Option<String>), Known>>,
}

/// The known runners of a job.
#[derive(Debug, Clone, Default)]
struct Known {
    /// Each runner, and its end if it has ended.
    runners: Vec<(Runner, Option<Timestamp>)>,
    /// The length of the job's events when they were read, in bytes.
    length: u64,
}

impl Runners {
    /// Returns the runners of the jobs of the run in this directory.
    pub fn new(run: PathBuf) -> Self {
        Self {
            run,
            known: RefCell::default(),
        }
    }

    /// Returns whether a process was a runner of the job, or of a service of the job, at this time.
    /// A runner reports its process before it sends its first line, so an unknown process is not a
    /// runner. Another process may get the number of a runner that has ended.
    pub fn has(
        &self,
        job: &JobName,
        service: Option<&str>,
        process: Runner,
        at: Timestamp,
    ) -> bool {
        // A process may claim any name, also one that would lead elsewhere.
        if service.is_some_and(|service| service.contains(['/', '\0']) || service.starts_with('.'))
        {
            return false;
        }
        let run = RunPaths::new(self.run.clone());
        let paths = match service {
            Some(service) => run.service(job, service),
            None => run.job(job),
        };
        let mut known = self.known.borrow_mut();
        let key = (job.clone(), service.map(str::to_owned));
        // A process may claim any number of names.
        if service.is_some() && !known.contains_key(&key) && !paths.path().is_dir() {
            return false;
        }
        let known = known.entry(key).or_default();
        if known.lives(process, at) != Some(false) {
            // Its start may be news, or its end.
            known.update(paths.events());
        }
        known.lives(process, at) == Some(true)
    }

    /// Returns runners with one known runner of one job.
    #[cfg(test)]
    pub fn known(job: &str, runner: Runner) -> Self {
        let known = Known {
            runners: vec![(runner, None)],
            length: 0,
        };
        Self {
            run: PathBuf::new(),
            known: RefCell::new(HashMap::from([((job.parse().unwrap(), None), known)])),
        }
    }
}

impl Known {
    /// Returns whether a runner lives at this time, or `None` if no runner is this process.
    fn lives(&self, process: Runner, at: Timestamp) -> Option<bool> {
        let mut ends = self
            .runners
            .iter()
            .filter(|(runner, _)| *runner == process)
            .map(|(_, end)| *end)
            .peekable();
        ends.peek()?;
        // A time near the last possible one has no later one.
        let last = |end: Timestamp| end.checked_add(LAG).unwrap_or(end);
        Some(ends.any(|end| end.is_none_or(|end| at <= last(end))))
    }

    /// Notes the end of the latest runner.
    fn end(&mut self, at: Timestamp) {
        if let Some((_, end)) = self.runners.last_mut() {
            end.get_or_insert(at);
        }
    }

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
            for event in &news.events {
                match event.event {
                    EventKind::RunnerStarted { pid, uid, .. } => {
                        // A killed runner reports no end.
                        self.end(event.at);
                        self.runners.push((Runner { pid, uid }, None));
                    }
                    EventKind::RunnerEnded { .. } | EventKind::ServiceEnded { .. } => {
                        self.end(event.at);
                    }
                    _ => {}
                }
            }
            if !news.more {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Event,
        record::{JobRecord, JobResult},
    };

    #[test]
    fn services_that_a_run_lacks_are_not_kept() {
        let run = tempfile::tempdir().unwrap();
        let job: JobName = "j".parse().unwrap();
        let paths = RunPaths::new(run.path().to_owned());
        fs::create_dir_all(paths.service(&job, "db").path()).unwrap();
        let runners = Runners::new(run.path().to_owned());
        let process = Runner { pid: 7, uid: 8 };
        for service in ["db", "a", "b", "c"] {
            assert!(!runners.has(&job, Some(service), process, Timestamp::UNIX_EPOCH));
        }
        assert_eq!(runners.known.borrow().len(), 1);
    }

    #[test]
    fn each_runner_of_a_job_is_known_after_its_start() {
        let run = tempfile::tempdir().unwrap();
        let job: JobName = "j".parse().unwrap();
        let events = RunPaths::new(run.path().to_owned()).job(&job).events();
        fs::create_dir_all(events.parent().unwrap()).unwrap();
        let runners = Runners::new(run.path().to_owned());
        let runner = |pid| Runner { pid, uid: 8 };
        let at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        assert!(!runners.has(&job, None, runner(7), at));
        let begun = |pid: u32| {
            format!(
                r#"{{"at":"2026-01-01T00:00:00Z","event":{{"type":"runnerStarted","job":"j","pid":{pid},"uid":8}}}}"#
            )
        };
        fs::write(&events, begun(7) + "\n").unwrap();
        assert!(runners.has(&job, None, runner(7), at) && !runners.has(&job, None, runner(9), at));
        fs::write(&events, begun(7) + "\n{torn\n" + &begun(9) + "\n").unwrap();
        assert!(runners.has(&job, None, runner(7), at) && runners.has(&job, None, runner(9), at));
        assert!(!runners.has(&job, None, Runner { pid: 9, uid: 9 }, at));
        let later = at + SignedDuration::from_secs(2);
        assert!(
            !runners.has(&job, None, runner(7), later),
            "the next runner has started"
        );
        assert!(runners.has(&job, None, runner(9), later), "it still runs");
        let end = Event {
            at,
            event: EventKind::RunnerEnded {
                job: job.clone(),
                result: JobResult {
                    version: 1,
                    failed: false,
                    record: JobRecord::new("u".into()),
                },
            },
        };
        let end = serde_json::to_string(&end).unwrap() + "\n";
        fs::write(&events, begun(7) + "\n" + &begun(9) + "\n" + &end).unwrap();
        assert!(runners.has(&job, None, runner(9), at), "its last line");
        assert!(
            !runners.has(&job, None, runner(9), later),
            "another process has its number now"
        );
    }
}
