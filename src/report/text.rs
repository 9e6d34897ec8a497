//! Renders a run as plain lines: the output of the jobs, prefixed by their names, and their events.
//!
//! `build | …` is a line that the job printed. `build : …` is a message about the job.

use std::{
    borrow::Cow,
    collections::HashMap,
    io::{self, Write},
};

use owo_colors::Style;

use super::{
    Renderer,
    format::{Duration, WAITS, conclusion_style, paint, plural, waiting},
    sanitize::clean,
    summary::{jobs_table, verdict},
};
use crate::{
    event::{Event, EventKind},
    ids::JobName,
    log::{LogLine, Mark, Stream, ToldOutcome},
    record::{Conclusion, JobRecord, RunRecord, StepRecord},
    store::view::Waiting,
};

/// The widest column of job names. Longer names shift only their own lines.
const WIDTH_MAX: usize = 24;

/// Renders a run as plain lines.
#[derive(Debug)]
pub struct Text<W> {
    out: W,
    colour: bool,
    width: usize,
    run: String,
    supervisors: u32,
    /// The outcomes of jobs and of their steps that were shown as lines. A runner reports these
    /// itself, for readers of the journal alone.
    told: HashMap<(JobName, Option<String>), ToldOutcome>,
    /// The jobs inside a group of lines, each with the step that opened the group.
    groups: HashMap<JobName, Option<String>>,
}

impl<W: Write> Text<W> {
    /// Returns a renderer. `colour` tells whether `out` accepts SGR sequences.
    pub fn new(out: W, colour: bool) -> Self {
        Self {
            out,
            colour,
            width: 0,
            run: String::new(),
            supervisors: 0,
            told: HashMap::new(),
            groups: HashMap::new(),
        }
    }

    /// Returns the writer.
    pub fn out(&mut self) -> &mut W {
        &mut self.out
    }

    fn prefix(&mut self, job: &JobName, mark: char) -> String {
        self.width = self.width.max(job.as_str().len().min(WIDTH_MAX));
        let text = format!("{:width$} {mark}", job.as_str(), width = self.width);
        paint(text, Style::new().color(job_colour(job)), self.colour)
    }

    /// Writes a message about a job.
    fn about(&mut self, job: &JobName, text: &str) -> io::Result<()> {
        let prefix = self.prefix(job, ':');
        writeln!(self.out, "{prefix} {text}")
    }

