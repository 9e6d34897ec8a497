//! Bounds on the times and numbers that a job tells of itself.
//!
//! A job without a sandbox can forge its events and its result, and the machine's clock can jump.
//! This module brings their times and numbers within possible bounds. It is pure: the caller tells
//! the bounds.

use jiff::{SignedDuration, Timestamp};

use crate::{
    event::{Event, EventKind},
    record::{Conclusion, JobRecord, StepRecord, Usage},
};

/// The most processors of a Linux machine (`NR_CPUS` of x86-64).
const CPUS_MAX: f64 = 8192.0;
/// The largest memory of a machine in bytes, by the physical addresses of x86-64 and ARM64.
const MEMORY_MAX: u64 = 1 << 52;

/// The most attempts that a plan allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempts {
    /// The attempts at the job.
    pub job: u32,
    /// The attempts at each of its steps.
    pub step: u32,
}

/// The bounds of what a job tells.
#[derive(Debug, Clone, Copy)]
pub struct Claims {
    /// The earliest time: the job was submitted then.
    pub since: Timestamp,
    /// The latest time: the job had ended by then, or its events are read now.
    pub until: Timestamp,
    /// The most attempts.
    pub attempts: Attempts,
}

/// Returns the time within `since` and `until` that is nearest to `at`. Returns `until` if it is
/// earlier than `since`: the clock was set back.
pub fn within(at: Timestamp, since: Timestamp, until: Timestamp) -> Timestamp {
    // `Ord::clamp` panics if the clock was set back.
    at.max(since).min(until)
}

/// Removes the kinds of reasons that a job's runner cannot report, from the record that the runner
/// left. The supervisor alone finds such reasons.
pub fn bound_reasons(record: &mut JobRecord) {
    let outcome = record.outcome;
    record.reason_code = record.reason_code.filter(|code| code.is_of_runner(outcome));
    record.steps.iter_mut().for_each(bound_step_reason);
}

/// Removes the kind of a step's reason if a job's runner cannot report it.
pub fn bound_step_reason(step: &mut StepRecord) {
    let outcome = step.outcome;
    step.reason_code = step.reason_code.filter(|code| code.is_of_runner(outcome));
}

impl Claims {
    /// Bounds the time of a job's event, and the times and attempts in it.
    pub fn bound_event(&self, event: &mut Event) {
        event.at = within(event.at, self.since, self.until);
        match &mut event.event {
            EventKind::JobRetried { attempt, .. } => *attempt = (*attempt).min(self.attempts.job),
            EventKind::StepStarted { attempt, .. } => *attempt = (*attempt).min(self.attempts.step),
            EventKind::StepFinished { step, .. } => {
                self.bound_step(step);
                bound_step_reason(step);
            }
            _ => {}
        }
    }

    /// Bounds the times, attempts and resources of a job's record. The job has run, so its record
    /// comes from no other run.
    pub fn bound_record(&self, record: &mut JobRecord) {
        self.bound_times(&mut record.started_at, &mut record.finished_at);
        // A job that succeeds had an attempt.
        let least = u32::from(record.outcome == Conclusion::Success);
        record.attempts = record.attempts.max(least).min(self.attempts.job);
        record
            .steps
            .iter_mut()
            .for_each(|step| self.bound_step(step));
        for service in record.services.values_mut() {
            let ready = service.ready_at;
            service.ready_at = ready.map(|at| within(at, self.since, self.until));
        }
        self.bound_usage(&mut record.usage);
        record.reused_from = None;
    }

    fn bound_step(&self, step: &mut StepRecord) {
        self.bound_times(&mut step.started_at, &mut step.finished_at);
        step.attempts = step.attempts.min(self.attempts.step);
    }

    fn bound_times(&self, start: &mut Option<Timestamp>, end: &mut Option<Timestamp>) {
        *start = start.map(|at| within(at, self.since, self.until));
        *end = end.map(|at| within(at, start.unwrap_or(self.since), self.until));
    }

