//! `events.jsonl`: appended one whole line at a time, read while it grows.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, fallocate},
};

use super::{
    StoreError,
    files::{open_untrusted, version},
};
use crate::{
    bounds::{EVENTS_MAX, LINE_MAX},
    event::{Event, EventKind},
};

/// The room that a job's file of events has from the beginning, in bytes: most jobs tell less.
pub(super) const FIRST_ROOM: u64 = 8 << 10;
/// The part of its room that is kept for the last event, which tells how the job ended.
const LAST_WORD: u64 = 4 << 10;

/// Sets room aside in a file beyond its end (fallocate(2)): so many bytes from its beginning.
///
/// # Errors
/// Fails where the disk is full. A file system that cannot do so is no error.
pub(super) fn set_aside(file: &File, bytes: u64) -> io::Result<()> {
    let bytes = bytes.try_into().unwrap_or(i64::MAX);
    match fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, bytes) {
        Err(errno @ (Errno::ENOSPC | Errno::EDQUOT)) => Err(errno.into()),
        _ => Ok(()),
    }
}

/// Appends events to a file.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: File,
    length: u64,
    /// Whether the last line is torn, and is to be ended before the next one.
    torn: bool,
    /// How much of the file has its room on disk, from its beginning, where room is kept for the
    /// last event.
    set_aside: Option<u64>,
}

impl EventWriter {
    /// Opens the file for appending, making it where it is absent. A torn last line of a writer
    /// that died is ended with the next event, so that it spoils only itself.
    ///
    /// # Errors
    /// Fails with the path and the system's reason.
    pub fn open(path: &Path, mode: u32) -> Result<Self, StoreError> {
        let open = || -> io::Result<(File, u64, bool)> {
            let file = OpenOptions::new()
                .append(true)
                .read(true)
                .create(true)
                .mode(mode)
                .open(path)?;
            let (length, torn) = end(&file)?;
            Ok((file, length, torn))
        };
        let (file, length, torn) = open().map_err(|source| StoreError::io("open", path, source))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            length,
            torn,
            set_aside: None,
        })
    }

    /// Takes a job's file of events, which is open for appending and which nobody has written to;
    /// `None` where somebody has. It keeps room for the job's last event. The path is for errors
    /// only.
    ///
    /// # Errors
    /// Fails with the system's reason, or where it is no file.
    pub fn of_new(file: File, path: &Path) -> Result<Option<Self>, StoreError> {
        let meta = file
            .metadata()
            .map_err(|source| StoreError::io("read", path, source))?;
        if !meta.is_file() {
            return Err(StoreError::NotPlain {
                path: path.to_owned(),
            });
        }
        Ok((meta.len() == 0).then(|| Self {
            path: path.to_owned(),
            file,
            length: 0,
            torn: false,
            set_aside: Some(FIRST_ROOM),
        }))
    }

    /// Takes a job's file of events, which is open for appending, from a process that wrote to it
    /// and has ended. A torn last line of that one is ended with the next event.
    ///
    /// # Errors
    /// Fails with the system's reason, or where what lies at the path is no file.
    pub fn of_old(file: File, path: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::io("read", path, source);
        // What is open cannot be read.
        let readable =
            open_untrusted(path)?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        let (length, torn) = end(&readable).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            length,
            torn,
            // There may be more, which is not lost.
            set_aside: Some(FIRST_ROOM.max(length)),
        })
    }

    /// Appends events in one write, and keeps the room for the last event where that is kept.
    ///
    /// # Errors Fails with the system's reason, most likely that the disk is full; a part that was
    /// written is taken back.
    pub fn append(&mut self, events: &[Event]) -> Result<(), StoreError> {
        self.write(events, LAST_WORD)
    }

    /// Appends the last events, for which room was kept.
    ///
    /// # Errors
    /// As [`Self::append`].
    pub fn append_last(&mut self, events: &[Event]) -> Result<(), StoreError> {
        self.write(events, 0)
    }

    fn write(&mut self, events: &[Event], keep: u64) -> Result<(), StoreError> {
        let mut bytes = Vec::with_capacity(256 * events.len());
        if self.torn {
            bytes.push(b'\n');
        }
        for event in events {
            serde_json::to_writer(&mut bytes, event).expect("invariant: an event is always JSON");
            bytes.push(b'\n');
        }
        let end = self.length + bytes.len() as u64;
        let write = || -> io::Result<Option<u64>> {
            let mut set_aside_now = self.set_aside;
            if let Some(room) = self.set_aside
                && end + keep > room
            {
                set_aside(&self.file, end + keep)?;
                set_aside_now = Some(end + keep);
            }
            (&self.file).write_all(&bytes)?;
            Ok(set_aside_now)
        };
        self.set_aside = write().map_err(|source| {
            // Best effort: a torn line is skipped by readers all the same. It does not touch what
            // was set aside, for the file has not grown.
            if self
                .file
                .metadata()
                .is_ok_and(|meta| meta.len() > self.length)
            {
                let _ = self.file.set_len(self.length);
            }
            StoreError::io("append to", &self.path, source)
        })?;
        self.length = end;
        self.torn = false;
        Ok(())
    }
}

