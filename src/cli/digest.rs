//! `nixactions show --digest`: a short text about a run's end, for a message to people.

use std::io::{self, Write};

use crate::{
    record::{AnnotationLevel, Conclusion, JobRecord, RunRecord},
    report::{clean, steps_lines, verdict},
    store::StateDir,
};

/// The most jobs, and the most annotations of a job. A message is short.
const JOBS_MAX: usize = 20;
const ANNOTATIONS_MAX: usize = 5;

pub(super) fn write(out: &mut dyn Write, state: &StateDir, record: &RunRecord) -> io::Result<()> {
    writeln!(out, "{}", verdict(record, false))?;
    if let Some(text) = before(state, record) {
        writeln!(out, "{text}")?;
    }
    let origin = [
        ("started by", record.actor.as_deref()),
        ("repository", record.repository.as_deref()),
        ("ref", record.git_ref.as_deref()),
        ("commit", record.commit.as_deref()),
    ];
    for (name, value) in origin {
        if let Some(value) = value {
            writeln!(out, "{name}: {}", clean(value, false))?;
        }
    }
    let failed: Vec<_> = record
        .jobs
        .iter()
        .filter(|(_, job)| job.outcome == Conclusion::Failure)
        .collect();
    for (name, job) in failed.iter().take(JOBS_MAX) {
        write!(out, "\njob {name}: failure")?;
        match &job.reason {
            Some(reason) => writeln!(out, ": {}", clean(reason, false))?,
            None => writeln!(out)?,
        }
        of_job(out, job)?;
    }
    if failed.len() > JOBS_MAX {
        writeln!(out, "\nand {} more", failed.len() - JOBS_MAX)?;
    }
    if !failed.is_empty() {
        writeln!(out, "\nOutput: nixactions logs {}", record.run)?;
    }
    Ok(())
}

/// Returns a sentence about the run before this one.
fn before(state: &StateDir, record: &RunRecord) -> Option<String> {
    let (run, conclusion) = state.before(&record.run)?;
    let text = match (record.conclusion?, conclusion) {
        (Conclusion::Failure, Conclusion::Success) => "the run before it succeeded",
        (Conclusion::Failure, Conclusion::Failure) => "the run before it failed, too",
        (Conclusion::Success, Conclusion::Failure) => "recovery: the run before it failed",
        _ => return None,
    };
    Some(format!("{text}: {run}"))
}

fn of_job(out: &mut dyn Write, job: &JobRecord) -> io::Result<()> {
    let failed: Vec<_> = job
        .steps
        .iter()
        .filter(|step| step.outcome == Conclusion::Failure)
        .cloned()
        .collect();
    steps_lines(out, &failed, false)?;
    let errors = job
        .annotations
        .iter()
        .filter(|annotation| annotation.level == AnnotationLevel::Error);
    for annotation in errors.take(ANNOTATIONS_MAX) {
        let place = annotation.place().map(|place| place + ": ");
        let line = annotation.message.lines().next().unwrap_or_default();
        let text = format!("{}{line}", place.unwrap_or_default());
        writeln!(out, "    {}", clean(&text, false))?;
    }
    Ok(())
}