    /// Returns a line as shown. The line may begin or end a group or stand inside one. The end of a
    /// step also ends its group.
    fn grouped<'a>(&mut self, line: &LogLine, message: Cow<'a, str>) -> Cow<'a, str> {
        if self
            .groups
            .get(&line.job)
            .is_some_and(|step| *step != line.step)
            || line.mark == Some(Mark::EndGroup)
        {
            self.groups.remove(&line.job);
        }
        if line.mark == Some(Mark::Group) {
            self.groups.insert(line.job.clone(), line.step.clone());
            return Cow::Owned(paint(
                format!("▼ {message}"),
                Style::new().bold(),
                self.colour,
            ));
        }
        if self.groups.contains_key(&line.job) && !message.is_empty() {
            Cow::Owned(format!("  {message}"))
        } else {
            message
        }
    }

    fn dim(&self, text: &str) -> String {
        paint(text, Style::new().dimmed(), self.colour)
    }

    fn step_finished(&mut self, job: &JobName, step: &StepRecord) -> io::Result<()> {
        let name = clean(&step.name, false).into_owned();
        let reason = step_reason(step);
        let told = self.told.remove(&(job.clone(), Some(step.name.clone())));
        if told.is_some_and(|told| (told.outcome, told.code) == (step.outcome, step.reason_code)) {
            return Ok(());
        }
        let word = match (step.outcome, step.conclusion) {
            (Conclusion::Success, _) => return Ok(()),
            (Conclusion::Skipped, _) => {
                return self.about(job, &self.dim(&format!("step `{name}` skipped{reason}")));
            }
            (Conclusion::Failure, Conclusion::Success) => "failed, which is allowed,",
            (Conclusion::Failure, _) => "failed",
            (Conclusion::Cancelled, _) => "cancelled",
        };
        let time = Duration::between(step.started_at, step.finished_at);
        let time = time.map_or_else(String::new, |time| format!(" after {time}"));
        let text = format!("step `{name}` {word}{time}{reason}");
        let text = paint(text, conclusion_style(step.outcome), self.colour);
        self.about(job, &text)
    }

    fn job_finished(&mut self, job: &JobName, record: &JobRecord) -> io::Result<()> {
        let word = match (record.outcome, record.conclusion) {
            (Conclusion::Failure, Conclusion::Success) => "failure, which is allowed,".to_owned(),
            (_, conclusion) => conclusion.to_string(),
        };
        let time = Duration::between(record.started_at, record.finished_at);
        let time = match record.conclusion {
            _ if record.reused_from.is_some() => String::new(),
            Conclusion::Skipped => String::new(),
            _ => time.map_or_else(String::new, |time| format!(" after {time}")),
        };
        let reason = record
            .reason
            .as_deref()
            .map_or_else(String::new, |reason| format!(": {}", clean(reason, false)));
        // A runner that did not start its steps has reported this itself.
        let told = self.told.remove(&(job.clone(), None));
        let is_told =
            |told: ToldOutcome| (told.outcome, told.code) == (record.outcome, record.reason_code);
        if told.is_some_and(is_told) {
            return Ok(());
        }
        let word = paint(word, conclusion_style(record.conclusion), self.colour);
        let reused = record
            .reused_from
            .as_ref()
            .map_or_else(String::new, |run| format!(", reused from {run}"));
        self.about(job, &format!("{word}{reused}{time}{reason}"))
    }
}

/// Returns the reason for the end of a step as `: …`, or an empty text without a reason.
fn step_reason(step: &StepRecord) -> String {
    match (&step.reason, step.exit_code) {
        (Some(reason), _) => format!(": {}", clean(reason, false)),
        (None, Some(code)) if code != 0 => format!(": exit status {code}"),
        (None, _) => String::new(),
    }
}

/// Returns a colour for a job, always the same for the same name.
fn job_colour(job: &JobName) -> owo_colors::AnsiColors {
    use owo_colors::AnsiColors::{Blue, BrightBlue, BrightCyan, BrightMagenta, Cyan, Magenta};
    let hash = job.as_str().bytes().fold(0u32, |hash, byte| {
        hash.wrapping_mul(31).wrapping_add(byte.into())
    });
    [Cyan, Magenta, Blue, BrightCyan, BrightMagenta, BrightBlue][hash as usize % 6]
}

