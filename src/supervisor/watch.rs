//! What changes in the run directory: requests to the supervisor, and the events of running jobs.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use futures_util::StreamExt;
use inotify::{EventStream, Inotify, WatchDescriptor, WatchMask, Watches};

use crate::{
    event::Event,
    graph::JobIx,
    ids::JobName,
    store::{EventTail, StoreError},
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
}

struct Watched {
    descriptor: WatchDescriptor,
    job: JobName,
    tail: EventTail,
    /// How many of the events that come next are known already.
    known: usize,
}

impl Watched {
    /// Returns what the job tells that is new.
    fn read(&mut self) -> Vec<Event> {
        // A job may have put anything in the place of its file; then it has no events.
        let mut events = self.tail.read().unwrap_or_default();
        events.retain(|event| event.is_told_by(&self.job));
        let known = self.known.min(events.len());
        self.known -= known;
        events.split_off(known)
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
        })
    }

    /// Watches the events of a job, of which an earlier supervisor has passed on the first `known`.
    ///
    /// # Errors
    /// Fails with the system's reason; the limit is `fs.inotify.max_user_watches`.
    pub fn add(
        &mut self,
        ix: JobIx,
        job: &JobName,
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
                tail: EventTail::new(events),
                known,
            },
        );
        Ok(())
    }

    /// Ends the watch of a job and returns the events it still had.
    pub fn remove(&mut self, ix: JobIx) -> Vec<Event> {
        let Some(mut watched) = self.watched.remove(&ix) else {
            return Vec::new();
        };
        self.jobs.remove(&watched.descriptor);
        let events = watched.read();
        // The directory may be gone, and the watch with it.
        let _ = self.watches.remove(watched.descriptor);
        events
    }

    /// Returns the new events of a job.
    pub fn events(&mut self, ix: JobIx) -> Vec<Event> {
        self.watched
            .get_mut(&ix)
            .map(Watched::read)
            .unwrap_or_default()
    }

    /// Waits for the next change.
    pub async fn next(&mut self) -> Change {
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
