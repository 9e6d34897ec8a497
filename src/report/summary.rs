//! Shows the state or end of a run: a table of its jobs, their steps, and a verdict of one line.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use owo_colors::Style;

use super::{
    format::{Bytes, Duration, Table, conclusion_style, paint},
    sanitize::clean,
};
use crate::{
    ids::JobName,
    record::{Conclusion, JobRecord, RunRecord, StepRecord},
};

/// The most jobs for a table that also shows jobs with plain success.
const ALL_JOBS_MAX: usize = 40;

fn conclusion_cell(outcome: Conclusion, conclusion: Conclusion) -> (String, Option<Style>) {
    if outcome == Conclusion::Failure && conclusion == Conclusion::Success {
        return ("success (failed)".to_owned(), Some(Style::new().yellow()));
    }
    (conclusion.to_string(), Some(conclusion_style(conclusion)))
}

/// Returns the table of jobs. If there are many jobs, the table leaves out those with plain
/// success, unless `all` is set.
pub fn jobs_table(jobs: &BTreeMap<JobName, JobRecord>, all: bool) -> Table {
    let mut table = Table::new(&["JOB", "CONCLUSION", "DURATION", "CPU", "MEMORY", "REASON"]);
    let all = all || jobs.len() <= ALL_JOBS_MAX;
    let mut rows: Vec<_> = jobs
        .iter()
        .filter(|(_, job)| {
            all || job.outcome != Conclusion::Success || job.conclusion != Conclusion::Success
        })
        .collect();
    // Sort by the start. Jobs that never started come last.
    rows.sort_by_key(|(_, job)| (job.started_at.is_none(), job.started_at));
    for (name, job) in rows {
        let or_dash = |text: Option<String>| (text.unwrap_or_else(|| "-".to_owned()), None);
        table.row(vec![
            (name.to_string(), None),
            conclusion_cell(job.outcome, job.conclusion),
            or_dash(
                Duration::between(job.started_at, job.finished_at).map(|time| time.to_string()),
            ),
            or_dash(
                job.usage
                    .cpu_seconds
                    .map(|seconds| Duration(seconds).to_string()),
            ),
            or_dash(
                job.usage
                    .memory_peak_bytes
                    .map(|bytes| Bytes(bytes).to_string()),
            ),
            (note(job), None),
        ]);
    }
    table
}

/// Returns a note on a job: the reason of its end, and the run that it was reused from.
fn note(job: &JobRecord) -> String {
    let reason = job
        .reason
        .as_deref()
        .map(|reason| clean(reason, false).into_owned());
    let reused = job
        .reused_from
        .as_ref()
        .map(|run| format!("reused from {run}"));
    reason
        .into_iter()
        .chain(reused)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Returns the number of jobs for each conclusion, as in `2 success, 1 failure`.
pub fn tally(ended: &BTreeMap<Conclusion, usize>) -> String {
    let parts: Vec<String> = ended
        .iter()
        .map(|(conclusion, count)| format!("{count} {conclusion}"))
        .collect();
    parts.join(", ")
}

/// Writes one line for each step of a job.
///
/// # Errors
/// Fails if writing to `out` fails.
pub fn steps_lines(out: &mut dyn Write, steps: &[StepRecord], colour: bool) -> io::Result<()> {
    for step in steps {
        let (word, style) = conclusion_cell(step.outcome, step.conclusion);
        let word = style.map_or_else(|| word.clone(), |style| paint(&word, style, colour));
        write!(out, "    {}: {word}", clean(&step.name, false))?;
        if let Some(time) = Duration::between(step.started_at, step.finished_at) {
            write!(out, " in {time}")?;
        }
        if step.attempts > 1 {
            write!(out, ", {} attempts", step.attempts)?;
        }
        match (&step.reason, step.exit_code) {
            (Some(reason), _) => write!(out, ": {}", clean(reason, false))?,
            (None, Some(code)) if code != 0 => write!(out, ": exit status {code}")?,
            (None, _) => {}
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Returns the verdict on the run in one line.
pub fn verdict(record: &RunRecord, colour: bool) -> String {
    let mut ended = BTreeMap::new();
    for job in record.jobs.values() {
        *ended.entry(job.conclusion).or_insert(0) += 1;
    }
    let word = match record.conclusion {
        Some(conclusion) => paint(conclusion, conclusion_style(conclusion), colour),
        None => "not finished".to_owned(),
    };
    let time = Duration::between(Some(record.started_at), record.finished_at);
    let time = time.map_or_else(String::new, |time| format!(" in {time}"));
    let reason = record
        .reason
        .as_deref()
        .map_or_else(String::new, |reason| format!(": {}", clean(reason, false)));
    format!(
        "{}: {word}{time} ({}){reason}",
        record.run,
        if ended.is_empty() {
            "no jobs".to_owned()
        } else {
            tally(&ended)
        }
    )
}
