//! A run's log lines in the journal: the choice of the journal, the call of journalctl(1), and the
//! meaning of its output.
//!
//! The journal is read through `journalctl -o export`. Every systemd has journalctl, it needs no C
//! library, and this format gives three times as many lines a second as `-o json`. This module
//! starts no process: [`JournalQuery::command`] builds the call, and [`JournalQuery::parse`] reads
//! the output.
//!
//! Any process on the host may send lines that claim to belong to a run. journald itself sets
//! `_SYSTEMD_UNIT=` (systemd.journal-fields(7)), so a line belongs to the job whose unit that field
//! names. The field is missing if the process ended before journald looked at it. A runner's last
//! line may be such a line. It counts as the job's if `_PID=` and `_UID=`, which journald gets from
//! the kernel, are those of a runner of the job. Run ids are unique only in one state directory, so
//! lines from before and after the run are ignored, too.

use std::{
    borrow::Cow,
    path::PathBuf,
    process::{Command, Stdio},
};

use jiff::{SignedDuration, Timestamp};

use super::{
    RunDir,
    files::read_document,
    runners::{Runner, Runners},
};
use crate::{
    ids::{JobName, RunId},
    log::{LogLine, Mark, Stream, ToldOutcome},
    names::UnitName,
    programs,
    reason::ReasonCode,
    record::Conclusion,
    spec::{ManagerKind, RunSpec},
};

/// The fields that are read.
const FIELDS: &str = "MESSAGE,PRIORITY,NIXACTIONS_JOB,NIXACTIONS_SERVICE,NIXACTIONS_STEP,NIXACTIONS_ATTEMPT,NIXACTIONS_STREAM,NIXACTIONS_COMMAND,\
                      NIXACTIONS_OUTCOME,NIXACTIONS_REASON,_PID,_UID,_SYSTEMD_UNIT,_SYSTEMD_USER_UNIT,UNIT_RESULT,JOB_RESULT,EXIT_CODE,_SOURCE_REALTIME_TIMESTAMP";
/// The longest time after a run's end in which journald may still write down its lines.
const JOURNALD_LAG: SignedDuration = SignedDuration::from_secs(10);
/// The lowest priority of systemd's messages that are shown (warning).
const MANAGER_PRIORITY: u8 = 4;

/// The place of a run's log lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalSource {
    /// The host's journals, as root reads them, with the journals of users. journald keeps a
    /// journal for each login user, and a plan may run jobs as such a user. Some versions also
    /// keep one for the user ids of a container.
    System,
    /// The journals that the user may read.
    User,
    /// The journal of a private manager, kept with the run.
    Directory(PathBuf),
}

/// A query for a run's log lines.
#[derive(Debug, Clone)]
pub struct JournalQuery {
    run: RunId,
    job: Option<JobName>,
    source: JournalSource,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    runners: Runners,
}

/// The start of a query, and whether it waits for further lines.
#[derive(Debug, Clone, Copy)]
pub struct Mode<'a> {
    /// Wait for further lines.
    pub follow: bool,
    /// Start after the line with this cursor. Without a cursor, start with the run.
    pub after: Option<&'a str>,
}

/// One entry of journalctl's output.
#[derive(Debug, Clone, PartialEq)]
pub struct JournalEntry {
    /// The entry's place in the journal.
    pub cursor: String,
    /// The shown log lines of the entry. A step that prints faster than journald takes entries has
    /// several lines in one entry.
    pub lines: Vec<LogLine>,
}

impl JournalQuery {
    /// Returns the query for the lines of a run or of one of its jobs. If the run's spec cannot be
    /// read, the query uses the journal to which runs of the caller usually log.
    pub fn of(run: &RunDir, job: Option<&JobName>) -> Self {
        let spec: Option<RunSpec> = read_document(&run.spec()).ok();
        let source = match spec.as_ref().map(|spec| spec.manager) {
            Some(ManagerKind::Embedded) => JournalSource::Directory(run.journal()),
            Some(ManagerKind::System) => JournalSource::System,
            Some(ManagerKind::User) => JournalSource::User,
            None if run.journal().exists() => JournalSource::Directory(run.journal()),
            None if nix::unistd::geteuid().is_root() => JournalSource::System,
            None => JournalSource::User,
        };
        let since = spec
            .map(|spec| spec.created_at)
            .or_else(|| run.record_so_far().ok().map(|record| record.started_at));
        Self {
            run: run.id().clone(),
            job: job.cloned(),
            source,
            since: since.filter(|since| *since > Timestamp::UNIX_EPOCH),
            until: None,
            runners: Runners::new(run.path().to_owned()),
        }
    }

