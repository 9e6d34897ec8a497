//! The life of a job, from its gate to its result.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{self, ExitCode},
    time::Instant,
};

use jiff::Timestamp;

use super::{
    env::Environment,
    files::StepFiles,
    gate::{self, NeedResult},
    journal::{Journal, Priority},
    process::{Ended, Limits, Processes, Stop},
    signals::Signals,
    slots, workspace,
};
use crate::{
    event::{Event, EventKind},
    record::{Conclusion, JobRecord, JobResult, RESULT_VERSION, StepRecord},
    status::{self, Condition, Gate},
    store::{self, EventWriter},
    unit::{CLEANUP_GRACE, Command, JobPaths, JobSpec, StepSpec},
};

/// The exit status of a runner that could not leave its result (sysexits.h, `EX_IOERR`).
const EXIT_NO_RESULT: u8 = 74;
/// The exit status of a runner whose job was cancelled.
const EXIT_CANCELLED: u8 = 130;

/// Runs the job whose directory this is; the exit status is for systemd alone: 0 lets `Requires=` go on.
pub fn main(directory: PathBuf) -> ExitCode {
    match run(&JobPaths::at(directory)) {
        Ok(Conclusion::Success | Conclusion::Skipped) => ExitCode::SUCCESS,
        Ok(Conclusion::Failure) => ExitCode::FAILURE,
        Ok(Conclusion::Cancelled) => ExitCode::from(EXIT_CANCELLED),
        Err(error) => {
            // Standard error goes to the journal under the job's unit.
            eprintln!("nixactions: {error}");
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            ExitCode::from(EXIT_NO_RESULT)
        }
    }
}

/// Why a runner could not even leave a result.
#[derive(Debug, thiserror::Error)]
enum RunnerError {
    #[error("failed to catch signals")]
    Signals(#[source] io::Error),
    #[error(transparent)]
    Store(#[from] store::StoreError),
    #[error("the job has been started before; it is not run twice")]
    StartedBefore,
    #[error("failed to mark the job as started in `{}`", path.display())]
    Mark { path: PathBuf, source: io::Error },
}

fn run(paths: &JobPaths) -> Result<Conclusion, RunnerError> {
    let signals = Signals::new().map_err(RunnerError::Signals)?;
    let spec: JobSpec = store::read_json(&paths.spec())?;
    if let Some(result) = store::read_untrusted_json::<JobResult>(&paths.result())? {
        return Ok(result.record.conclusion);
    }
    mark_started(&paths.events())?;
    let events = EventWriter::open(&paths.events(), 0o644)?;
    let fields = [
        ("SYSLOG_IDENTIFIER", spec.job.as_str()),
        ("NIXACTIONS_RUN", spec.run.as_str()),
        ("NIXACTIONS_WORKFLOW", spec.workflow.as_str()),
        ("NIXACTIONS_JOB", spec.job.as_str()),
    ];
    // journald adds `LogExtraFields=` only while it still finds the sender alive, and never for a user's manager.
    let journal = Journal::open(&fields);
    let processes = Processes::new(signals, journal, spec.shared_directory.join("killed"));
    let mut job = Job {
        needs: gate::needs(&spec),
        spec: &spec,
        paths,
        processes,
        events: Some(events),
        record: JobRecord { started_at: Some(Timestamp::now()), ..JobRecord::new(spec.unit.clone()) },
        cleanup_until: None,
        deadline: None,
        state: Conclusion::Success,
    };
    job.live();
    job.leave_result()
}

/// Creates the job's event file. That it can be created once only is what keeps a job from ever running twice.
fn mark_started(path: &Path) -> Result<(), RunnerError> {
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(RunnerError::StartedBefore),
        Err(source) => Err(RunnerError::Mark { path: path.to_owned(), source }),
    }
}

struct Job<'a> {
    spec: &'a JobSpec,
    paths: &'a JobPaths,
    needs: Vec<NeedResult>,
    processes: Processes,
    events: Option<EventWriter>,
    record: JobRecord,
    /// The job's state over its steps so far, as their gates see it.
    state: Conclusion,
    /// When the job's own time is over.
    deadline: Option<Instant>,
    /// When the time for `always()` and `cancelled()` steps is over; set by the first cancellation or timeout.
    cleanup_until: Option<Instant>,
}

