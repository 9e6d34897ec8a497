//! Conditions in bash. They run in the job's environment and workspace, once everything before them
//! has succeeded.
//!
//! Exit status 0 is true, and 1 to 254 is false. Any other end is a failure of the condition.

use std::collections::BTreeMap;

use super::{env::Environment, job::Job, process::Ended, step::skipped};
use crate::{
    log::ToldOutcome,
    reason::Reason,
    record::{Conclusion, StepRecord},
    settings::Seconds,
    spec::StepSpec,
    status,
};

/// The surroundings of a condition.
struct Question<'a> {
    /// The name of its script.
    file: String,
    /// The step, if the condition belongs to one.
    step: Option<&'a str>,
    /// The condition's timeout, beside the job's own.
    timeout: Option<Seconds>,
    variables: BTreeMap<String, String>,
    environment: &'a Environment,
}

impl Job<'_> {
    /// Evaluates the job's own condition, with retries. If it is not true, the job's record holds
    /// the outcome.
    pub(super) fn holds_in_the_end(&mut self, condition: &str, environment: &Environment) -> bool {
        let mut attempt = 1;
        loop {
            let reason = match self.holds(condition, environment) {
                Ok(holds) => return holds,
                Err(reason) => reason,
            };
            let retry = self
                .spec
                .retry
                .filter(|retry| attempt < retry.max_attempts && !self.processes.killed);
            let Some(retry) = retry else {
                self.end(Conclusion::Failure, &reason);
                return false;
            };
            if self
                .wait_to_retry("the job", Some(&reason), attempt, &retry)
                .is_some()
            {
                return false;
            }
            attempt += 1;
        }
    }

    /// Evaluates the job's condition once. Records the outcome if the job does not run. An error
    /// says why the condition has no value.
    fn holds(&mut self, condition: &str, environment: &Environment) -> Result<bool, Reason> {
        let question = Question {
            file: "condition".to_owned(),
            step: None,
            timeout: None,
            variables: environment.of_job(self.spec, self.port),
            environment,
        };
        match self.ask(condition, question) {
            Ok(true) => return Ok(true),
            Ok(false) => self.end(Conclusion::Skipped, &status::was_false(condition)),
            Err((_, reason)) if self.record.outcome == Conclusion::Success => return Err(reason),
            // The job's record already has the cancellation or timeout that ended the condition.
            Err(_) => {}
        }
        Ok(false)
    }

    /// Runs a step if its condition is true.
    pub(super) fn step_if(
        &mut self,
        condition: &str,
        index: usize,
        step: &StepSpec,
        environment: &mut Environment,
    ) -> StepRecord {
        let question = Question {
            file: format!("{index}-condition"),
            step: Some(&step.name),
            timeout: step.timeout,
            variables: environment.of_condition(self.spec, self.port, index),
            environment,
        };
        match self.ask(condition, question) {
            Ok(true) => self.step(index, step, environment),
            Ok(false) => skipped(step, &status::was_false(condition)),
            Err((outcome, reason)) => self.not_started(step, outcome, &reason),
        }
    }

    /// Returns the record of a step that should have run and cannot, and tells the log why.
    pub(super) fn not_started(
        &mut self,
        step: &StepSpec,
        outcome: Conclusion,
        reason: &Reason,
    ) -> StepRecord {
        self.processes.journal.outcome(
            Some(&step.name),
            ToldOutcome {
                outcome,
                code: reason.code(),
            },
            &format!("step {}: {reason}", step.name),
        );
        StepRecord {
            outcome,
            conclusion: status::conclude(outcome, step.continue_on_error),
            ..skipped(step, reason)
        }
    }

    /// Evaluates a condition. An error is the outcome of its job or step, and the reason.
    fn ask(
        &mut self,
        condition: &str,
        question: Question<'_>,
    ) -> Result<bool, (Conclusion, Reason)> {
        let failed = |why: String| {
            let condition = condition.to_owned();
            (
                Conclusion::Failure,
                Reason::ConditionFailed { condition, why },
            )
        };
        let path = question.variables.get("PATH").map_or("", String::as_str);
        let mut command = self.bash(&question.file, condition, path).map_err(failed)?;
        command.current_dir(self.port.workspace());
        self.set_variables(&mut command, question.variables, question.environment);
        let limits = self.limits(question.timeout);
        self.tell();
        let (ended, stop) =
            self.processes
                .run(&mut command, question.step.map(|step| (step, 1)), limits);
        match (self.ended_by(stop, question.timeout), ended) {
            (Some((Conclusion::Failure, reason)), _) => Err(failed(reason.to_string())),
            (Some(stopped), _) => Err(stopped),
            (None, Ended::Exited(0)) => Ok(true),
            (None, Ended::Exited(1..=254)) => Ok(false),
            (None, ended) => Err(failed(Reason::from(ended).to_string())),
        }
    }
}
