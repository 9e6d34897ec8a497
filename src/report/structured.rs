//! NixActions' structured format: `[timestamp] [workflow:ci] [job:build] [step:compile] message
//! (key: value, …)`.

use std::{
    fmt::Display,
    io::{self, Write},
};

use jiff::Timestamp;

use super::{
    Renderer,
    format::{WAITS, plural},
    sanitize::clean,
};
use crate::{
    event::{Event, EventKind},
    ids::JobName,
    log::LogLine,
    record::{RunRecord, Usage},
};

/// Renders a run as one line for each event or log line.
#[derive(Debug)]
pub struct Structured<W> {
    out: W,
    workflow: String,
}

/// The details in parentheses after the message.
#[derive(Default)]
struct Details(Vec<String>);

impl Details {
    fn with(mut self, key: &str, value: Option<impl Display>) -> Self {
        self.0.extend(value.map(|value| format!("{key}: {value}")));
        self
    }

    fn times(self, start: Option<Timestamp>, end: Option<Timestamp>) -> Self {
        let seconds = super::Duration::between(start, end).map(|time| format!("{:.3}", time.0));
        self.with("duration", seconds)
    }

    fn usage(self, usage: &Usage) -> Self {
        let cpu = usage.cpu_seconds.map(|seconds| format!("{seconds:.3}"));
        self.with("cpu", cpu)
            .with("memory", usage.memory_peak_bytes)
    }
}

impl<W: Write> Structured<W> {
    /// Returns a renderer for a run of this workflow.
    pub fn new(out: W, workflow: &str) -> Self {
        Self {
            out,
            workflow: workflow.to_owned(),
        }
    }

    fn write(
        &mut self,
        at: Timestamp,
        job: Option<&JobName>,
        step: Option<&str>,
        message: &str,
        details: Details,
    ) -> io::Result<()> {
        write!(self.out, "[{at:.3}] [workflow:{}]", self.workflow)?;
        if let Some(job) = job {
            write!(self.out, " [job:{job}]")?;
        }
        if let Some(step) = step {
            write!(self.out, " [step:{}]", clean(step, false))?;
        }
        let message = clean(message, false);
        if !message.is_empty() {
            write!(self.out, " {message}")?;
        }
        if !details.0.is_empty() {
            write!(self.out, " ({})", clean(&details.0.join(", "), false))?;
        }
        writeln!(self.out)
    }
}

impl<W: Write> Renderer for Structured<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        let at = event.at;
        let none = Details::default();
        match &event.event {
            EventKind::RunnerStarted { .. } | EventKind::RunnerEnded { .. } => Ok(()),
            EventKind::RunCreated { run, jobs, .. } => self.write(
                at,
                None,
                None,
                &format!("run {run}: {}", plural(*jobs, "job")),
                none,
            ),
            EventKind::SupervisorStarted { pid } => self.write(
                at,
                None,
                None,
                "supervisor started",
                none.with("pid", Some(pid)),
            ),
            EventKind::JobsSubmitted { jobs, .. } => self.write(
                at,
                None,
                None,
                &format!("{} submitted", plural(jobs.len(), "job")),
                none,
            ),
            EventKind::JobWaiting { job } => self.write(at, Some(job), None, WAITS, none),
            EventKind::JobStarted { job } => self.write(at, Some(job), None, "started", none),
            EventKind::JobRetried { job, attempt } => self.write(
                at,
                Some(job),
                None,
                "started again",
                none.with("attempt", Some(attempt)),
            ),
            EventKind::StepStarted {
                job, name, attempt, ..
            } => {
                let again = (*attempt > 1).then_some(attempt);
                self.write(
                    at,
                    Some(job),
                    Some(name),
                    "started",
                    none.with("attempt", again),
                )
            }
            EventKind::StepFinished { job, step, .. } => {
                let details = none
                    .times(step.started_at, step.finished_at)
                    .with("exit_code", step.exit_code);
                let details = details
                    .with("attempts", (step.attempts > 1).then_some(step.attempts))
                    .with("reason_code", step.reason_code)
                    .with("reason", step.reason.as_ref());
                self.write(
                    at,
                    Some(job),
                    Some(&step.name),
                    step.conclusion.as_str(),
                    details,
                )
            }
            EventKind::ServiceReady { job, service } => {
                let details = none.with("service", Some(service));
                self.write(at, Some(job), None, "service ready", details)
            }
            EventKind::ServiceEnded {
                job,
                service,
                reason,
                was_stopped: false,
                ..
            } => {
                let details = none.with("service", Some(service));
                let details = details.with("reason", Some(reason));
                self.write(at, Some(job), None, "service ended", details)
            }
            // The end of the job tells it.
            EventKind::ServiceEnded { .. } => Ok(()),
            // The line of the job has been shown.
            EventKind::Annotation { .. }
            | EventKind::JobPlaced { .. }
            | EventKind::JobHeld { .. } => Ok(()),
            EventKind::JobFinished { job, record } => {
                let details = none
                    .times(record.started_at, record.finished_at)
                    .usage(&record.usage);
                let details = details
                    .with("reason_code", record.reason_code)
                    .with("reason", record.reason.as_ref())
                    .with("reused_from", record.reused_from.as_ref());
                self.write(at, Some(job), None, record.conclusion.as_str(), details)
            }
            EventKind::CancelRequested { by, kill } => self.write(
                at,
                None,
                None,
                if *kill { "killing" } else { "cancelling" },
                none.with("by", Some(by)),
            ),
            EventKind::GroupWaiting { group, held_by } => self.write(
                at,
                None,
                None,
                &format!("waiting for group {group}"),
                none.with("held_by", held_by.as_ref()),
            ),
            EventKind::GroupEntered { group } => {
                self.write(at, None, None, &format!("entered group {group}"), none)
            }
            EventKind::MatrixCancelled { group, job } => self.write(
                at,
                None,
                None,
                &format!("cancelling matrix {group}"),
                none.with("failed", Some(job)),
            ),
            EventKind::Warning { message } => {
                self.write(at, None, None, &format!("warning: {message}"), none)
            }
            EventKind::RunFinished {
                conclusion,
                reason,
                reason_code,
            } => self.write(
                at,
                None,
                None,
                conclusion.as_str(),
                none.with("reason_code", *reason_code)
                    .with("reason", reason.as_ref()),
            ),
        }
    }

    fn line(&mut self, line: &LogLine) -> io::Result<()> {
        self.write(
            line.at,
            Some(&line.job),
            line.step.as_deref(),
            &line.message,
            Details::default().with("service", line.service.as_ref()),
        )
    }

    fn tick(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn finish(&mut self, _: Option<&RunRecord>) -> io::Result<()> {
        self.out.flush()
    }
}
