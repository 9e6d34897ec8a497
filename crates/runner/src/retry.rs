//! Attempts at a job, and the waits between attempts.
//!
//! The innermost retry applies to a failed step: its own, else that of its job, which repeats all
//! steps in a fresh workspace. The runner itself waits between attempts, so a wait survives the
//! death of the supervisor and a systemd that re-executes itself. [`Retry::wait_after`] computes
//! the time.

use std::collections::HashSet;

use super::{
    commands::Commands, env::Environment, job::Job, journal::Priority, parent::Past,
    workspace::WorkspaceError,
};
use crate::{
    error::describe, event::EventKind, reason::Reason, record::Conclusion, settings::Retry,
};

impl Job<'_> {
    /// Runs the steps until they succeed or no attempt is left, starting in the prepared workspace.
    /// Then saves the artifacts.
    pub(super) fn attempts(&mut self, mut prepared: Result<Environment, WorkspaceError>) {
        loop {
            match prepared {
                Ok(mut environment) => {
                    if self.provide(&mut environment) {
                        self.steps(&mut environment);
                        self.publish(&environment);
                    } else {
                        // A provider has no retry of its own.
                        self.inherits = true;
                    }
                }
                Err(error) => {
                    return self.fail(&Reason::Workspace {
                        why: describe(&error),
                    });
                }
            }
            self.look_at_services();
            let is_saved = self.record.outcome == Conclusion::Success;
            if is_saved {
                self.save();
            }
            let attempt = self.record.attempts;
            let is_over = self.state == Conclusion::Cancelled || self.processes.killed;
            let retry = self
                .spec
                .retry
                .filter(|retry| self.inherits && !is_over && attempt < retry.max_attempts);
            let Some(retry) = retry else {
                if !is_saved {
                    self.save();
                }
                return;
            };
            // The failure of this attempt is not the job's outcome: another attempt or a
            // cancellation follows.
            self.record.outcome = Conclusion::Success;
            let reason = self.reason.take();
            if self
                .wait_to_retry("the job", reason.as_ref(), attempt, &retry)
                .is_some()
            {
                return self.save();
            }
            self.begin_anew(attempt + 1);
            prepared = self.prepare();
            // The services go on; a job without one of them has failed.
            if !self.starts_services() {
                return;
            }
        }
    }

    /// Goes on with a job whose runner was killed: with its next attempt, as after any failure.
    pub(super) fn go_on(&mut self, past: Past, retry: &Retry, condition: Option<&str>) {
        let reason = Reason::RunnerKilled {
            signal: past.signal.to_string(),
            is_out_of_memory: past.is_out_of_memory,
        };
        if past.started_at.is_some() {
            self.record.attempts = past.attempt;
        }
        if self
            .wait_to_retry("the job", Some(&reason), past.attempt, retry)
            .is_some()
        {
            return self.save();
        }
        self.begin_anew(past.attempt + 1);
        if past.started_at.is_none() {
            return self.run_if(condition);
        }
        let prepared = self.prepare();
        if self.starts_services() {
            self.attempts(prepared);
        }
    }

    /// Resets the job and begins another attempt.
    fn begin_anew(&mut self, attempt: u32) {
        self.reset();
        self.record.attempts = attempt;
        self.emit(EventKind::JobRetried {
            job: self.spec.job.clone(),
            attempt,
        });
        self.tell();
    }

    /// Waits until the next attempt is due. If the job has to end before that, returns the end of
    /// the failed step or job.
    pub(super) fn wait_to_retry(
        &mut self,
        what: &str,
        reason: Option<&Reason>,
        attempt: u32,
        retry: &Retry,
    ) -> Option<(Conclusion, Reason)> {
        let wait = retry.wait_after(attempt);
        let reason = reason.map_or_else(|| "failed".to_owned(), Reason::to_string);
        let (next, of) = (attempt + 1, retry.max_attempts);
        let note = format!(
            "{what}: {reason}; attempt {next} of {of} follows in {} s",
            wait.as_secs_f64()
        );
        self.processes.journal.note(&note, Priority::Warning);
        self.tell();
        let stop = self.processes.sleep(wait, &self.limits(None));
        self.ended_by(stop, None)
    }

    /// Removes everything that is left of the attempt.
    fn reset(&mut self) {
        self.processes.cgroup.kill_others(&HashSet::new());
        self.processes.finish();
        self.remove_work();
        self.remove_artifacts();
        (0..self.spec.steps.len()).for_each(|index| self.port.remove_summary(index));
        self.record.outputs.clear();
        self.record.steps.clear();
        self.record.annotations.clear();
        self.processes.commands = Commands::default();
        self.state = Conclusion::Success;
        self.inherits = false;
    }
}
