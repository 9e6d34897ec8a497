//! `events.jsonl`: a file to which whole lines are appended while others read it.

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

/// The disk space that a job's file of events gets at its creation, in bytes. Most jobs need less.
pub(super) const FIRST_ROOM: u64 = 8 << 10;
/// The part of that space that is kept for the last event, which holds the job's result.
const LAST_WORD: u64 = 4 << 10;

/// Reserves the disk space of a file's first `bytes` bytes, also beyond its end (fallocate(2)).
///
/// # Errors
/// Fails if the disk is full. Succeeds on a file system that cannot reserve space.
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
    /// Whether the last line is torn. The next write ends it first.
    torn: bool,
    /// The number of bytes from the file's beginning whose disk space is reserved. `None` means
    /// that no space is kept for the last event.
    set_aside: Option<u64>,
}

impl EventWriter {
    /// Opens the file for appending and creates it if it is absent. If a dead writer left a torn
    /// last line, the next event ends that line, so that no other line is damaged.
    ///
    /// # Errors
    /// Fails with the path and the system's error.
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

    /// Takes a job's file of events that is open for appending. Returns `None` if the file is not
    /// empty. The writer keeps disk space for the job's last event. The path is only for errors.
    ///
    /// # Errors
    /// The system refuses, or the descriptor does not belong to a plain file.
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

    /// Takes over a job's file of events, open for appending, from a process that has ended. If
    /// that process left a torn last line, the next event ends that line.
    ///
    /// # Errors
    /// The system refuses, or the path is not a plain file.
    pub fn of_old(file: File, path: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::io("read", path, source);
        // The given descriptor cannot be read.
        let readable =
            open_untrusted(path)?.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        let (length, torn) = end(&readable).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            length,
            torn,
            // More space may be reserved. That space stays reserved.
            set_aside: Some(FIRST_ROOM.max(length)),
        })
    }

    /// Appends events in one write. Does not use the space that is kept for the last event.
    ///
    /// # Errors
    /// The system refuses, most likely because the disk is full. A partly written line is removed.
    pub fn append(&mut self, events: &[Event]) -> Result<(), StoreError> {
        self.write(events, LAST_WORD)
    }

    /// Appends the last events, in the space that is kept for them.
    ///
    /// # Errors
    /// Fails like [`Self::append`].
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
            // Removing the torn line may fail. Readers skip such a line. If the file has not grown,
            // do not truncate it: that would release the reserved space.
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

/// Returns the length of a file and whether its last line is torn.
fn end(file: &File) -> io::Result<(u64, bool)> {
    use std::os::unix::fs::FileExt;
    let length = file.metadata()?.len();
    let mut last = *b"\n";
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    Ok((length, last != *b"\n"))
}

/// A problem in a file of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Complaint {
    /// A line is not an event: a crash tore the line, or a job wrote it.
    #[error("line {line} is damaged; the rest is used")]
    Damaged {
        /// The line's number, from 1.
        line: u64,
    },
    /// The line has a version that this program does not know.
    #[error(
        "line {line} has version {version}, which this program does not know; the rest is used"
    )]
    OtherVersion {
        /// The line's number, from 1.
        line: u64,
        /// The line's version.
        version: u32,
    },
    /// A line of a job's file exceeds the limit.
    #[error("line {line} is longer than {LINE_MAX} bytes; that line and the rest are ignored")]
    LongLine {
        /// The line's number, from 1.
        line: u64,
    },
    /// A job's file exceeds the limit, or was read without result too often.
    #[error("the file exceeds the {EVENTS_MAX} bytes that are read; the rest is ignored")]
    TooMuch,
}

/// The result of one look into a file of events.
#[derive(Debug, Default)]
pub struct News {
    /// The events that were appended since the last look.
    pub events: Vec<Event>,
    /// The problems in the new part.
    pub complaints: Vec<Complaint>,
    /// Whether more can be read at once.
    pub more: bool,
    /// Whether this reader will never read more of the file.
    pub over: bool,
}

/// Reads the events of a file. The file may still grow, and it may not exist yet.
///
/// A line without a `version` has version 1. Programs that write other versions state them in each
/// line.
#[derive(Debug)]
pub struct EventTail {
    path: PathBuf,
    file: Option<File>,
    partial: Vec<u8>,
    lines: u64,
    /// The number of bytes that may still be read. `None` means no limit.
    room: Option<u64>,
    over: bool,
}

/// The size of one read, and the most bytes of a job's file in one look. The second limit bounds
/// the wait of other jobs.
const READ: u64 = 64 << 10;
const LOOK: usize = 1 << 20;
/// The least number of bytes that one look at a job's file counts for. It ends a job that makes us
/// look at its file again and again without result.
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

    /// Returns a reader at the beginning of a file that a job may have written. Such a reader has
    /// limits.
    pub fn untrusted(path: PathBuf) -> Self {
        Self {
            room: Some(EVENTS_MAX),
            ..Self::new(path)
        }
    }

    /// Returns the events that were appended since the last look. An incomplete line waits for the
    /// next look. A line that is not an event is skipped.
    ///
    /// # Errors
    /// The file cannot be read.
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

    /// Returns all events of a file that this program wrote. Problems appear among the events, as
    /// warnings.
    ///
    /// # Errors
    /// The file cannot be read.
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
        // If the run's last event is there, it stays the last.
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
    fn a_damaged_line_is_reported_and_the_rest_used() {
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
    fn looks_without_result_are_limited() {
        let (_dir, path) = file("");
        let mut tail = EventTail::untrusted(path);
        let looks = (1..).find(|_| tail.read().unwrap().over).unwrap();
        assert_eq!(looks as u64, EVENTS_MAX / LOOK_MIN);
    }

    #[test]
    fn own_events_have_no_limit() {
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
