//! The pipes of running steps: splits their data into lines, handles commands, masks secrets, and
//! sends the lines to the journal.
//!
//! A step's pipes stay open as long as a process that it left behind holds them, so later lines
//! still go out under this step. The beginning of an unfinished line is held back, up to a bound: a
//! line of 100 MB is sent in parts. Each line is an entry of the journal, unless a step prints
//! faster than journald takes entries. Then lines that came together share an entry.

use std::{
    borrow::Cow,
    cell::RefCell,
    io,
    os::fd::{AsFd, BorrowedFd},
    rc::Rc,
};

use memchr::{memchr, memmem, memrchr};
use rustix::{
    buffer::spare_capacity,
    io::{Errno, read},
};

use super::{
    commands::{Commands, Heard, Stopped},
    journal::{CHAR_MAX, Journal, LINE_MAX, Priority, part_end, parts},
    mask::Hidden,
};

/// The most bytes of one read: the default capacity of a pipe (pipe(7)).
const CHUNK: usize = 64 * 1024;

/// With so many bytes in a pipe, its writer is too fast for journald. A full pipe holds less than
/// its capacity if the written pieces do not fill its pages.
const FLOOD: usize = CHUNK / 2;
/// The bounds on a journal entry of a flood, in lines and in bytes. `journalctl -o json` leaves out
/// values of 4096 bytes or more (journalctl(1)).
const GROUP_LINES: u64 = 32;
const GROUP_BYTES: usize = 4000;

/// The longest workflow command, in bytes.
const COMMAND_MAX: usize = 1 << 20;

/// The destination of a step's output.
#[derive(Debug)]
pub struct Sink<'a> {
    /// The journal, and the secrets to hide.
    pub journal: &'a mut Journal,
    /// Handles the workflow commands.
    pub commands: &'a mut Commands,
}

/// Output that is kept and not shown.
#[derive(Debug)]
pub struct Kept {
    /// The output.
    pub bytes: Vec<u8>,
    /// The bound on the kept output, in bytes.
    pub limit: usize,
    /// Whether there was more output.
    pub more: bool,
    /// Whether reading stops at the bound. The writer then gets a broken pipe.
    pub ends: bool,
}

impl Kept {
    /// Returns an empty buffer.
    pub fn new(limit: usize, ends: bool) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self {
            bytes: Vec::new(),
            limit,
            more: false,
            ends,
        }))
    }

    /// Takes in bytes. Returns whether to read on.
    fn take(&mut self, bytes: &[u8]) -> bool {
        let room = (self.limit - self.bytes.len()).min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..room]);
        self.more |= room < bytes.len();
        !(self.more && self.ends)
    }
}

/// The use of a stream's bytes.
#[derive(Debug)]
enum Use {
    Shown(Shown),
    Kept(Rc<RefCell<Kept>>),
}

/// The result of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunk {
    /// New bytes.
    Bytes {
        /// Whether there were many at once.
        is_flood: bool,
    },
    /// There are no bytes yet.
    None,
    /// The stream has ended.
    End,
}

/// Standard output or error of a process.
#[derive(Debug)]
pub struct Stream {
    /// The id of the stream.
    pub id: u64,
    pipe: io::PipeReader,
    uses: Use,
    open: bool,
}

impl Stream {
    /// Wraps the reading end of a pipe, whose lines are sent to the journal. The pipe must not
    /// block.
    pub fn new(
        pipe: io::PipeReader,
        fields: Vec<u8>,
        priority: Priority,
        stopped: Stopped,
    ) -> Self {
        let shown = Shown {
            fields,
            priority,
            stopped,
            held: Vec::new(),
            hidden: 0,
            within: false,
            is_skipped: false,
            is_flood: false,
        };
        Self {
            id: 0,
            pipe,
            uses: Use::Shown(shown),
            open: true,
        }
    }

    /// Wraps the reading end of a pipe, whose data is kept. The pipe must not block.
    pub fn kept(pipe: io::PipeReader, kept: Rc<RefCell<Kept>>) -> Self {
        Self {
            id: 0,
            pipe,
            uses: Use::Kept(kept),
            open: true,
        }
    }

    /// Returns whether the stream may have more data.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Returns whether the stream's lines are sent to the journal.
    pub fn is_shown(&self) -> bool {
        matches!(self.uses, Use::Shown(_))
    }

