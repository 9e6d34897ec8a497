//! `nixactions clean`: removes finished runs, with their artifacts and, where they keep one
//! themselves, their journals.

use std::io::Write;

use jiff::{Span, Zoned};

use super::{CliError, Exit, args::CleanArgs, output::say};
use crate::{
    embedded,
    report::plural,
    store::{Retention, StateDir},
};

pub(super) fn main(args: &CleanArgs, state: &StateDir) -> Result<Exit, CliError> {
    let before = args.older_than.as_deref().map(moment).transpose()?;
    let mut out = std::io::stdout().lock();
    let mut removed = 0;
    for run in state.expired(Retention {
        keep: args.keep,
        before,
    })? {
        // Its manager may still be putting its journal in order.
        if embedded::is_alive(run.path()) {
            continue;
        }
        if args.dry_run || state.remove(&run)? {
            removed += 1;
            writeln!(out, "{}", run.id()).map_err(CliError::Output)?;
        }
    }
    if !args.dry_run {
        state.empty_trash();
    }
    let kept = plural(
        state.runs()?.len() - if args.dry_run { removed } else { 0 },
        "run",
    );
    let done = if args.dry_run {
        "would remove"
    } else {
        "removed"
    };
    say(&format!("{done} {}, {kept} left", plural(removed, "run")));
    Ok(Exit::Success)
}

/// Returns the moment that lies so far back, as `7d` or `12h` say it.
fn moment(text: &str) -> Result<jiff::Timestamp, CliError> {
    let bad = || CliError::BadAge {
        text: text.to_owned(),
    };
    let span: Span = text.parse().map_err(|_| bad())?;
    if span.is_negative() {
        return Err(bad());
    }
    Ok(Zoned::now()
        .checked_sub(span)
        .map_err(|_| bad())?
        .timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_written_as_people_do() {
        for good in ["7d", "12h", "2w", "90 min", "1d 12h", "0s"] {
            assert!(moment(good).unwrap() <= jiff::Timestamp::now(), "{good}");
        }
        for bad in ["7", "a week", "-1d", "", "99999999y"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}
