//! The life of a job, from its gate to its result. `attempt` and `step` hold the part in between.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write as _},
    path::PathBuf,
    time::Instant,
};

use jiff::Timestamp;
use nix::{sys::prctl::set_dumpable, unistd::geteuid};

use super::{
    calls,
    cgroup::Cgroup,
    confine,
    container::{self, Container},
    env::{Environment, Level},
    exit::{EXIT_NO_RESULT, exit_status},
    gate::{self, NeedResult},
    hide,
    journal::{Journal, Priority},
    keys,
    parent::{self, Past, Side, Tie},
    port::{self, Events, Port},
    process::Processes,
    secrets,
    signals::Signals,
    slots::Slots,
    watched::Watched,
};
use crate::{
    bounds,
    error::describe,
    event::EventKind,
    grace::CLEANUP_GRACE,
    log::ToldOutcome,
    reason::Reason,
    record::{Conclusion, JobRecord, JobResult, RESULT_VERSION},
    settings::{Env, Retry},
    spec::JobSpec,
    status::{self, Condition, Gate},
    store,
};

/// Runs the job of this directory. Only systemd reads the returned exit status: 0 lets jobs start
/// that have `Requires=` on this one.
pub fn main(directory: PathBuf) -> u8 {
    match run(directory) {
        Ok(status) => status,
        Err(error) => {
            // systemd connects standard error to the journal, under the job's unit.
            let _ = writeln!(io::stderr(), "nixactions-runner: {}", describe(&error));
            EXIT_NO_RESULT
        }
    }
}

