//! One attempt at a job: makes the workspace, runs the steps in order, and saves the artifacts.

use std::time::Instant;

use super::{
    clean,
    env::{Environment, Level},
    files::write_anew,
    gate,
    job::Job,
    journal::Priority,
    step::skipped,
    variables::StepResult,
    workspace::{self, WorkspaceError},
};
use crate::{
    error::describe,
    event::EventKind,
    log::ToldOutcome,
    reason::Reason,
    record::Conclusion,
    spec::StepSpec,
    status::{self, Condition, Gate},
};

impl Job<'_> {
    /// Makes the workspace and the files that exist before the first step. Returns the environment
    /// for the steps.
    pub(super) fn prepare(&mut self) -> Result<Environment, WorkspaceError> {
        workspace::prepare(self.spec, self.port)?;
        // Every step has `$NIXACTIONS_NEEDS`.
        let needs_file = self.spec.files_directory.join("needs.json");
        write_anew(
            &needs_file,
            gate::needs_json(&self.needs).to_string().as_bytes(),
        )
        .map_err(WorkspaceError::Make)?;
        if let Some(hooks) = &self.spec.hooks {
            let steps = match hooks.steps.get(&self.spec.job) {
                Some(own) if !hooks.of_workspace => own.to_string(),
                _ => serde_json::json!(hooks.steps).to_string(),
            };
            write_anew(
                &self.spec.files_directory.join("steps.json"),
                steps.as_bytes(),
            )
            .map_err(WorkspaceError::Make)?;
        }
        self.spec
            .inputs
            .iter()
            .try_for_each(|input| workspace::restore(self.port, input))?;
        let (environment, warnings) = Environment::new(&self.needs, &needs_file);
        warnings
            .into_iter()
            .for_each(|warning| self.warn_once(warning));
        Ok(environment)
    }

    /// Runs the steps.
    pub(super) fn steps(&mut self, environment: &mut Environment) {
        let spec = self.spec;
        self.begun.clear();
        for (index, step) in spec.steps.iter().enumerate() {
            self.notice_cancellation();
            self.step_outputs.clear();
            let record = if self.processes.killed {
                skipped(step, &Reason::JobKilled)
            } else if self
                .cleanup_until
                .is_some_and(|until| Instant::now() >= until)
            {
                skipped(step, &Reason::CleanupOver)
            } else if let Some(nothing) = self.nothing_to_clean(step) {
                skipped(step, &nothing)
            } else {
                let filled = self.fill_env(index, step, environment);
                match (self.step_gate(index, step, environment), filled) {
                    (Gate::Run, Ok(())) => self.step(index, step, environment),
                    (Gate::Ask(condition), Ok(())) => {
                        self.step_if(&condition, index, step, environment)
                    }
                    (Gate::Skip(reason) | Gate::Cancel(reason), _) => skipped(step, &reason),
                    (Gate::Fail(reason), _) => self.not_started(step, Conclusion::Failure, &reason),
                    (_, Err(why)) => {
                        self.not_started(step, Conclusion::Failure, &Reason::Expression { why })
                    }
                }
            };
            if let (Conclusion::Skipped, Some(reason)) = (record.outcome, &record.reason) {
                self.processes.journal.outcome(
                    Some(&step.name),
                    ToldOutcome {
                        outcome: record.outcome,
                        code: record.reason_code,
                    },
                    &format!("step {} skipped: {reason}", step.name),
                );
            }
            let mut is_first_failure = false;
            if record.conclusion == Conclusion::Failure {
                let why = record.reason.clone().unwrap_or_else(|| "failed".to_owned());
                // The first failed step decides whether the job retries.
                is_first_failure = self.record.outcome == Conclusion::Success;
                if is_first_failure {
                    self.inherits = step.retry.is_inherit();
                }
                self.fail(&Reason::StepFailed {
                    step: step.name.clone(),
                    why,
                });
            }
            if let Some(id) = &step.id {
                let ended = StepResult {
                    id: id.to_string(),
                    outcome: record.outcome,
                    conclusion: record.conclusion,
                    outputs: std::mem::take(&mut self.step_outputs),
                };
                environment
                    .remember(ended)
                    .into_iter()
                    .for_each(|warning| self.warn_once(warning));
            }
            self.annotate();
            self.emit(EventKind::StepFinished {
                job: spec.job.clone(),
                index,
                step: record.clone(),
            });
            let asks = self.processes.commands.asks_to_hold();
            if is_first_failure || asks {
                self.hold_after(index, &record, environment, asks);
            }
            self.record.steps.push(record);
            self.look_at_services();
        }
        self.notice_cancellation();
    }

    /// Returns why a step that cleans up after another one need not.
    fn nothing_to_clean(&self, step: &StepSpec) -> Option<Reason> {
        let of = step.post_of?;
        (!self.begun.contains_key(&of)).then(|| Reason::NothingToClean {
            step: self
                .spec
                .steps
                .get(of)
                .map_or_else(String::new, |step| step.name.clone()),
        })
    }

    fn step_gate(&self, index: usize, step: &StepSpec, environment: &Environment) -> Gate {
        let condition = Condition::parse(step.condition.as_deref());
        status::step_gate(&condition, self.state, &|expression, status| {
            self.is_true(expression, status, environment, Level::Step(index))
        })
    }

    /// Saves the artifacts that exist, also of a failed job. A missing artifact fails a job that
    /// succeeded.
    pub(super) fn save(&mut self) {
        if self.processes.killed {
            return;
        }
        let spec = self.spec;
        if !spec.outputs.is_empty() {
            self.tell();
            clean::unlock(&self.port.workspace());
        }
        for output in &spec.outputs {
            // The workspace of a successful job is removed next, so files may be moved out of it.
            let done = self.record.outcome == Conclusion::Success;
            match workspace::save(spec, self.port, output, done) {
                Ok(warnings) => warnings
                    .iter()
                    .for_each(|warning| self.processes.journal.note(warning, Priority::Warning)),
                Err(WorkspaceError::Missing { .. })
                    if self.record.outcome != Conclusion::Success => {}
                Err(error) => {
                    // Another attempt may make the artifact.
                    let is_missing = matches!(error, WorkspaceError::Missing { .. });
                    self.inherits |= is_missing;
                    let why = describe(&error);
                    self.processes.journal.note(&why, Priority::Error);
                    self.fail(&if is_missing {
                        Reason::ArtifactMissing { why }
                    } else {
                        Reason::Artifact { why }
                    });
                }
            }
        }
    }
}
