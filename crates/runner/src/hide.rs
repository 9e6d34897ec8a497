//! Hides secrets in events and in the record of a job.
//!
//! [`hide_in_event`] is the only way of events from a job to its run, and the journal hides secrets
//! in its own fields. So no text leaves the runner with a secret that it knows.

use super::mask::Masker;
use crate::{
    event::EventKind,
    record::{Annotation, JobRecord, StepRecord},
};

/// Hides secrets in a job's record. Like GitHub, removes the outputs that held one, since `***` is
/// of no use to a dependent. Returns their names.
pub(super) fn hide_in_record(masker: &Masker, record: &mut JobRecord) -> Vec<String> {
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

/// Hides secrets in an annotation.
pub(super) fn hide_in_annotation(masker: &Masker, annotation: &mut Annotation) {
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
