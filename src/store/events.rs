//! `events.jsonl`: appended one whole line at a time, read while it grows.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::event::Event;

use super::{StoreError, files::open_untrusted};

/// Appends events to a file.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: File,
    length: u64,
}

impl EventWriter {
    /// Opens the file for appending, making it where it is absent. A torn last line of a writer
    /// that died is ended, so that it spoils only itself.
    ///
    /// # Errors
    /// Fails with the path and the system's reason.
    pub fn open(path: &Path, mode: u32) -> Result<Self, StoreError> {
        let open = || -> io::Result<(File, u64)> {
            let mut file = OpenOptions::new()
                .append(true)
                .read(true)
                .create(true)
                .mode(mode)
                .open(path)?;
            let mut length = file.metadata()?.len();
            if length > 0 {
                use std::os::unix::fs::FileExt;
                let mut last = [0];
                file.read_exact_at(&mut last, length - 1)?;
                if last != *b"\n" {
                    file.write_all(b"\n")?;
                    length += 1;
                }
            }
            Ok((file, length))
        };
        let (file, length) = open().map_err(|source| StoreError::io("open", path, source))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            length,
        })
    }

    /// Makes the file; `None` where it exists already.
    ///
    /// # Errors
    /// Fails with the path and the system's reason.
    pub fn create(path: &Path, mode: u32) -> Result<Option<Self>, StoreError> {
        match OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(mode)
            .open(path)
        {
            Ok(file) => Ok(Some(Self {
                path: path.to_owned(),
                file,
                length: 0,
            })),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(source) => Err(StoreError::io("create", path, source)),
        }
    }

    /// Appends events in one write.
    ///
    /// # Errors Fails with the system's reason, most likely that the disk is full; a part that was
    /// written is taken back.
    pub fn append(&mut self, events: &[Event]) -> Result<(), StoreError> {
        let mut bytes = Vec::with_capacity(256 * events.len());
        for event in events {
            serde_json::to_writer(&mut bytes, event).expect("invariant: an event is always JSON");
            bytes.push(b'\n');
        }
        self.file.write_all(&bytes).map_err(|source| {
            // Best effort: a torn line is skipped by readers all the same.
            let _ = self.file.set_len(self.length);
            StoreError::io("append to", &self.path, source)
        })?;
        self.length += bytes.len() as u64;
        Ok(())
    }
}

/// Reads the events of a file that may still be growing, and may not exist yet.
#[derive(Debug)]
pub struct EventTail {
    path: PathBuf,
    file: Option<File>,
    partial: Vec<u8>,
}

impl EventTail {
    /// Returns a reader at the file's beginning.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            partial: Vec::new(),
        }
    }

    /// Returns the events that have been appended since the last call. A line that is not yet
    /// complete waits for the next call; a line that is no event (torn by a crash, or written by a
    /// job) is passed over.
    ///
    /// # Errors
    /// Fails when the file cannot be read.
    pub fn read(&mut self) -> Result<Vec<Event>, StoreError> {
        if self.file.is_none() {
            self.file = open_untrusted(&self.path)?;
        }
        let Some(file) = &mut self.file else {
            return Ok(Vec::new());
        };
        file.read_to_end(&mut self.partial)
            .map_err(|source| StoreError::io("read", &self.path, source))?;
        let Some(end) = self.partial.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(Vec::new());
        };
        let rest = self.partial.split_off(end + 1);
        let complete = std::mem::replace(&mut self.partial, rest);
        Ok(complete
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect())
    }
}
