//! A service of a job, as the job's runner sees it by the service's reports.

use jiff::Timestamp;
use nixactions_core::service::WatchedService;

use super::port::ServiceReport;
use crate::{event::EventKind, record::ServiceRecord};

/// The reason of a service that has ended without a word.
const KILLED: &str = "its processes were killed";

/// A service, and its state.
pub(super) struct Watched {
    pub(super) of: WatchedService,
    report: ServiceReport,
    pub(super) has_begun: bool,
    pub(super) ready_at: Option<Timestamp>,
    pub(super) ended: Option<End>,
    /// Whether the job has reported its end.
    pub(super) is_told: bool,
}

/// How a service ended.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) reason: String,
    pub(super) lines: Vec<String>,
}

impl Watched {
    pub(super) fn new(of: &WatchedService) -> Self {
        Self {
            report: ServiceReport::of(of),
            of: of.clone(),
            has_begun: false,
            ready_at: None,
            ended: None,
            is_told: false,
        }
    }

    /// Takes in what the service has reported since the last look.
    pub(super) fn look(&mut self) {
        if self.ended.is_some() {
            return;
        }
        // Look at this before the events: if the service has ended by now, its events are complete.
        let lives = self.report.is_alive();
        for event in self.report.news() {
            match event.event {
                EventKind::RunnerStarted { .. } => self.has_begun = true,
                EventKind::ServiceReady { .. } => self.ready_at = Some(event.at),
                EventKind::ServiceEnded { reason, lines, .. } => {
                    self.ended = Some(End { reason, lines });
                }
                _ => {}
            }
        }
        if self.has_begun && !lives && self.ended.is_none() {
            self.ended = Some(End {
                reason: KILLED.to_owned(),
                lines: Vec::new(),
            });
        }
        if let Some(reason) = self.report.not_started() {
            let lines = Vec::new();
            self.ended.get_or_insert(End { reason, lines });
        }
    }

    /// Returns the entry of the service in the record of the job.
    pub(super) fn record(&self) -> ServiceRecord {
        ServiceRecord {
            unit: self.of.unit.clone(),
            ready_at: self.ready_at,
            reason: self.ended.as_ref().map(|end| end.reason.clone()),
        }
    }
}
