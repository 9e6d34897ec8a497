//! The order in which lines of several pipes are passed on.
//!
//! Standard output and error are two pipes, and the kernel does not record the order of writes to
//! different pipes. epoll(7) reports the pipe first that had data first. Data in several pipes at
//! once is passed on in small pieces, by turns, starting with the pipe that was ready first. So
//! lines that a step writes to both by turns keep their order, as with `set -x` in a script. But if
//! a step names a secret on standard output before it prints it on standard error, the secret must
//! be hidden there. So if standard output has such a command, all of standard output goes first.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use memchr::{memchr, memmem, memrchr};
use nix::{
    poll::PollTimeout,
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags},
};

use super::output::{Chunk, Sink, Stream};

/// The most chunks that are read of a pipe in a row: more than a pipe can hold (pipe(7)).
pub const PUMPS: usize = 32;
/// The number of times that new data is collected before it is passed on.
const ROUNDS: usize = 32;
/// The most ready streams that one look reports.
const AT_ONCE: usize = 64;
/// The bound on a piece of several lines, in bytes. A longer line is a piece by itself.
const PIECE: usize = 4096;

/// Reports the streams with data, in the order in which they got it.
#[derive(Debug)]
pub struct Order {
    epoll: Epoll,
    next: u64,
}

impl Order {
    /// Returns an order without streams.
    ///
    /// # Errors
    /// Fails with the system's reason.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            next: 0,
        })
    }

    /// Adds a stream. Closing the stream removes it.
    ///
    /// # Errors
    /// Fails with the system's reason.
    pub fn add(&mut self, mut stream: Stream) -> io::Result<Stream> {
        stream.id = self.next;
        self.next += 1;
        self.epoll
            .add(stream.fd(), EpollEvent::new(EpollFlags::EPOLLIN, stream.id))?;
        Ok(stream)
    }

    /// Returns the descriptor that is readable when a stream has data.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    /// Returns the positions of the streams that have data now or have ended.
    pub fn ready(&self, streams: &[Stream]) -> Vec<usize> {
        let mut events = [EpollEvent::empty(); AT_ONCE];
        let count = self
            .epoll
            .wait(&mut events, PollTimeout::ZERO)
            .unwrap_or_default();
        events[..count]
            .iter()
            .filter_map(|event| streams.iter().position(|stream| stream.id == event.data()))
            .collect()
    }
}

/// The data read from a stream.
#[derive(Debug)]
struct Part {
    index: usize,
    bytes: Vec<u8>,
    /// The number of bytes that have been passed on.
    at: usize,
    is_flood: bool,
    has_ended: bool,
}

impl Part {
    fn new(index: usize) -> Self {
        Self {
            index,
            bytes: Vec::new(),
            at: 0,
            is_flood: false,
            has_ended: false,
        }
    }

    fn has_more(&self) -> bool {
        self.at < self.bytes.len()
    }
}

