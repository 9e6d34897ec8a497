//! `nixactions clean`: removes finished runs, with their artifacts and, for embedded managers,
//! their journals. It may be called at any moment: it never removes a run that goes on or starts.

use std::{
    io::Write,
    thread,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Span, Zoned};

use super::{
    CliError, Exit,
    args::CleanArgs,
    block_on,
    output::say,
    run::{close_all_lost, liveness},
};
use crate::{
    embedded,
    plan::{self, Seconds},
    report::plural,
    start,
    store::{Liveness, Retention, RunDir, StateDir, StoreError, read_json},
    supervisor,
    systemd::{Manager, Scope},
    unit::{ManagerKind, RunSpec, UnitName},
};
use nixactions_core::image::Digest;

/// The time that a finished run may keep its supervisor or manager, which end soon after it.
const ENDING: Duration = Duration::from_secs(10);
/// The time between two checks for their end.
const LOOK: Duration = Duration::from_millis(10);

pub(super) fn main(args: &CleanArgs, state: &StateDir) -> Result<Exit, CliError> {
    let before = args.older_than.as_deref().map(moment).transpose()?;
    let size = args.max_size.as_deref().map(bytes).transpose()?;
    let retention = Retention {
        keep: args.keep,
        before,
        size,
        latest: args.keep_latest,
    };
    block_on(async { Ok(close_all_lost(state).await?) })?;
    let mut out = std::io::stdout().lock();
    let mut removed = 0;
    for run in state.expired(retention, liveness)? {
        let gone = if args.dry_run {
            has_ended(&run) != Some(false)
        } else {
            remove(state, &run)?
        };
        if gone {
            removed += 1;
            writeln!(out, "{}", run.id()).map_err(CliError::Output)?;
        }
    }
    if !args.dry_run {
        state.empty_trash();
        // Images are there for the runs to come, so that only those beyond their size go.
        let in_use = |digest: &Digest| start::is_in_use(state.path(), digest);
        start::images_of(state.path())?.tidy(&in_use)?;
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

/// Removes a run. Returns whether it is gone. Waits for a run that has just ended.
fn remove(state: &StateDir, run: &RunDir) -> Result<bool, StoreError> {
    let end = Instant::now() + ENDING;
    loop {
        match has_ended(run) {
            // The run's record says that it has ended. Only a run without a record needs its
            // manager's answer.
            None if !embedded::is_alive(run.path()) && state.remove(run, false)? => {
                return Ok(true);
            }
            None if run.path().exists() => {}
            Some(true) => return state.remove(run, true),
            None | Some(false) => return Ok(false),
        }
        if Instant::now() >= end {
            return Ok(false);
        }
        thread::sleep(LOOK);
    }
}

/// Returns whether a run without a record has ended, as its manager reports. Returns `None` for a
/// run that has a record or never began. If the manager does not answer, the run may still have
/// running jobs.
fn has_ended(run: &RunDir) -> Option<bool> {
    if liveness(run) != Liveness::Lost {
        return None;
    }
    let Ok(spec) = read_json::<RunSpec>(&run.spec()) else {
        return Some(false);
    };
    Some(match spec.manager {
        ManagerKind::Embedded => !embedded::is_alive(run.path()),
        kind => {
            supervisor::reaches_manager(run, kind)
                && block_on(async {
                    let manager = Manager::connect(Scope::from(kind)).await.ok();
                    let units = [
                        UnitName::supervisor(run.id()),
                        UnitName::run_slice(run.id()),
                    ];
                    for unit in &units {
                        match &manager {
                            Some(manager) if manager.is_loaded(unit).await.is_ok_and(|is| !is) => {}
                            _ => return Ok(false),
                        }
                    }
                    Ok(true)
                })
                .unwrap_or(false)
        }
    })
}

/// Parses a size such as `10G` or `512M`.
pub(super) fn bytes(text: &str) -> Result<u64, CliError> {
    plan::size(text).ok_or_else(|| CliError::BadSize {
        text: text.to_owned(),
    })
}

/// Parses a time such as `30m` or `2h`.
pub(super) fn time(text: &str) -> Result<Seconds, CliError> {
    let bad = || CliError::BadTime {
        text: text.to_owned(),
    };
    let time: SignedDuration = text.parse().map_err(|_| bad())?;
    Seconds::try_from(time.as_secs_f64())
        .ok()
        .filter(|_| time.is_positive())
        .ok_or_else(bad)
}

/// Parses an age such as `7d` or `12h`, and returns the moment that long ago.
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
    fn sizes_are_written_as_in_units() {
        for (text, size) in [("512M", 512 << 20), ("10G", 10 << 30), ("0", 0)] {
            assert_eq!(bytes(text).unwrap(), size, "{text}");
        }
        for bad in ["", "G", "-1G", "ten", "10GB/s"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_have_a_number_and_a_unit() {
        for (text, seconds) in [("30m", 1800.0), ("2h", 7200.0), ("1h 30m", 5400.0)] {
            assert_eq!(f64::from(time(text).unwrap()), seconds, "{text}");
        }
        for bad in ["", "7", "0s", "-1h", "soon"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ages_have_a_number_and_a_unit() {
        for good in ["7d", "12h", "2w", "90 min", "1d 12h", "0s"] {
            assert!(moment(good).unwrap() <= jiff::Timestamp::now(), "{good}");
        }
        for bad in ["7", "a week", "-1d", "", "99999999y"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}
