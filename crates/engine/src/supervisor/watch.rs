//! Watches the run directory for requests to the supervisor and for events of running jobs.

use std::{
    collections::{HashMap, VecDeque},
    fs,
    path::Path,
};

use futures_util::StreamExt;
use inotify::{EventStream, Inotify, WatchDescriptor, WatchMask, Watches};
use jiff::{SignedDuration, Timestamp};
use nixactions_core::paths::JobPaths;

use crate::{
    bounds::Allowance,
    claims::{Attempts, Claims},
    event::Event,
    graph::JobIx,
    ids::JobName,
    store::{Complaint, EventTail, News, StoreError},
};

/// A change to handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A request lies in the control directory.
    Control,
    /// A job wrote events.
    Job(JobIx),
    /// Notifications were lost: look at everything.
    Everything,
}

/// Watches the run directory (inotify(7)).
pub struct Watch {
    watches: Watches,
    stream: EventStream<Vec<u8>>,
    jobs: HashMap<WatchDescriptor, JobIx>,
    watched: HashMap<JobIx, Watched>,
    /// The jobs with more unread events than one read takes.
    again: VecDeque<JobIx>,
}

/// New events of a job.
#[derive(Debug, Default)]
pub struct TellTale {
    /// The events.
    pub events: Vec<Event>,
    /// Why parts of the job's output were left out. Each reason is given once.
    pub warnings: Vec<String>,
}

/// The expectations of a job's events.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// The job's number of steps.
    pub steps: usize,
    /// Whether the job may be held for a shell.
    pub may_hold: bool,
    /// The number of the first events that an earlier supervisor has passed on.
    pub known: usize,
    /// The time at which the job was submitted.
    pub since: Timestamp,
    /// The most attempts.
    pub attempts: Attempts,
}

struct Watched {
    descriptor: WatchDescriptor,
    job: JobName,
    tail: EventTail,
    /// The number of next events that are known already.
    known: usize,
    since: Timestamp,
    attempts: Attempts,
    /// The time of the last event.
    last: Timestamp,
    allowance: Allowance,
    /// Whether warnings were given: of skipped lines, and of events left out.
    told: [bool; 2],
}

impl Watched {
    /// Returns the job's new events.
    fn read(&mut self) -> (TellTale, News) {
        // A job may have put any file in the place of its events. It then has no events.
        let mut news = self.tail.read().unwrap_or_default();
        let mut warnings = Vec::new();
        for complaint in &news.complaints {
            let passes_over = matches!(
                complaint,
                Complaint::Damaged { .. } | Complaint::OtherVersion { .. }
            );
            if !passes_over || !std::mem::replace(&mut self.told[0], true) {
                warnings.push(format!("events of job `{}`: {complaint}", self.job));
            }
        }
        let mut events = Vec::new();
        for event in std::mem::take(&mut news.events) {
            if event.is_told_by(&self.job)
                && let Some(event) = self.allowance.admit(event)
            {
                events.push(self.bound(event));
            }
        }
        if self.allowance.exceeded && !std::mem::replace(&mut self.told[1], true) {
            warnings.push(format!(
                "events of job `{}`: the job writes more than allowed; the rest is cut or left out",
                self.job
            ));
        }
        let known = self.known.min(events.len());
        self.known -= known;
        let events = events.split_off(known);
        (TellTale { events, warnings }, news)
    }

    /// Bounds the time of an event. Each event of a job is later than the one before: clients tell
    /// events apart by their times.
    fn bound(&mut self, mut event: Event) -> Event {
        let claims = Claims {
            since: self.since,
            until: Timestamp::now(),
            attempts: self.attempts,
        };
        claims.bound_event(&mut event);
        if event.at <= self.last {
            let next = self.last.checked_add(SignedDuration::from_nanos(1));
            event.at = next.unwrap_or(self.last);
        }
        self.last = event.at;
        event
    }
}

impl Watch {
    /// Watches the control directory.
    ///
    /// # Errors
    /// Fails with the system's reason.
    pub fn new(control: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::io("watch", control, source);
        let inotify = Inotify::init().map_err(failed)?;
        inotify
            .watches()
            .add(
                control,
                WatchMask::MOVED_TO | WatchMask::CLOSE_WRITE | WatchMask::DELETE_SELF,
            )
            .map_err(failed)?;
        let watches = inotify.watches();
        let stream = inotify
            .into_event_stream(vec![0; 64 << 10])
            .map_err(failed)?;
        Ok(Self {
            watches,
            stream,
            jobs: HashMap::new(),
            watched: HashMap::new(),
            again: VecDeque::new(),
        })
    }