/// Reads the streams that are ready and passes on their data. Returns whether there was any.
pub fn listen(streams: &mut [Stream], order: &Order, sink: &mut Sink<'_>) -> bool {
    let mut parts: Vec<Part> = Vec::new();
    // Later rounds collect new data. They also make epoll forget the drained streams, which would
    // otherwise precede streams with newer data next time.
    for _ in 0..ROUNDS {
        let ready = order.ready(streams);
        if ready.is_empty() {
            break;
        }
        for index in &ready {
            if !parts.iter().any(|part| part.index == *index) {
                parts.push(Part::new(*index));
            }
        }
        let (seconds, mut firsts): (Vec<usize>, Vec<usize>) = ready
            .into_iter()
            .partition(|index| streams[*index].is_second());
        // The data on standard output up to this moment must be handled before standard error is
        // passed on.
        let is_behind = !seconds.is_empty();
        for index in seconds {
            read(streams, index, 1, &mut parts);
        }
        if is_behind {
            firsts = (0..streams.len())
                .filter(|index| !streams[*index].is_second())
                .collect();
        }
        for index in firsts {
            read(
                streams,
                index,
                if is_behind { PUMPS } else { 1 },
                &mut parts,
            );
        }
        if parts.iter().map(|part| part.bytes.len()).sum::<usize>() > PIECE
            || parts.iter().all(|part| part.has_ended)
        {
            break;
        }
    }
    parts.retain(|part| part.has_ended || !part.bytes.is_empty());
    let heard = !parts.is_empty();
    let names_secrets = |part: &Part| {
        let stream = &streams[part.index];
        !stream.is_second() && (stream.holds_command() || has_mask(&part.bytes))
    };
    if parts.iter().any(names_secrets) {
        parts.sort_by_key(|part| streams[part.index].is_second());
    } else {
        while parts.iter().filter(|part| part.has_more()).count() > 1 {
            for part in parts.iter_mut().filter(|part| part.has_more()) {
                let end = part.at + piece(&part.bytes[part.at..]);
                streams[part.index].pass_on(&part.bytes[part.at..end], part.is_flood, sink);
                part.at = end;
            }
        }
    }
    for part in parts {
        let stream = &mut streams[part.index];
        if part.has_more() {
            stream.pass_on(&part.bytes[part.at..], part.is_flood, sink);
        }
        if part.has_ended {
            stream.finish(sink);
        }
    }
    heard
}

/// Reads at most so many chunks of a stream.
fn read(streams: &[Stream], index: usize, chunks: usize, parts: &mut Vec<Part>) {
    let at = parts.iter().position(|part| part.index == index);
    let at = at.unwrap_or_else(|| {
        parts.push(Part::new(index));
        parts.len() - 1
    });
    let part = &mut parts[at];
    for _ in 0..chunks {
        match streams[index].read(&mut part.bytes) {
            Chunk::Bytes { is_flood } => part.is_flood |= is_flood,
            Chunk::None => break,
            Chunk::End => {
                part.has_ended = true;
                break;
            }
        }
    }
}

/// Returns the length of the next piece: one long line, or as many lines as fit.
fn piece(bytes: &[u8]) -> usize {
    let Some(line) = memchr(b'\n', bytes).map(|at| at + 1) else {
        return bytes.len();
    };
    if bytes.len() <= PIECE {
        return line;
    }
    memrchr(b'\n', &bytes[..PIECE]).map_or(line, |at| at + 1)
}

/// Returns whether a text may contain a command that names a secret.
fn has_mask(bytes: &[u8]) -> bool {
    const COMMAND: &[u8] = b"::add-mask";
    memmem::find_iter(bytes, b"::").any(|at| {
        bytes
            .get(at..at + COMMAND.len())
            .is_none_or(|word| word.eq_ignore_ascii_case(COMMAND))
    })
}

#[cfg(test)]
mod tests {
    use std::{
        io::{PipeWriter, Write, pipe},
        os::unix::net::UnixDatagram,
    };

    use nix::fcntl::{FcntlArg, OFlag, fcntl};

    use super::*;
    use crate::{
        commands::{Commands, Stopped},
        journal::{Journal, Priority},
    };

    /// A standard output and error, and a journal that records its entries.
    struct World {
        streams: Vec<Stream>,
        order: Order,
        out: PipeWriter,
        err: PipeWriter,
        journal: Journal,
        journald: UnixDatagram,
    }

    impl World {
        fn new() -> Self {
            let mut order = Order::new().unwrap();
            let mut stream = |priority| {
                let (reader, writer) = pipe().unwrap();
                fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
                let stream = Stream::new(reader, Vec::new(), priority, Stopped::default());
                (order.add(stream).unwrap(), writer)
            };
            let ((first, out), (second, err)) = (stream(Priority::Info), stream(Priority::Notice));
            let (ours, journald) = UnixDatagram::pair().unwrap();
            journald.set_nonblocking(true).unwrap();
            Self {
                streams: vec![first, second],
                order,
                out,
                err,
                journal: Journal::to(ours),
                journald,
            }
        }

