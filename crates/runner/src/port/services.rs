//! The port of a service's runner, and the reports of a job's services to the job's runner.
//!
//! Each service reports in a file of events, and holds a lock on that file as long as it lives. No
//! step can write to the file.

use std::{fs, path::PathBuf};

use nixactions_core::service::{FAILED, ServiceSpec, WatchedService, WatchedServices};

use super::{super::lifeline, events::Events};
use crate::{
    event::Event,
    paths::JobPaths,
    store::{self, EventTail, StoreError},
};

/// The port of a service's runner. No file tells a service that its run was killed: its unit is
/// stopped.
#[derive(Debug)]
pub(crate) struct ServicePort(JobPaths);

impl ServicePort {
    /// Opens the port of the service of this directory, and reads the service's spec.
    ///
    /// # Errors
    /// Fails if the spec cannot be read.
    pub(crate) fn open(directory: PathBuf) -> Result<(Self, ServiceSpec), StoreError> {
        let own = JobPaths::at(directory);
        let spec = store::read_document(&own.spec())?;
        Ok((Self(own), spec))
    }

    /// Takes over the service's file of events. `None` where it has been started before.
    ///
    /// # Errors
    /// Fails if standard output is not a file.
    pub(crate) fn events(&self) -> Result<Option<Events>, StoreError> {
        Events::take(&self.0.events(), false)
    }

    /// Returns the directory in which the service runs.
    pub(crate) fn workspace(&self) -> PathBuf {
        self.0.workspace()
    }

    /// Returns the service's `$HOME`.
    pub(crate) fn home(&self) -> PathBuf {
        self.0.home()
    }
}

/// The reports of a service.
pub(crate) struct ServiceReport {
    path: PathBuf,
    tail: EventTail,
}

impl ServiceReport {
    pub(crate) fn of(service: &WatchedService) -> Self {
        Self {
            path: service.events.clone(),
            tail: EventTail::untrusted(service.events.clone()),
        }
    }

    /// Returns whether the service's runner lives.
    pub(crate) fn is_alive(&self) -> bool {
        lifeline::is_held(&self.path)
    }

    /// Returns the events since the last call. A file that cannot be read has no events yet.
    pub(crate) fn news(&mut self) -> Vec<Event> {
        self.tail.read().unwrap_or_default().events
    }

    /// Returns the reason why systemd could not start it. The supervisor has written it.
    pub(crate) fn not_started(&self) -> Option<String> {
        fs::read_to_string(self.path.with_file_name(FAILED)).ok()
    }
}

/// Returns whether the ports of the services are held. systemd starts the services then.
pub(crate) fn are_ports_held(services: &WatchedServices) -> bool {
    fs::metadata(&services.held).is_ok_and(|held| held.len() > 0)
}

/// Returns whether the process lives that holds the ports of the services, or waits for them.
pub(crate) fn is_port_holder_alive(services: &WatchedServices) -> bool {
    lifeline::is_held(&services.held)
}