impl<W: Write> Renderer for Text<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        match &event.event {
            EventKind::RunnerStarted { .. } | EventKind::RunnerEnded { .. } => Ok(()),
            EventKind::RunCreated { run, jobs, .. } => {
                self.run = run.to_string();
                writeln!(self.out, "{run}: {}", plural(*jobs, "job"))
            }
            EventKind::SupervisorStarted { .. } => {
                self.supervisors += 1;
                if self.supervisors > 1 {
                    writeln!(
                        self.out,
                        "{}: the supervisor was restarted; the jobs go on",
                        self.run
                    )?;
                }
                Ok(())
            }
            EventKind::JobsSubmitted { jobs, .. } => {
                let longest = jobs.iter().map(|job| job.as_str().len()).max().unwrap_or(0);
                self.width = self.width.max(longest.min(WIDTH_MAX));
                Ok(())
            }
            EventKind::JobWaiting { job } => self.about(job, &self.dim(WAITS)),
            EventKind::JobStarted { job } => self.about(job, &self.dim("started")),
            EventKind::JobRetried { job, attempt } => {
                self.about(job, &self.dim(&format!("attempt {attempt}")))
            }
            EventKind::StepStarted {
                job, name, attempt, ..
            } => {
                let again = if *attempt > 1 {
                    format!(", attempt {attempt}")
                } else {
                    String::new()
                };
                self.about(
                    job,
                    &self.dim(&format!("step `{}`{again}", clean(name, false))),
                )
            }
            EventKind::StepFinished { job, step, .. } => self.step_finished(job, step),
            EventKind::ServiceReady { job, service } => {
                let text = format!("service `{}` is ready", clean(service, false));
                self.about(job, &self.dim(&text))
            }
            // The runner's line has been shown.
            EventKind::Annotation { .. }
            | EventKind::JobPlaced { .. }
            | EventKind::JobHeld { .. }
            | EventKind::ServiceEnded { .. } => Ok(()),
            EventKind::JobFinished { job, record } => self.job_finished(job, record),
            EventKind::CancelRequested { by, kill } => {
                let doing = if *kill {
                    "killing all jobs"
                } else {
                    "cancelling"
                };
                let text = format!("{}: {doing}, asked for by {}", self.run, clean(by, false));
                writeln!(
                    self.out,
                    "{}",
                    paint(text, Style::new().yellow(), self.colour)
                )
            }
            EventKind::GroupWaiting { group, held_by } => {
                let text = waiting(&Waiting {
                    group: group.clone(),
                    held_by: held_by.clone(),
                });
                writeln!(self.out, "{}: {}", self.run, self.dim(&text))
            }
            EventKind::GroupEntered { .. } => Ok(()),
            EventKind::MatrixCancelled { group, job } => {
                let text = format!(
                    "{}: cancelling matrix {}, as its job {job} failed",
                    self.run,
                    clean(group, false)
                );
                writeln!(
                    self.out,
                    "{}",
                    paint(text, Style::new().yellow(), self.colour)
                )
            }
            EventKind::Warning { message } => {
                let word = paint("warning:", Style::new().yellow().bold(), self.colour);
                writeln!(self.out, "{word} {}", clean(message, false))
            }
            EventKind::RunFinished { .. } => Ok(()),
        }
    }

    fn line(&mut self, line: &LogLine) -> io::Result<()> {
        let said = matches!(line.stream, Stream::Stdout | Stream::Stderr);
        let prefix = self.prefix(&line.job, if said { '|' } else { ':' });
        let mut message = self.grouped(line, clean(&line.message, self.colour));
        if let Some(service) = &line.service {
            message = Cow::Owned(format!("{}: {message}", clean(service, false)));
        }
        if line.mark == Some(Mark::EndGroup) {
            return Ok(());
        }
        if let Some(outcome) = line.outcome {
            self.told
                .insert((line.job.clone(), line.step.clone()), outcome);
        }
        let style = match (line.priority, line.stream) {
            (0..=3, _) => Some(Style::new().red()),
            (4, Stream::Runner | Stream::Manager) => Some(Style::new().yellow()),
            _ => None,
        };
        match style {
            _ if message.is_empty() => writeln!(self.out, "{prefix}"),
            Some(style) => writeln!(self.out, "{prefix} {}", paint(message, style, self.colour)),
            None => writeln!(self.out, "{prefix} {message}"),
        }
    }

    fn tick(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn finish(&mut self, record: Option<&RunRecord>) -> io::Result<()> {
        if let Some(record) = record {
            writeln!(self.out)?;
            let table = jobs_table(&record.jobs, false);
            if !table.is_empty() {
                table.write(&mut self.out, self.colour)?;
                writeln!(self.out)?;
            }
            writeln!(self.out, "{}", verdict(record, self.colour))?;
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_step_called_step_1_is_shown() {
        let mut text = Text::new(Vec::new(), false);
        let event = EventKind::StepStarted {
            job: "j".parse().unwrap(),
            index: 0,
            name: "step 1".into(),
            attempt: 1,
        };
        let at = Timestamp::UNIX_EPOCH;
        text.event(&Event { at, event }).unwrap();
        assert_eq!(text.out, b"j : step `step 1`\n");
    }
}
