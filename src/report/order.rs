//! Puts events and log lines, which arrive on two ways at two speeds, into the order in which they
//! happened.
//!
//! Events are there at once; journald tells its readers of a line up to a quarter of a second late.
//! Shown as they arrive, a job would end before it spoke. So everything waits until nothing earlier
//! can be on its way any more, and the end of a job waits for as many of its lines as its record
//! says there are. Knows no clock: times are given to it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    mem::{Discriminant, discriminant},
};

use jiff::Timestamp;

use crate::{
    event::{Event, EventKind},
    ids::JobName,
    log::LogLine,
    record::JobRecord,
};

/// How long the end of a job waits while none of its missing lines come, in seconds.
const PATIENCE: f64 = 2.0;

/// What happened, or what was printed.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// Something happened. Boxed, since lines are by far the most and need less room.
    Event(Box<Event>),
    /// A job printed a line.
    Line(LogLine),
}

/// Events and lines on their way to the reader.
#[derive(Debug, Default)]
pub struct Order {
    queue: BTreeMap<(Timestamp, u64), Item>,
    pushed: u64,
    seen: HashMap<JobName, u64>,
    /// What jobs told of themselves, by time and kind.
    told: HashSet<(JobName, Timestamp, Discriminant<EventKind>)>,
    ended: HashMap<JobName, u64>,
    /// Since when lines have been missed, and none has come. Once patience has run out, nothing
    /// waits until one does.
    blocked_since: Option<Timestamp>,
}

impl Order {
    /// Takes an event in. A supervisor that took the run over may tell again what jobs told the one
    /// before; that is dropped, as is a second end of the same job.
    pub fn event(&mut self, event: Event) {
        if let Some(job) = event.told_by()
            && !self
                .told
                .insert((job.clone(), event.at, discriminant(&event.event)))
        {
            return;
        }
        if let EventKind::JobFinished { job, record } = &event.event {
            if self.ended.contains_key(job) {
                return;
            }
            self.ended.insert(job.clone(), record.log_lines);
        }
        self.push(event.at, Item::Event(Box::new(event)));
    }

    /// Takes a line in.
    pub fn line(&mut self, line: LogLine) {
        if counts(&line) {
            *self.seen.entry(line.job.clone()).or_default() += 1;
        }
        self.blocked_since = None;
        self.push(line.at, Item::Line(line));
    }

    fn push(&mut self, at: Timestamp, item: Item) {
        self.queue.insert((at, self.pushed), item);
        self.pushed += 1;
    }

    /// Returns the next thing to show, of those that happened before `until`; `now` is the clock's
    /// time.
    pub fn next(&mut self, until: Timestamp, now: Timestamp) -> Option<Item> {
        let entry = self.queue.first_entry()?;
        if entry.key().0 > until {
            return None;
        }
        if let Item::Event(event) = entry.get()
            && let EventKind::JobFinished { job, record } = &event.event
            && self.seen.get(job).copied().unwrap_or(0) < record.log_lines
        {
            let since = *self.blocked_since.get_or_insert(now);
            if now.duration_since(since).as_secs_f64() < PATIENCE {
                return None;
            }
        }
        Some(entry.remove())
    }

    /// Returns the next thing to show when nothing more will come.
    pub fn next_of_rest(&mut self) -> Option<Item> {
        self.queue.pop_first().map(|(_, item)| item)
    }

    /// Returns how many lines of these jobs have not come yet.
    pub fn missing<'a>(&self, jobs: impl IntoIterator<Item = (&'a JobName, &'a JobRecord)>) -> u64 {
        let missing = |(job, record): (&JobName, &JobRecord)| {
            record
                .log_lines
                .saturating_sub(self.seen.get(job).copied().unwrap_or(0))
        };
        jobs.into_iter().map(missing).sum()
    }
}

