//! One attempt at a job: its workspace, its steps in their order, and the artifacts it leaves.

use std::{fs, path::PathBuf, time::Instant};

use super::{env::Environment, gate, job::Job, journal::Priority, step::skipped, workspace};
use crate::{
    error::describe,
    event::EventKind,
    record::Conclusion,
    status::{self, Condition, Gate},
};

impl Job<'_> {
    pub(super) fn prepare(&mut self) -> Result<(), workspace::WorkspaceError> {
        workspace::prepare(self.spec, self.paths)?;
        if !self.needs.is_empty() {
            let json = gate::needs_json(&self.needs).to_string();
            fs::write(self.needs_file(), json).map_err(workspace::WorkspaceError::Make)?;
        }
        self.spec.inputs.iter().try_for_each(|input| workspace::restore(self.spec, self.paths, input))
    }

    fn needs_file(&self) -> PathBuf {
        self.spec.files_directory.join("needs.json")
    }

    pub(super) fn steps(&mut self) {
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

    /// Saves the artifacts, also of a job that failed if they are there; a missing one fails a job that succeeded.
    pub(super) fn save(&mut self) {
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
}
