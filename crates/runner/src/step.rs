//! Runs one step: its command, its environment, and its outcome.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process,
    time::Instant,
};

use jiff::Timestamp;

use super::{
    env::Environment,
    files::{StepFiles, Written},
    job::Job,
    journal::Priority,
    process::Ended,
    stop::{Limits, Stop},
};
use crate::{
    event::EventKind,
    log::ToldOutcome,
    programs,
    reason::Reason,
    record::{Conclusion, StepRecord},
    settings::Seconds,
    spec::{Command, StepSpec},
    status,
};

/// Variables that a step cannot set for later ones. The output of a program may end up in
/// `$NIXACTIONS_ENV`, and these variables would let it run its own code in every later program.
const REFUSED: [&str; 1] = ["NODE_OPTIONS"];

/// The result of one attempt at a step.
struct Tried {
    outcome: Conclusion,
    reason: Option<Reason>,
    exit_code: Option<i32>,
    /// The values that the step wrote for later ones. They count only after the last attempt.
    written: Option<Written>,
}

impl Tried {
    fn failed(reason: Reason) -> Self {
        Self {
            outcome: Conclusion::Failure,
            reason: Some(reason),
            exit_code: None,
            written: None,
        }
    }
}

impl Job<'_> {
    /// Runs one step, several times if it has a retry of its own.
    pub(super) fn step(
        &mut self,
        index: usize,
        step: &StepSpec,
        environment: &mut Environment,
    ) -> StepRecord {
        let started_at = Timestamp::now();
        let own = step.retry.over(None);
        // A step without a retry sees the number of the job's attempt.
        let mut attempt = if own.is_some() {
            1
        } else {
            self.record.attempts
        };
        let mut tried = loop {
            self.emit(EventKind::StepStarted {
                job: self.spec.job.clone(),
                index,
                name: step.name.clone(),
                attempt,
            });
            let tried = self.attempt(index, step, attempt, environment);
            let retry = own.filter(|retry| {
                tried.outcome == Conclusion::Failure && attempt < retry.max_attempts
            });
            let Some(retry) = retry else { break tried };
            if let Some((outcome, reason)) = self.wait_to_retry(
                &format!("step {}", step.name),
                tried.reason.as_ref(),
                attempt,
                &retry,
            ) {
                break Tried {
                    outcome,
                    reason: Some(reason),
                    ..tried
                };
            }
            attempt += 1;
        };
        if let Some(written) = tried.written.take() {
            let mut written = written;
            written.env.retain(|(key, _)| {
                let is_refused = REFUSED.iter().any(|name| name.eq_ignore_ascii_case(key));
                if is_refused {
                    self.processes.journal.note(
                        &format!("step {}: `{key}` cannot be set by $NIXACTIONS_ENV, as on GitHub: set it in `env`", step.name),
                        Priority::Error,
                    );
                }
                !is_refused
            });
            let dropped = environment.extend(self.spec, written.env, written.path);
            self.warn_of_dropped(&format!("step {}: $NIXACTIONS_ENV", step.name), &dropped);
            self.step_outputs = written.outputs.into_iter().collect();
            self.record.outputs.extend(self.step_outputs.clone());
        }
        if let Some(reason) = &tried.reason {
            self.processes.journal.outcome(
                Some(&step.name),
                ToldOutcome {
                    outcome: tried.outcome,
                    code: reason.code(),
                },
                &format!("step {}: {reason}", step.name),
            );
        }
        StepRecord {
            name: step.name.clone(),
            outcome: tried.outcome,
            conclusion: status::conclude(tried.outcome, step.continue_on_error),
            exit_code: tried.exit_code,
            reason: tried.reason.as_ref().map(Reason::to_string),
            reason_code: tried.reason.as_ref().and_then(Reason::code),
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
        environment: &Environment,
    ) -> Tried {
        let files = match StepFiles::create(&self.spec.files_directory, index, attempt) {
            Ok(files) => files,
            Err(error) => {
                let why = format!("its files cannot be made: {error}");
                return Tried::failed(Reason::StepFiles { why });
            }
        };
        let variables = environment.of_step(self.spec, self.port, index, attempt, &files);
        let directory = match self.directory(index, step, environment) {
            Ok(directory) => directory,
            Err(why) => return Tried::failed(Reason::NotStarted { why }),
        };
        let mut command = match self.command(
            index,
            step,
            variables.get("PATH").map_or("", String::as_str),
            &directory,
        ) {
            Ok(command) => command,
            Err(why) => return Tried::failed(Reason::NotStarted { why }),
        };
        self.set_variables(&mut command, variables, environment);
        let limits = self.limits(step.timeout);
        self.tell();
        let (ended, stop) = self
            .processes
            .run(&mut command, Some((&step.name, attempt)), limits);
        if !matches!(ended, Ended::NotStarted(_)) {
            self.begun.insert(index, directory);
        }
        self.keep_summary(index, step, attempt, &files);
        let said = self.processes.commands.outputs();
        let exit_code = if let Ended::Exited(code) = ended {
            Some(code)
        } else {
            None
        };
        // As on GitHub, the file is read at the end of the step, so it outranks `::set-output`. A
        // step that was ended also hands on what it has written.
        let read = files.read().map(|mut written| {
            written.outputs.splice(0..0, said);
            written
        });
        if let Some((outcome, reason)) = self.ended_by(stop, step.timeout) {
            return Tried {
                outcome,
                reason: Some(reason),
                exit_code,
                written: read.ok(),
            };
        }
        match (ended, read) {
            (Ended::Exited(0), Ok(written)) => Tried {
                outcome: Conclusion::Success,
                reason: None,
                exit_code,
                written: Some(written),
            },
            (Ended::Exited(0), Err(error)) => Tried {
                exit_code,
                ..Tried::failed(Reason::StepFiles {
                    why: error.to_string(),
                })
            },
            (ended, written) => Tried {
                exit_code,
                written: written.ok(),
                ..Tried::failed(ended.into())
            },
        }
    }

    fn command(
        &self,
        index: usize,
        step: &StepSpec,
        path: &str,
        directory: &Path,
    ) -> Result<process::Command, String> {
        let mut command = match &step.command {
            Command::Run(argv) => {
                let (program, arguments) = argv.split_first().ok_or("has no command")?;
                let mut command = process::Command::new(find(program, path));
                command.args(arguments);
                command
            }
            Command::Bash(script) => self.bash(&index.to_string(), script, path)?,
            Command::Script { shell, text } => self.script(index, shell, text, path)?,
        };
        command.current_dir(directory);
        Ok(command)
    }

    /// Returns the limits of a step's process with this timeout.
    pub(super) fn limits(&self, timeout: Option<Seconds>) -> Limits {
        Limits {
            step: timeout.map(|timeout| Instant::now() + timeout.duration()),
            job: self.deadline.filter(|_| self.cleanup_until.is_none()),
            cleanup: self.cleanup_until,
        }
    }

    /// Returns the outcome of a step whose process was asked to end, and updates the job. Returns
    /// `None` if the process ended by itself.
    pub(super) fn ended_by(
        &mut self,
        stop: Stop,
        timeout: Option<Seconds>,
    ) -> Option<(Conclusion, Reason)> {
        let cancelled = |reason| Some((Conclusion::Cancelled, reason));
        match stop {
            Stop::Not => None,
            Stop::StepTimeout => {
                let seconds = timeout.map_or(0.0, f64::from);
                Some((Conclusion::Failure, Reason::StepTimeout { seconds }))
            }
            Stop::JobTimeout => {
                self.time_out();
                cancelled(Reason::JobTimeIsOver)
            }
            Stop::Cancelled => {
                self.notice_cancellation();
                self.cancel();
                cancelled(Reason::StepCancelled)
            }
            Stop::OutOfMemory => {
                let is_asked = self.port.cancellation.of_run().is_some()
                    || self.port.cancellation.of_matrix().is_some();
                self.notice_cancellation();
                self.cancel();
                Some(if is_asked {
                    (Conclusion::Cancelled, Reason::StepCancelled)
                } else {
                    (Conclusion::Failure, Reason::OutOfMemory)
                })
            }
            Stop::CleanupOver => cancelled(Reason::CleanupOver),
        }
    }
}

/// Returns the record of a step that does not run.
pub(super) fn skipped(step: &StepSpec, reason: &Reason) -> StepRecord {
    StepRecord {
        name: step.name.clone(),
        outcome: Conclusion::Skipped,
        conclusion: Conclusion::Skipped,
        exit_code: None,
        reason: Some(reason.to_string()),
        reason_code: reason.code(),
        attempts: 0,
        started_at: None,
        finished_at: None,
    }
}

/// Returns a program's path as a shell would find it. A lookup by exec would make the fork slower.
pub(super) fn find(program: &str, path: &str) -> OsString {
    if program.contains('/') {
        return program.into();
    }
    programs::find(programs::directories(path.as_ref()), program)
        .map_or(program.into(), PathBuf::into_os_string)
}
