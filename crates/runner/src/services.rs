//! The services of a job: its runner asks systemd for them, waits until all are ready, and notices
//! the end of one.

use std::{
    io,
    time::{Duration, Instant},
};

use super::{
    job::Job,
    journal::Priority,
    masks::{Masks, Teller},
    port,
    stop::Stop,
    watched::{End, Watched},
};
use crate::{
    event::EventKind,
    reason::Reason,
    record::{Annotation, AnnotationLevel},
};

/// The first wait between two looks at services that are not ready, and the longest.
const LOOK: Duration = Duration::from_millis(10);
const LOOK_MAX: Duration = Duration::from_millis(200);
/// The longest time that systemd may take to start the process that holds the ports, and then the
/// time that it may take to start a service.
const START_MAX: Duration = Duration::from_secs(90);
impl Job<'_> {
    /// Starts the services and waits until all are ready. Returns whether the steps may begin.
    pub(super) fn starts_services(&mut self) -> bool {
        let Some(services) = &self.spec.services else {
            return true;
        };
        // A second attempt has the services of the first one.
        self.services.iter_mut().for_each(Watched::look);
        let is_again = self.services.iter().any(|service| service.has_begun);
        if !matches!(self.processes.masks, Masks::OfJob(_)) {
            match Teller::listen(&self.port.masks()) {
                Ok(teller) => self.processes.masks = Masks::OfJob(teller),
                Err(error) => {
                    let why = format!("its lines could show secrets of the job: {error}");
                    self.fail_by_service(why);
                    return false;
                }
            }
        }
        if !is_again && let Err(error) = self.port.ask_for_services() {
            self.fail_by_service(format!("systemd could not be asked for it: {error}"));
            return false;
        }
        // The wait may be long, so the events so far are reported before it.
        self.tell();
        let mut wait = LOOK;
        let (mut since, mut was_held) = (Instant::now(), false);
        loop {
            self.services.iter_mut().for_each(Watched::look);
            self.tell_of_services();
            // A service that has ended is not started again, even if it served an earlier attempt.
            let ended = self.services.iter().find_map(|service| {
                let end = service.ended.clone()?;
                Some((service.of.name.clone(), end))
            });
            if let Some((service, end)) = ended {
                let why = why_not_ready(&end);
                self.fail(&Reason::JobService { service, why });
                return false;
            }
            let told = match self.tell_masks() {
                Ok(told) => told,
                Err(error) => {
                    self.fail_by_service(error.to_string());
                    return false;
                }
            };
            let late = self.services.iter().find(|one| one.ready_at.is_none());
            if late.is_none() && told {
                return true;
            }
            let is_held = port::are_ports_held(services);
            // If the process lives and does not hold the ports, it waits for another job to end.
            if is_held != was_held || !is_held && port::is_port_holder_alive(services) {
                since = Instant::now();
            }
            was_held = is_held;
            let missed = match late {
                Some(late) if !late.has_begun => {
                    Some((late.of.name.clone(), "systemd did not start it"))
                }
                None => Some((self.a_service(), "it did not take the secrets to hide")),
                Some(_) => None,
            };
            if let Some((service, why)) = missed.filter(|_| since.elapsed() > START_MAX) {
                let why = why.to_owned();
                self.fail(&Reason::JobService { service, why });
                return false;
            }
            let stop = self.processes.sleep(wait, &self.limits(None));
            if stop != Stop::Not {
                let _ = self.ended_by(stop, None);
                return false;
            }
            // A service that has begun waits for this runner.
            wait = if is_held && !told {
                LOOK
            } else {
                (wait * 2).min(LOOK_MAX)
            };
        }
    }

    /// Tells the services that have begun what to hide. Returns whether all know.
    fn tell_masks(&mut self) -> io::Result<bool> {
        let masker = &self.processes.journal.masker;
        match &mut self.processes.masks {
            Masks::OfJob(teller) => {
                let signals = &mut self.processes.signals;
                teller.has_all(self.services.len(), masker, signals)
            }
            Masks::Own | Masks::OfService(_) => Ok(true),
        }
    }

    /// Returns the name of one of the services, for a reason that holds for all.
    fn a_service(&self) -> String {
        let first = self.services.first();
        first.map_or_else(String::new, |first| first.of.name.clone())
    }

    fn fail_by_service(&mut self, why: String) {
        let service = self.a_service();
        self.fail(&Reason::JobService { service, why });
    }

    /// Notices services that have ended while the steps ran.
    pub(super) fn look_at_services(&mut self) {
        if !self.services.is_empty() {
            self.services.iter_mut().for_each(Watched::look);
            self.tell_of_services();
        }
    }

    /// Reports news of the services to the run and the record.
    fn tell_of_services(&mut self) {
        let mut services = std::mem::take(&mut self.services);
        for service in &mut services {
            let name = service.of.name.clone();
            let before = self.record.services.insert(name.clone(), service.record());
            let was_ready = before.is_some_and(|before| before.ready_at.is_some());
            let job = self.spec.job.clone();
            if service.ready_at.is_some() && !was_ready {
                let service = name.clone();
                self.emit(EventKind::ServiceReady { job, service });
                self.tell();
            }
            if let Some(end) = service.ended.clone().filter(|_| !service.is_told) {
                service.is_told = true;
                self.tell_of_end(&name, end, service.ready_at.is_some());
            }
        }
        self.services = services;
    }

    fn tell_of_end(&mut self, name: &str, end: End, was_ready: bool) {
        let End { reason, lines } = end;
        // If the service was never ready, the job's reason names it.
        if was_ready {
            let text = format!("service `{name}` has ended: {reason}");
            self.processes.journal.note(&text, Priority::Warning);
            let step = self.record.steps.last();
            let annotation = Annotation {
                level: AnnotationLevel::Warning,
                step: step.map_or_else(String::new, |step| step.name.clone()),
                message: self.processes.journal.masker.text(&text).into_owned(),
                title: None,
                file: None,
                line: None,
                end_line: None,
                column: None,
                end_column: None,
            };
            self.emit(EventKind::Annotation {
                job: self.spec.job.clone(),
                annotation: annotation.clone(),
            });
            self.record.annotations.push(annotation);
        }
        self.emit(EventKind::ServiceEnded {
            job: self.spec.job.clone(),
            service: name.to_owned(),
            reason,
            lines,
            was_stopped: false,
        });
        self.tell();
    }
}

/// Returns why a service was not ready, with its last lines.
fn why_not_ready(end: &End) -> String {
    if end.lines.is_empty() {
        return end.reason.clone();
    }
    format!("{}; its last lines: {}", end.reason, end.lines.join(" | "))
}
