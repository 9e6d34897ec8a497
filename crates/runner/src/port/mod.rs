//! The runner's port: its only connection to the run.
//!
//! Events, the result, lines, summaries and artifacts go out. The spec, the results of needs, the
//! source, secrets and cancellations come in. So do the reports of services, for which the runner
//! asks. The other files of the runner call only these functions. Only the port knows that the run
//! is a directory on this machine, and that a socket takes the lines.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use nix::libc::O_NONBLOCK;

mod cancellation;
mod credentials;
mod events;
mod lines;
mod pid;
mod services;
mod trees;

pub(super) use cancellation::Cancellation;
pub(super) use credentials::credentials;
pub(super) use events::Events;
pub(super) use lines::Lines;
pub(super) use pid::{own_pid_in, pid_outside};
pub(super) use services::{ServicePort, ServiceReport, are_ports_held, is_port_holder_alive};

use crate::{
    ids::JobName,
    paths::JobPaths,
    record::JobResult,
    spec::JobSpec,
    store::{self, EventTail, StoreError},
};

/// The port of a job's runner.
#[derive(Debug)]
pub(super) struct Port {
    own: JobPaths,
    /// The directory of all jobs of the run.
    jobs: PathBuf,
    /// The directory that all jobs of the run may read.
    shared: PathBuf,
    /// The requests to end the job.
    pub(super) cancellation: Cancellation,
}

impl Port {
    /// Opens the port of the job of this directory, and reads the job's spec.
    ///
    /// # Errors
    /// Fails if the spec cannot be read.
    pub(super) fn open(directory: PathBuf) -> Result<(Self, JobSpec), StoreError> {
        let own = JobPaths::at(directory);
        let spec: JobSpec = store::read_document(&own.spec())?;
        let port = Self {
            own,
            jobs: spec.jobs_directory.clone(),
            shared: spec.shared_directory.clone(),
            cancellation: Cancellation::of(&spec),
        };
        Ok((port, spec))
    }

    /// Takes over the job's file of events. `None` where the job has been started before, unless
    /// the runner follows one that was killed.
    ///
    /// # Errors
    /// Fails if standard output is not a file.
    pub(super) fn events(&self, follows: bool) -> Result<Option<Events>, StoreError> {
        Events::take(&self.own.events(), follows)
    }

    /// Returns the events that the runners of this job have reported so far.
    pub(super) fn reported(&self) -> EventTail {
        EventTail::untrusted(self.own.events())
    }

    /// Returns the job's result, if a runner has reported it.
    pub(super) fn own_result(&self) -> Option<JobResult> {
        store::read_result(&self.own).ok().flatten()
    }

    /// Returns the result of a need, if it has one, and whether the need has started. A result that
    /// cannot be read counts as none.
    pub(super) fn result_of_need(&self, need: &JobName) -> (Option<JobResult>, bool) {
        let paths = JobPaths::new(&self.jobs, need);
        let result = store::read_result(&paths).ok().flatten();
        // The event file shows that the need was started, and not dropped.
        (result, store::has_started(&paths))
    }

    /// Returns the directory in which the job's steps run.
    pub(super) fn workspace(&self) -> PathBuf {
        self.own.workspace()
    }

    /// Returns the job's `$HOME`.
    pub(super) fn home(&self) -> PathBuf {
        self.own.home()
    }

    /// Keeps the summary of the step with this index, in place of an earlier one.
    ///
    /// # Errors
    /// Fails if it cannot be written.
    pub(super) fn keep_summary(&self, index: usize, text: &str) -> Result<(), StoreError> {
        store::write_atomically(&self.own.summary(index), text.as_bytes(), 0o644, false)
    }

    /// Removes the summary of the step with this index. Usually there is none.
    pub(super) fn remove_summary(&self, index: usize) {
        let _ = fs::remove_file(self.own.summary(index));
    }

    /// Asks for the job's services, which systemd starts.
    ///
    /// # Errors
    /// Fails with the system's reason.
    pub(super) fn ask_for_services(&self) -> io::Result<()> {
        OpenOptions::new()
            .write(true)
            .custom_flags(O_NONBLOCK)
            .open(self.own.wants_services())
            .and_then(|mut wish| wish.write_all(b"\n"))
    }

    /// Returns the directory in which the job tells its services what to hide.
    pub(super) fn masks(&self) -> PathBuf {
        self.own.masks()
    }
}
