//! The supervisor's loop. It is the one owner of the run's state, and learns of changes from
//! systemd's signals, the run directory and the clock.

mod cancel;
mod containers;
mod expressions;
mod finish;
mod group;
mod hooks;
mod log;
mod matrix;
mod services;
mod submit;
mod take_over;
mod tell;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::{
    signal::unix::{Signal as SignalStream, SignalKind, signal},
    sync::mpsc::UnboundedReceiver,
};

use self::{
    cancel::{CANCEL_DEADLINE, Cancel},
    expressions::Known,
    matrix::CancelledGroup,
};
use super::{
    SuperviseError, notify,
    state::{self, Jobs},
    status_line::{self, StatusLine},
    submission::Users,
    watch::{Change, Expected, TellTale, Watch},
    wave::Queue,
};
use crate::{
    bounds,
    claims::{self, Claims},
    error::describe,
    event::{Event, EventKind},
    graph::{Graph, JobIx},
    ids::JobName,
    overlay,
    plan::Plan,
    reason::{Reason, ReasonCode},
    record::{Conclusion, JobRecord, RanAt, RunRecord},
    status::{self, Cancellation, Claim, Condition, Ended, Evidence, Gate, StartEnd, Verdict},
    store::{self, EventWriter, GroupLock, RunDir},
    systemd::{self, Manager, QueueResult, Removed, ServiceEnd, Told},
    unit::{self, Context, Features, Placement, RootPaths, RunSpec, UnitName},
};

/// The time between two comparisons of the supervisor's state with systemd's, in case it missed a
/// signal.
const RECONCILE_INTERVAL: Duration = Duration::from_secs(30);
/// The time for which the supervisor collects events before it handles them, while at least
/// `GATHER_FROM` jobs are unfinished. PID 1 runs these jobs by itself, and handling each event
/// alone would take time from them.
const GATHER: Duration = Duration::from_millis(10);
const GATHER_FROM: usize = 32;
/// The time limit for further attempts to write the record, and the pause between two.
const RECORD_DEADLINE: Duration = Duration::from_secs(30);
const RECORD_RETRY: Duration = Duration::from_secs(1);
/// The longest wait for the run's slice to stop at the end.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// A run under supervision.
pub struct Engine<'a> {
    run: RunDir,
    context: Context<'a>,
    manager: Manager,
    told: UnboundedReceiver<Told>,
    watch: Watch,
    writer: EventWriter,
    /// Events that are not on disk yet.
    unwritten: Vec<Event>,
    record: RunRecord,
    /// The states of the jobs.
    jobs: Jobs,
    queue: Queue,
    pure: Vec<bool>,
    cancel: Cancel,
    /// The matrix groups that are being cancelled.
    cancelled_groups: BTreeMap<String, CancelledGroup>,
    /// Why the run failed as a whole: its timeout, or an error of the supervisor.
    failure: Option<Reason>,
    /// Why PID 1 is given no more jobs.
    refused: Option<Reason>,
    deadline: Option<Instant>,
    /// The lock of the run's concurrency group.
    group: Option<GroupLock>,
    /// Why the run ends in favour of another one.
    superseded: Option<Reason>,
    /// The services that ran out of memory, by systemd's word.
    out_of_memory: BTreeSet<(JobName, String)>,
    /// The warnings that were given already.
    warned: BTreeSet<String>,
    users: Users<'a>,
    terminate: SignalStream,
    interrupt: SignalStream,
    status: StatusLine,
    unit_prefix: String,
}

