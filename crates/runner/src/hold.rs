//! Holds a job for a shell, after a failed step or one that asks for it (`::hold::`), if the run
//! allows it (`run --keep-failed`).
//!
//! A shell joins a process of a step, and the step's processes have ended. So the runner starts its
//! own program once more, with the variables and the directory of that step. This process waits for
//! a signal, which the shell sends when it ends. Meanwhile the job's timeout goes on.

use std::{os::unix::process::CommandExt as _, process::Command, time::Instant};

use jiff::{SignedDuration, Timestamp};

use super::{
    env::Environment,
    files::StepFiles,
    job::Job,
    journal::Priority,
    stop::{Limits, Stop},
};
use crate::{
    event::EventKind,
    grace::CLEANUP_GRACE,
    record::{Conclusion, StepRecord},
    settings::Seconds,
    spec::HOLDER,
};

/// The warning for a step that asks in vain.
const NOT_ALLOWED: &str =
    "`::hold::` has no effect: the run does not hold jobs (start it with `--keep-failed`)";

/// The runner's program, as its children see it.
const OWN_PROGRAM: &str = "/proc/self/exe";

impl Job<'_> {
    /// Holds the job after its first failed step, if the run asks for it and the job has no other
    /// attempt, or after a step that asks for it, if the run allows it. A job is held once.
    pub(super) fn hold_after(
        &mut self,
        index: usize,
        step: &StepRecord,
        environment: &Environment,
        asks: bool,
    ) {
        let Some(bound) = self.spec.keep_failed else {
            // Nobody would come, and the run would hang.
            if asks {
                self.warn_once(NOT_ALLOWED.to_owned());
            }
            return;
        };
        if self.was_held {
            return;
        }
        // An `always()` job of a cancelled run starts after the cancellation. Nothing asks it to
        // end.
        let is_over = self.state == Conclusion::Cancelled
            || self.processes.killed
            || self.port.cancellation.of_run().is_some()
            || self.port.cancellation.of_matrix().is_some()
            || self.port.cancellation.is_killed();
        let retry = self.spec.retry.filter(|_| self.inherits);
        let is_retried = retry.is_some_and(|retry| self.record.attempts < retry.max_attempts);
        if !is_over && (asks || !is_retried) {
            self.was_held = true;
            self.hold(index, step, environment, bound);
        }
    }

    fn hold(&mut self, index: usize, step: &StepRecord, environment: &Environment, bound: Seconds) {
        let attempt = step.attempts.max(1);
        let files = StepFiles::of(&self.spec.files_directory, index, attempt);
        let variables = environment.of_step(self.spec, self.port, index, attempt, &files);
        let mut command = Command::new(OWN_PROGRAM);
        command.arg0(HOLDER);
        command.current_dir(match self.begun.get(&index) {
            Some(directory) => directory.clone(),
            None => self.port.workspace(),
        });
        self.set_variables(&mut command, variables, environment);
        let deadline = self.limits(None).job;
        let end = Instant::now() + bound.duration();
        let end = deadline.map_or(end, |deadline| deadline.min(end));
        let left = end.saturating_duration_since(Instant::now());
        let until =
            Timestamp::now() + SignedDuration::try_from(left).unwrap_or(SignedDuration::MAX);
        let (run, job) = (&self.spec.run, &self.spec.job);
        let text = format!("held until {until:.0}: `nixactions shell {run} {job}`");
        self.processes.journal.note(&text, Priority::Notice);
        self.emit(EventKind::JobHeld {
            job: job.clone(),
            until,
        });
        self.tell();
        let limits = Limits {
            step: Some(end),
            job: None,
            ..self.limits(None)
        };
        let (_, stop) = self.processes.run(&mut command, None, limits);
        if stop == Stop::StepTimeout {
            let text = "the time is over; the job goes on, and shells in it end";
            self.processes.journal.note(text, Priority::Notice);
            if deadline == Some(end) {
                // Steps that clean up after the failure have as much time as after a timeout.
                self.cleanup_until.get_or_insert(end + CLEANUP_GRACE);
            }
            return;
        }
        let _ = self.ended_by(stop, None);
    }
}

/// Waits for a signal that ends this process.
pub fn wait() -> ! {
    loop {
        nix::unistd::pause();
    }
}
