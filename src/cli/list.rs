//! `nixactions list`: lists the runs of a state directory, from their directories alone.

use std::io::Write;

use jiff::{Timestamp, tz::TimeZone};
use owo_colors::Style;

use super::{
    CliError, Exit,
    args::ListArgs,
    block_on,
    lost::{close_all_lost, liveness},
    output::colour,
};
use crate::{
    error::escaped_json,
    report::{Duration, Table, conclusion_style, plural},
    store::{
        StateDir, StoreError,
        view::{Overview, State},
    },
    unit::ManagerKind,
};

/// Returns the style of a state's word.
pub(super) fn style(state: State) -> Style {
    match state {
        State::Ended(conclusion) => conclusion_style(conclusion),
        State::Running => Style::new().cyan(),
        State::Waiting => Style::new().dimmed(),
        State::Cancelling => Style::new().yellow(),
        State::Incomplete | State::Lost | State::Unreadable => Style::new().red(),
    }
}

pub(super) fn main(args: &ListArgs, state: &StateDir) -> Result<Exit, CliError> {
    block_on(async { Ok(close_all_lost(state).await?) })?;
    let mut rows = Vec::new();
    for id in state.runs()? {
        match state.run(id.as_str()) {
            Ok(run) => rows.push(Overview::of(&run, liveness)),
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

fn json(out: &mut dyn Write, rows: &[Overview]) -> std::io::Result<()> {
    let json = serde_json::to_string_pretty(rows)?;
    writeln!(out, "{}", escaped_json(&json))
}

fn table(out: &mut dyn Write, rows: &[Overview], state: &StateDir) -> std::io::Result<()> {
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
                    .map_or(row.state.as_str().to_owned(), |run| {
                        format!("waiting for {run}")
                    }),
                Some(style(row.state)),
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