impl<'a> Engine<'a> {
    /// Takes over a run: a new one, or one whose supervisor died.
    ///
    /// # Errors
    /// Fails when the run directory or systemd cannot be used.
    pub async fn new(
        run: RunDir,
        spec: &'a RunSpec,
        plan: &'a Plan,
        graph: &'a Graph,
        manager: Manager,
    ) -> Result<Self, SuperviseError> {
        let terminate = signal(SignalKind::terminate()).map_err(SuperviseError::Signals)?;
        let interrupt = signal(SignalKind::interrupt()).map_err(SuperviseError::Signals)?;
        let watch = Watch::new(&run.control())?;
        let (told, version) = tokio::try_join!(manager.signals(), manager.version())?;
        let features = Features::of_version(version);
        let past = run.load_events()?;
        let mut record = run.record_so_far()?;
        record.started_at = spec.created_at;
        let context = Context {
            plan,
            graph,
            run: spec,
            features,
        };
        let mut engine = Self {
            writer: EventWriter::open(&run.events(), 0o600)?,
            context,
            queue: Queue::of(&context),
            jobs: Jobs::new(graph),
            pure: unit::pure_success(plan, graph),
            unit_prefix: UnitName::job_prefix(&spec.run),
            unwritten: Vec::new(),
            cancel: Cancel::No,
            cancelled_groups: BTreeMap::new(),
            failure: None,
            refused: None,
            status: StatusLine::ready(),
            users: Users::new(context),
            run,
            manager,
            told,
            watch,
            record,
            deadline: None,
            group: None,
            superseded: None,
            out_of_memory: BTreeSet::new(),
            warned: BTreeSet::new(),
            terminate,
            interrupt,
        };
        engine.emit(EventKind::SupervisorStarted {
            pid: std::process::id(),
        });
        if past
            .iter()
            .all(|event| !matches!(event.event, EventKind::SupervisorStarted { .. }))
        {
            for message in unit::warnings(
                &engine.context,
                &systemd::kernel_support(spec.manager.into()),
            ) {
                engine.emit(EventKind::Warning { message });
            }
        }
        engine.take_over(&past).await?;
        Ok(engine)
    }

    /// Runs the loop until all jobs are finished, then closes the run.
    ///
    /// # Errors
    /// Fails when systemd cannot be used any more.
    pub async fn run(mut self) -> Result<(), SuperviseError> {
        let mut reconcile_at = Instant::now() + RECONCILE_INTERVAL;
        if !self.enter_group().await? {
            return self.close().await;
        }
        self.start_clock()?;
        self.control().await?;
        while !self.jobs.is_done() {
            self.settle().await?;
            self.submit().await?;
            self.flush();
            let tell_at = self.tell(false);
            if self.jobs.is_done() {
                break;
            }
            let wake = [
                Some(reconcile_at),
                self.deadline,
                self.cancel_deadline(),
                self.matrix_deadline(),
                self.reaction_deadline(),
                self.next_overdue(),
                tell_at,
            ]
            .into_iter()
            .flatten()
            .min();
            let wake = wake.unwrap_or(reconcile_at);
            if self.jobs.unfinished() >= GATHER_FROM {
                // This blocks the whole thread on purpose: events wait in their sockets and wake up
                // nothing.
                std::thread::sleep(GATHER);
            }
            tokio::select! {
                told = self.told.recv() => {
                    let Some(told) = told else { return Err(crate::systemd::SystemdError::Closed.into()) };
                    self.told(told).await?;
                    // Handles all waiting events at once, so that they are written at once.
                    while let Ok(more) = self.told.try_recv() {
                        self.told(more).await?;
                    }
                }
                change = self.watch.next() => {
                    self.changed(change).await?;
                    while let Some(more) = self.watch.next().now_or_never() {
                        self.changed(more).await?;
                    }
                }
                _ = self.terminate.recv() => self.request("SIGTERM", false).await?,
                _ = self.interrupt.recv() => self.request("SIGINT", false).await?,
                () = sleep_until(wake) => {}
            }
            let now = Instant::now();
            if self.deadline.is_some_and(|deadline| now >= deadline) {
                self.deadline = None;
                self.fail(Reason::RunTimeout).await?;
            }
            if self
                .cancel_deadline()
                .is_some_and(|deadline| now >= deadline)
            {
                self.kill().await?;
            }
            self.kill_late_matrices(now).await?;
            self.kill_mute(now).await?;
            self.kill_overdue(now).await?;
            if now >= reconcile_at {
                reconcile_at = now + RECONCILE_INTERVAL;
                self.reconcile().await?;
            }
        }
        self.close().await
    }

