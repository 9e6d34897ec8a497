//! Holds a failed job for a shell (`run --keep-failed`).
//!
//! A shell joins a process of the job's steps, and none runs any more. So the runner starts its own
//! program once more, with the variables and the directory of the failed step. It waits for a
//! signal, which the shell sends when it ends. The job's time goes on meanwhile.

use std::{os::unix::process::CommandExt as _, process::Command, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{env::Environment, files::StepFiles, job::Job, journal::Priority, stop::Limits};
use crate::{
    event::EventKind,
    record::{Conclusion, StepRecord},
    settings::Seconds,
    spec::HOLDER,
};

/// The runner's program, as its children see it.
const OWN_PROGRAM: &str = "/proc/self/exe";

impl Job<'_> {
    /// Holds the job after its first failed step, if the run asks for it and the job has no other
    /// attempt.
    pub(super) fn hold_after(
        &mut self,
        index: usize,
        step: &StepRecord,
        environment: &Environment,
    ) {
        let Some(bound) = self.spec.keep_failed else {
            return;
        };
        let is_over = self.state == Conclusion::Cancelled || self.processes.killed;
        let retry = self.spec.retry.filter(|_| self.inherits);
        let is_retried = retry.is_some_and(|retry| self.record.attempts < retry.max_attempts);
        if !is_over && !is_retried {
            self.hold(index, step, environment, bound);
        }
    }

    fn hold(&mut self, index: usize, step: &StepRecord, environment: &Environment, bound: Seconds) {
        let attempt = step.attempts.max(1);
        let files = StepFiles::of(&self.spec.files_directory, index, attempt);
        let variables = environment.of_step(self.spec, self.paths, index, attempt, &files);
        let mut command = Command::new(OWN_PROGRAM);
        command.arg0(HOLDER);
        command.current_dir(match self.begun.get(&index) {
            Some(directory) => directory.clone(),
            None => self.paths.workspace(),
        });
        self.set_variables(&mut command, variables, environment);
        let left = self
            .limits(None)
            .job
            .map(|end| end.saturating_duration_since(std::time::Instant::now()));
        let time = left.map_or(bound.duration(), |left| left.min(bound.duration()));
        let until = Timestamp::now() + of(time);
        let (run, job) = (&self.spec.run, &self.spec.job);
        let text = format!(
            "step {} failed; the job is held until {until:.0}: `nixactions shell {run} {job}`",
            step.name
        );
        self.processes.journal.note(&text, Priority::Notice);
        self.emit(EventKind::JobHeld {
            job: job.clone(),
            until,
        });
        self.tell();
        let limits = Limits {
            step: self.limits(Some(bound)).step,
            ..self.limits(None)
        };
        let (_, stop) = self.processes.run(&mut command, None, limits);
        // The end of the time changes nothing; a cancellation does.
        let _ = self.ended_by(stop, Some(bound));
    }
}

fn of(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}

/// Waits for a signal that ends this process.
pub fn wait() -> ! {
    loop {
        nix::unistd::pause();
    }
}