/// Returns the length of a file, and whether its last line is torn.
fn end(file: &File) -> io::Result<(u64, bool)> {
    use std::os::unix::fs::FileExt;
    let length = file.metadata()?.len();
    let mut last = *b"\n";
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    Ok((length, last != *b"\n"))
}

/// What is wrong with a file of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Complaint {
    /// A line is no event: torn by a crash, or written by a job.
    #[error("line {line} is damaged; the rest is used")]
    Damaged {
        /// Which, from 1.
        line: u64,
    },
    /// A line is of a version that this program does not know.
    #[error(
        "line {line} has version {version}, which this program does not know; the rest is used"
    )]
    OtherVersion {
        /// Which, from 1.
        line: u64,
        /// Its version.
        version: u32,
    },
    /// A line of a job is longer than is read.
    #[error("line {line} is longer than {LINE_MAX} bytes; what comes from there on is ignored")]
    LongLine {
        /// Which, from 1.
        line: u64,
    },
    /// A job has written more than is read, or has had the file read in vain too often.
    #[error("there is more than the {EVENTS_MAX} bytes that are read; the rest is ignored")]
    TooMuch,
}

/// What a look into a file of events brought.
#[derive(Debug, Default)]
pub struct News {
    /// The events that have been appended since the last look.
    pub events: Vec<Event>,
    /// What is wrong with what was read.
    pub complaints: Vec<Complaint>,
    /// Whether there is more to be read at once.
    pub more: bool,
    /// Whether nothing more is ever read of this file.
    pub over: bool,
}

/// Reads the events of a file that may still be growing, and may not exist yet.
///
/// A line without a `version` is of version 1; a program that writes another says so in each line.
#[derive(Debug)]
pub struct EventTail {
    path: PathBuf,
    file: Option<File>,
    partial: Vec<u8>,
    lines: u64,
    /// How many bytes may still be read; `None` without a bound.
    room: Option<u64>,
    over: bool,
}

/// How much is read in one go, in bytes, and how much of a job's file in one look: nobody else
/// waits for longer.
const READ: u64 = 64 << 10;
const LOOK: usize = 1 << 20;
/// What a look at a job's file counts for that brings less, in bytes: a job that has its file
/// looked at in vain, again and again, comes to an end of it.
const LOOK_MIN: u64 = 512;