    /// Records how a job ended.
    fn finished(&mut self, ix: JobIx, mut record: JobRecord) {
        let (job, plan) = self.context.job(ix);
        record.matrix = plan.matrix_record();
        let ran_at = match Placement::of(self.context.plan, plan) {
            Placement::Host(_) | Placement::Hooks(_) => RanAt::Host,
            Placement::Root(_) | Placement::Nspawn(_) => RanAt::Container,
        };
        record.placement = (record.attempts > 0).then_some(ran_at);
        tell::end(self.context.run, job, &record);
        self.emit(EventKind::JobFinished {
            job: job.clone(),
            record,
        });
    }

    /// Returns the job of a unit, if the unit belongs to one.
    fn job_of(&self, unit: &str) -> Option<JobIx> {
        let name = unit
            .strip_prefix(&self.unit_prefix)?
            .strip_suffix(".service")?;
        self.context.graph.ix(&name.parse::<JobName>().ok()?)
    }

    async fn told(&mut self, told: Told) -> Result<(), SuperviseError> {
        match told {
            Told::Removed(removed) => {
                self.service_removed(&removed).await?;
                self.job_removed(removed).await
            }
            // Signals were lost in the meantime, so compare with systemd's view.
            Told::Back => self.reconcile().await,
        }
    }

    async fn changed(&mut self, change: Change) -> Result<(), SuperviseError> {
        match change {
            Change::Job(ix) => {
                let told = self.watch.events(ix);
                if told.events.is_empty() {
                    // Nothing new: the runner has not reacted to anything.
                    self.take_in(told);
                    return Ok(());
                }
                for event in &told.events {
                    let change = match event.event {
                        EventKind::JobWaiting { .. } => state::Change::Wait,
                        EventKind::JobStarted { .. } => {
                            state::Change::Start(self.end_by(ix, event.at))
                        }
                        EventKind::JobPlaced { .. } | EventKind::JobRetried { .. } => {
                            state::Change::Place(self.end_by(ix, event.at))
                        }
                        _ => state::Change::Report,
                    };
                    self.jobs.apply(ix, change);
                }
                self.take_in(told);
                Ok(())
            }
            Change::Control => self.control().await,
            Change::Everything => {
                self.control().await?;
                self.reconcile().await
            }
        }
    }