    /// Leaves out what no machine can give in this time.
    fn bound_usage(&self, usage: &mut Usage) {
        let time = self.until.duration_since(self.since);
        let most = time.max(SignedDuration::ZERO).as_secs_f64() * CPUS_MAX;
        usage.cpu_seconds = usage.cpu_seconds.filter(|cpu| (0.0..=most).contains(cpu));
        usage.memory_peak_bytes = usage.memory_peak_bytes.filter(|peak| *peak <= MEMORY_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::ReasonCode;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn claims(since: i64, until: i64) -> Claims {
        Claims {
            since: at(since),
            until: at(until),
            attempts: Attempts { job: 2, step: 3 },
        }
    }

    fn step(start: Timestamp, end: Timestamp) -> StepRecord {
        StepRecord {
            name: "s".into(),
            outcome: Conclusion::Success,
            conclusion: Conclusion::Success,
            exit_code: Some(0),
            reason: None,
            reason_code: None,
            attempts: u32::MAX,
            started_at: Some(start),
            finished_at: Some(end),
        }
    }

    #[test]
    fn a_time_is_brought_within_its_bounds() {
        let bound = |time| within(time, at(10), at(20));
        assert_eq!(bound(at(15)), at(15));
        assert_eq!(bound(Timestamp::MIN), at(10));
        assert_eq!(bound(Timestamp::MAX), at(20));
        assert_eq!(
            within(at(15), at(20), at(10)),
            at(10),
            "the clock was set back"
        );
    }

    #[test]
    fn an_honest_record_stays_as_it_is() {
        let mut record = JobRecord::new("u".into());
        record.attempts = 2;
        (record.started_at, record.finished_at) = (Some(at(10)), Some(at(20)));
        record.steps = vec![StepRecord {
            attempts: 3,
            ..step(at(11), at(19))
        }];
        record.usage = Usage {
            cpu_seconds: Some(4.0),
            memory_peak_bytes: Some(1 << 40),
        };
        let before = record.clone();
        claims(10, 20).bound_record(&mut record);
        assert_eq!(record, before);
    }

    #[test]
    fn a_forged_record_is_brought_within_its_bounds() {
        let mut record = JobRecord::new("u".into());
        record.attempts = u32::MAX;
        (record.started_at, record.finished_at) = (Some(Timestamp::MAX), Some(Timestamp::MIN));
        record.steps = vec![step(Timestamp::MIN, Timestamp::MAX)];
        record.reused_from = Some("ci-1".parse().unwrap());
        record.usage = Usage {
            cpu_seconds: Some(1e300),
            memory_peak_bytes: Some(u64::MAX),
        };
        claims(10, 20).bound_record(&mut record);
        assert_eq!(
            (record.started_at, record.finished_at),
            (Some(at(20)), Some(at(20)))
        );
        assert_eq!(record.steps[0].started_at, Some(at(10)));
        assert_eq!(record.steps[0].finished_at, Some(at(20)));
        assert_eq!((record.attempts, record.steps[0].attempts), (2, 3));
        assert_eq!((record.usage, record.reused_from), (Usage::default(), None));

        let mut record = JobRecord::new("u".into());
        record.usage.cpu_seconds = Some(-1.0);
        claims(20, 10).bound_record(&mut record);
        assert_eq!(record.attempts, 1, "a success had an attempt");
        assert_eq!(record.usage.cpu_seconds, None);
    }

    #[test]
    fn a_forged_kind_of_reason_is_removed() {
        let mut record = JobRecord::new("u".into());
        record.outcome = Conclusion::Failure;
        record.reason_code = Some(ReasonCode::Lost);
        let mut failed = step(at(1), at(2));
        failed.outcome = Conclusion::Failure;
        failed.reason_code = Some(ReasonCode::Timeout);
        let forged = StepRecord {
            reason_code: Some(ReasonCode::NeedFailed),
            ..failed.clone()
        };
        record.steps = vec![failed.clone(), forged];
        bound_reasons(&mut record);
        assert_eq!(record.reason_code, None);
        assert_eq!(record.steps[0], failed);
        assert_eq!(record.steps[1].reason_code, None);
        record.reason_code = Some(ReasonCode::StepFailed);
        bound_reasons(&mut record);
        assert_eq!(record.reason_code, Some(ReasonCode::StepFailed));
    }

    #[test]
    fn events_are_brought_within_their_bounds() {
        let job: crate::ids::JobName = "j".parse().unwrap();
        let mut event = Event {
            at: Timestamp::MAX,
            event: EventKind::JobRetried {
                job: job.clone(),
                attempt: 9,
            },
        };
        claims(10, 20).bound_event(&mut event);
        assert_eq!(event.at, at(20));
        assert!(matches!(
            event.event,
            EventKind::JobRetried { attempt: 2, .. }
        ));
        let mut event = Event {
            at: Timestamp::MIN,
            event: EventKind::StepFinished {
                job,
                index: 0,
                step: step(at(0), at(30)),
            },
        };
        claims(10, 20).bound_event(&mut event);
        assert_eq!(event.at, at(10));
        let EventKind::StepFinished { step, .. } = event.event else {
            unreachable!()
        };
        assert_eq!(step.finished_at, Some(at(20)));
    }
}