impl EventTail {
    /// Returns a reader at the beginning of a file that this program wrote.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            partial: Vec::new(),
            lines: 0,
            room: None,
            over: false,
        }
    }

    /// Returns a reader at the beginning of a file that a job may have written: what is read of it
    /// is bounded.
    pub fn untrusted(path: PathBuf) -> Self {
        Self {
            room: Some(EVENTS_MAX),
            ..Self::new(path)
        }
    }

    /// Returns what has been appended since the last look. A line that is not yet complete waits
    /// for the next look; a line that is no event is passed over.
    ///
    /// # Errors
    /// Fails when the file cannot be read.
    pub fn read(&mut self) -> Result<News, StoreError> {
        let mut news = News::default();
        if self.over {
            news.over = true;
            return Ok(news);
        }
        if self.file.is_none() {
            self.file = match self.room {
                Some(_) => open_untrusted(&self.path)?,
                None => match File::open(&self.path) {
                    Ok(file) => Some(file),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                    Err(source) => return Err(StoreError::io("open", &self.path, source)),
                },
            };
        }
        let mut read = 0;
        loop {
            let count = self.read_some()?;
            read += count;
            let new = self.partial.len() - count;
            if let Some(end) = self.partial[new..].iter().rposition(|byte| *byte == b'\n') {
                let rest = self.partial.split_off(new + end + 1);
                let complete = std::mem::replace(&mut self.partial, rest);
                for line in complete.split_inclusive(|byte| *byte == b'\n') {
                    self.line(line.trim_ascii_end(), &mut news);
                }
            }
            if count == 0 {
                break;
            }
            let Some(room) = &mut self.room else { continue };
            *room = room.saturating_sub(count as u64);
            let complaint = match *room {
                _ if self.partial.len() > LINE_MAX => Complaint::LongLine {
                    line: self.lines + 1,
                },
                0 => Complaint::TooMuch,
                _ if read >= LOOK => {
                    news.more = true;
                    return Ok(news);
                }
                _ => continue,
            };
            self.end(complaint, &mut news);
            return Ok(news);
        }
        if let Some(room) = &mut self.room {
            *room = room.saturating_sub(LOOK_MIN.saturating_sub(read as u64));
            if *room == 0 {
                self.end(Complaint::TooMuch, &mut news);
            }
        }
        Ok(news)
    }

    /// Returns all that is there, of a file that this program wrote. What is wrong with it stands
    /// among the events, as warnings.
    ///
    /// # Errors
    /// Fails when the file cannot be read.
    pub fn read_own(&mut self) -> Result<Vec<Event>, StoreError> {
        let News {
            mut events,
            complaints,
            ..
        } = self.read()?;
        let at = events
            .last()
            .map_or(Timestamp::UNIX_EPOCH, |event| event.at);
        let name = self.path.file_name().unwrap_or_default();
        let warnings = complaints.into_iter().map(|complaint| Event {
            at,
            event: EventKind::Warning {
                message: format!("`{}`: {complaint}", name.display()),
            },
        });
        // Where there is an end it stays the last.
        let end = events.len().saturating_sub(1);
        events.splice(end..end, warnings);
        Ok(events)
    }

    fn end(&mut self, complaint: Complaint, news: &mut News) {
        news.complaints.push(complaint);
        news.over = true;
        self.over = true;
        self.partial = Vec::new();
        self.file = None;
    }

    fn read_some(&mut self) -> Result<usize, StoreError> {
        let Some(file) = &mut self.file else {
            return Ok(0);
        };
        file.take(READ)
            .read_to_end(&mut self.partial)
            .map_err(|source| StoreError::io("read", &self.path, source))
    }

    fn line(&mut self, line: &[u8], news: &mut News) {
        self.lines += 1;
        match serde_json::from_slice(line) {
            Ok(event) => news.events.push(event),
            Err(_) if line.is_empty() => {}
            Err(_) => news.complaints.push(match version(line) {
                Some(version) => Complaint::OtherVersion {
                    line: self.lines,
                    version,
                },
                None => Complaint::Damaged { line: self.lines },
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: &str =
        r#"{"at":"2026-01-01T00:00:00Z","event":{"type":"jobStarted","job":"j"}}"#;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn a_damaged_line_is_told_and_the_rest_used() {
        let newer = r#"{"version":2,"at":"2026-01-01T00:00:00Z","event":{"type":"new"}}"#;
        let (_dir, path) = file(&format!("{STARTED}\n{{torn\n{newer}\n{STARTED}\n{{part"));
        let news = EventTail::untrusted(path.clone()).read().unwrap();
        assert_eq!(news.events.len(), 2);
        assert_eq!(
            news.complaints,
            [
                Complaint::Damaged { line: 2 },
                Complaint::OtherVersion {
                    line: 3,
                    version: 2
                }
            ]
        );
        let own = EventTail::new(path).read_own().unwrap();
        let warnings: Vec<_> = own
            .iter()
            .filter_map(|event| match &event.event {
                EventKind::Warning { message } => Some(message.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(
            warnings,
            [
                "`events.jsonl`: line 2 is damaged; the rest is used",
                "`events.jsonl`: line 3 has version 2, which this program does not know; the rest is used"
            ]
        );
        assert_eq!(own.len(), 4);
    }

    #[test]
    fn a_sparse_file_costs_no_more_than_its_bound() {
        let (_dir, path) = file("");
        let mut tail = EventTail::untrusted(path.clone());
        let sparse = OpenOptions::new().write(true).open(&path).unwrap();
        let mut told = Vec::new();
        for step in 1..=100 {
            sparse.set_len(step * (20 << 20)).unwrap();
            loop {
                let news = tail.read().unwrap();
                assert!(tail.partial.capacity() <= 2 * LINE_MAX + (1 << 20));
                told.extend(news.complaints);
                if !news.more {
                    break;
                }
            }
        }
        assert_eq!(told, [Complaint::LongLine { line: 1 }]);
        assert!(tail.read().unwrap().over);
        assert_eq!(tail.partial.capacity(), 0);
    }

    #[test]
    fn looks_in_vain_come_to_an_end() {
        let (_dir, path) = file("");
        let mut tail = EventTail::untrusted(path);
        let looks = (1..).find(|_| tail.read().unwrap().over).unwrap();
        assert_eq!(looks as u64, EVENTS_MAX / LOOK_MIN);
    }

    #[test]
    fn own_events_have_no_bound() {
        let (_dir, path) = file("");
        let mut writer = EventWriter::open(&path, 0o600).unwrap();
        let message = "x".repeat(LINE_MAX + 1);
        let event = Event {
            at: Timestamp::UNIX_EPOCH,
            event: EventKind::Warning { message },
        };
        let events = [event.clone(), event.clone(), event];
        writer.append(&events).unwrap();
        assert!(EventTail::new(path.clone()).read_own().unwrap() == events);
        assert!(EventTail::untrusted(path).read().unwrap().events.is_empty());
    }
}