    /// Returns the pipe, for polling.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Returns whether the stream is standard error. Commands that name secrets come over standard
    /// output, so that stream is handled first.
    pub fn is_second(&self) -> bool {
        matches!(&self.uses, Use::Shown(shown) if shown.priority == Priority::Notice)
    }

    /// Returns whether the unfinished line may be a command.
    pub fn holds_command(&self) -> bool {
        matches!(&self.uses, Use::Shown(shown) if shown.held.trim_ascii_start().starts_with(b":"))
    }

    /// Reads at most one chunk, and appends it to the buffer.
    pub fn read(&self, buffer: &mut Vec<u8>) -> Chunk {
        // The buffer is not zeroed, so that a job which prints little does not touch all its pages.
        buffer.reserve(CHUNK);
        loop {
            return match read(&self.pipe, spare_capacity(buffer)) {
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Chunk::None,
                Ok(0) | Err(_) => Chunk::End,
                Ok(length) => Chunk::Bytes {
                    is_flood: length >= FLOOD,
                },
            };
        }
    }

    /// Passes on data that was read. Returns whether more may be ready now.
    pub fn pass_on(&mut self, bytes: &[u8], is_flood: bool, sink: &mut Sink<'_>) -> bool {
        match &mut self.uses {
            Use::Shown(shown) => {
                shown.is_flood = is_flood;
                shown.take(bytes, sink);
            }
            Use::Kept(kept) => self.open = kept.borrow_mut().take(bytes),
        }
        self.open
    }

    /// Sends the unfinished line, and closes the stream.
    pub fn finish(&mut self, sink: &mut Sink<'_>) {
        if let Use::Shown(shown) = &mut self.uses {
            shown.end(sink);
        }
        self.open = false;
    }
}

/// The state of a stream whose lines go to the journal.
#[derive(Debug)]
struct Shown {
    fields: Vec<u8>,
    priority: Priority,
    stopped: Stopped,
    /// The unsent beginning of an unfinished line.
    held: Vec<u8>,
    /// The number of these bytes that belong to a secret whose mask has been sent.
    hidden: usize,
    /// Whether parts of the line have been sent.
    within: bool,
    /// Whether the rest of the line is left out.
    is_skipped: bool,
    /// Whether lines come faster than journald takes them one by one.
    is_flood: bool,
}

impl Shown {
    fn take(&mut self, bytes: &[u8], sink: &mut Sink<'_>) {
        let mut rest = bytes;
        if !self.held.is_empty() || self.within {
            let end = memchr(b'\n', rest);
            self.held
                .extend_from_slice(&rest[..end.unwrap_or(rest.len())]);
            rest = end.map_or(&[], |end| &rest[end + 1..]);
            if end.is_some() {
                self.end_line(sink);
            }
        }
        if let Some(end) = memrchr(b'\n', rest) {
            self.lines(&rest[..=end], sink);
            rest = &rest[end + 1..];
        }
        self.held.extend_from_slice(rest);
        if self.is_skipped {
            self.held.clear();
        }
        if !self.within
            && self.held.len() < COMMAND_MAX
            && self.held.trim_ascii_start().starts_with(b"::")
        {
            // A command is handled only as a whole.
            return;
        }
        // The last bytes may be the beginning of a secret or of a character.
        while self.held.len() >= LINE_MAX + sink.journal.masker.held_back().max(CHAR_MAX) {
            if !self.within && is_mask(&self.held) {
                sink.journal
                    .note("`::add-mask::` has more than 1 MiB, which cannot be hidden; the line is left out", Priority::Warning);
                (self.within, self.is_skipped) = (true, true);
                self.held.clear();
                return;
            }
            self.part(part_end(&self.held), sink);
            self.within = true;
        }
    }

    /// Sends the held line, which is complete.
    fn end_line(&mut self, sink: &mut Sink<'_>) {
        if self.is_skipped {
            self.held.clear();
        }
        if self.within {
            self.held.truncate(trimmed(&self.held).len());
            if !self.held.is_empty() {
                self.part(self.held.len(), sink);
            }
        } else {
            let line = std::mem::take(&mut self.held);
            self.lines(&line, sink);
        }
        (self.within, self.hidden, self.is_skipped) = (false, 0, false);
    }

    fn end(&mut self, sink: &mut Sink<'_>) {
        if !self.held.is_empty() {
            self.end_line(sink);
        }
    }

