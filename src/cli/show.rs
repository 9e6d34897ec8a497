//! `nixactions show`: shows a run's record, or its state so far, from its directory alone.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use owo_colors::Style;

use super::{
    CliError, Exit,
    args::ShowArgs,
    block_on, digest,
    list::{local, manager_word, style},
    lost::{close_lost, liveness},
    output::colour,
    summary,
};
use crate::{
    error::escaped_json,
    record::{AnnotationLevel, RunRecord},
    report::{Duration, clean, jobs_table, paint, plural, steps_lines, verdict, waiting},
    store::{
        RunDir, StateDir, read_document,
        view::{Progress, State},
    },
    supervisor::Jobs,
    unit::RunSpec,
};

pub(super) fn main(args: &ShowArgs, state: &StateDir) -> Result<Exit, CliError> {
    let run = state.run(&args.run)?;
    // If the record cannot be written, the run stays lost.
    block_on(async {
        close_lost(&run, Jobs::GoOn).await;
        Ok(())
    })?;
    let record = run.load_record()?;
    let mut out = io::BufWriter::new(io::stdout());
    if args.json {
        let json = serde_json::to_string_pretty(&record).map_err(io::Error::from);
        json.and_then(|json| writeln!(out, "{}", escaped_json(&json)))
            .and_then(|()| out.flush())
            .map_err(CliError::Output)?;
        return Ok(Exit::Success);
    }
    if args.digest {
        digest::write(&mut out, state, &record)
            .and_then(|()| out.flush())
            .map_err(CliError::Output)?;
        return Ok(Exit::Success);
    }
    if args.summary {
        summary::write(&mut out, &run, &record)
            .and_then(|()| out.flush())
            .map_err(CliError::Output)?;
        return Ok(Exit::Success);
    }
    let progress = Progress::of(&run.load_events()?);
    show(&mut out, &run, &record, &progress, colour())
        .and_then(|()| out.flush())
        .map_err(CliError::Output)?;
    Ok(Exit::Success)
}

fn show(
    out: &mut dyn Write,
    run: &RunDir,
    record: &RunRecord,
    progress: &Progress,
    colour: bool,
) -> io::Result<()> {
    let id = run.id();
    let live = record.conclusion.is_none() || !run.record().exists();
    if live {
        live_head(out, run, progress, colour)?;
    } else {
        writeln!(out, "{}", verdict(record, colour))?;
    }
    if let Some(run) = &record.rerun_of {
        writeln!(out, "  rerun of  {run}")?;
    }
    if record.started_at != Timestamp::default() {
        writeln!(out, "  started   {}", local(record.started_at))?;
    }
    if let Some(finished) = record.finished_at {
        writeln!(out, "  finished  {}", local(finished))?;
    }
    if let Ok(spec) = read_document::<RunSpec>(&run.spec()) {
        writeln!(out, "  manager   {}", manager_word(spec.manager))?;
    }
    writeln!(out, "  directory {}", run.path().display())?;
    for warning in &progress.warnings {
        writeln!(out, "  warning   {}", clean(warning, false))?;
    }
    if !record.jobs.is_empty() {
        writeln!(out)?;
        jobs_table(&record.jobs, true).write(out, colour)?;
        failed_steps(out, record, colour)?;
        annotations(out, record, colour)?;
    }
    let artifacts: Vec<PathBuf> = record
        .jobs
        .keys()
        .flat_map(|job| saved(&run.job(job).artifacts()))
        .collect();
    if !artifacts.is_empty() {
        writeln!(out, "\nArtifacts")?;
        artifacts
            .iter()
            .try_for_each(|path| writeln!(out, "  {}", path.display()))?;
    }
    writeln!(out, "\nLogs: nixactions logs {id} [JOB]")
}

