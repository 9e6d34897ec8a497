//! The pipes of running steps: split into lines, tagged, sent to the journal.
//!
//! A step's pipes stay open as long as anything it left behind holds them, so lines that come later still go out
//! under the step that wrote them.

use std::{
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd},
};

use super::journal::{Journal, LINE_MAX, Priority};

/// How much is read at once, in bytes: a pipe's default capacity (pipe(7)).
const CHUNK: usize = 64 * 1024;

/// Standard output or error of a step.
#[derive(Debug)]
pub struct Stream {
    pipe: io::PipeReader,
    fields: Vec<u8>,
    priority: Priority,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    open: bool,
}

impl Stream {
    /// Wraps the reading end of a pipe, which must not block.
    pub fn new(pipe: io::PipeReader, fields: Vec<u8>, priority: Priority) -> Self {
        Self { pipe, fields, priority, partial: Vec::new(), open: true }
    }

    /// Returns whether there may be more.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Returns the pipe, to be polled.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Reads at most one chunk and sends its complete lines. Returns whether there may be more right now.
    pub fn pump(&mut self, buffer: &mut Vec<u8>, journal: &mut Journal) -> bool {
        buffer.resize(CHUNK, 0);
        let read = match self.pipe.read(buffer) {
            Ok(0) => {
                self.finish(journal);
                return false;
            }
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(_) => {
                self.finish(journal);
                return false;
            }
        };
        let mut rest = &buffer[..read];
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            if self.partial.is_empty() {
                send(&rest[..end], self.priority, &self.fields, journal);
            } else {
                self.partial.extend_from_slice(&rest[..end]);
                send(&self.partial, self.priority, &self.fields, journal);
                self.partial.clear();
            }
            rest = &rest[end + 1..];
        }
        self.partial.extend_from_slice(rest);
        while self.partial.len() >= LINE_MAX {
            let part: Vec<u8> = self.partial.drain(..LINE_MAX).collect();
            send(&part, self.priority, &self.fields, journal);
        }
        true
    }

    /// Sends what came without a newline, and closes.
    pub fn finish(&mut self, journal: &mut Journal) {
        if !self.partial.is_empty() {
            send(&std::mem::take(&mut self.partial), self.priority, &self.fields, journal);
        }
        self.open = false;
    }
}

fn send(line: &[u8], priority: Priority, fields: &[u8], journal: &mut Journal) {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let priority = if line.starts_with(b"::") { annotation(line).unwrap_or(priority) } else { priority };
    if line.is_empty() {
        return journal.line(line, priority, fields);
    }
    line.chunks(LINE_MAX).for_each(|part| journal.line(part, priority, fields));
}

/// Returns the level of a workflow command that carries one: `::error file=a.rs,line=1::text`
/// (<https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>).
fn annotation(line: &[u8]) -> Option<Priority> {
    let rest = &line[2..];
    let end = rest.windows(2).position(|pair| pair == b"::")?;
    let command = rest[..end].split(|byte| *byte == b' ').next()?;
    match command {
        b"error" => Some(Priority::Error),
        b"warning" => Some(Priority::Warning),
        b"notice" => Some(Priority::Notice),
        b"debug" => Some(Priority::Debug),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_carry_their_own_priority() {
        assert_eq!(annotation(b"::error file=a.rs,line=1::broken"), Some(Priority::Error));
        assert_eq!(annotation(b"::warning::odd"), Some(Priority::Warning));
        assert_eq!(annotation(b"::group::a"), None);
        assert_eq!(annotation(b"::error"), None);
    }
}