    /// Watches the events of a job.
    ///
    /// # Errors
    /// Fails with the system's reason; the limit is `fs.inotify.max_user_watches`.
    pub fn add(
        &mut self,
        ix: JobIx,
        job: &JobName,
        paths: &JobPaths,
        expected: Expected,
    ) -> Result<(), StoreError> {
        let mask = WatchMask::MODIFY | WatchMask::ONLYDIR | WatchMask::DONT_FOLLOW;
        let out = paths.out();
        let descriptor = self
            .watches
            .add(&out, mask)
            .map_err(|source| StoreError::io("watch", &out, source))?;
        self.jobs.insert(descriptor.clone(), ix);
        // A job may have begun before its supervisor, and may say no more for hours.
        let events = paths.events();
        if fs::symlink_metadata(&events).is_ok_and(|events| events.len() > 0) {
            self.again.push_back(ix);
        }
        self.watched.insert(
            ix,
            Watched {
                descriptor,
                job: job.clone(),
                tail: EventTail::untrusted(events),
                known: expected.known,
                since: expected.since,
                attempts: expected.attempts,
                last: Timestamp::MIN,
                allowance: Allowance::new(expected.steps, expected.may_hold),
                told: [false; 2],
            },
        );
        Ok(())
    }

    /// Returns the time at which a watched job was submitted.
    pub fn since(&self, ix: JobIx) -> Option<Timestamp> {
        self.watched.get(&ix).map(|watched| watched.since)
    }

    /// Ends the watch of a job and returns its unread events.
    pub fn remove(&mut self, ix: JobIx) -> TellTale {
        let Some(mut watched) = self.watched.remove(&ix) else {
            return TellTale::default();
        };
        self.jobs.remove(&watched.descriptor);
        let mut all = TellTale::default();
        loop {
            let (told, news) = watched.read();
            all.events.extend(told.events);
            all.warnings.extend(told.warnings);
            if !news.more {
                break;
            }
        }
        // This fails if the directory is gone, and the watch with it.
        let _ = self.watches.remove(watched.descriptor);
        all
    }

    /// Returns the new events of a job.
    pub fn events(&mut self, ix: JobIx) -> TellTale {
        let Some(watched) = self.watched.get_mut(&ix) else {
            return TellTale::default();
        };
        let (told, news) = watched.read();
        if news.more {
            self.again.push_back(ix);
        }
        if news.over {
            // Its further output must not wake the supervisor.
            let _ = self.watches.remove(watched.descriptor.clone());
        }
        told
    }

    /// Waits for the next change.
    pub async fn next(&mut self) -> Change {
        if let Some(ix) = self.again.pop_front() {
            return Change::Job(ix);
        }
        loop {
            let Some(event) = self.stream.next().await else {
                std::future::pending().await
            };
            let Ok(event) = event else {
                return Change::Everything;
            };
            if event.mask.contains(inotify::EventMask::Q_OVERFLOW) {
                return Change::Everything;
            }
            if event.mask.contains(inotify::EventMask::IGNORED) {
                continue;
            }
            match self.jobs.get(&event.wd) {
                Some(ix) => return Change::Job(*ix),
                // The watch belongs to the control directory, or to a job that was removed in the
                // meantime. Checking the control directory without need does no harm.
                None => return Change::Control,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::EventKind, graph::Graph};

    #[tokio::test]
    async fn events_from_before_the_watch_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let plan = serde_json::json!({ "version": 1, "name": "w", "jobs": { "j": { "steps": [{ "bash": "true" }] } } });
        let plan: crate::plan::Plan = serde_json::from_value(plan).unwrap();
        let graph = Graph::new(&plan).unwrap();
        let job: JobName = "j".parse().unwrap();
        let ix = graph.ix(&job).unwrap();
        let paths = JobPaths::new(directory.path(), &job);
        fs::create_dir_all(paths.out()).unwrap();
        let began = Event {
            at: Timestamp::now(),
            event: EventKind::JobStarted { job: job.clone() },
        };
        let line = serde_json::to_string(&began).unwrap() + "\n";
        fs::write(paths.events(), line).unwrap();
        let mut watch = Watch::new(directory.path()).unwrap();
        let expected = Expected {
            may_hold: false,
            steps: 1,
            known: 0,
            since: Timestamp::UNIX_EPOCH,
            attempts: Attempts { job: 1, step: 1 },
        };
        watch.add(ix, &job, &paths, expected).unwrap();
        let next = tokio::time::timeout(std::time::Duration::from_secs(5), watch.next());
        assert_eq!(next.await.unwrap(), Change::Job(ix));
        assert_eq!(watch.events(ix).events.len(), 1);
    }
}
