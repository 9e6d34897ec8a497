//! A run's log lines in the journal: which journal, what to ask journalctl(1) for, and what its answer means.
//!
//! The journal is read through `journalctl -o json`, the only reader that every systemd has and that needs no C library.
//! Starts no process itself: [`JournalQuery::command`] says what to start, [`JournalQuery::parse`] reads one line of its output.
//!
//! Anybody on the host may send lines that claim to be a run's. What counts is `_SYSTEMD_UNIT=`, which journald itself
//! sets (systemd.journal-fields(7)): a line belongs to the job whose unit sent it. Run ids are unique in a state directory
//! only, so lines from before and after the run are not its own either.

use std::{
    fmt,
    path::PathBuf,
    process::{Command, Stdio},
};

use jiff::{SignedDuration, Timestamp};
use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny},
};

use super::{RunDir, files::read_json};
use crate::{
    ids::{JobName, RunId},
    log::{LogLine, Stream},
    unit::{ManagerKind, RunSpec, UnitName},
};

/// The fields that are read.
const FIELDS: &str = "MESSAGE,PRIORITY,NIXACTIONS_JOB,NIXACTIONS_STEP,NIXACTIONS_ATTEMPT,NIXACTIONS_STREAM,\
                      _SYSTEMD_UNIT,_SYSTEMD_USER_UNIT,UNIT_RESULT,_SOURCE_REALTIME_TIMESTAMP";
/// How long after the run's end journald may still be writing its lines down.
const JOURNALD_LAG: SignedDuration = SignedDuration::from_secs(10);
/// systemd's messages of this priority (warning) or a graver one are shown.
const MANAGER_PRIORITY: u8 = 4;

/// Where a run's log lines are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalSource {
    /// The host's journal, as root reads it.
    System,
    /// The journals that the user may read.
    User,
    /// The journal of a private manager, kept with the run.
    Directory(PathBuf),
}

/// A question for a run's log lines.
#[derive(Debug, Clone)]
pub struct JournalQuery {
    run: RunId,
    job: Option<JobName>,
    source: JournalSource,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

/// From where on lines are read, and whether to wait for more.
#[derive(Debug, Clone, Copy)]
pub struct Mode<'a> {
    /// Wait for lines that are yet to come.
    pub follow: bool,
    /// Read what comes after the line with this cursor; everything of the run where absent.
    pub after: Option<&'a str>,
}

/// One line of journalctl's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct JournalEntry {
    /// Where it stands in the journal.
    pub cursor: String,
    /// The log line, where it is one that is shown.
    pub line: Option<LogLine>,
}

impl JournalQuery {
    /// Returns the question for a run's lines, or those of one of its jobs. Where the run's spec is missing or cannot be read, the
    /// journal is taken that runs of the caller usually log to.
    pub fn of(run: &RunDir, job: Option<&JobName>) -> Self {
        let spec: Option<RunSpec> = read_json(&run.spec()).ok();
        let source = match spec.as_ref().map(|spec| spec.manager) {
            Some(ManagerKind::Embedded) => JournalSource::Directory(run.journal()),
            Some(ManagerKind::System) => JournalSource::System,
            Some(ManagerKind::User) => JournalSource::User,
            None if run.journal().exists() => JournalSource::Directory(run.journal()),
            None if nix::unistd::geteuid().is_root() => JournalSource::System,
            None => JournalSource::User,
        };
        let since = spec.map(|spec| spec.created_at).or_else(|| run.record_so_far().ok().map(|record| record.started_at));
        Self { run: run.id().clone(), job: job.cloned(), source, since: since.filter(|since| *since > Timestamp::UNIX_EPOCH), until: None }
    }

    /// Asks for nothing that was sent after the run's end.
    #[must_use]
    pub fn until(mut self, end: Option<Timestamp>) -> Self {
        self.until = end;
        self
    }

    /// Returns where the lines are read.
    pub fn source(&self) -> &JournalSource {
        &self.source
    }

