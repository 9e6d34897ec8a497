//! Limits on the data that a job adds to its run's events and record.
//!
//! A job's code is not trusted: a job can forge its result and its events. This module cuts them to
//! size before they enter the run's events and record. It is pure.

use crate::{
    event::{Event, EventKind},
    record::{Annotation, Conclusion, JobRecord, RunRecord, StepRecord},
};

/// The most bytes that are read of a job's events.
pub const EVENTS_MAX: u64 = 16 << 20;
/// The most bytes that are read of one line of a job's events.
pub const LINE_MAX: usize = 8 << 20;
/// The most bytes that a job's events may add to the events of its run.
const TOLD_MAX: usize = 4 << 20;
/// The assumed size of an event without its texts, in bytes.
const EVENT_BYTES: usize = 256;
/// The most bytes of the names and values of a job's outputs (GitHub's limit).
const OUTPUTS_MAX: usize = 1 << 20;
/// The most annotations of one job (GitHub's limit).
pub const ANNOTATIONS_MAX: usize = 50;
/// The longest text of an annotation, reason of a step or name of a step, in bytes.
pub const TEXT_MAX: usize = 4096;

/// The most lines that tell how a service ended.
pub const SERVICE_LINES: usize = 10;
/// The longest of these lines, in bytes.
pub const SERVICE_LINE: usize = 300;
/// The most services of a job.
pub const SERVICES_MAX: usize = 32;

/// The longest reason of a job in a shortened record, in bytes.
const SHORT_TEXT: usize = 200;