/// Returns the paths of a job's saved artifacts. Each has a manifest beside its tree (`runner`).
fn saved(artifacts: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(artifacts)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let mut saved: Vec<PathBuf> = entries
        .filter(|path| path.join("modes.json").exists())
        .map(|path| path.join("tree"))
        .collect();
    saved.sort();
    saved
}

/// Writes the steps of jobs that did not simply succeed, or of all jobs if there are few.
fn failed_steps(out: &mut dyn Write, record: &RunRecord, colour: bool) -> io::Result<()> {
    use crate::record::Conclusion::Success;
    let few = record.jobs.len() <= 10;
    let mut jobs = record
        .jobs
        .iter()
        .filter(|(_, job)| !job.steps.is_empty() && (few || job.outcome != Success))
        .peekable();
    if jobs.peek().is_some() {
        writeln!(out, "\nSteps")?;
    }
    for (name, job) in jobs {
        writeln!(out, "  {name}")?;
        steps_lines(out, &job.steps, colour)?;
    }
    Ok(())
}

/// Writes the annotations of steps.
fn annotations(out: &mut dyn Write, record: &RunRecord, colour: bool) -> io::Result<()> {
    let mut all = record
        .jobs
        .iter()
        .flat_map(|(name, job)| job.annotations.iter().map(move |one| (name, one)))
        .peekable();
    if all.peek().is_some() {
        writeln!(out, "\nAnnotations")?;
    }
    for (name, annotation) in all {
        let style = match annotation.level {
            AnnotationLevel::Error => Style::new().red(),
            AnnotationLevel::Warning => Style::new().yellow(),
            AnnotationLevel::Notice => Style::new(),
        };
        let level = paint(annotation.level.as_str(), style, colour);
        let parts = [
            annotation.place(),
            annotation.title.clone(),
            Some(annotation.message.clone()),
        ];
        // A message may have several lines.
        let text = parts
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(": ")
            .replace('\n', "\n    ");
        let text: Vec<_> = text
            .lines()
            .map(|line| clean(line, false).into_owned())
            .collect();
        writeln!(
            out,
            "  {level} {name}, {}: {}",
            clean(&annotation.step, false),
            text.join("\n")
        )?;
    }
    Ok(())
}

/// Writes the state of an unfinished run.
fn live_head(
    out: &mut dyn Write,
    run: &RunDir,
    progress: &Progress,
    colour: bool,
) -> io::Result<()> {
    let (id, state) = (run.id(), State::of(run, liveness(run), progress));
    let word = paint(state.as_str(), style(state), colour);
    let total = progress
        .total
        .map_or_else(String::new, |total| format!(" of {total}"));
    writeln!(
        out,
        "{id}: {word}, {}{total} done, {} running",
        plural(progress.done(), "job"),
        progress.running.len()
    )?;
    match state {
        State::Incomplete => writeln!(out, "  it was never started: it has no run.json")?,
        State::Waiting => progress
            .waiting
            .iter()
            .try_for_each(|group| writeln!(out, "  {}", waiting(group)))?,
        State::Lost => writeln!(
            out,
            "  its supervisor is gone and left no record; these are its finished jobs"
        )?,
        _ => {}
    }
    let now = Timestamp::now();
    for (job, running) in progress.running.iter().take(50) {
        let time = Duration::between(Some(running.since), Some(now))
            .map_or_else(String::new, |time| time.to_string());
        let step = running.step.as_ref().map_or_else(String::new, |(name, _)| {
            format!(", step {}", clean(name, false))
        });
        let step = if running.is_held {
            format!("{step} failed, held for `nixactions shell {id} {job}`")
        } else {
            step
        };
        let word = if state == State::Lost {
            "was running"
        } else {
            "running"
        };
        writeln!(out, "  {job} {word} for {time}{step}")?;
    }
    let waiting = progress.kept_waiting.iter().take(50);
    for job in waiting.filter(|_| state != State::Lost) {
        writeln!(
            out,
            "  {job} waits for a place among the jobs that run at once"
        )?;
    }
    Ok(())
}
