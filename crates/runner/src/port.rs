//! The runner's way to its run: events, and as the last of them how the job ended.
//!
//! systemd opens the job's file of events before it builds the sandbox and changes the user, and
//! hands it to the runner as standard output. The runner takes it from there at once, so no step
//! inherits it; and no step can open it, since it belongs to the run's owner and what a runner has
//! open is hidden from its steps. So the run believes what stands there.

use std::{io, os::fd::AsFd, path::Path};

use jiff::Timestamp;
use rustix::stdio::dup2_stdout;

use crate::{
    event::{Event, EventKind},
    ids::JobName,
    record::JobResult,
    store::{EventWriter, StoreError},
};

/// What the runner tells its run by.
#[derive(Debug)]
pub(super) struct Port {
    events: EventWriter,
    /// Whether that has failed: then no more is told but how the job ends.
    is_over: bool,
    /// Events that are still to be told.
    untold: Vec<Event>,
}

impl Port {
    /// Takes over what systemd handed the runner: the file of events, which has this path. `None`
    /// where the job has been started before, unless the runner follows one that was killed.
    ///
    /// # Errors
    /// Fails where standard output is not a file.
    pub(super) fn take(path: &Path, follows: bool) -> Result<Option<Self>, StoreError> {
        let take = || -> io::Result<_> {
            let file = io::stdout().as_fd().try_clone_to_owned()?;
            dup2_stdout(std::fs::File::options().write(true).open("/dev/null")?)?;
            Ok(file)
        };
        let file = take().map_err(|source| StoreError::io("take over", path, source))?;
        let events = if follows {
            Some(EventWriter::of_old(file.into(), path)?)
        } else {
            EventWriter::of_new(file.into(), path)?
        };
        Ok(events.map(|events| Self {
            events,
            is_over: false,
            untold: Vec::new(),
        }))
    }

    /// Notes an event, to be told later.
    pub(super) fn note(&mut self, event: EventKind) {
        self.untold.push(Event {
            at: Timestamp::now(),
            event,
        });
    }

    /// Tells what was noted. Once that has failed, nothing more is told but how the job ends.
    ///
    /// # Errors
    /// Fails with the system's reason, the first time only.
    pub(super) fn tell(&mut self) -> Result<(), StoreError> {
        let untold = std::mem::take(&mut self.untold);
        if untold.is_empty() || self.is_over {
            return Ok(());
        }
        self.events
            .append(&untold)
            .inspect_err(|_| self.is_over = true)
    }

    /// Tells how the job ended, which is the last that is told.
    ///
    /// # Errors
    /// Fails with the system's reason: nobody knows then how the job ended.
    pub(super) fn end(&mut self, job: JobName, result: JobResult) -> Result<(), StoreError> {
        if self.is_over {
            self.untold.clear();
        }
        self.is_over = true;
        self.note(EventKind::RunnerEnded { job, result });
        self.events.append_last(&self.untold)
    }
}
