//! Sorts events and log lines by time. They arrive on two ways with two delays.
//!
//! Events arrive at once. journald reports a line up to a quarter of a second late. In the order of
//! arrival, a job would end before its last lines. So everything waits until nothing earlier can
//! arrive any more. The end of a job also waits for the number of lines in its record. Knows no
//! clock: the caller passes the times.

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

/// The longest wait of a job's end without a new line, in seconds.
const PATIENCE: f64 = 2.0;

/// An event or a log line.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// An event. It is boxed, since most items are lines, which are smaller.
    Event(Box<Event>),
    /// A line that a job printed.
    Line(LogLine),
}

/// The events and lines that have not been shown yet.
#[derive(Debug, Default)]
pub struct Order {
    queue: BTreeMap<(Timestamp, u64), Item>,
    pushed: u64,
    seen: HashMap<JobName, u64>,
    /// The events that jobs reported themselves, by time and kind.
    told: HashSet<(JobName, Timestamp, Discriminant<EventKind>)>,
    ended: HashMap<JobName, u64>,
    /// The start of a wait for missing lines, if no line has arrived since. After the patience has
    /// run out, nothing waits until a line arrives.
    blocked_since: Option<Timestamp>,
}

impl Order {
    /// Adds an event. A second supervisor may repeat events of jobs. Repeated events and a second
    /// end of a job are dropped.
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

    /// Adds a line.
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

    /// Returns the next item to show, among those that happened before `until`. `now` is the
    /// current time.
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

    /// Returns the next item to show, if nothing more will arrive.
    pub fn next_of_rest(&mut self) -> Option<Item> {
        self.queue.pop_first().map(|(_, item)| item)
    }

    /// Returns the number of lines of these jobs that have not arrived yet.
    pub fn missing<'a>(&self, jobs: impl IntoIterator<Item = (&'a JobName, &'a JobRecord)>) -> u64 {
        let missing = |(job, record): (&JobName, &JobRecord)| {
            record
                .log_lines
                .saturating_sub(self.seen.get(job).copied().unwrap_or(0))
        };
        // A job may have forged its number.
        jobs.into_iter().map(missing).fold(0, u64::saturating_add)
    }
}

/// Returns whether the job's runner counted this line.
fn counts(line: &LogLine) -> bool {
    line.stream != crate::log::Stream::Manager && line.service.is_none()
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
            service: None,
            stream: Stream::Stdout,
            priority: 6,
            mark: None,
            outcome: None,
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
    fn late_lines_come_before_the_end_of_their_job_and_later_items() {
        let mut order = Order::default();
        order.event(started(1, "a"));
        order.event(finished(10, "a", 2));
        order.event(started(11, "b"));
        assert_eq!(names(&mut order, 100, 100), ["+a"]);
        order.line(line(5, "a", "one"));
        assert_eq!(
            names(&mut order, 100, 200),
            ["one"],
            "a second line is still to arrive"
        );
        order.line(line(12, "b", "three"));
        order.line(line(6, "a", "two"));
        assert_eq!(names(&mut order, 100, 300), ["two", "-a", "+b", "three"]);
    }

    #[test]
    fn nothing_after_until_is_shown() {
        let mut order = Order::default();
        order.event(started(10, "a"));
        assert!(names(&mut order, 9, 10).is_empty());
        assert_eq!(names(&mut order, 10, 310), ["+a"]);
    }

    #[test]
    fn missing_lines_do_not_block_for_ever() {
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
    fn events_that_a_second_supervisor_repeats_are_shown_once() {
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
            "surplus lines of one job do not count for another"
        );
    }
}