/// The reason why a runner could not record a result.
#[derive(Debug, thiserror::Error)]
enum RunnerError {
    #[error("failed to protect the runner from the steps")]
    Hide(#[source] io::Error),
    #[error("failed to isolate the job's processes")]
    Confine(#[source] landlock::RulesetError),
    #[error("failed to guard the limits of other processes")]
    Guard(#[source] seccompiler::Error),
    #[error("failed to start the runner below its parent")]
    Fork(#[source] io::Error),
    #[error("failed to take over the locks of running jobs")]
    Slots(#[source] io::Error),
    #[error("failed to take over the container's descriptors")]
    Container(#[source] io::Error),
    #[error("failed to find the runner's process id outside of the job")]
    Pid(#[source] io::Error),
    #[error("failed to catch signals")]
    Signals(#[source] io::Error),
    #[error(transparent)]
    Store(#[from] store::StoreError),
    #[error("the job was started before; a job runs only once")]
    StartedBefore,
}

fn run(directory: PathBuf) -> Result<u8, RunnerError> {
    // Steps run as the same user. From here on, they cannot trace the runner, read its memory, or
    // use its open files (PR_SET_DUMPABLE(2const)). The programs that it executes can be traced
    // again.
    set_dumpable(false).map_err(|error| RunnerError::Hide(error.into()))?;
    let (port, mut spec) = Port::open(directory)?;
    let entered = spec.in_container.then(Container::enter).transpose();
    let container = entered.map_err(RunnerError::Container)?;
    let counts = || match &container {
        Some(container) => container.group().map_err(RunnerError::Container),
        None => Ok(None),
    };
    // The first process of a container tells how a runner was killed: systemd-nspawn does not.
    let least = if spec.in_container { 0 } else { 1 };
    let retry = spec.retry.or(spec.in_container.then_some(Retry::ONCE));
    let tie = match retry.filter(|retry| retry.max_attempts > least) {
        None => None,
        Some(retry) => {
            let side = parent::stand_above(&spec, &retry, &port, counts()?);
            match side.map_err(RunnerError::Fork)? {
                Side::Parent(status) => return Ok(status),
                Side::Runner(tie) => Some(tie),
            }
        }
    };
    let signals = Signals::new().map_err(RunnerError::Signals)?;
    tie.iter()
        .try_for_each(Tie::listen)
        .map_err(RunnerError::Signals)?;
    let (above, past) = match tie {
        Some(tie) => (Some(tie.above), tie.past),
        None => (None, None),
    };
    if spec.confine {
        confine::confine().map_err(RunnerError::Confine)?;
    }
    let refused = calls::Refused {
        // The process above is of the job's user as well.
        limits: spec.guard_limits || spec.confine && above.is_some(),
        of_containers: spec.guard_calls,
        traces: spec.guard_calls && !container::may_trace(),
    };
    calls::guard(refused).map_err(RunnerError::Guard)?;
    if spec.own_user {
        keys::forget();
    }
    let takes_slots = spec
        .slots
        .or(spec.shared_slots)
        .or(spec.matrix.as_ref().and_then(|matrix| matrix.slots));
    let slots = takes_slots.map(|_| Slots::take(spec.own_pids));
    let slots = slots.transpose().map_err(RunnerError::Slots)?;
    let (pid, uid) = match &container {
        Some(container) => container.outside().map_err(RunnerError::Pid)?,
        None if spec.own_pids => {
            let pid = port::pid_outside().map_err(RunnerError::Pid)?;
            (pid, geteuid().as_raw())
        }
        None => (std::process::id(), geteuid().as_raw()),
    };
    let cgroup = Cgroup::own(above, counts()?);
    drop(container);
    let events = port.events(past.is_some())?;
    let mut events = events.ok_or(RunnerError::StartedBefore)?;
    events.note(EventKind::RunnerStarted {
        job: spec.job.clone(),
        pid,
        uid,
    });
    // The runner reports its start before the gate checks the flag of a cancellation. The
    // supervisor raises the flag first, then signals each runner that has reported its start. So no
    // runner misses a cancellation.
    events.tell()?;
    let fields = [
        ("SYSLOG_IDENTIFIER", spec.job.as_str()),
        ("NIXACTIONS_RUN", spec.run.as_str()),
        ("NIXACTIONS_WORKFLOW", spec.workflow.as_str()),
        ("NIXACTIONS_JOB", spec.job.as_str()),
    ];
    // journald adds `LogExtraFields=` only while the sender lives, and never for a user's manager.
    let mut journal = Journal::new(&fields);
    let secrets = secrets::take(&mut spec, &mut journal);
    let cancellation = Some(port.cancellation.clone());
    let mut processes = Processes::new(signals, cgroup, journal, cancellation);
    processes.goes_on_out_of_memory = spec.goes_on_out_of_memory;
    let mut job = Job {
        needs: gate::needs(&spec, &port),
        spec: &spec,
        services: spec
            .services
            .iter()
            .flat_map(|services| services.each.iter().map(Watched::new))
            .collect(),
        port: &port,
        processes,
        events,
        past,
        slots,
        record: JobRecord {
            started_at: Some(Timestamp::now()),
            ..JobRecord::new(spec.unit.clone())
        },
        reason: None,
        cleanup_until: None,
        step_outputs: Env::new(),
        begun: BTreeMap::new(),
        warned: BTreeSet::new(),
        deadline: None,
        state: Conclusion::Success,
        inherits: false,
        was_held: false,
    };
    match secrets {
        Ok(()) => {
            job.say_why_copied();
            job.live();
        }
        Err(error) => {
            let why = describe(&error);
            job.end(Conclusion::Failure, &Reason::Secrets { why });
        }
    }
    job.leave_result().map(exit_status)
}

/// A running job.
pub(super) struct Job<'a> {
    pub(super) spec: &'a JobSpec,
    /// The connection to the run.
    pub(super) port: &'a Port,
    pub(super) needs: Vec<NeedResult>,
    pub(super) processes: Processes,
    /// The services of the job.
    pub(super) services: Vec<Watched>,
    pub(super) events: Events,
    /// Where the runner follows one that was killed, how far that came.
    pub(super) past: Option<Past>,
    /// The job takes some of these locks, if the manager does not count running jobs itself.
    pub(super) slots: Option<Slots>,
    /// The job's record so far. Its reason is [`Self::reason`] until the end.
    pub(super) record: JobRecord,
    /// Why the job does not succeed.
    pub(super) reason: Option<Reason>,
    /// The state of the job after its steps so far, for the gates of later steps.
    pub(super) state: Conclusion,
    /// Whether the step that failed the job leaves the retry to the job.
    pub(super) inherits: bool,
    /// Whether the job was held for a shell.
    pub(super) was_held: bool,
    /// The outputs of the step that ran last.
    pub(super) step_outputs: Env,
    /// The positions of the steps of this attempt whose process has run, and the directories in
    /// which it did.
    pub(super) begun: BTreeMap<usize, PathBuf>,
    /// The warnings that were logged and need not be repeated.
    warned: BTreeSet<String>,
    /// The end of the job's own timeout.
    pub(super) deadline: Option<Instant>,
    /// The end of the time for `always()` and `cancelled()` steps. The first cancellation or
    /// timeout sets it.
    pub(super) cleanup_until: Option<Instant>,
}

impl Job<'_> {
    /// Runs the job from its gate to its end, and leaves the outcome in its record.
    fn live(&mut self) {
        let Some(condition) = self.pass_gate() else {
            return;
        };
        let asked = Instant::now();
        let (slots, waited) = match self.take_slots() {
            Ok(held) => held,
            Err(Some(error)) => {
                let why = error.to_string();
                return self.end(Conclusion::Failure, &Reason::Slot { why });
            }
            Err(None) => {
                let (outcome, reason) = self.stopped();
                return self.end(outcome, &reason);
            }
        };
        // A cancellation may have freed the slot, with this job's own signal still to come.
        if waited && self.pass_gate().is_none() {
            return;
        }
        let asks = condition.is_some()
            || !self.spec.workflow_env_from.is_empty()
            || !self.spec.job_env_from.is_empty();
        if asks && self.slots.is_some() {
            // A condition or a provider may stop this runner.
            self.emit(EventKind::JobPlaced {
                job: self.spec.job.clone(),
            });
        }
        let now = Timestamp::now();
        let started_at = self
            .past
            .and_then(|past| past.started_at)
            .map_or(now, |at| at.min(now));
        self.record.started_at = Some(started_at);
        // The time of an attempt whose runner was killed is the job's as well, except the waits for
        // a place.
        let waits = self
            .past
            .map_or(asked.elapsed(), |past| past.waited + asked.elapsed());
        let spent = now.duration_since(started_at).unsigned_abs();
        let spent = spent.saturating_sub(waits);
        self.deadline = self
            .spec
            .timeout
            .map(|timeout| Instant::now() + timeout.duration().saturating_sub(spent));
        match self.past.zip(self.spec.retry) {
            None => self.run_if(condition.as_deref()),
            Some((past, retry)) => self.go_on(past, &retry, condition.as_deref()),
        }
        self.processes.finish();
        self.annotate();
        self.tell();
        self.clean_up();
        // Set the end time before releasing the slot, so that records never show more jobs at once
        // than slots.
        self.record.finished_at = Some(Timestamp::now());
        drop(slots);
    }

    /// Logs why the workspace is a copy and not a mount.
    fn say_why_copied(&mut self) {
        if let Some(reason) = self
            .spec
            .mount_source
            .then(|| self.port.why_copied())
            .flatten()
        {
            self.processes.journal.note(
                &format!("{reason}; the workspace is a copy of the source tree"),
                Priority::Warning,
            );
        }
    }

    /// Runs the job if its condition in bash is true. The job counts as started only after that.
    pub(super) fn run_if(&mut self, condition: Option<&str>) {
        let prepared = self.prepare();
        if let (Some(condition), Ok(environment)) = (condition, &prepared)
            && !self.holds_in_the_end(condition, environment)
        {
            return;
        }
        // More than one where a runner was killed before this.
        self.record.attempts = self.record.attempts.max(1);
        self.emit(EventKind::JobStarted {
            job: self.spec.job.clone(),
        });
        if self.starts_services() {
            self.attempts(prepared);
        }
    }

    /// Passes the gate. Returns the job's condition in bash, if any, or ends a job that may not
    /// start.
    fn pass_gate(&mut self) -> Option<Option<String>> {
        match self.gate() {
            Gate::Run => return Some(None),
            Gate::Ask(condition) => return Some(Some(condition)),
            Gate::Skip(reason) => self.end(Conclusion::Skipped, &reason),
            Gate::Fail(reason) => self.end(Conclusion::Failure, &reason),
            Gate::Cancel(reason) => self.end(Conclusion::Cancelled, &reason),
        }
        None
    }

    pub(super) fn gate(&self) -> Gate {
        let condition = Condition::parse(self.spec.condition.as_deref());
        let needs: Vec<_> = self.needs.iter().map(|need| need.need.clone()).collect();
        let is_killed = self.port.cancellation.is_killed();
        let (mut cancelled, of_matrix) = (
            self.port.cancellation.of_run(),
            self.port.cancellation.of_matrix(),
        );
        if matches!(condition, Condition::Expression(_)) {
            cancelled = cancelled.or_else(|| of_matrix.clone());
        }
        let environment = Environment::default();
        let gate = status::job_gate(
            &condition,
            &needs,
            cancelled.as_ref(),
            &|expression, status| self.is_true(expression, status, &environment, Level::Job),
        );
        let gate = status::matrix_gate(&condition, gate, of_matrix);
        if is_killed {
            status::killed_gate(gate)
        } else {
            gate
        }
    }

    /// Returns how a stopped job ends, and why. The supervisor raises a flag before it sends
    /// signals. Without a flag, only this job's unit was stopped.
    fn stopped(&self) -> (Conclusion, Reason) {
        if let Some(reason) = self.port.cancellation.of_run() {
            return (Conclusion::Cancelled, reason);
        }
        if self.port.cancellation.is_killed() {
            return (Conclusion::Cancelled, Reason::RunCancelled);
        }
        match self.port.cancellation.of_matrix() {
            Some(reason) => (Conclusion::Cancelled, reason),
            None => (Conclusion::Failure, Reason::UnitStopped),
        }
    }

    /// Notes a cancellation that came between steps.
    pub(super) fn notice_cancellation(&mut self) {
        if self.processes.signals.cancelled() && self.state != Conclusion::Cancelled {
            self.cancel();
        }
        if self
            .deadline
            .is_some_and(|deadline| Instant::now() >= deadline)
            && self.cleanup_until.is_none()
        {
            self.time_out();
        }
    }

    pub(super) fn cancel(&mut self) {
        self.state = Conclusion::Cancelled;
        self.cleanup_until
            .get_or_insert(Instant::now() + CLEANUP_GRACE);
        if self.record.outcome != Conclusion::Success {
            return;
        }
        let (outcome, reason) = self.stopped();
        self.record.outcome = outcome;
        self.reason = Some(reason);
    }

    pub(super) fn time_out(&mut self) {
        self.state = Conclusion::Cancelled;
        self.cleanup_until
            .get_or_insert(Instant::now() + CLEANUP_GRACE);
        let seconds = self.spec.timeout.map_or(0.0, f64::from);
        if self.record.outcome == Conclusion::Success {
            self.record.outcome = Conclusion::Failure;
            self.reason = Some(Reason::JobTimeout { seconds });
        }
    }

    /// Records a failure. The first failure is the job's reason.
    pub(super) fn fail(&mut self, reason: &Reason) {
        self.state = status::after_step(self.state, Conclusion::Failure);
        if self.record.outcome == Conclusion::Success {
            self.record.outcome = Conclusion::Failure;
            self.reason = Some(reason.clone());
        }
    }

    /// Records the outcome of a job that did not start.
    pub(super) fn end(&mut self, outcome: Conclusion, reason: &Reason) {
        self.record.started_at = None;
        let told = ToldOutcome {
            outcome,
            code: reason.code(),
        };
        self.processes
            .journal
            .outcome(None, told, &format!("{outcome}: {reason}"));
        self.record.outcome = outcome;
        self.reason = Some(reason.clone());
    }

    /// Logs a warning once.
    pub(super) fn warn_once(&mut self, warning: String) {
        if !self.warned.contains(&warning) {
            self.processes.journal.note(&warning, Priority::Warning);
            self.warned.insert(warning);
        }
    }

    /// Warns about variables that are ignored because the engine sets them.
    pub(super) fn warn_of_dropped(&mut self, source: &str, names: &[String]) {
        if names.is_empty() {
            return;
        }
        let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        self.warn_once(format!(
            "{source}: ignored, because the engine sets them: {}",
            names.join(", ")
        ));
    }

    /// Notes an event, to be written when the job next waits: each write wakes up the supervisor
    /// and every client that follows the run.
    pub(super) fn emit(&mut self, mut event: EventKind) {
        hide::hide_in_event(&self.processes.journal.masker, &mut event);
        self.events.note(event);
    }

    /// Writes the noted events. Call this before anything that may take time.
    pub(super) fn tell(&mut self) {
        if let Err(error) = self.events.tell() {
            self.processes.journal.note(
                &format!("{}; no more events of this job are kept", describe(&error)),
                Priority::Warning,
            );
        }
    }

    /// Writes the result for dependents and the supervisor.
    fn leave_result(mut self) -> Result<Conclusion, RunnerError> {
        if let Some(reason) = &self.reason {
            self.record.set_reason(reason);
        }
        if self.spec.own_user {
            keys::forget();
        }
        self.hide_secrets();
        self.cut_record();
        let lost = self.processes.journal.lost;
        if lost > 0 {
            self.processes.journal.note(
                &format!("{lost} lines were lost: journald did not take them, see its own log"),
                Priority::Warning,
            );
        }
        self.record.conclusion = status::conclude(self.record.outcome, self.spec.continue_on_error);
        self.record.finished_at.get_or_insert_with(Timestamp::now);
        self.record.usage = self.processes.cgroup.usage();
        // Nobody knows how many lines a runner sent that was killed.
        if self.past.is_none() {
            self.record.log_lines = self.processes.journal.sent;
        }
        match self.tell_end() {
            Err(error) if error.is_full() => {
                // Room for this much was set aside. What the job has made is not handed on, so it
                // has not succeeded.
                bounds::shorten_job(&mut self.record);
                self.record.outcome = Conclusion::Failure;
                self.record.conclusion =
                    status::conclude(self.record.outcome, self.spec.continue_on_error);
                let what = describe(&error);
                self.record.set_reason(&Reason::DiskFull { what });
                Ok(self.tell_end()?)
            }
            told => Ok(told?),
        }
    }

    /// Tells how the job ended, and returns what that counts as.
    fn tell_end(&mut self) -> Result<Conclusion, store::StoreError> {
        let conclusion = self.record.conclusion;
        let result = JobResult {
            version: RESULT_VERSION,
            failed: conclusion == Conclusion::Failure
                || self.needs.iter().any(|need| need.need.failed),
            record: self.record.clone(),
        };
        self.events.end(self.spec.job.clone(), result)?;
        Ok(conclusion)
    }
}