    /// Sends the first bytes of the held line.
    fn part(&mut self, cut: usize, sink: &mut Sink<'_>) {
        let mut out = Vec::new();
        match sink
            .journal
            .masker
            .hide(&self.held, self.hidden, cut, &mut out)
        {
            Hidden::Nothing => self.send(&self.held[..cut], sink.journal),
            Hidden::Upto(more) => {
                self.hidden = more;
                // If all of these bytes belong to a secret, its mask has been sent.
                if !out.is_empty() {
                    self.send(&out, sink.journal);
                }
            }
        }
        self.held.drain(..cut);
    }

    /// Handles whole lines. A command changes the secrets for the lines after it.
    fn lines(&mut self, lines: &[u8], sink: &mut Sink<'_>) {
        let mut sent = 0;
        if memmem::find(lines, b"::").is_some() {
            let mut at = 0;
            for line in lines.split_inclusive(|byte| *byte == b'\n') {
                if let Some(heard) = sink.commands.hear(line, &self.stopped) {
                    self.plain(&lines[sent..at], sink);
                    self.heard(heard, sink);
                    sent = at + line.len();
                }
                at += line.len();
            }
        }
        self.plain(&lines[sent..], sink);
    }

    /// Sends lines, after one search for secrets in all of them.
    fn plain(&self, lines: &[u8], sink: &mut Sink<'_>) {
        if lines.is_empty() {
            return;
        }
        let masked: Cow<'_, [u8]> = sink.journal.masker.bytes(lines);
        let lines = Lines(Some(masked.strip_suffix(b"\n").unwrap_or(&masked)));
        if self.is_flood {
            self.grouped(lines, sink.journal);
        } else {
            lines.for_each(|line| self.send(trimmed(line), sink.journal));
        }
    }

    /// Sends lines, several in each entry.
    fn grouped(&self, lines: Lines<'_>, journal: &mut Journal) {
        let (mut group, mut count) = (Vec::with_capacity(GROUP_BYTES), 0);
        let flush = |group: &mut Vec<u8>, count: &mut u64, journal: &mut Journal| {
            match count {
                0 => {}
                1 => journal.line(group, self.priority, &self.fields),
                _ => journal.lines(group, *count, self.priority, &self.fields),
            }
            group.clear();
            *count = 0;
        };
        for line in lines {
            let line = trimmed(line);
            let is_alone = line.len() > GROUP_BYTES / 2 || !is_printable(line);
            if is_alone || count == GROUP_LINES || group.len() + line.len() >= GROUP_BYTES {
                flush(&mut group, &mut count, journal);
            }
            if is_alone {
                self.send(line, journal);
                continue;
            }
            if count > 0 {
                group.push(b'\n');
            }
            group.extend_from_slice(line);
            count += 1;
        }
        flush(&mut group, &mut count, journal);
    }

    fn send(&self, line: &[u8], journal: &mut Journal) {
        send(line, self.priority, &self.fields, journal);
    }

    fn heard(&self, heard: Heard, sink: &mut Sink<'_>) {
        match heard {
            Heard::Done => {}
            Heard::Warn(text) => sink.journal.note(text, Priority::Warning),
            Heard::Hide(value) => {
                if let Err(error) = sink.journal.masker.add_asked_for(&value) {
                    sink.journal
                        .note(&format!("{error}; a value is shown"), Priority::Warning);
                }
            }
            Heard::Say(text, priority, mark) => {
                let text = sink.journal.masker.text(&text).into_owned();
                let fields = [
                    self.fields.as_slice(),
                    b"NIXACTIONS_COMMAND=",
                    mark.as_str().as_bytes(),
                    b"\n",
                ]
                .concat();
                // An empty text is still a line.
                for line in text.split('\n') {
                    send(
                        trimmed(line.as_bytes()),
                        priority.unwrap_or(self.priority),
                        &fields,
                        sink.journal,
                    );
                }
            }
        }
    }
}

/// The lines of a text.
struct Lines<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.0?;
        let end = memchr(b'\n', rest);
        self.0 = end.map(|end| &rest[end + 1..]);
        Some(&rest[..end.unwrap_or(rest.len())])
    }
}

/// Returns whether a line starts with the command that names a secret.
fn is_mask(line: &[u8]) -> bool {
    const COMMAND: &[u8] = b"::add-mask";
    line.trim_ascii_start()
        .get(..COMMAND.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(COMMAND))
}

