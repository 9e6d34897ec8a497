//! The annotations, reasons, names and outputs of a job, with secrets hidden.
//!
//! [`hide_in_event`] is the only way of events from a job to its run, and the journal hides secrets
//! in its own fields. So no text leaves the runner with a secret that it knows.

use std::fs;

use super::{files::StepFiles, job::Job, journal::Priority, mask::Masker, variables};
use crate::{
    bounds,
    error::describe,
    event::EventKind,
    record::{Annotation, JobRecord, StepRecord},
    spec::StepSpec,
    store,
};

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
        let path = self.paths.summary(index);
        let kept = match files.summary() {
            Ok(text) if text.is_empty() => {
                if attempt > 1 {
                    // This fails if there is no summary, as is usual.
                    let _ = fs::remove_file(path);
                }
                return;
            }
            Ok(text) => {
                let text = self.processes.journal.masker.text(&text);
                store::write_atomically(&path, text.as_bytes(), 0o644, false)
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

/// Hides secrets in a job's record. Like GitHub, removes the outputs that held one, since `***` is
/// of no use to a dependent. Returns their names.
fn hide_in_record(masker: &Masker, record: &mut JobRecord) -> Vec<String> {
    record
        .reason
        .iter_mut()
        .for_each(|reason| _ = hide(masker, reason));
    record
        .steps
        .iter_mut()
        .for_each(|step| hide_in_step(masker, step));
    for service in record.services.values_mut() {
        let reason = service.reason.iter_mut();
        reason.for_each(|reason| _ = hide(masker, reason));
    }
    record
        .annotations
        .iter_mut()
        .for_each(|annotation| hide_in_annotation(masker, annotation));
    let mut names = Vec::new();
    record.outputs.retain(|name, value| {
        let holds = hide(masker, value) || hide(masker, &mut name.clone());
        if holds {
            names.push(name.clone());
        }
        !holds
    });
    names
}

/// Hides secrets in all texts of an event.
pub(super) fn hide_in_event(masker: &Masker, event: &mut EventKind) {
    match event {
        EventKind::StepStarted { name, .. } => _ = hide(masker, name),
        EventKind::StepFinished { step, .. } => hide_in_step(masker, step),
        EventKind::ServiceEnded { reason, lines, .. } => {
            let texts = lines.iter_mut().chain([reason]);
            texts.for_each(|text| _ = hide(masker, text));
        }
        EventKind::Annotation { annotation, .. } => hide_in_annotation(masker, annotation),
        // The record of the end is looked at before, for the warnings.
        _ => {}
    }
}

fn hide_in_annotation(masker: &Masker, annotation: &mut Annotation) {
    [&mut annotation.step, &mut annotation.message]
        .into_iter()
        .chain(&mut annotation.title)
        .chain(&mut annotation.file)
        .for_each(|text| _ = hide(masker, text));
}

fn hide_in_step(masker: &Masker, step: &mut StepRecord) {
    [&mut step.name]
        .into_iter()
        .chain(&mut step.reason)
        .for_each(|text| _ = hide(masker, text));
}

/// Hides secrets in a text. Returns whether there were any.
fn hide(masker: &Masker, text: &mut String) -> bool {
    let hidden = masker.text(text).into_owned();
    let changed = hidden != *text;
    *text = hidden;
    changed
}
