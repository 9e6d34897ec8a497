//! `nixactions logs`: shows the output of a run's jobs.

use super::{
    CliError, Exit, args::LogsArgs, block_on, error::tell_follow, notify, output::renderer,
};
use crate::{
    follow::{FollowOptions, Interrupt, Lines, Shown, follow},
    ids::JobName,
    plan::nearest,
    store::{JournalQuery, Liveness, Mode, RunDir, StateDir},
};

pub(super) fn main(args: &LogsArgs, state: &StateDir) -> Result<Exit, CliError> {
    let run = state.run(&args.run)?;
    let job = args
        .job
        .as_deref()
        .map(|job| known_job(&run, job))
        .transpose()?;
    let liveness = super::lost::liveness(&run);
    if args.follow && liveness == Liveness::Running {
        let renderer = renderer(args.output.output, run.id(), false);
        let options = FollowOptions {
            renderer,
            interrupt: Interrupt::Detach,
            interrupts: None,
            shown: Shown::Lines(job),
            fresh: false,
            is_service: notify::is_service(),
            tell: tell_follow,
        };
        let alive = async || {
            matches!(
                super::lost::liveness(&run),
                Liveness::Running | Liveness::Finished
            )
        };
        return block_on(async { Ok(follow(&run, options, alive).await?.into()) });
    }
    let shown = block_on(show(args, &run, job.as_ref()))?;
    if shown == 0 && liveness == Liveness::Incomplete {
        return Err(CliError::NeverStarted {
            run: args.run.clone(),
        });
    }
    Ok(Exit::Success)
}

/// Shows the existing lines. Returns their number.
async fn show(args: &LogsArgs, run: &RunDir, job: Option<&JobName>) -> Result<usize, CliError> {
    let record = run.load_record()?;
    if record.finished_at.is_some()
        && record
            .jobs
            .values()
            .all(|job| job.log_lines == 0 && job.started_at.is_none())
    {
        // No job ever ran, and there may be no journal.
        return Ok(0);
    }
    let query = JournalQuery::of(run, job).until(record.finished_at);
    let mut lines = Lines::start(
        &query,
        Mode {
            follow: false,
            after: None,
        },
    )?;
    let mut renderer = renderer(args.output.output, run.id(), false);
    let (mut entries, mut shown) = (Vec::new(), 0);
    loop {
        let more = lines.batch(&mut entries).await?;
        for line in entries.drain(..).flat_map(|entry| entry.lines) {
            renderer.line(&line).map_err(CliError::Output)?;
            shown += 1;
        }
        if !more {
            renderer.finish(None).map_err(CliError::Output)?;
            return Ok(shown);
        }
    }
}

/// Returns the named job, or an error with the nearest name.
pub(super) fn known_job(run: &RunDir, text: &str) -> Result<JobName, CliError> {
    let known = run.job_names()?;
    if let Some(job) = known.iter().find(|job| job.as_str() == text) {
        return Ok(job.clone());
    }
    let hint = match nearest(text, known.iter().map(JobName::as_str)) {
        Some(nearest) => Some(format!("did you mean `{nearest}`?")),
        None if known.is_empty() => None,
        None => {
            let names: Vec<&str> = known.iter().take(10).map(JobName::as_str).collect();
            Some(format!(
                "known: {}{}",
                names.join(", "),
                if known.len() > 10 { ", …" } else { "" }
            ))
        }
    };
    Err(CliError::NoJob {
        run: run.id().to_string(),
        job: text.to_owned(),
        hint,
    })
}
