//! `nixactions run`: starts a run and follows it to its end.

use std::{
    io::{self, Write},
    path::Path,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use tokio::time::sleep;

use super::{
    CliError, Exit,
    amounts::{bytes, time},
    args::{ManagerArg, OutputArgs, RunArgs, TriggerArg},
    block_on,
    error::tell_follow,
    lost::{close_all_lost, close_lost, liveness},
    notify,
    output::{renderer, say},
    reserve,
};
use crate::{
    embedded,
    error::escaped,
    event::{Event, EventKind},
    follow::{FollowError, FollowOptions, Interrupt, Shown, follow},
    interrupts::{Interrupted, Interrupts, Mark},
    origin::Trigger,
    start::{Choice, Request, StartError, Started, start},
    store::{Liveness, RunDir, StateDir, read_document},
    supervisor::Jobs,
    unit::{ManagerKind, RunSpec},
};

/// The longest wait for the supervisor or manager of a finished run to end, and the time between
/// two checks.
const ENDING: Duration = Duration::from_secs(5);
const ENDING_POLL: Duration = Duration::from_millis(1);
/// The longest wait for the run's place in its concurrency group, and the time between two checks.
const ENTERING: Duration = Duration::from_secs(30);
const ENTERING_POLL: Duration = Duration::from_millis(5);

pub(super) fn main(args: &RunArgs, state: &Path) -> Result<Exit, CliError> {
    // The variable of NixActions' bash compiler.
    if std::env::var_os("NIXACTIONS_KEEP_WORKSPACE").is_some() {
        say(
            "warning: NIXACTIONS_KEEP_WORKSPACE has no effect: the workspace of a failed job is \
             always kept, and that of another is not",
        );
    }
    let bounds = reserve::Bounds {
        disk: args.disk_reserve.as_deref().map(bytes).transpose()?,
        pressure: args.memory_pressure_limit,
    };
    let keep_failed = args.keep_failed.as_deref().map(time).transpose()?;
    block_on(async {
        let mut interrupts = Interrupts::catch().map_err(CliError::Runtime)?;
        let wait = interrupts.unless(reserve::wait(state, bounds)).await;
        if let Err(interrupted) = wait {
            let refused = Err(interrupted.into());
            return show(refused, interrupts, state, args.detach, args.output).await;
        }
        let (plan, build_place) = args.target.built(state).await?;
        let request = Request {
            plan: &plan,
            state_dir: state,
            manager: choice(args.manager),
            env: &args.env,
            env_files: &args.env_file,
            secret_env_files: &args.secret_env_file,
            inputs: &args.input,
            source: args.source.as_deref(),
            notify: &args.notify,
            keep_failed,
            delays_shutdown: args.delay_shutdown,
            trigger: trigger(args.trigger),
            images: args.images.as_deref(),
            actor: args.actor.as_deref(),
        };
        let started = start(&request, &mut interrupts).await;
        drop(build_place);
        show(started, interrupts, state, args.detach, args.output).await
    })
}

/// The variable of a service that a timer started (systemd.exec(5)).
const TIMER: &str = "TRIGGER_TIMER_REALTIME_USEC";

/// Returns the cause of the run.
fn trigger(named: Option<TriggerArg>) -> Trigger {
    match named {
        Some(TriggerArg::Manual) => Trigger::Manual,
        Some(TriggerArg::Schedule) => Trigger::Schedule,
        Some(TriggerArg::Push) => Trigger::Push,
        Some(TriggerArg::PullRequest) => Trigger::PullRequest,
        Some(TriggerArg::Tag) => Trigger::Tag,
        None if std::env::var_os(TIMER).is_some() => Trigger::Schedule,
        None => Trigger::Manual,
    }
}

/// Returns the requested manager.
pub(super) fn choice(manager: ManagerArg) -> Choice {
    match manager {
        ManagerArg::Auto => Choice::Auto,
        ManagerArg::System => Choice::Only(ManagerKind::System),
        ManagerArg::User => Choice::Only(ManagerKind::User),
        ManagerArg::Embedded => Choice::Only(ManagerKind::Embedded),
    }
}

/// Waits until a run has its place in its concurrency group: a run that is started later is newer,
/// and must not overtake this one. A signal ends the wait.
async fn take_place(run: &RunDir, mark: &Mark) {
    let end = Instant::now() + ENTERING;
    let has_place = |event: &Event| {
        let kind = &event.event;
        matches!(
            kind,
            EventKind::GroupWaiting { .. } | EventKind::GroupEntered { .. }
        )
    };
    while !run.record().exists()
        && !run
            .load_events()
            .is_ok_and(|events| events.iter().any(has_place))
        && mark.check().is_ok()
        && Instant::now() < end
    {
        sleep(ENTERING_POLL).await;
    }
}

/// Follows a run that was just started to its end, unless the run is detached. Signals since the
/// start count.
pub(super) async fn show(
    started: Result<Started, StartError>,
    interrupts: Interrupts,
    state: &Path,
    detach: bool,
    output: OutputArgs,
) -> Result<Exit, CliError> {
    let started = started.inspect_err(|error| {
        if let StartError::Interrupted(Interrupted(signal)) = error {
            end_by(*signal);
        }
    })?;
    let (run, _lock) = (started.run, started.lock);
    interrupts.started();
    // Failures do not matter here: a run that cannot be closed is shown as lost.
    if let Ok(state) = StateDir::open(state) {
        let _ = close_all_lost(&state).await;
    }
    for note in &started.notes {
        say(&format!("{}: {}", run.id(), escaped(note)));
    }
    notify::started(&run);
    if detach {
        if started.has_group {
            take_place(&run, interrupts.mark()).await;
        }
        if let Err(Interrupted(signal)) = interrupts.mark().check() {
            run.request_cancel(signal.as_str(), false)?;
            say(&format!("{}: cancelling", run.id()));
            return Ok(Exit::Cancelled);
        }
        writeln!(io::stdout(), "{}", run.id()).map_err(CliError::Output)?;
        return Ok(Exit::Success);
    }
    let options = FollowOptions {
        renderer: renderer(output.output, run.id(), true),
        interrupt: Interrupt::Cancel,
        interrupts: Some(interrupts),
        shown: Shown::Everything,
        fresh: true,
        is_service: notify::is_service(),
        tell: tell_follow,
    };
    let exit = to_the_end(&run, options).await;
    if run.record().exists() {
        manager_ended(&run).await;
    }
    notify::ended(&run);
    exit
}

/// Ends this program like an unhandled signal does. Ctrl-C, and the stop of a service, have exit
/// statuses of their own instead.
fn end_by(signal: Signal) {
    if signal == Signal::SIGINT || signal == Signal::SIGTERM && notify::is_service() {
        return;
    }
    say(&Interrupted(signal).to_string());
    // If this fails, the program ends with the exit status of Ctrl-C.
    let _ = signal_hook::low_level::emulate_default_handler(signal as i32);
}

/// Follows a run while it has a supervisor.
pub(super) async fn to_the_end(run: &RunDir, options: FollowOptions) -> Result<Exit, CliError> {
    let is_embedded = read_document::<RunSpec>(&run.spec())
        .is_ok_and(|spec| spec.manager == ManagerKind::Embedded);
    let alive = async || {
        matches!(liveness(run), Liveness::Running | Liveness::Finished)
            && (!is_embedded || embedded::is_alive(run.path()))
    };
    let followed = follow(run, options, alive).await;
    if matches!(followed, Err(FollowError::Lost { .. })) {
        close_lost(run, Jobs::GoOn).await;
    }
    match followed {
        Err(FollowError::Lost { run: id }) => Err(match embedded::failure(run.path()) {
            Some(source) if is_embedded => CliError::ManagerGone { run: id, source },
            _ => FollowError::Lost { run: id }.into(),
        }),
        other => Ok(other?.into()),
    }
}

/// Waits until the supervisor of a finished run and its private manager have ended. Then no process
/// uses the run's directory any more.
async fn manager_ended(run: &RunDir) {
    let end = Instant::now() + ENDING;
    while Instant::now() < end
        && (run.is_supervised() == Some(true) || embedded::is_alive(run.path()))
    {
        sleep(ENDING_POLL).await;
    }
}