impl Job<'_> {
    /// Goes through the job's life and leaves the outcome in its record.
    fn live(&mut self) {
        match self.gate() {
            Gate::Run => {}
            Gate::Ask(_) => return self.end(Conclusion::Failure, "bash conditions are not executed by this version".to_owned()),
            Gate::Skip(reason) => return self.end(Conclusion::Skipped, reason),
            Gate::Cancel(reason) => return self.end(Conclusion::Cancelled, reason),
        }
        let slot = match self.slot() {
            Ok(slot) => slot,
            Err(Some(error)) => return self.end(Conclusion::Failure, format!("no slot to run in: {error}")),
            Err(None) => return self.end(Conclusion::Cancelled, "the run was cancelled".to_owned()),
        };
        self.record.started_at = Some(Timestamp::now());
        self.record.attempts = 1;
        self.emit(EventKind::JobStarted { job: self.spec.job.clone() });
        self.deadline = self.spec.timeout.map(|timeout| Instant::now() + timeout.duration());
        if let Err(error) = self.prepare() {
            self.fail(describe(&error));
        } else {
            self.steps();
            self.save();
        }
        self.processes.finish();
        self.clean_up();
        drop(slot);
    }

    fn gate(&self) -> Gate {
        let condition = Condition::parse(self.spec.condition.as_deref());
        let needs: Vec<_> = self.needs.iter().map(|need| need.need.clone()).collect();
        let flag = |name: &str| self.spec.shared_directory.join(name).exists();
        if flag("killed") {
            return Gate::Cancel("the run was killed".to_owned());
        }
        status::job_gate(&condition, &needs, flag("cancelled"))
    }

    /// Waits for a slot where the manager does not count running jobs itself. `Err(None)` when cancelled meanwhile.
    fn slot(&mut self) -> Result<Option<slots::Slot>, Option<io::Error>> {
        let Some(count) = self.spec.slots else { return Ok(None) };
        match slots::acquire(&self.spec.shared_directory.join("slots"), count, &mut self.processes.signals) {
            Ok(Some(slot)) => Ok(Some(slot)),
            Ok(None) => Err(None),
            Err(error) => Err(Some(error)),
        }
    }

    fn prepare(&mut self) -> Result<(), workspace::WorkspaceError> {
        workspace::prepare(self.spec, self.paths)?;
        if !self.needs.is_empty() {
            let json = gate::needs_json(&self.needs).to_string();
            fs::write(self.needs_file(), json).map_err(workspace::WorkspaceError::Make)?;
        }
        self.spec.inputs.iter().try_for_each(|input| workspace::restore(self.spec, self.paths, input))
    }

    fn needs_file(&self) -> PathBuf {
        self.paths.files().join("needs.json")
    }

    fn steps(&mut self) {
        if self.needs.is_empty() {
            // `$NIXACTIONS_NEEDS` is promised to every step.
            let _ = fs::write(self.needs_file(), "{}");
        }
        let mut environment = Environment::new(&self.needs, &self.needs_file());
        let spec = self.spec;
        for (index, step) in spec.steps.iter().enumerate() {
            self.notice_cancellation();
            let record = if self.processes.killed {
                skipped(step, "the job was killed".to_owned())
            } else if self.cleanup_until.is_some_and(|until| Instant::now() >= until) {
                skipped(step, "the time for cleaning up was over".to_owned())
            } else {
                match status::step_gate(&Condition::parse(step.condition.as_deref()), self.state) {
                    Gate::Run => self.step(index, step, &mut environment),
                    Gate::Ask(_) => skipped(step, "bash conditions are not executed by this version".to_owned()),
                    Gate::Skip(reason) | Gate::Cancel(reason) => skipped(step, reason),
                }
            };
            if record.conclusion == Conclusion::Failure {
                let reason = record.reason.clone().unwrap_or_else(|| "failed".to_owned());
                self.fail(format!("step {}: {reason}", step.name));
            }
            self.emit(EventKind::StepFinished { job: spec.job.clone(), index, step: record.clone() });
            self.record.steps.push(record);
        }
        self.notice_cancellation();
    }

    /// Runs one step.
    fn step(&mut self, index: usize, step: &StepSpec, environment: &mut Environment) -> StepRecord {
        let attempt = 1;
        let started_at = Timestamp::now();
        self.emit(EventKind::StepStarted { job: self.spec.job.clone(), index, name: step.name.clone(), attempt });
        let (outcome, reason, exit_code) = self.attempt(index, step, attempt, environment);
        if let Some(reason) = &reason {
            self.processes.journal.note(&format!("step {}: {reason}", step.name), Priority::Error);
        }
        StepRecord {
            name: step.name.clone(),
            outcome,
            conclusion: status::conclude(outcome, step.continue_on_error),
            exit_code,
            reason,
            attempts: attempt,
            started_at: Some(started_at),
            finished_at: Some(Timestamp::now()),
        }
    }

    fn attempt(
        &mut self,
        index: usize,
        step: &StepSpec,
        attempt: u32,
        environment: &mut Environment,
    ) -> (Conclusion, Option<String>, Option<i32>) {
        let failed = |reason: String| (Conclusion::Failure, Some(reason), None);
        let files = match StepFiles::create(&self.paths.files(), index, attempt) {
            Ok(files) => files,
            Err(error) => return failed(format!("its files cannot be made: {error}")),
        };
        let variables = environment.of_step(self.spec, self.paths, step, attempt, &files);
        let mut command = match self.command(index, step, variables.get("PATH").map_or("", String::as_str)) {
            Ok(command) => command,
            Err(reason) => return failed(reason),
        };
        command.env_clear().envs(&variables);
        let limits = Limits {
            step: step.timeout.map(|timeout| Instant::now() + timeout.duration()),
            job: self.deadline.filter(|_| self.cleanup_until.is_none()),
            cleanup: self.cleanup_until,
        };
        let (ended, stop) = self.processes.run(&mut command, &step.name, attempt, limits);
        let exit_code = if let Ended::Exited(code) = ended { Some(code) } else { None };
        match stop {
            Stop::Not => {}
            Stop::StepTimeout => {
                let seconds = step.timeout.map_or(0.0, f64::from);
                return (Conclusion::Failure, Some(format!("timeout: took longer than {seconds} s")), exit_code);
            }
            Stop::JobTimeout => {
                self.time_out();
                return (Conclusion::Cancelled, Some("the job's time was over".to_owned()), exit_code);
            }
            Stop::Cancelled => {
                self.notice_cancellation();
                self.cancel();
                return (Conclusion::Cancelled, Some("cancelled".to_owned()), exit_code);
            }
            Stop::CleanupOver => return (Conclusion::Cancelled, Some("the time for cleaning up was over".to_owned()), exit_code),
        }
        match files.read() {
            Ok(written) => {
                environment.extend(written.env, written.path);
                self.record.outputs.extend(written.outputs);
            }
            Err(error) if ended == Ended::Exited(0) => return (Conclusion::Failure, Some(error.to_string()), exit_code),
            Err(_) => {}
        }
        match ended {
            Ended::Exited(0) => (Conclusion::Success, None, Some(0)),
            Ended::Exited(code) => (Conclusion::Failure, Some(format!("exit status {code}")), Some(code)),
            Ended::Signaled(signal, core) => failed(format!("killed by {signal}{}", if core { ", core dumped" } else { "" })),
            Ended::NotStarted(reason) => failed(reason),
        }
    }

    fn command(&self, index: usize, step: &StepSpec, path: &str) -> Result<process::Command, String> {
        let mut command = match &step.command {
            Command::Run(argv) => {
                let (program, arguments) = argv.split_first().ok_or("has no command")?;
                let mut command = process::Command::new(find(program, path));
                command.args(arguments);
                command
            }
            Command::Bash(script) => {
                let file = self.paths.files().join(format!("{index}.sh"));
                fs::write(&file, script).map_err(|error| format!("its script cannot be written: {error}"))?;
                let mut command = process::Command::new(find("bash", path));
                command.args(["--noprofile", "--norc", "-eo", "pipefail"]).arg(file);
                command
            }
        };
        let workspace = self.paths.workspace();
        command.current_dir(step.workdir.as_ref().map_or(workspace.clone(), |workdir| workspace.join(workdir)));
        Ok(command)
    }

    /// Saves the artifacts, also of a job that failed if they are there; a missing one fails a job that succeeded.
    fn save(&mut self) {
        if self.processes.killed {
            return;
        }
        let spec = self.spec;
        for output in &spec.outputs {
            match workspace::save(self.paths, output) {
                Ok(()) => {}
                Err(workspace::WorkspaceError::Missing { .. }) if self.record.outcome != Conclusion::Success => {}
                Err(error) => {
                    let reason = describe(&error);
                    self.processes.journal.note(&reason, Priority::Error);
                    self.fail(reason);
                }
            }
        }
    }

    /// Takes in that the runner was asked to cancel, between steps.
    fn notice_cancellation(&mut self) {
        if self.processes.signals.cancelled() && self.state != Conclusion::Cancelled {
            self.cancel();
        }
        self.processes.killed |= self.processes.signals.cancels > 1;
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) && self.cleanup_until.is_none() {
            self.time_out();
        }
    }

    fn cancel(&mut self) {
        self.state = Conclusion::Cancelled;
        self.cleanup_until.get_or_insert(Instant::now() + CLEANUP_GRACE);
        if self.record.outcome != Conclusion::Success {
            return;
        }
        // The supervisor raises the flag before it signals anybody; without it somebody stopped this job alone.
        let asked = ["cancelled", "killed"].iter().any(|flag| self.spec.shared_directory.join(flag).exists());
        let (outcome, reason) =
            if asked { (Conclusion::Cancelled, "the run was cancelled") } else { (Conclusion::Failure, "its unit was stopped") };
        self.record.outcome = outcome;
        self.record.reason = Some(reason.to_owned());
    }

    fn time_out(&mut self) {
        self.state = Conclusion::Cancelled;
        self.cleanup_until.get_or_insert(Instant::now() + CLEANUP_GRACE);
        let seconds = self.spec.timeout.map_or(0.0, f64::from);
        if self.record.outcome == Conclusion::Success {
            self.record.outcome = Conclusion::Failure;
            self.record.reason = Some(format!("timeout: the job took longer than {seconds} s"));
        }
    }

    /// Records a failure; the first is the job's reason.
    fn fail(&mut self, reason: String) {
        self.state = status::after_step(self.state, Conclusion::Failure);
        if self.record.outcome == Conclusion::Success {
            self.record.outcome = Conclusion::Failure;
            self.record.reason = Some(reason);
        }
    }

    fn end(&mut self, outcome: Conclusion, reason: String) {
        self.record.started_at = None;
        self.processes.journal.note(&format!("{outcome}: {reason}"), Priority::Info);
        self.record.outcome = outcome;
        self.record.reason = Some(reason);
    }

    fn emit(&mut self, event: EventKind) {
        let Some(events) = &mut self.events else { return };
        if let Err(error) = events.append(&[Event { at: Timestamp::now(), event }]) {
            self.processes.journal.note(&format!("{}; no more events of this job are kept", describe(&error)), Priority::Warning);
            self.events = None;
        }
    }

    /// Removes what the job made in its workspace, unless somebody may want to look at it after a failure.
    fn clean_up(&mut self) {
        if self.record.outcome == Conclusion::Success {
            for directory in [self.paths.workspace(), self.paths.home(), self.paths.files()] {
                remove_tree(&directory);
            }
        }
    }

    /// Writes the result, which is what dependents and the supervisor see.
    fn leave_result(mut self) -> Result<Conclusion, RunnerError> {
        let lost = self.processes.journal.lost;
        if lost > 0 {
            self.processes.journal.note(&format!("{lost} lines were lost: journald did not take them"), Priority::Warning);
        }
        self.record.conclusion = status::conclude(self.record.outcome, self.spec.continue_on_error);
        self.record.finished_at = Some(Timestamp::now());
        self.record.usage = self.processes.cgroup.usage();
        self.record.log_lines = self.processes.journal.lines;
        let conclusion = self.record.conclusion;
        let failed = conclusion == Conclusion::Failure || self.needs.iter().any(|need| need.need.failed);
        let result = JobResult { version: RESULT_VERSION, failed, record: self.record };
        store::write_json(&self.paths.result(), &result, 0o644, false)?;
        Ok(conclusion)
    }
}

fn skipped(step: &StepSpec, reason: String) -> StepRecord {
    StepRecord {
        name: step.name.clone(),
        outcome: Conclusion::Skipped,
        conclusion: Conclusion::Skipped,
        exit_code: None,
        reason: Some(reason),
        attempts: 0,
        started_at: None,
        finished_at: None,
    }
}

/// Returns a program's path as the shell would find it. Looked up here rather than by exec, which would then have to
/// fork the slow way.
fn find(program: &str, path: &str) -> OsString {
    if program.contains('/') {
        return program.into();
    }
    let executable = |path: &PathBuf| fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
    std::env::split_paths(path).map(|directory| directory.join(program)).find(executable).map_or(program.into(), PathBuf::into_os_string)
}

/// Removes a tree as far as possible, also below directories that the job made unwritable.
fn remove_tree(directory: &Path) {
    if fs::remove_dir_all(directory).is_ok() {
        return;
    }
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o700));
        let entries = fs::read_dir(&path).into_iter().flatten().flatten();
        pending.extend(entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()));
    }
    // Whatever is left is in nobody's way: retention removes it with the run.
    let _ = fs::remove_dir_all(directory);
}

/// Puts an error and its causes into one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
