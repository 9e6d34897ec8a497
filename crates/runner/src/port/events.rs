//! The events that a runner reports to its run. The last event is the job's result.
//!
//! systemd opens the job's file of events before it builds the sandbox and changes the user, and
//! passes it to the runner as standard output. The runner takes the file from there at once, so no
//! step inherits it. No step can open it either: it belongs to the run's owner, and steps cannot
//! see the runner's open files. So the run trusts the events.

use std::{fs::File, io, os::fd::AsFd, path::Path};

use jiff::Timestamp;
use rustix::stdio::dup2_stdout;

use crate::{
    event::{Event, EventKind},
    ids::JobName,
    record::JobResult,
    store::{EventWriter, StoreError},
};

/// The way out for events.
#[derive(Debug)]
pub(crate) struct Events {
    file: EventWriter,
    /// Whether nothing more is written, except the job's result after a failed write.
    is_over: bool,
    /// Events that are not written yet.
    untold: Vec<Event>,
}

impl Events {
    /// Takes over the file of events, which has this path and which systemd handed the runner.
    /// Returns `None` if an earlier start of this job has used the file, unless this runner follows
    /// a runner that was killed: then it goes on in that file.
    ///
    /// Fails if standard output is not a file.
    pub(super) fn take(path: &Path, follows: bool) -> Result<Option<Self>, StoreError> {
        let take = || -> io::Result<_> {
            let file = io::stdout().as_fd().try_clone_to_owned()?;
            dup2_stdout(File::options().write(true).open("/dev/null")?)?;
            Ok(file)
        };
        let file = take().map_err(|source| StoreError::io("take over", path, source))?;
        let file = if follows {
            Some(EventWriter::of_old(file.into(), path)?)
        } else {
            EventWriter::of_new(file.into(), path)?
        };
        Ok(file.map(|file| Self {
            file,
            is_over: false,
            untold: Vec::new(),
        }))
    }

    /// Notes an event, to be written later.
    pub(crate) fn note(&mut self, event: EventKind) {
        self.untold.push(Event {
            at: Timestamp::now(),
            event,
        });
    }

    /// Writes the noted events. After a failure, only the job's result is written.
    ///
    /// Fails with the system's reason, the first time only.
    pub(crate) fn tell(&mut self) -> Result<(), StoreError> {
        let untold = std::mem::take(&mut self.untold);
        if untold.is_empty() || self.is_over {
            return Ok(());
        }
        self.file
            .append(&untold)
            .inspect_err(|_| self.is_over = true)
    }

    /// Writes the job's result as the last event.
    ///
    /// Fails with the system's reason. The result is then unknown to the run.
    pub(crate) fn end(&mut self, job: JobName, result: JobResult) -> Result<(), StoreError> {
        if self.is_over {
            self.untold.clear();
        }
        self.is_over = true;
        self.note(EventKind::RunnerEnded { job, result });
        self.file.append_last(&self.untold)
    }
}
