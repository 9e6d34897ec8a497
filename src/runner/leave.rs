//! What a job leaves beside its artifacts, with its secrets hidden: annotations, reasons, outputs.

use super::{job::Job, journal::Priority, mask::Masker};
use crate::{
    event::EventKind,
    record::{JobRecord, StepRecord},
};

impl Job<'_> {
    /// Takes in what has been said of places in the source since this was last called.
    pub(super) fn annotate(&mut self) {
        for mut annotation in self.processes.commands.annotations() {
            let masker = &self.processes.journal.masker;
            hide(masker, &mut annotation.message);
            [&mut annotation.title, &mut annotation.file].into_iter().flatten().for_each(|text| _ = hide(masker, text));
            self.emit(EventKind::Annotation { job: self.spec.job.clone(), annotation: annotation.clone() });
            self.record.annotations.push(annotation);
        }
    }

    /// Hides secrets in the job's record: dependents and everybody who reads the run's record see it.
    pub(super) fn hide_secrets(&mut self) {
        let names = hide_in_record(&self.processes.journal.masker, &mut self.record);
        if !names.is_empty() {
            let text = format!("outputs that hold secrets are handed on masked: {}", names.join(", "));
            self.processes.journal.note(&text, Priority::Warning);
        }
    }
}

/// Hides secrets in a job's record; returns the outputs that held any.
fn hide_in_record(masker: &Masker, record: &mut JobRecord) -> Vec<String> {
    record.reason.iter_mut().for_each(|reason| _ = hide(masker, reason));
    record.steps.iter_mut().for_each(|step| hide_in_step(masker, step));
    record.outputs.iter_mut().filter_map(|(name, value)| hide(masker, value).then(|| name.clone())).collect()
}

/// Hides secrets in what a step's record says beside its name, which is the plan's.
pub(super) fn hide_in_step(masker: &Masker, step: &mut StepRecord) {
    step.reason.iter_mut().for_each(|reason| _ = hide(masker, reason));
}

/// Hides secrets in a text; returns whether there were any.
fn hide(masker: &Masker, text: &mut String) -> bool {
    let hidden = masker.text(text).into_owned();
    let changed = hidden != *text;
    *text = hidden;
    changed
}