/// Cuts a text to at most `max` bytes without splitting a character. Returns whether the text was
/// longer.
pub fn cut_text(text: &mut String, max: usize) -> bool {
    if text.len() <= max {
        return false;
    }
    let mark = '…';
    let mut end = max.saturating_sub(mark.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push(mark);
    true
}

/// Cuts a record to the limits. `steps` is the job's number of steps. Returns one phrase for each
/// kind of data that was cut.
pub fn cut_record(record: &mut JobRecord, steps: usize) -> Vec<String> {
    let mut cut = Vec::new();
    let mut room = OUTPUTS_MAX;
    let mut left_out = Vec::new();
    record.outputs.retain(|name, value| {
        let size = name.len() + value.len();
        let fits = size <= room;
        if fits {
            room -= size;
        } else {
            left_out.push(name.chars().take(100).collect::<String>());
        }
        fits
    });
    if !left_out.is_empty() {
        let count = left_out.len();
        left_out.truncate(10);
        let more = if count > left_out.len() { ", …" } else { "" };
        cut.push(format!(
            "outputs of more than {OUTPUTS_MAX} bytes in all: left out `{}`{more}",
            left_out.join("`, `")
        ));
    }
    if record.annotations.len() > ANNOTATIONS_MAX {
        record.annotations.truncate(ANNOTATIONS_MAX);
        cut.push(format!("more than {ANNOTATIONS_MAX} annotations"));
    }
    if record.steps.len() > steps {
        record.steps.truncate(steps);
        cut.push("more steps than the job has".to_owned());
    }
    if record.services.len() > SERVICES_MAX {
        let last = record.services.keys().nth(SERVICES_MAX).cloned();
        record.services.split_off(&last.unwrap_or_default());
        cut.push("more services than a job may have".to_owned());
    }
    let mut is_long = record
        .reason
        .as_mut()
        .is_some_and(|reason| cut_text(reason, TEXT_MAX));
    for annotation in &mut record.annotations {
        is_long |= cut_annotation(annotation);
    }
    for step in &mut record.steps {
        is_long |= cut_step(step);
    }
    for service in record.services.values_mut() {
        is_long |= cut_text(&mut service.unit, TEXT_MAX);
        let reason = service.reason.as_mut();
        is_long |= reason.is_some_and(|reason| cut_text(reason, TEXT_MAX));
    }
    if is_long {
        cut.push(format!("texts of more than {TEXT_MAX} bytes"));
    }
    cut
}

/// Shortens a run's record so that it fits on a full disk. Each job keeps its end and the beginning
/// of its reason. The run counts as failed, and the caller sets the reason.
pub fn shorten(record: &mut RunRecord) {
    record.conclusion = Some(Conclusion::Failure);
    record.jobs.values_mut().for_each(shorten_job);
}

/// Shortens a job's record, like [`shorten`].
pub fn shorten_job(job: &mut JobRecord) {
    job.outputs.clear();
    job.annotations.clear();
    job.steps.clear();
    job.services.clear();
    if let Some(reason) = &mut job.reason {
        cut_text(reason, SHORT_TEXT);
    }
}

fn cut_annotation(annotation: &mut Annotation) -> bool {
    let texts = [
        Some(&mut annotation.step),
        Some(&mut annotation.message),
        annotation.title.as_mut(),
        annotation.file.as_mut(),
    ];
    texts
        .into_iter()
        .flatten()
        .fold(false, |cut, text| cut_text(text, TEXT_MAX) | cut)
}

fn cut_step(step: &mut StepRecord) -> bool {
    let reason = step
        .reason
        .as_mut()
        .is_some_and(|reason| cut_text(reason, TEXT_MAX));
    cut_text(&mut step.name, TEXT_MAX) | reason
}

/// The data that a job's events may still add to the events of its run.
#[derive(Debug)]
pub struct Allowance {
    steps: usize,
    annotations: usize,
    bytes: usize,
    /// Whether the job may still be held.
    may_hold: bool,
    /// Whether an event was left out or cut.
    pub exceeded: bool,
}

impl Allowance {
    /// Returns the full allowance of a job with `steps` steps, which may be held if its run asks
    /// for that.
    pub fn new(steps: usize, may_hold: bool) -> Self {
        Self {
            steps,
            annotations: ANNOTATIONS_MAX,
            bytes: TOLD_MAX,
            may_hold,
            exceeded: false,
        }
    }

    /// Returns the part of the job's next event that is kept, if any. The result depends only on
    /// the events before.
    pub fn admit(&mut self, mut event: Event) -> Option<Event> {
        let (is_whole, texts) = match &mut event.event {
            EventKind::Annotation { annotation, .. } => {
                let Some(left) = self.annotations.checked_sub(1) else {
                    self.exceeded = true;
                    return None;
                };
                self.annotations = left;
                let is_whole = !cut_annotation(annotation);
                let optional = [&annotation.title, &annotation.file];
                let optional: usize = optional.into_iter().flatten().map(String::len).sum();
                let size = annotation.message.len() + annotation.step.len() + optional;
                (is_whole, size)
            }
            EventKind::StepStarted { index, name, .. } if *index < self.steps => {
                (!cut_text(name, TEXT_MAX), name.len())
            }
            EventKind::StepFinished { index, step, .. } if *index < self.steps => {
                let is_whole = !cut_step(step);
                let reason = step.reason.as_ref().map_or(0, String::len);
                (is_whole, step.name.len() + reason)
            }
            EventKind::ServiceReady { service, .. } => {
                (!cut_text(service, TEXT_MAX), service.len())
            }
            EventKind::ServiceEnded {
                service,
                reason,
                lines,
                ..
            } => {
                let mut is_whole = !cut_text(service, TEXT_MAX) & !cut_text(reason, TEXT_MAX);
                is_whole &= lines.len() <= SERVICE_LINES;
                lines.truncate(SERVICE_LINES);
                for line in lines.iter_mut() {
                    is_whole &= !cut_text(line, SERVICE_LINE);
                }
                let lines: usize = lines.iter().map(String::len).sum();
                (is_whole, service.len() + reason.len() + lines)
            }
            EventKind::StepStarted { .. } | EventKind::StepFinished { .. } => {
                self.exceeded = true;
                return None;
            }
            EventKind::JobRetried { .. } => {
                self.annotations = ANNOTATIONS_MAX;
                (true, 0)
            }
            EventKind::JobHeld { .. } if self.may_hold => {
                self.may_hold = false;
                (true, 0)
            }
            EventKind::JobHeld { .. } => {
                self.exceeded = true;
                return None;
            }
            _ => (true, 0),
        };
        self.exceeded |= !is_whole;
        let size = texts + EVENT_BYTES;
        // Once an event does not fit, all later events are left out, too.
        let Some(left) = self.bytes.checked_sub(size) else {
            self.bytes = 0;
            self.exceeded = true;
            return None;
        };
        self.bytes = left;
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::record::AnnotationLevel;

    fn annotation(message: &str) -> Annotation {
        Annotation {
            level: AnnotationLevel::Error,
            step: "s".into(),
            message: message.into(),
            title: None,
            file: None,
            line: None,
            end_line: None,
            column: None,
            end_column: None,
        }
    }

    fn event(event: EventKind) -> Event {
        Event {
            at: Timestamp::UNIX_EPOCH,
            event,
        }
    }

    #[test]
    fn cutting_a_text_never_splits_a_character() {
        let mut text = "é".repeat(10);
        assert!(!cut_text(&mut text, 20));
        assert!(cut_text(&mut text, 12));
        assert_eq!(text, "éééé…");
    }

    #[test]
    fn a_record_is_cut_to_the_limits() {
        let mut record = JobRecord::new("u".into());
        record.annotations = vec![annotation(&"x".repeat(1 << 20)); 70];
        record.reason = Some("y".repeat(1 << 20));
        for (name, size) in [("a", 1 << 19), ("b", 1 << 20), ("c", 1 << 10)] {
            record.outputs.insert(name.into(), "z".repeat(size));
        }
        let cut = cut_record(&mut record, 1);
        assert_eq!(cut.len(), 3, "{cut:?}");
        assert_eq!(
            record.outputs.keys().collect::<Vec<_>>(),
            ["a", "c"],
            "outputs that fit stay"
        );
        let size = serde_json::to_vec(&record).unwrap().len();
        assert!(size < (1 << 20), "{size}");
        assert_eq!(cut_record(&mut record, 1), NONE);
    }

    const NONE: [String; 0] = [];

    #[test]
    fn a_shortened_record_takes_less_than_1_kib_a_job() {
        let mut job = JobRecord::new("nixactions-ci-1-build.service".into());
        job.reason = Some("y".repeat(TEXT_MAX));
        job.outputs.insert("a".into(), "z".repeat(1 << 20));
        let at = Timestamp::UNIX_EPOCH;
        let mut run = Event::empty_record("ci-1".parse().unwrap(), "ci".parse().unwrap(), at);
        for number in 0..100 {
            let name = format!("job-{number}").parse().unwrap();
            run.jobs.insert(name, job.clone());
        }
        shorten(&mut run);
        assert_eq!(run.conclusion, Some(Conclusion::Failure));
        assert!(serde_json::to_vec(&run).unwrap().len() < 100 << 10);
    }

    #[test]
    fn events_beyond_the_allowance_are_left_out() {
        let job: crate::ids::JobName = "j".parse().unwrap();
        let mut allowance = Allowance::new(1, false);
        let started = |index| {
            event(EventKind::StepStarted {
                job: job.clone(),
                index,
                name: "s".into(),
                attempt: 1,
            })
        };
        assert!(allowance.admit(started(0)).is_some());
        assert!(!allowance.exceeded);
        assert!(
            allowance.admit(started(1)).is_none(),
            "the job has only one step"
        );
        assert!(allowance.exceeded);
        let annotated = || {
            event(EventKind::Annotation {
                job: job.clone(),
                annotation: annotation(&"x".repeat(1 << 20)),
            })
        };
        let kept: Vec<Event> = (0..70)
            .filter_map(|_| allowance.admit(annotated()))
            .collect();
        assert_eq!(kept.len(), ANNOTATIONS_MAX);
        assert!(serde_json::to_vec(&kept).unwrap().len() < ANNOTATIONS_MAX * 2 * TEXT_MAX);
        let count = (0..100_000)
            .filter(|_| allowance.admit(started(0)).is_some())
            .count();
        assert!((1_000..20_000).contains(&count), "{count}");
    }

    #[test]
    fn a_job_is_held_once_and_only_if_its_run_asks() {
        let held = || Event {
            at: Timestamp::UNIX_EPOCH,
            event: EventKind::JobHeld {
                job: "j".parse().unwrap(),
                until: Timestamp::UNIX_EPOCH,
            },
        };
        let mut allowance = Allowance::new(1, false);
        assert!(
            allowance.admit(held()).is_none(),
            "the run does not ask for it"
        );
        let mut allowance = Allowance::new(1, true);
        assert!(allowance.admit(held()).is_some() && !allowance.exceeded);
        assert!(allowance.admit(held()).is_none() && allowance.exceeded);
    }
}
