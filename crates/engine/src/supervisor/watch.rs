//! What changes in the run directory: requests to the supervisor, and the events of running jobs.

use std::{
    collections::{HashMap, VecDeque},
    path::{Path, PathBuf},
};

use futures_util::StreamExt;
use inotify::{EventStream, Inotify, WatchDescriptor, WatchMask, Watches};

use crate::{
    bounds::Allowance,
    event::Event,
    graph::JobIx,
    ids::JobName,
    store::{Complaint, EventTail, News, StoreError},
};

/// Something to look at.
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
    /// The jobs of which there was more to be read than one look takes in.
    again: VecDeque<JobIx>,
}

/// What a job told.
#[derive(Debug, Default)]
pub struct TellTale {
    /// What happened.
    pub events: Vec<Event>,
    /// What was left out of what it wrote, and why; each is told once.
    pub warnings: Vec<String>,
}

struct Watched {
    descriptor: WatchDescriptor,
    job: JobName,
    tail: EventTail,
    /// How many of the events that come next are known already.
    known: usize,
    allowance: Allowance,
    /// Whether it was said that lines of it were passed over, and that something was left out.
    told: [bool; 2],
}

impl Watched {
    /// Returns what the job tells that is new.
    fn read(&mut self) -> (TellTale, News) {
        // A job may have put anything in the place of its file; then it has no events.
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
        let told = std::mem::take(&mut news.events).into_iter();
        let mut events: Vec<Event> = told
            .filter(|event| event.is_told_by(&self.job))
            .filter_map(|event| self.allowance.admit(event))
            .collect();
        if self.allowance.exceeded && !std::mem::replace(&mut self.told[1], true) {
            warnings.push(format!(
                "events of job `{}`: it tells more than a job may; the rest is cut or left out",
                self.job
            ));
        }
        let known = self.known.min(events.len());
        self.known -= known;
        let events = events.split_off(known);
        (TellTale { events, warnings }, news)
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

    /// Watches the events of a job of so many steps, of which an earlier supervisor has passed on
    /// the first `known`.
    ///
    /// # Errors
    /// Fails with the system's reason; the limit is `fs.inotify.max_user_watches`.
    pub fn add(
        &mut self,
        ix: JobIx,
        job: &JobName,
        steps: usize,
        known: usize,
        out: &Path,
        events: PathBuf,
    ) -> Result<(), StoreError> {
        let mask = WatchMask::MODIFY | WatchMask::ONLYDIR | WatchMask::DONT_FOLLOW;
        let descriptor = self
            .watches
            .add(out, mask)
            .map_err(|source| StoreError::io("watch", out, source))?;
        self.jobs.insert(descriptor.clone(), ix);
        self.watched.insert(
            ix,
            Watched {
                descriptor,
                job: job.clone(),
                tail: EventTail::untrusted(events),
                known,
                allowance: Allowance::new(steps),
                told: [false; 2],
            },
        );
        Ok(())
    }

    /// Ends the watch of a job and returns what it still had to tell.
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
        // The directory may be gone, and the watch with it.
        let _ = self.watches.remove(watched.descriptor);
        all
    }

    /// Returns what a job tells that is new.
    pub fn events(&mut self, ix: JobIx) -> TellTale {
        let Some(watched) = self.watched.get_mut(&ix) else {
            return TellTale::default();
        };
        let (told, news) = watched.read();
        if news.more {
            self.again.push_back(ix);
        }
        if news.over {
            // Nothing that it writes from now on wakes anybody up.
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
                // Not a job's: the control directory, or a job that was removed meanwhile; a look
                // too many does no harm.
                None => return Change::Control,
            }
        }
    }
}
