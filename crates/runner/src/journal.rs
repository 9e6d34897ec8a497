//! Sends lines to the journal, over its native protocol
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).
//!
//! The runner tags each line with its run, job, step, attempt and stream. This module knows nothing
//! of processes.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, Write as _},
    iter,
};

use super::{mask::Masker, port::Lines};
use crate::{log::ToldOutcome, record::Conclusion};

/// The longest part of a line that is sent as one entry, in bytes. It is journald's own bound for
/// streams (`LineMax=`, journald.conf(5)).
pub const LINE_MAX: usize = 48 * 1024;
/// The largest number of bytes of a UTF-8 character.
pub const CHAR_MAX: usize = 4;

/// Levels of syslog(3) as the journal's `PRIORITY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Priority {
    /// A failure.
    Error = 3,
    /// A problem that does not stop the job.
    Warning = 4,
    /// Standard error.
    Notice = 5,
    /// Standard output.
    Info = 6,
    /// For debugging.
    Debug = 7,
}

/// Sends lines to journald and counts them.
#[derive(Debug)]
pub struct Journal {
    /// Connected with the first line: many jobs print nothing.
    out: Option<io::Result<Lines>>,
    common: Vec<u8>,
    /// Hides secrets in the runner's own lines. Callers mask the lines of others themselves.
    pub masker: Masker,
    /// The last lines of others, where they are kept, and the most of them.
    kept: Option<(VecDeque<String>, usize)>,
    /// The number of lines that journald took.
    pub sent: u64,
    /// The number of lines that journald did not take.
    pub lost: u64,
}

impl Journal {
    /// Returns a connection to the journal. It adds `fields` to every line. Without a journald,
    /// lines go to standard error.
    pub fn new(fields: &[(&str, &str)]) -> Self {
        let mut common = Vec::new();
        fields
            .iter()
            .for_each(|(name, value)| push_field(&mut common, name, value));
        Self {
            out: None,
            common,
            masker: Masker::default(),
            kept: None,
            sent: 0,
            lost: 0,
        }
    }

    /// Returns a connection to a socket other than journald's.
    #[cfg(test)]
    pub fn to(socket: std::os::unix::net::UnixDatagram) -> Self {
        Self {
            out: Some(Ok(Lines::to(socket))),
            ..Self::new(&[])
        }
    }

    /// Keeps the last lines of others.
    pub fn keeping(mut self, lines: usize) -> Self {
        self.kept = Some((VecDeque::new(), lines));
        self
    }

    /// Returns the lines that were kept.
    pub fn kept(&self) -> Vec<String> {
        let kept = self.kept.iter().flat_map(|(lines, _)| lines);
        kept.cloned().collect()
    }

    /// Keeps lines, if any are to be kept.
    fn keep(&mut self, text: &[u8]) {
        let Some((kept, most)) = &mut self.kept else {
            return;
        };
        for line in text.split(|byte| *byte == b'\n') {
            if !line.trim_ascii().is_empty() {
                kept.push_back(String::from_utf8_lossy(line).into_owned());
            }
        }
        while kept.len() > *most {
            kept.pop_front();
        }
    }

    /// Returns the fields of a stream, in the protocol's form, for repeated use with
    /// [`Self::line`]. `step` is the step and its attempt, or `None` for output of the job as a
    /// whole. Hides secrets in the step's name.
    pub fn stream_fields(&self, step: Option<(&str, u32)>, stream: &str) -> Vec<u8> {
        let mut fields = Vec::new();
        if let Some((name, attempt)) = step {
            push_field(&mut fields, "NIXACTIONS_STEP", &self.masker.text(name));
            push_field(&mut fields, "NIXACTIONS_ATTEMPT", &attempt.to_string());
        }
        push_field(&mut fields, "NIXACTIONS_STREAM", stream);
        fields
    }

    /// Sends one line of at most [`LINE_MAX`] bytes, without its newline.
    pub fn line(&mut self, text: &[u8], priority: Priority, stream_fields: &[u8]) {
        self.keep(text);
        // A line has no newline, so the short form works even if it is not UTF-8.
        self.send(text, 1, [b"MESSAGE=", text], priority, stream_fields);
    }

    /// Sends several lines as one entry of at most [`LINE_MAX`] bytes, without the newline after
    /// the last.
    pub fn lines(&mut self, text: &[u8], count: u64, priority: Priority, stream_fields: &[u8]) {
        self.keep(text);
        let head = [b"MESSAGE\n".as_slice(), &(text.len() as u64).to_le_bytes()].concat();
        self.send(text, count, [&head, text], priority, stream_fields);
    }