    /// Leaves out the lines that were sent after the run's end.
    #[must_use]
    pub fn until(mut self, end: Option<Timestamp>) -> Self {
        self.until = end.filter(|end| *end > Timestamp::UNIX_EPOCH);
        if self.since.zip(end).is_some_and(|(since, end)| end < since) {
            // The clock was set back during the run. journalctl refuses such times.
            (self.since, self.until) = (None, None);
        }
        self
    }

    /// Returns the place of the lines.
    pub fn source(&self) -> &JournalSource {
        &self.source
    }

    /// Returns the call of journalctl. [`Self::parse`] reads its output.
    pub fn command(&self, mode: Mode<'_>) -> Command {
        let mut command = Command::new(programs::program("journalctl"));
        command
            .args(["--output=export", "--no-pager"])
            .arg(format!("--output-fields={FIELDS}"));
        match &self.source {
            // Leave out `--user`: without persistent storage, users have no journal of their own,
            // and `--user` would show nothing.
            JournalSource::System | JournalSource::User => {}
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
            // A time near the last possible one has no later one.
            let until = until.checked_add(JOURNALD_LAG).unwrap_or(until);
            command.arg(format!("--until={}", at_seconds(until)));
        }
        command.arg(format!("NIXACTIONS_RUN={}", self.run));
        if let Some(job) = &self.job {
            command.arg(format!("NIXACTIONS_JOB={job}"));
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Reads the first entry of a part of journalctl's output. Returns the entry and its length in
    /// bytes, or `None` if the entry is incomplete.
    pub(super) fn parse(&self, bytes: &[u8]) -> Option<(JournalEntry, usize)> {
        let mut start = 0;
        loop {
            let (fields, used) = Fields::read(&bytes[start..])?;
            start += used;
            if let Some(cursor) = fields.text("__CURSOR") {
                return Some((
                    JournalEntry {
                        cursor: cursor.into_owned(),
                        lines: self.lines(&fields).unwrap_or_default(),
                    },
                    start,
                ));
            }
        }
    }

    fn lines(&self, fields: &Fields<'_>) -> Option<Vec<LogLine>> {
        let at = fields
            .time("_SOURCE_REALTIME_TIMESTAMP")
            .or_else(|| fields.time("__REALTIME_TIMESTAMP"))?;
        if self.until.is_some_and(|until| at > until) || self.since.is_some_and(|since| at < since)
        {
            return None;
        }
        let priority = fields.number("PRIORITY").unwrap_or(6);
        let (job, stream) = match fields.sender(&self.run, self.source == JournalSource::User)? {
            Sender::Job(job) => (job, fields.text("NIXACTIONS_STREAM")),
            Sender::Manager => (fields.only_job()?, None),
            Sender::Unknown => {
                let job = fields.only_job()?;
                let service = fields.text("NIXACTIONS_SERVICE");
                let sender = Runner {
                    pid: fields.number("_PID")?,
                    uid: fields.number("_UID")?,
                };
                if !self.runners.has(&job, service.as_deref(), sender, at) {
                    return None;
                }
                (job, fields.text("NIXACTIONS_STREAM"))
            }
        };
        if self.job.as_ref().is_some_and(|wanted| *wanted != job) {
            return None;
        }
        let stream = match stream.as_deref() {
            Some("stdout") => Stream::Stdout,
            Some("stderr") => Stream::Stderr,
            Some("runner") => Stream::Runner,
            Some(_) => return None,
            None if fields.tells(priority) => Stream::Manager,
            None => return None,
        };
        let step = fields
            .text("NIXACTIONS_STEP")
            .filter(|step| !step.is_empty())
            .map(Cow::into_owned);
        let message = fields.text("MESSAGE").unwrap_or_default();
        let mark = fields
            .text("NIXACTIONS_COMMAND")
            .and_then(|name| Mark::parse(&name));
        // Only a runner tells outcomes.
        let outcome = fields
            .text("NIXACTIONS_OUTCOME")
            .filter(|_| stream == Stream::Runner)
            .and_then(|word| Conclusion::parse(&word))
            .map(|outcome| ToldOutcome {
                outcome,
                code: fields
                    .text("NIXACTIONS_REASON")
                    .and_then(|word| ReasonCode::parse(&word)),
            });
        let attempt = fields.number("NIXACTIONS_ATTEMPT");
        let service = fields.text("NIXACTIONS_SERVICE").map(Cow::into_owned);
        let line = |message: &str| LogLine {
            at,
            job: job.clone(),
            step: step.clone(),
            attempt,
            service: service.clone(),
            stream,
            priority,
            mark,
            outcome,
            message: message.to_owned(),
        };
        // A step's text of several lines becomes several lines. Other texts stay whole.
        let is_group = matches!(stream, Stream::Stdout | Stream::Stderr);
        Some(if is_group {
            message.split('\n').map(line).collect()
        } else {
            vec![line(&message)]
        })
    }
}

/// Returns the time in the form of systemd.time(7), rounded down to seconds.
fn at_seconds(time: Timestamp) -> String {
    format!("@{}", time.as_second())
}

/// The sender of an entry, as journald saw it.
enum Sender {
    /// A process of the job's unit.
    Job(JobName),
    /// The service manager, reporting on a unit.
    Manager,
    /// Unknown to journald: the process was gone, or not yet in its unit, when journald looked at
    /// it.
    Unknown,
}

/// Returns whether a line has only the name of a field. The value's length and the value follow.
pub(super) fn is_name(line: &[u8]) -> bool {
    line.iter()
        .all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'))
}

/// The fields of one entry (<https://systemd.io/JOURNAL_EXPORT_FORMATS/>).
#[derive(Debug)]
struct Fields<'a>(Vec<(&'a [u8], &'a [u8])>);

impl<'a> Fields<'a> {
    /// Reads fields up to the empty line at the end of an entry. Returns the fields and their
    /// length in bytes, or `None` if the entry is incomplete.
    fn read(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let mut fields = Vec::with_capacity(16);
        let mut rest = bytes;
        loop {
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            let line = &rest[..end];
            rest = &rest[end + 1..];
            if line.is_empty() {
                return Some((Self(fields), bytes.len() - rest.len()));
            }
            if let Some(equals) = line.iter().position(|byte| *byte == b'=') {
                fields.push((&line[..equals], &line[equals + 1..]));
            } else if is_name(line) {
                // A value that is not printable text: its length, the value, a line end.
                let length = u64::from_le_bytes(*rest.first_chunk()?);
                let length = usize::try_from(length).ok()?;
                let value = rest.get(8..)?.get(..length)?;
                rest = rest.get(8 + length + 1..)?;
                fields.push((line, value));
            }
            // journalctl writes other lines of its own, such as `-- Boot … --`.
        }
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.0
            .iter()
            .filter(move |(field, _)| *field == name.as_bytes())
            .map(|(_, value)| *value)
    }

    /// Returns the value of a field, or the last value if there are several.
    fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.values(name).last().map(String::from_utf8_lossy)
    }

    fn has(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }

    fn time(&self, name: &str) -> Option<Timestamp> {
        Timestamp::from_microsecond(self.number(name)?).ok()
    }

    fn jobs(&self) -> impl Iterator<Item = JobName> {
        self.values("NIXACTIONS_JOB")
            .filter_map(|job| std::str::from_utf8(job).ok()?.parse().ok())
    }

    /// Returns the job that the entry claims to belong to, if the entry claims only one job.
    fn only_job(&self) -> Option<JobName> {
        let mut jobs = self.jobs();
        let first = jobs.next()?;
        jobs.all(|other| other == first).then_some(first)
    }

    /// Returns the sender of the entry, or `None` if the sender does not belong to the run. A
    /// user's own manager may have units of any name, so these count only for runs of that manager.
    fn sender(&self, run: &RunId, is_users: bool) -> Option<Sender> {
        let (own, other) = if is_users {
            ("_SYSTEMD_USER_UNIT", "_SYSTEMD_UNIT")
        } else {
            ("_SYSTEMD_UNIT", "_SYSTEMD_USER_UNIT")
        };
        let unit = self.text(own);
        let sent_by = |name: &str| unit.as_deref() == Some(name);
        if unit.is_none() && !self.has(other) {
            return Some(Sender::Unknown);
        }
        if sent_by("init.scope") {
            // journald remembers the unit of a process for a while. It may have seen a runner
            // before systemd moved it to its unit. The manager's own messages have no stream.
            let is_runners = self.has("NIXACTIONS_STREAM");
            return Some(if is_runners {
                Sender::Unknown
            } else {
                Sender::Manager
            });
        }
        let service = self.text("NIXACTIONS_SERVICE");
        let unit_of = |job: &JobName| match &service {
            Some(service) => UnitName::service(run, job, service),
            None => UnitName::job(run, job),
        };
        self.jobs()
            .find(|job| sent_by(unit_of(job).as_str()))
            .map(Sender::Job)
    }

    /// Returns whether a message of the manager is worth showing. The job's record already tells
    /// that the runner of a failed job exited, and that a unit's start failed or was skipped.
    /// Settings that the manager ignores do not concern the job.
    fn tells(&self, priority: u8) -> bool {
        let message = self.text("MESSAGE").unwrap_or_default();
        let told = self.text("UNIT_RESULT").as_deref() == Some("exit-code")
            || self.has("JOB_RESULT")
            || self.has("EXIT_CODE");
        priority <= MANAGER_PRIORITY && !told && !message.contains(", ignoring")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn query(job: Option<&str>) -> JournalQuery {
        let job = job.map(|job| job.parse().unwrap());
        let time = |seconds| Some(Timestamp::from_second(seconds).unwrap());
        JournalQuery {
            run: "ci-1".parse().unwrap(),
            job,
            source: JournalSource::System,
            since: time(1000),
            until: time(2000),
            runners: Runners::known("build", Runner { pid: 7, uid: 8 }),
        }
    }

    pub(in super::super) fn entry(fields: &str) -> Vec<u8> {
        format!("__CURSOR=s=1;i=2\n__REALTIME_TIMESTAMP=1500000000\n{fields}\n\n").into_bytes()
    }

    fn line(fields: &str) -> Option<LogLine> {
        let bytes = entry(fields);
        let (entry, used) = query(None).parse(&bytes).unwrap();
        assert_eq!((entry.cursor.as_str(), used), ("s=1;i=2", bytes.len()));
        assert!(entry.lines.len() <= 1);
        entry.lines.into_iter().next()
    }

    pub(in super::super) const OUTPUT: &str =
        "NIXACTIONS_STREAM=stdout\nNIXACTIONS_JOB=build\n_PID=7\n_UID=8";

    #[test]
    fn an_entry_of_the_jobs_unit_is_its_line() {
        let line = line(&format!(
            "{OUTPUT}\n_SYSTEMD_UNIT=nixactions-ci-1-build.service\nMESSAGE=a=b\nPRIORITY=5\nNIXACTIONS_STEP=compile\n\
             NIXACTIONS_ATTEMPT=2\n_SOURCE_REALTIME_TIMESTAMP=1499000000\n_BOOT_ID=x"
        ));
        let expected = LogLine {
            at: Timestamp::from_second(1499).unwrap(),
            job: "build".parse().unwrap(),
            step: Some("compile".into()),
            attempt: Some(2),
            service: None,
            stream: Stream::Stdout,
            priority: 5,
            mark: None,
            outcome: None,
            message: "a=b".into(),
        };
        assert_eq!(line, Some(expected));
    }

    #[test]
    fn binary_values_are_read_whole_and_partial_entries_wait() {
        let mut bytes = entry(&format!("{OUTPUT}\nMESSAGE\n@@"));
        let at = bytes.iter().position(|byte| *byte == b'@').unwrap();
        let value = b"\x1b[1mhi\n\n\xff=";
        bytes.splice(
            at..at + 2,
            [&(value.len() as u64).to_le_bytes()[..], value].concat(),
        );
        let (entry, used) = query(None).parse(&bytes).unwrap();
        let messages: Vec<&str> = entry
            .lines
            .iter()
            .map(|line| line.message.as_str())
            .collect();
        assert_eq!(
            messages,
            ["\u{1b}[1mhi", "", "\u{fffd}="],
            "each line of the step becomes a line"
        );
        assert_eq!(used, bytes.len());
        for length in 0..bytes.len() {
            assert_eq!(query(None).parse(&bytes[..length]), None, "{length}");
        }
    }

    #[test]
    fn lines_belong_to_the_job_whose_unit_sent_them() {
        let sent_by = |unit: &str, jobs: &[&str]| {
            let jobs: String = jobs
                .iter()
                .map(|job| format!("\nNIXACTIONS_JOB={job}"))
                .collect();
            line(&format!(
                "NIXACTIONS_STREAM=stdout\nMESSAGE=m\n_SYSTEMD_UNIT={unit}{jobs}"
            ))
            .map(|line| line.job.to_string())
        };
        let build = "nixactions-ci-1-build.service";
        assert_eq!(sent_by(build, &["build"]).as_deref(), Some("build"));
        assert_eq!(
            sent_by(build, &["build", "build"]).as_deref(),
            Some("build")
        );
        assert_eq!(
            sent_by(build, &["deploy", "build"]).as_deref(),
            Some("build"),
            "forged"
        );
        assert_eq!(sent_by(build, &["deploy"]), None, "forged");
        assert_eq!(sent_by("session-1.scope", &["build"]), None, "forged");
        let users = format!("{OUTPUT}\n_SYSTEMD_UNIT=user@1.service\n_SYSTEMD_USER_UNIT={build}");
        assert!(line(&users).is_none(), "a user's unit of the same name");
        let query = JournalQuery {
            source: JournalSource::User,
            ..query(None)
        };
        assert_eq!(query.parse(&entry(&users)).unwrap().0.lines.len(), 1);
    }

    #[test]
    fn a_dead_sender_counts_if_it_was_the_jobs_runner() {
        let sent_by = |job: &str, pid: u32, uid: u32| {
            line(&format!(
                "NIXACTIONS_STREAM=stdout\nNIXACTIONS_JOB={job}\n_PID={pid}\n_UID={uid}"
            ))
            .is_some()
        };
        assert!(sent_by("build", 7, 8));
        assert!(!sent_by("build", 9, 8), "another process of the job");
        assert!(!sent_by("build", 7, 9), "a process that has its number now");
        assert!(!sent_by("deploy", 7, 8), "the job's runner is unknown");
    }

    #[test]
    fn a_runner_that_journald_saw_before_its_move_to_its_unit_counts() {
        let sent_by = |pid: u32| {
            line(&format!(
                "NIXACTIONS_STREAM=runner\nNIXACTIONS_JOB=build\n_SYSTEMD_UNIT=init.scope\n\
                 _PID={pid}\n_UID=8"
            ))
            .is_some()
        };
        assert!(sent_by(7));
        assert!(!sent_by(9), "forged");
    }

    #[test]
    fn only_telling_messages_of_the_manager_are_shown() {
        let said = |more: &str| {
            let fields = format!(
                "NIXACTIONS_JOB=build\n_SYSTEMD_UNIT=init.scope\nMESSAGE=it failed\n{more}"
            );
            line(&fields).map(|line| line.stream)
        };
        assert_eq!(said("PRIORITY=4"), Some(Stream::Manager));
        assert_eq!(
            said("PRIORITY=4\nUNIT_RESULT=oom-kill"),
            Some(Stream::Manager)
        );
        assert_eq!(said("PRIORITY=4\nUNIT_RESULT=exit-code"), None);
        assert_eq!(said("PRIORITY=3\nJOB_RESULT=failed"), None);
        assert_eq!(said("PRIORITY=4\nEXIT_CODE=killed"), None);
        assert_eq!(said("PRIORITY=6"), None);
    }

    #[test]
    fn lines_of_another_time_or_job_are_ignored() {
        assert!(line(&format!("{OUTPUT}\n_SOURCE_REALTIME_TIMESTAMP=999000000")).is_none());
        assert!(line(&format!("{OUTPUT}\n_SOURCE_REALTIME_TIMESTAMP=2001000000")).is_none());
        let (other, _) = query(Some("test")).parse(&entry(OUTPUT)).unwrap();
        assert_eq!(
            other,
            JournalEntry {
                cursor: "s=1;i=2".into(),
                lines: Vec::new()
            }
        );
    }

    #[test]
    fn text_that_is_not_an_entry_is_skipped() {
        assert_eq!(query(None).parse(b"-- No entries --\n"), None);
        assert_eq!(query(None).parse(b"FOO=1\n\n"), None);
        let bytes = [&b"-- Boot 1 --\n\n"[..], &entry(OUTPUT)].concat();
        let (entry, used) = query(None).parse(&bytes).unwrap();
        assert_eq!(entry.lines.len(), 1);
        assert_eq!(used, bytes.len());
    }
}
