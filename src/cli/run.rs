//! `nixactions run`: starts a run and follows it to its end.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use nix::sys::signal::Signal;

use super::{
    CliError, Exit, FollowOptions, Interrupt,
    args::{ManagerArg, OutputArgs, RunArgs},
    block_on, follow,
    follow::Shown,
    notify,
    output::renderer,
    start::{Choice, Request, Started, start},
};
use crate::{
    embedded,
    error::escaped,
    store::{Liveness, RunDir, StateDir, read_json},
    unit::{ManagerKind, RunSpec},
};

pub(super) fn main(args: &RunArgs, state: &Path) -> Result<Exit, CliError> {
    block_on(async {
        let (plan, building) = args.target.built(state).await?;
        let request = Request {
            plan: &plan,
            state_dir: state,
            manager: choice(args.manager),
            env: &args.env,
            env_files: &args.env_file,
            secret_env_files: &args.secret_env_file,
            inputs: &args.input,
            source: args.source.as_deref(),
        };
        let started = while_signals_end(start(&request)).await??;
        drop(building);
        show(started, state, args.detach, args.output).await
    })
}

/// Waits for a start, which a signal ends together with this program, as signals do until somebody
/// listens to them; those who ran Nix did.
pub(super) async fn while_signals_end<T>(start: impl Future<Output = T>) -> Result<T, CliError> {
    let ends = Arc::new(AtomicBool::new(true));
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        signal_hook::flag::register_conditional_default(signal as i32, Arc::clone(&ends))
            .map_err(CliError::Runtime)?;
    }
    let result = start.await;
    ends.store(false, Ordering::SeqCst);
    Ok(result)
}

/// Returns the manager that was asked for.
pub(super) fn choice(manager: ManagerArg) -> Choice {
    match manager {
        ManagerArg::Auto => Choice::Auto,
        ManagerArg::System => Choice::Only(ManagerKind::System),
        ManagerArg::User => Choice::Only(ManagerKind::User),
        ManagerArg::Embedded => Choice::Only(ManagerKind::Embedded),
    }
}

/// Shows a run that has just been started, to its end unless it is to be left alone.
pub(super) async fn show(
    started: Started,
    state: &Path,
    detach: bool,
    output: OutputArgs,
) -> Result<Exit, CliError> {
    let run = started.run;
    // Nothing waits for this, and what cannot be closed is shown as lost.
    let _ = StateDir::open(state).and_then(|state| state.close_lost());
    for note in &started.notes {
        eprintln!("{}: {}", run.id(), escaped(note));
    }
    notify::started(&run);
    if detach {
        println!("{}", run.id());
        return Ok(Exit::Success);
    }
    let options = FollowOptions {
        renderer: renderer(output.output, run.id(), true),
        interrupt: Interrupt::Cancel,
        shown: Shown::Everything,
        fresh: true,
    };
    let exit = to_the_end(&run, options).await;
    notify::ended(&run);
    exit
}

/// Returns what is known of a run: what its directory tells, and, where it has a manager of its
/// own, whether that has ended.
pub(super) fn liveness(run: &RunDir) -> Liveness {
    match run.liveness() {
        Liveness::Running if embedded::failure(run.path()).is_some() => Liveness::Lost,
        other => other,
    }
}

/// Follows a run as long as somebody looks after it.
pub(super) async fn to_the_end(run: &RunDir, options: FollowOptions) -> Result<Exit, CliError> {
    let is_embedded =
        read_json::<RunSpec>(&run.spec()).is_ok_and(|spec| spec.manager == ManagerKind::Embedded);
    let alive = async || {
        matches!(liveness(run), Liveness::Running | Liveness::Finished)
            && (!is_embedded || embedded::is_alive(run.path()))
    };
    match follow(run, options, alive).await {
        Err(CliError::Lost { run: id }) => Err(match embedded::failure(run.path()) {
            Some(source) if is_embedded => CliError::ManagerGone { run: id, source },
            _ => CliError::Lost { run: id },
        }),
        other => other,
    }
}