/// Returns whether the line is one of those that the runner counted.
fn counts(line: &LogLine) -> bool {
    line.stream != crate::log::Stream::Manager
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Stream;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    fn line(millis: i64, job: &str, text: &str) -> LogLine {
        LogLine {
            at: at(millis),
            job: job.parse().unwrap(),
            step: None,
            attempt: None,
            stream: Stream::Stdout,
            priority: 6,
            mark: None,
            message: text.into(),
        }
    }

    fn started(millis: i64, job: &str) -> Event {
        Event {
            at: at(millis),
            event: EventKind::JobStarted {
                job: job.parse().unwrap(),
            },
        }
    }

    fn record(log_lines: u64) -> JobRecord {
        JobRecord {
            attempts: 1,
            log_lines,
            ..JobRecord::new(String::new())
        }
    }

    fn finished(millis: i64, job: &str, log_lines: u64) -> Event {
        Event {
            at: at(millis),
            event: EventKind::JobFinished {
                job: job.parse().unwrap(),
                record: record(log_lines),
            },
        }
    }

    fn names(order: &mut Order, until: i64, now: i64) -> Vec<String> {
        std::iter::from_fn(|| order.next(at(until), at(now)))
            .map(|item| match item {
                Item::Line(line) => line.message,
                Item::Event(event) => match event.event {
                    EventKind::JobStarted { job } => format!("+{job}"),
                    EventKind::JobFinished { job, .. } => format!("-{job}"),
                    other => panic!("{other:?}"),
                },
            })
            .collect()
    }

    #[test]
    fn late_lines_come_before_the_end_of_their_job_and_what_followed() {
        let mut order = Order::default();
        order.event(started(1, "a"));
        order.event(finished(10, "a", 2));
        order.event(started(11, "b"));
        assert_eq!(names(&mut order, 100, 100), ["+a"]);
        order.line(line(5, "a", "one"));
        assert_eq!(
            names(&mut order, 100, 200),
            ["one"],
            "a second line is on its way"
        );
        order.line(line(12, "b", "three"));
        order.line(line(6, "a", "two"));
        assert_eq!(names(&mut order, 100, 300), ["two", "-a", "+b", "three"]);
    }

    #[test]
    fn nothing_younger_than_the_watermark_is_shown() {
        let mut order = Order::default();
        order.event(started(10, "a"));
        assert!(names(&mut order, 9, 10).is_empty());
        assert_eq!(names(&mut order, 10, 310), ["+a"]);
    }

    #[test]
    fn lines_that_never_come_hold_nothing_up_for_ever() {
        let mut order = Order::default();
        order.event(finished(10, "a", 5));
        assert!(names(&mut order, 100, 1000).is_empty());
        order.line(line(1, "a", "one"));
        assert_eq!(names(&mut order, 100, 2900), ["one"], "a line is progress");
        assert!(names(&mut order, 100, 4800).is_empty());
        assert_eq!(names(&mut order, 100, 4901), ["-a"]);
    }

    #[test]
    fn a_repeated_end_is_shown_once() {
        let mut order = Order::default();
        order.event(finished(10, "a", 0));
        order.event(finished(11, "a", 0));
        assert_eq!(names(&mut order, 100, 100), ["-a"]);
    }

    #[test]
    fn what_a_second_supervisor_tells_again_is_shown_once() {
        let mut order = Order::default();
        for millis in [10, 10, 11] {
            order.event(started(millis, "a"));
        }
        order.event(started(10, "b"));
        assert_eq!(names(&mut order, 100, 100), ["+a", "+b", "+a"]);
        for _ in 0..2 {
            order.event(Event {
                at: at(12),
                event: EventKind::JobRetried {
                    job: "a".parse().unwrap(),
                    attempt: 2,
                },
            });
        }
        assert!(order.next(at(100), at(100)).is_some());
        assert_eq!(order.next(at(100), at(100)), None);
    }

    #[test]
    fn missing_lines_are_counted_by_job() {
        let mut order = Order::default();
        let (a, b): (JobName, JobName) = ("a".parse().unwrap(), "b".parse().unwrap());
        for _ in 0..3 {
            order.line(line(1, "a", "x"));
        }
        order.line(LogLine {
            stream: Stream::Manager,
            ..line(1, "b", "not counted")
        });
        assert_eq!(
            order.missing([(&a, &record(2)), (&b, &record(4))]),
            4,
            "too many of one job make up for none of another"
        );
    }
}
