//! `nixactions clean`: removes finished runs, with their artifacts and, for embedded managers,
//! their journals. It may be called at any moment: it never removes a run that goes on or starts.

use std::{
    io::Write,
    thread,
    time::{Duration, Instant},
};

use super::{
    CliError, Exit,
    amounts::{bytes, moment},
    args::CleanArgs,
    block_on,
    lost::{close_all_lost, liveness},
    output::say,
};
use crate::{
    embedded,
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