    /// Returns the journalctl that answers; its output is for [`Self::parse`], line by line.
    pub fn command(&self, mode: Mode<'_>) -> Command {
        let mut command = Command::new("journalctl");
        command.args(["--output=json", "--all", "--no-pager"]).arg(format!("--output-fields={FIELDS}"));
        match &self.source {
            JournalSource::System => {
                command.arg("--system");
            }
            // Without persistent storage users have no journal of their own, and `--user` would show nothing at all.
            JournalSource::User => {}
            JournalSource::Directory(path) => {
                command.arg(format!("--directory={}", path.display()));
            }
        }
        if mode.follow {
            command.args(["--follow", "--no-tail"]);
        }
        match (mode.after, self.since) {
            (Some(cursor), _) => {
                command.arg(format!("--after-cursor={cursor}"));
            }
            (None, Some(since)) => {
                command.arg(format!("--since={}", at_seconds(since)));
            }
            (None, None) => {}
        }
        // journalctl refuses `--until` together with `--follow`.
        if let (Some(until), false) = (self.until, mode.follow) {
            command.arg(format!("--until={}", at_seconds(until + JOURNALD_LAG)));
        }
        command.arg(format!("NIXACTIONS_RUN={}", self.run));
        if let Some(job) = &self.job {
            command.arg(format!("NIXACTIONS_JOB={job}"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Reads one line of journalctl's output; `None` where it is no entry.
    pub fn parse(&self, bytes: &[u8]) -> Option<JournalEntry> {
        let mut raw: Raw = serde_json::from_slice(bytes).ok()?;
        let cursor = std::mem::take(&mut raw.cursor.0).pop()?;
        Some(JournalEntry { cursor, line: self.line(raw) })
    }

    fn line(&self, mut raw: Raw) -> Option<LogLine> {
        let (sent, received) = (raw.sent.micros(), raw.received.micros());
        let at = sent.or(received)?;
        if self.until.is_some_and(|until| at > until) || self.since.is_some_and(|since| at < since) {
            return None;
        }
        let priority = raw.priority.first().and_then(|text| text.parse().ok()).unwrap_or(6);
        let (job, stream) = match raw.sender(&self.run)? {
            Sender::Job(job) => (job, raw.stream.first().map(String::as_str)),
            Sender::Manager => (raw.job.single()?, None),
            Sender::Unknown => (raw.job.single()?, raw.stream.first().map(String::as_str)),
        };
        if self.job.as_ref().is_some_and(|wanted| *wanted != job) {
            return None;
        }
        let stream = match stream {
            Some("stdout") => Stream::Stdout,
            Some("stderr") => Stream::Stderr,
            Some("runner") => Stream::Runner,
            Some(_) => return None,
            None if raw.tells(priority) => Stream::Manager,
            None => return None,
        };
        let step = raw.step.0.pop().filter(|step| !step.is_empty());
        let attempt = raw.attempt.first().and_then(|text| text.parse().ok());
        Some(LogLine { at, job, step, attempt, stream, priority, message: raw.message.0.pop().unwrap_or_default() })
    }
}

/// Returns the time as systemd.time(7) reads it, rounded down.
fn at_seconds(time: Timestamp) -> String {
    format!("@{}", time.as_second())
}

/// Who sent an entry, as journald saw it.
enum Sender {
    /// A process of the job's unit.
    Job(JobName),
    /// The service manager, about a unit.
    Manager,
    /// journald does not say: the process was gone when journald looked at it.
    Unknown,
}

/// The fields of an entry that are read.
#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "__CURSOR", default)]
    cursor: Field,
    #[serde(rename = "__REALTIME_TIMESTAMP", default)]
    received: Field,
    #[serde(rename = "_SOURCE_REALTIME_TIMESTAMP", default)]
    sent: Field,
    #[serde(rename = "MESSAGE", default)]
    message: Field,
    #[serde(rename = "PRIORITY", default)]
    priority: Field,
    #[serde(rename = "NIXACTIONS_JOB", default)]
    job: Field,
    #[serde(rename = "NIXACTIONS_STEP", default)]
    step: Field,
    #[serde(rename = "NIXACTIONS_ATTEMPT", default)]
    attempt: Field,
    #[serde(rename = "NIXACTIONS_STREAM", default)]
    stream: Field,
    #[serde(rename = "_SYSTEMD_UNIT", default)]
    unit: Field,
    #[serde(rename = "_SYSTEMD_USER_UNIT", default)]
    user_unit: Field,
    #[serde(rename = "UNIT_RESULT", default)]
    unit_result: Field,
}

impl Raw {
    /// Returns who sent the entry; `None` where it is somebody whom the run does not concern.
    fn sender(&self, run: &RunId) -> Option<Sender> {
        let units = [self.user_unit.first(), self.unit.first()];
        if units == [None, None] {
            return Some(Sender::Unknown);
        }
        if units.contains(&Some(&"init.scope".to_owned())) {
            return Some(Sender::Manager);
        }
        let job = self.job.0.iter().filter_map(|job| job.parse::<JobName>().ok());
        let mut own = job.filter(|job| units.contains(&Some(&UnitName::job(run, job).to_string())));
        own.next().map(Sender::Job)
    }

    /// Returns whether an entry that is no output of the job says something worth showing. That the runner of a failed
    /// job exited with a status is what the job's record says better; what the manager ignores is no concern of the job's.
    fn tells(&self, priority: u8) -> bool {
        let message = self.message.first().map_or("", String::as_str);
        priority <= MANAGER_PRIORITY
            && self.unit_result.first().is_none_or(|result| result != "exit-code")
            && !message.contains(", ignoring")
    }
}

/// The values of a field: one, as a rule. journalctl(1) writes text as a string, what is no UTF-8 as an array of bytes, what was
/// not to be shown as `null`, and several values as an array of all that.
#[derive(Debug, Default, PartialEq)]
struct Field(Vec<String>);

impl Field {
    fn first(&self) -> Option<&String> {
        self.0.first()
    }

    fn micros(&self) -> Option<Timestamp> {
        Timestamp::from_microsecond(self.first()?.parse().ok()?).ok()
    }

    /// Returns the only value as a job's name.
    fn single(&self) -> Option<JobName> {
        match self.0.as_slice() {
            [name, rest @ ..] if rest.iter().all(|other| other == name) => name.parse().ok(),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor)
    }
}

struct FieldVisitor;

impl<'de> de::Visitor<'de> for FieldVisitor {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a journal field")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Field, E> {
        Ok(Field(vec![text.to_owned()]))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Field, E> {
        Ok(Field::default())
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Field, A::Error> {
        let mut values = Vec::new();
        let mut bytes = Vec::new();
        while let Some(element) = seq.next_element::<Element>()? {
            match element {
                Element::Byte(byte) => bytes.push(byte),
                Element::Value(Field(more)) => values.extend(more),
            }
        }
        if !bytes.is_empty() {
            values.push(String::from_utf8_lossy(&bytes).into_owned());
        }
        Ok(Field(values))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Field, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Field::default())
    }
}

/// An element of an array: a byte, or one of several values.
enum Element {
    Byte(u8),
    Value(Field),
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Element;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                FieldVisitor.expecting(f)
            }
            fn visit_u64<E: de::Error>(self, byte: u64) -> Result<Element, E> {
                Ok(Element::Byte(u8::try_from(byte).unwrap_or(b'?')))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Element, E> {
                FieldVisitor.visit_str(text).map(Element::Value)
            }
            fn visit_unit<E: de::Error>(self) -> Result<Element, E> {
                FieldVisitor.visit_unit().map(Element::Value)
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, seq: A) -> Result<Element, A::Error> {
                FieldVisitor.visit_seq(seq).map(Element::Value)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(job: Option<&str>) -> JournalQuery {
        let job = job.map(|job| job.parse().unwrap());
        let time = |seconds| Some(Timestamp::from_second(seconds).unwrap());
        JournalQuery { run: "ci-1".parse().unwrap(), job, source: JournalSource::System, since: time(1000), until: time(2000) }
    }

    fn entry(fields: &str) -> String {
        format!(r#"{{"__CURSOR":"s=1","__REALTIME_TIMESTAMP":"1500000000",{fields}}}"#)
    }

    fn line(fields: &str) -> Option<LogLine> {
        query(None).parse(entry(fields).as_bytes()).unwrap().line
    }

    const OUTPUT: &str = r#""NIXACTIONS_STREAM":"stdout","NIXACTIONS_JOB":"build""#;

    #[test]
    fn an_entry_of_the_jobs_unit_is_its_line() {
        let line = line(&format!(
            r#"{OUTPUT},"_SYSTEMD_UNIT":"nixactions-ci-1-build.service","MESSAGE":"hi","PRIORITY":"5","NIXACTIONS_STEP":"compile",
               "NIXACTIONS_ATTEMPT":"2","_SOURCE_REALTIME_TIMESTAMP":"1499000000","_OTHER":["x",{{}}]"#
        ));
        let expected = LogLine {
            at: Timestamp::from_second(1499).unwrap(),
            job: "build".parse().unwrap(),
            step: Some("compile".into()),
            attempt: Some(2),
            stream: Stream::Stdout,
            priority: 5,
            message: "hi".into(),
        };
        assert_eq!(line, Some(expected));
    }

    #[test]
    fn messages_come_as_text_bytes_or_nothing() {
        let message = |json: &str| line(&format!(r#"{OUTPUT},"MESSAGE":{json}"#)).unwrap().message;
        assert_eq!(message(r#""text""#), "text");
        assert_eq!(message("[104,105,255]"), "hi\u{fffd}");
        assert_eq!(message("null"), "");
        assert_eq!(message(r#"["one","two"]"#), "two");
    }

    #[test]
    fn lines_belong_to_the_job_whose_unit_sent_them() {
        let sent_by = |unit: &str, job: &str| {
            line(&format!(r#""NIXACTIONS_STREAM":"stdout","MESSAGE":"m","NIXACTIONS_JOB":{job},"_SYSTEMD_UNIT":"{unit}""#))
                .map(|line| line.job.to_string())
        };
        assert_eq!(sent_by("nixactions-ci-1-build.service", r#""build""#).as_deref(), Some("build"));
        assert_eq!(sent_by("nixactions-ci-1-build.service", r#"["build","build"]"#).as_deref(), Some("build"));
        assert_eq!(sent_by("nixactions-ci-1-build.service", r#"["deploy","build"]"#).as_deref(), Some("build"), "forged");
        assert_eq!(sent_by("nixactions-ci-1-build.service", r#""deploy""#), None, "forged");
        assert_eq!(sent_by("session-1.scope", r#""build""#), None, "forged");
        let user = r#""NIXACTIONS_STREAM":"stdout","NIXACTIONS_JOB":"build","_SYSTEMD_UNIT":"user@1.service","_SYSTEMD_USER_UNIT":"nixactions-ci-1-build.service""#;
        assert!(line(user).is_some());
    }

    #[test]
    fn the_manager_is_heard_when_it_says_something() {
        let said = |more: &str| {
            let fields = format!(r#""NIXACTIONS_JOB":"build","_SYSTEMD_UNIT":"init.scope","MESSAGE":"it failed",{more}"#);
            line(&fields).map(|line| line.stream)
        };
        assert_eq!(said(r#""PRIORITY":"4""#), Some(Stream::Manager));
        assert_eq!(said(r#""PRIORITY":"4","UNIT_RESULT":"oom-kill""#), Some(Stream::Manager));
        assert_eq!(said(r#""PRIORITY":"4","UNIT_RESULT":"exit-code""#), None);
        assert_eq!(said(r#""PRIORITY":"6""#), None);
    }

    #[test]
    fn lines_of_another_time_or_job_are_not_the_runs() {
        assert!(line(&format!(r#"{OUTPUT},"_SOURCE_REALTIME_TIMESTAMP":"999000000""#)).is_none());
        assert!(line(&format!(r#"{OUTPUT},"_SOURCE_REALTIME_TIMESTAMP":"2001000000""#)).is_none());
        let other = query(Some("test")).parse(entry(OUTPUT).as_bytes()).unwrap();
        assert_eq!(other, JournalEntry { cursor: "s=1".into(), line: None });
    }

    #[test]
    fn what_is_no_entry_is_passed_over() {
        for text in ["", "-- No entries --", "{}", "[]", "{\"__CURSOR\":1}"] {
            assert_eq!(query(None).parse(text.as_bytes()), None, "{text}");
        }
    }
}
