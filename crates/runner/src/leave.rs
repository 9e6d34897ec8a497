//! Leaves the annotations of a job, the summaries of its steps, and its record. Cuts the record to
//! the allowed size, and hides secrets in all of them.

use super::{
    files::StepFiles,
    hide::{hide_in_annotation, hide_in_record},
    job::Job,
    journal::Priority,
    variables,
};
use crate::{bounds, error::describe, event::EventKind, spec::StepSpec};

impl Job<'_> {
    /// Moves new annotations of steps into the job's record.
    pub(super) fn annotate(&mut self) {
        for mut annotation in self.processes.commands.annotations() {
            hide_in_annotation(&self.processes.journal.masker, &mut annotation);
            self.emit(EventKind::Annotation {
                job: self.spec.job.clone(),
                annotation: annotation.clone(),
            });
            self.record.annotations.push(annotation);
        }
    }

    /// Keeps the summary of an attempt at a step, in place of an earlier attempt's.
    pub(super) fn keep_summary(
        &mut self,
        index: usize,
        step: &StepSpec,
        attempt: u32,
        files: &StepFiles,
    ) {
        let kept = match files.summary() {
            Ok(text) if text.is_empty() => {
                if attempt > 1 {
                    self.port.remove_summary(index);
                }
                return;
            }
            Ok(text) => {
                let text = self.processes.journal.masker.text(&text);
                self.port
                    .keep_summary(index, &text)
                    .map_err(|error| describe(&error))
            }
            Err(error) => Err(error.to_string()),
        };
        if let Err(reason) = kept {
            self.processes.journal.note(
                &format!("step {}: its summary is not kept: {reason}", step.name),
                Priority::Warning,
            );
        }
    }

    /// Cuts the job's record to the allowed size.
    pub(super) fn cut_record(&mut self) {
        for cut in bounds::cut_record(&mut self.record, self.spec.steps.len()) {
            let text = format!("cut the job's record: {cut}");
            self.processes.journal.note(&text, Priority::Warning);
        }
    }

    /// Hides secrets in the job's record, since dependents and all readers of the run's record see
    /// it.
    pub(super) fn hide_secrets(&mut self) {
        let names = hide_in_record(&self.processes.journal.masker, &mut self.record);
        if !names.is_empty() {
            let text = format!(
                "outputs that may hold secrets are not passed on: {}",
                names.join(", ")
            );
            self.processes.journal.note(&text, Priority::Warning);
        }
        let alike = variables::alike(&self.record.outputs);
        if !alike.is_empty() {
            let text = format!(
                "outputs that would have the same variable in a dependent are only in $NIXACTIONS_NEEDS: {}",
                alike.join(", ")
            );
            self.processes.journal.note(&text, Priority::Warning);
        }
    }
}
