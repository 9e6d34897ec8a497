//! `nixactions list`: lists the runs of a state directory, from their directories alone.

use std::io::Write;

use jiff::{Timestamp, tz::TimeZone};
use owo_colors::Style;
use serde::Serialize;

use super::{
    CliError, Exit,
    args::ListArgs,
    block_on,
    output::colour,
    run::{close_all_lost, liveness},
};
use crate::{
    error::escaped_json,
    ids::{RunId, WorkflowName},
    record::{Conclusion, RunRecord},
    report::{Duration, Progress, Table, conclusion_style, plural},
    store::{Liveness, RunDir, StateDir, StoreError, read_document},
    unit::{ManagerKind, RunSpec},
};

/// The state of a run, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It has ended.
    Ended(Conclusion),
    /// It goes on.
    Running,
    /// It waits for another run in its concurrency group.
    Waiting,
    /// It is being cancelled.
    Cancelling,
    /// It was never started.
    Incomplete,
    /// Its supervisor is gone and left no record.
    Lost,
    /// Its directory cannot be read.
    Unreadable,
}

impl State {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ended(conclusion) => conclusion.as_str(),
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Cancelling => "cancelling",
            Self::Incomplete => "incomplete",
            Self::Lost => "lost",
            Self::Unreadable => "unreadable",
        }
    }

    pub(super) fn style(self) -> Style {
        match self {
            Self::Ended(conclusion) => conclusion_style(conclusion),
            Self::Running => Style::new().cyan(),
            Self::Waiting => Style::new().dimmed(),
            Self::Cancelling => Style::new().yellow(),
            Self::Incomplete | Self::Lost | Self::Unreadable => Style::new().red(),
        }
    }
}

/// A row of the list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    run: RunId,
    workflow: Option<WorkflowName>,
    #[serde(serialize_with = "state_word")]
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<Timestamp>,
    jobs_done: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    jobs_total: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manager: Option<ManagerKind>,
    /// The run that this one waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_for: Option<RunId>,
}

fn state_word<S: serde::Serializer>(state: &State, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(state.word())
}

pub(super) fn main(args: &ListArgs, state: &StateDir) -> Result<Exit, CliError> {
    block_on(async { Ok(close_all_lost(state).await?) })?;
    let mut rows = Vec::new();
    for id in state.runs()? {
        match state.run(id.as_str()) {
            Ok(run) => rows.push(row(&run)),
            // The run was removed in the meantime.
            Err(StoreError::NoRun { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    rows.sort_by_key(|row| std::cmp::Reverse(row.started_at));
    let mut out = std::io::BufWriter::new(std::io::stdout());
    let write = if args.json {
        json(&mut out, &rows)
    } else {
        table(&mut out, &rows, state)
    };
    write.and_then(|()| out.flush()).map_err(CliError::Output)?;
    Ok(Exit::Success)
}

fn json(out: &mut dyn Write, rows: &[Row]) -> std::io::Result<()> {
    let json = serde_json::to_string_pretty(rows)?;
    writeln!(out, "{}", escaped_json(&json))
}

fn table(out: &mut dyn Write, rows: &[Row], state: &StateDir) -> std::io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "no runs in `{}`", state.path().display());
    }
    let mut table = Table::new(&["RUN", "STATE", "STARTED", "DURATION", "JOBS", "MANAGER"]);
    let now = Timestamp::now();
    for row in rows {
        let dash = || "-".to_owned();
        let end = row.finished_at.or_else(|| {
            matches!(
                row.state,
                State::Running | State::Waiting | State::Cancelling
            )
            .then_some(now)
        });
        table.row(vec![
            (row.run.to_string(), None),
            (
                row.waits_for
                    .as_ref()
                    .map_or(row.state.word().to_owned(), |run| {
                        format!("waiting for {run}")
                    }),
                Some(row.state.style()),
            ),
            (row.started_at.map_or_else(dash, local), None),
            (
                Duration::between(row.started_at, end).map_or_else(dash, |time| time.to_string()),
                None,
            ),
            (
                row.jobs_total.map_or_else(
                    || plural(row.jobs_done, "job"),
                    |total| format!("{}/{total}", row.jobs_done),
                ),
                None,
            ),
            (row.manager.map_or("-", manager_word).to_owned(), None),
        ]);
    }
    table.write(out, colour())
}

fn row(run: &RunDir) -> Row {
    let spec: Option<RunSpec> = read_document(&run.spec()).ok();
    let known = known(run);
    let waits_for = known
        .as_ref()
        .ok()
        .and_then(|(_, _, progress)| progress.waiting.as_ref()?.held_by.clone());
    let started = spec.as_ref().map(|spec| spec.created_at);
    let (workflow, manager) = spec.map_or((None, None), |spec| {
        (Some(spec.workflow), Some(spec.manager))
    });
    match known {
        Ok((state, record, progress)) => Row {
            run: run.id().clone(),
            workflow: Some(record.workflow),
            state,
            started_at: started
                .or(Some(record.started_at))
                .filter(|time| *time != Timestamp::default()),
            finished_at: record.finished_at,
            jobs_done: record.jobs.len(),
            jobs_total: progress.total,
            manager,
            waits_for,
        },
        Err(_) => Row {
            run: run.id().clone(),
            workflow,
            state: State::Unreadable,
            started_at: started,
            finished_at: None,
            jobs_done: 0,
            jobs_total: None,
            manager,
            waits_for,
        },
    }
}

/// Returns a run's state, its record so far, and its progress.
fn known(run: &RunDir) -> Result<(State, RunRecord, Progress), StoreError> {
    let record = run.load_record()?;
    if let Some(conclusion) = record.conclusion
        && run.record().exists()
    {
        let mut progress = Progress::default();
        progress.total = Some(record.jobs.len());
        return Ok((State::Ended(conclusion), record, progress));
    }
    let progress = Progress::of(&run.load_events()?);
    Ok((state_of(run, &progress), record, progress))
}

/// Returns the state of a run without a final record.
pub(super) fn state_of(run: &RunDir, progress: &Progress) -> State {
    match liveness(run) {
        Liveness::Incomplete => State::Incomplete,
        Liveness::Lost => State::Lost,
        Liveness::Running | Liveness::Finished
            if progress.cancelled.is_some() || run.cancel_requested(false).is_some() =>
        {
            State::Cancelling
        }
        Liveness::Running | Liveness::Finished if progress.waiting.is_some() => State::Waiting,
        Liveness::Running | Liveness::Finished => State::Running,
    }
}

pub(super) fn manager_word(manager: ManagerKind) -> &'static str {
    match manager {
        ManagerKind::System => "system",
        ManagerKind::User => "user",
        ManagerKind::Embedded => "embedded",
    }
}

/// Returns a time in the local time zone.
pub(super) fn local(time: Timestamp) -> String {
    time.to_zoned(TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S")
        .to_string()
}