    /// Closes the run and leaves only its record behind.
    async fn close(mut self) -> Result<(), SuperviseError> {
        if self.jobs.has_submitted() {
            self.clean_up_executors().await?;
            self.stop_slice().await?;
        }
        store::forget_secrets(self.context.run.secrets.as_ref());
        self.users.remove_all();
        // Unmounts the workspaces of jobs that ended while no supervisor lived.
        self.context.graph.jobs().for_each(|ix| self.unmount(ix));
        self.unmount_containers();
        let runtime = &self.context.run.runtime_directory;
        if let Err(error) = store::remove_tree(runtime)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(
                "failed to remove `{}` ({error}), leaving it to the next boot",
                runtime.display()
            );
        }
        self.check_log().await;
        self.end_record();
        self.tell(true);
        self.write_record().await
    }

    /// Notes how the run ended. One that could not write down what happened has failed.
    fn end_record(&mut self) {
        if let Err(error) = self.try_flush()
            && error.is_full()
        {
            let what = describe(&error);
            let reason = Reason::DiskFull { what };
            tracing::error!("{reason}");
            self.failure.get_or_insert(reason);
        }
        let cancelled = self.cancel != Cancel::No && self.failure.is_none();
        let mut conclusion = status::run_conclusion(self.jobs.conclusions(), cancelled);
        if self.failure.is_some() {
            conclusion = Conclusion::Failure;
        }
        let reason = self.failure.as_ref().or(self.superseded.as_ref());
        self.emit(EventKind::RunFinished {
            conclusion,
            reason: reason.map(Reason::to_string),
            reason_code: reason.and_then(Reason::code),
        });
        self.flush();
    }

    /// Writes the record. Room for it was set aside when the run was made, for a disk that is full
    /// by now; a record that needs more is shortened. Where neither can be written, the supervisor
    /// tries again for a while. systemd would start a new one for ever.
    async fn write_record(mut self) -> Result<(), SuperviseError> {
        let deadline = Instant::now() + RECORD_DEADLINE;
        loop {
            let written = match store::write_json(&self.run.record(), &self.record, 0o600, true) {
                Err(error) if error.is_full() => {
                    tracing::error!("{}, shortening the record", describe(&error));
                    let what = describe(&error);
                    let reason = self.failure.get_or_insert(Reason::DiskFull { what });
                    bounds::shorten(&mut self.record);
                    self.record.reason = Some(reason.to_string());
                    self.record.reason_code = reason.code();
                    self.run.write_in_reserve(&self.record)
                }
                written => written,
            };
            match written {
                Ok(()) => break,
                Err(error) if Instant::now() < deadline => {
                    tracing::error!("{}, trying again", describe(&error));
                    tokio::time::sleep(RECORD_RETRY).await;
                }
                Err(error) => {
                    tracing::error!(
                        "{}, leaving the record to the next look at the run",
                        describe(&error)
                    );
                    return Ok(());
                }
            }
        }
        self.run.release_reserve();
        self.run.release_package();
        // The record holds the events that do not fit on the disk now.
        self.flush();
        let (spec, conclusion) = (self.context.run, self.record.conclusion);
        notify::notify(&self.run, spec, conclusion, &self.manager).await;
        Ok(())
    }

    /// Waits until systemd has started or stopped these units.
    async fn ended(&mut self, mut units: BTreeSet<String>) -> Result<(), SuperviseError> {
        while !units.is_empty() {
            match self.told.recv().await {
                None => break,
                Some(Told::Removed(removed)) => _ = units.remove(&removed.unit),
                Some(Told::Back) => {
                    let states = self
                        .manager
                        .list(&units.iter().map(String::as_str).collect::<Vec<_>>())
                        .await?;
                    units.retain(|unit| {
                        states
                            .iter()
                            .any(|state| state.name == *unit && state.is_pending())
                    });
                }
            }
        }
        Ok(())
    }

    async fn stop_slice(&mut self) -> Result<(), SuperviseError> {
        let slice = UnitName::run_slice(&self.context.run.run);
        self.manager.stop(&slice).await?;
        match tokio::time::timeout(
            STOP_DEADLINE,
            self.ended(BTreeSet::from([slice.to_string()])),
        )
        .await
        {
            Ok(ended) => ended?,
            Err(_) => tracing::warn!(
                "slice `{slice}` did not stop within {} s, leaving it to systemd",
                STOP_DEADLINE.as_secs()
            ),
        }
        Ok(())
    }

    fn emit(&mut self, event: EventKind) {
        let event = Event {
            at: Timestamp::now(),
            event,
        };
        event.apply(&mut self.record);
        self.unwritten.push(event);
    }

    /// Writes the events that are not on disk yet. If that fails, it keeps them and tries again
    /// later.
    fn flush(&mut self) {
        if let Err(error) = self.try_flush() {
            tracing::warn!("{}, trying again with the next event", describe(&error));
        }
    }

    fn try_flush(&mut self) -> Result<(), store::StoreError> {
        if !self.unwritten.is_empty() {
            self.writer.append(&self.unwritten)?;
            self.unwritten.clear();
        }
        Ok(())
    }

    /// Takes in the events and warnings of a job.
    fn take_in(&mut self, told: TellTale) {
        self.unwritten.extend(told.events);
        told.warnings
            .into_iter()
            .for_each(|warning| self.warn(warning));
    }

    /// Gives a warning once, even if an earlier supervisor gave it.
    pub(in crate::supervisor) fn warn(&mut self, message: String) {
        if self.warned.insert(message.clone()) {
            self.emit(EventKind::Warning { message });
        }
    }

    fn tell(&mut self, force: bool) -> Option<Instant> {
        let graph = self.context.graph;
        let running: Vec<&str> = self
            .jobs
            .running()
            .map(|ix| graph.name(ix).as_str())
            .collect();
        let waiting: Vec<&str> = self
            .jobs
            .kept_waiting()
            .map(|ix| graph.name(ix).as_str())
            .collect();
        let text = status_line::text(
            self.jobs.finished(),
            self.jobs.failed(),
            graph.len(),
            self.cancel != Cancel::No,
            &running,
            &waiting,
        );
        self.status.update(text, force)
    }
}

fn sleep_until(at: Instant) -> impl Future<Output = ()> {
    tokio::time::sleep_until(at.into())
}