    fn send(
        &mut self,
        text: &[u8],
        count: u64,
        message: [&[u8]; 2],
        priority: Priority,
        stream_fields: &[u8],
    ) {
        let Ok(out) = self.out.get_or_insert_with(Lines::connect) else {
            // Standard error may be closed as well.
            let _ = io::stderr().write_all(&[text, b"\n"].concat());
            self.lost += count;
            return;
        };
        let priority = [
            b'\n',
            b'P',
            b'R',
            b'I',
            b'O',
            b'R',
            b'I',
            b'T',
            b'Y',
            b'=',
            b'0' + priority as u8,
            b'\n',
        ];
        let parts = [
            message[0],
            message[1],
            &priority,
            &self.common,
            stream_fields,
        ]
        .map(IoSlice::new);
        match out.send(&parts) {
            Ok(()) => self.sent += count,
            Err(_) => self.lost += count,
        }
    }

    /// Sends a line of the runner itself.
    pub fn note(&mut self, text: &str, priority: Priority) {
        let mut fields = Vec::new();
        push_field(&mut fields, "NIXACTIONS_STREAM", "runner");
        self.noted(text, priority, &fields);
    }

    /// Reports the outcome of a step, or of the job as a whole. A reader of the run's events finds
    /// the same there, and can leave this line out.
    pub fn outcome(&mut self, step: Option<&str>, told: ToldOutcome, text: &str) {
        let mut fields = Vec::new();
        push_field(&mut fields, "NIXACTIONS_STREAM", "runner");
        push_field(&mut fields, "NIXACTIONS_OUTCOME", told.outcome.as_str());
        if let Some(code) = told.code {
            push_field(&mut fields, "NIXACTIONS_REASON", &code.to_string());
        }
        if let Some(step) = step {
            push_field(&mut fields, "NIXACTIONS_STEP", &self.masker.text(step));
        }
        let is_skip = step.is_none() || told.outcome == Conclusion::Skipped;
        let priority = if is_skip {
            Priority::Info
        } else {
            Priority::Error
        };
        self.noted(text, priority, &fields);
    }

    fn noted(&mut self, text: &str, priority: Priority, fields: &[u8]) {
        let text = self.masker.text(text).into_owned();
        for line in text.lines() {
            parts(line.as_bytes()).for_each(|part| self.line(part, priority, fields));
        }
    }
}

/// Splits a line between characters into parts of at most [`LINE_MAX`] bytes. An empty line has one
/// empty part.
pub fn parts(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    iter::from_fn(move || {
        let line = rest?;
        let (part, more) = line.split_at(part_end(line));
        rest = (!more.is_empty()).then_some(more);
        Some(part)
    })
}

/// Returns the end of a line's first part: [`LINE_MAX`] bytes, or the start of the character that
/// crosses this limit.
pub fn part_end(line: &[u8]) -> usize {
    if line.len() <= LINE_MAX {
        return line.len();
    }
    let start = (LINE_MAX - CHAR_MAX..=LINE_MAX)
        .rev()
        .find(|at| line[*at] & 0xc0 != 0x80)
        .unwrap_or(LINE_MAX);
    // Bytes that are not UTF-8 have no characters.
    let next = &line[start..line.len().min(start + CHAR_MAX)];
    let across = next
        .utf8_chunks()
        .next()
        .and_then(|chunk| chunk.valid().chars().next());
    if across.is_some_and(|across| start + across.len_utf8() > LINE_MAX) {
        start
    } else {
        LINE_MAX
    }
}

/// Appends a field. A value with a newline takes the protocol's long form.
fn push_field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value.as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_ends_between_characters() {
        let whole = |text: &[u8]| parts(text).map(<[u8]>::len).collect::<Vec<_>>();
        assert_eq!(whole(b""), [0]);
        assert_eq!(whole(&[b'a'; LINE_MAX]), [LINE_MAX]);
        assert_eq!(whole(&[b'a'; LINE_MAX + 1]), [LINE_MAX, 1]);
        for (before, text, first) in [
            (1, "\u{e9}", 1),
            (2, "\u{e9}", 0),
            (1, "\u{20ac}", 1),
            (2, "\u{20ac}", 2),
            (3, "\u{1f600}", 3),
            (4, "\u{1f600}", 0),
        ] {
            let line = [&vec![b'a'; LINE_MAX - before], text.as_bytes(), b"bbb"].concat();
            assert_eq!(whole(&line)[0], LINE_MAX - first, "{text} {before}");
        }
        // Invalid UTF-8: bytes without a beginning, a beginning without its end, too few bytes.
        assert_eq!(whole(&[0x80; LINE_MAX + 9]), [LINE_MAX, 9]);
        assert_eq!(
            whole(&[&[b'a'; LINE_MAX - 1][..], b"\xe2b"].concat()),
            [LINE_MAX, 1]
        );
        assert_eq!(
            whole(&[&[b'a'; LINE_MAX - 1][..], b"\xe2\x82"].concat()),
            [LINE_MAX, 1]
        );
    }

    #[test]
    fn a_field_with_a_newline_is_sent_by_length() {
        let mut out = Vec::new();
        push_field(&mut out, "A", "b=c");
        push_field(&mut out, "D", "e\nf");
        assert_eq!(out, b"A=b=c\nD\n\x03\0\0\0\0\0\0\0e\nf\n");
    }
}