/// Returns a line without a final carriage return.
fn trimmed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Returns whether journalctl(1) shows a line. It shows only the size of an entry that is not text.
fn is_printable(line: &[u8]) -> bool {
    let is_text = |text: &str| {
        let mut after_escape = false;
        text.chars().all(|c| {
            let starts = std::mem::replace(&mut after_escape, c == '\x1b');
            // journalctl leaves out colours.
            if starts {
                c == '['
            } else {
                c == '\t' || c == '\x1b' || !c.is_control()
            }
        }) && !after_escape
    };
    std::str::from_utf8(line).is_ok_and(is_text)
}

/// Sends one line, in parts if it is long.
fn send(line: &[u8], priority: Priority, fields: &[u8], journal: &mut Journal) {
    parts(line).for_each(|part| journal.line(part, priority, fields));
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    /// Returns the journal entries of a stream whose data comes in chunks of this size.
    fn entries(bytes: &[u8], size: usize) -> Vec<Vec<u8>> {
        let (ours, journald) = UnixDatagram::pair().unwrap();
        journald.set_nonblocking(true).unwrap();
        let (mut journal, mut commands) = (Journal::to(ours), Commands::default());
        let mut stream = Stream::new(
            io::pipe().unwrap().0,
            Vec::new(),
            Priority::Info,
            Stopped::default(),
        );
        let (mut entries, mut datagram) = (Vec::new(), vec![0; 2 * LINE_MAX]);
        let mut drain = |entries: &mut Vec<Vec<u8>>| {
            while let Ok(length) = journald.recv(&mut datagram) {
                let message = datagram[..length]
                    .strip_prefix(b"MESSAGE=")
                    .unwrap()
                    .strip_suffix(b"\nPRIORITY=6\n")
                    .unwrap();
                entries.push(message.to_vec());
            }
        };
        for chunk in bytes.chunks(size) {
            stream.pass_on(
                chunk,
                false,
                &mut Sink {
                    journal: &mut journal,
                    commands: &mut commands,
                },
            );
            drain(&mut entries);
        }
        stream.finish(&mut Sink {
            journal: &mut journal,
            commands: &mut commands,
        });
        drain(&mut entries);
        entries
    }

    #[test]
    fn a_long_line_is_split_between_characters_without_loss() {
        let text = format!("xy{}", "\u{e9}\u{20ac}\u{1f600}".repeat(LINE_MAX / 4));
        for size in [1000, 4096, CHUNK, text.len()] {
            let entries = entries(format!("{text}\r\nnext\r\n").as_bytes(), size);
            let (last, parts) = entries.split_last().unwrap();
            assert_eq!(last, b"next");
            assert!(
                parts.len() > 2
                    && parts
                        .iter()
                        .all(|part| part.len() <= LINE_MAX && std::str::from_utf8(part).is_ok()),
                "{size}"
            );
            assert!(parts.concat() == text.as_bytes(), "{size}: data was lost");
        }
    }

    #[test]
    fn a_carriage_return_within_a_line_stays_at_every_split() {
        for at in LINE_MAX - 2..=LINE_MAX + 4 {
            let mut text = vec![b'a'; LINE_MAX + 3000];
            text[at] = b'\r';
            for size in [1, 1000, CHUNK] {
                assert!(
                    entries(&[&text[..], b"\r\n"].concat(), size).concat() == text,
                    "{at} {size}"
                );
            }
            // The same at the end of the line.
            let ends = &text[..=at];
            for size in [1, 1000, CHUNK] {
                assert!(
                    entries(&[ends, b"\n"].concat(), size).concat() == ends[..at],
                    "{at} {size}"
                );
            }
        }
    }

    #[test]
    fn lines_that_journalctl_hides_share_no_entry() {
        for line in ["", "text\twith tabs", "ünï ✓", "\x1b[1;31mred\x1b[0m"] {
            assert!(is_printable(line.as_bytes()), "{line:?}");
        }
        for line in [
            &b"bell\x07"[..],
            b"a\rb",
            b"\x1b]0;title",
            b"\x1b",
            b"nul\0",
            b"\xff",
            "c1\u{85}".as_bytes(),
        ] {
            assert!(!is_printable(line), "{:?}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn lines_are_split_at_newlines() {
        let lines = |text: &'static str| {
            Lines(Some(text.as_bytes()))
                .map(|line| std::str::from_utf8(line).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(lines("a"), ["a"]);
        assert_eq!(lines("a\n\nb"), ["a", "", "b"]);
        assert_eq!(lines("a\n"), ["a", ""]);
    }
}