        /// Writes lines to the streams in this order. A `>` marks standard error.
        fn write(&mut self, lines: &[&str]) {
            for line in lines {
                match line.strip_prefix('>') {
                    Some(line) => writeln!(self.err, "{line}"),
                    None => writeln!(self.out, "{line}"),
                }
                .unwrap();
            }
        }

        /// Returns the lines that are passed on.
        fn heard(&mut self) -> Vec<String> {
            let mut commands = Commands::default();
            let mut sink = Sink {
                journal: &mut self.journal,
                commands: &mut commands,
            };
            while listen(&mut self.streams, &self.order, &mut sink) {}
            let (mut all, mut datagram) = (Vec::new(), vec![0; 1 << 16]);
            while let Ok(length) = self.journald.recv(&mut datagram) {
                all.push(message(&datagram[..length]));
            }
            all
        }
    }

    fn message(datagram: &[u8]) -> String {
        let text = String::from_utf8_lossy(datagram);
        let message = text.strip_prefix("MESSAGE=").unwrap();
        message.split_once('\n').unwrap().0.to_owned()
    }

    #[test]
    fn lines_written_to_both_streams_by_turns_keep_their_order() {
        let mut world = World::new();
        world.write(&["1", ">2", "3", ">4"]);
        assert_eq!(world.heard(), ["1", "2", "3", "4"]);
        world.write(&[">+ a", "a", ">+ b", "b", "c"]);
        assert_eq!(world.heard(), ["+ a", "a", "+ b", "b", "c"]);
        // Single lines, to either stream.
        for round in 0..20 {
            world.write(&[if round % 3 == 0 { ">e" } else { "o" }]);
            assert_eq!(world.heard().len(), 1);
            world.write(&[">e", "o"]);
            assert_eq!(world.heard(), ["e", "o"]);
            world.write(&["o", ">e"]);
            assert_eq!(world.heard(), ["o", "e"]);
        }
    }

    #[test]
    fn a_secret_is_known_before_standard_error_is_passed_on() {
        let mut world = World::new();
        world.write(&[">first", "::ADD-mask::sesame", ">open sesame", "x"]);
        assert_eq!(world.heard(), ["x", "first", "open ***"]);
        write!(world.out, "::add-").unwrap();
        assert_eq!(world.heard(), [""; 0]);
        world.write(&[">open treasure", "mask::treasure", ">a treasure"]);
        assert_eq!(world.heard(), ["open ***", "a ***"]);
    }

    #[test]
    fn a_flood_is_passed_on_in_pieces_and_loses_nothing() {
        let mut world = World::new();
        let lines: Vec<String> = (0..2000).map(|n| format!("line {n}")).collect();
        world.write(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        world.write(&[">end"]);
        // The socket holds few datagrams, so a thread reads them.
        let journald = world.journald.try_clone().unwrap();
        journald.set_nonblocking(false).unwrap();
        let reader = std::thread::spawn(move || {
            let mut datagram = vec![0; 1 << 16];
            (0..=2000)
                .map(|_| {
                    let length = journald.recv(&mut datagram).unwrap();
                    message(&datagram[..length])
                })
                .collect::<Vec<_>>()
        });
        let mut commands = Commands::default();
        let mut sink = Sink {
            journal: &mut world.journal,
            commands: &mut commands,
        };
        while listen(&mut world.streams, &world.order, &mut sink) {}
        let drained = reader.join().unwrap();
        let of_out: Vec<_> = drained.iter().filter(|line| *line != "end").collect();
        assert!(of_out.iter().zip(&lines).all(|(a, b)| *a == b));
        assert_eq!(of_out.len(), lines.len());
    }

    #[test]
    fn a_piece_is_a_line_or_a_few_of_many() {
        assert_eq!(piece(b"a\nb\n"), 2);
        assert_eq!(piece(b"no end"), 6);
        let many = b"0123456789\n".repeat(1000);
        assert_eq!(piece(&many), PIECE / 11 * 11);
        let long = [vec![b'x'; 2 * PIECE], b"\ny\n".to_vec()].concat();
        assert_eq!(piece(&long), 2 * PIECE + 1);
    }
}
