//! Cuts journalctl's output into entries, in bounded memory.
//!
//! Any process may send an entry of some hundred MiB that claims to belong to a run. Such an entry
//! is passed over as it comes: none of it is kept, and no byte is read twice.

use std::mem;

use super::journal::{JournalEntry, JournalQuery, is_name};

/// The largest entry that is read, in bytes. A runner sends an entry as one datagram, which the
/// default buffer of a socket limits to 208 KiB (net.core.wmem_default). Our fields of journald's
/// own add less than 1 KiB.
const ENTRY_MAX: usize = 512 << 10;
/// The longest line that may be the name of a field. journald accepts names of 64 bytes.
const NAME_MAX: usize = 64;

/// The entries of journalctl's output, which comes in parts.
#[derive(Debug, Default)]
pub struct Entries {
    /// The beginning of an incomplete entry, or of an incomplete field that is passed over.
    partial: Vec<u8>,
    /// The place in a large entry that is passed over.
    over: Option<Place>,
}

/// A place in an entry.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// At the start of a field.
    Field,
    /// Within a line.
    Line,
    /// Before this many bytes of a value and its line end.
    Value(u64),
}

impl Entries {
    /// Adds the entries that a further part of the output completes.
    pub fn read(&mut self, query: &JournalQuery, bytes: &[u8], entries: &mut Vec<JournalEntry>) {
        let mut partial = mem::take(&mut self.partial);
        // Usually whole entries come, and nothing is copied.
        let kept = !partial.is_empty();
        if kept {
            partial.extend_from_slice(bytes);
        }
        let all = if kept { &partial[..] } else { bytes };
        let mut start = 0;
        loop {
            if let Some(place) = &mut self.over {
                let (used, has_ended) = place.pass(&all[start..]);
                start += used;
                if !has_ended {
                    break;
                }
                self.over = None;
            }
            match query.parse(&all[start..]) {
                Some((entry, used)) => {
                    entries.extend((used <= ENTRY_MAX).then_some(entry));
                    start += used;
                }
                None if all.len() - start > ENTRY_MAX => self.over = Some(Place::Field),
                None => break,
            }
        }
        if kept {
            partial.drain(..start);
            self.partial = partial;
        } else {
            self.partial.extend_from_slice(&bytes[start..]);
        }
    }
}

impl Place {
    /// Moves on in the entry. Returns the number of bytes that were passed, and whether the entry
    /// has ended.
    fn pass(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            let line_end = || rest.iter().position(|byte| *byte == b'\n');
            match *self {
                Self::Value(0) => *self = Self::Field,
                Self::Value(_) if rest.is_empty() => return (at, false),
                Self::Value(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    at += here;
                    *self = Self::Value(left - here as u64);
                }
                Self::Line => {
                    let Some(end) = line_end() else {
                        return (bytes.len(), false);
                    };
                    at += end + 1;
                    *self = Self::Field;
                }
                Self::Field => {
                    let Some(end) = line_end() else {
                        if rest.len() <= NAME_MAX {
                            return (at, false);
                        }
                        *self = Self::Line;
                        continue;
                    };
                    if end == 0 {
                        return (at + 1, true);
                    }
                    let after = at + end + 1;
                    if !is_name(&rest[..end]) {
                        at = after;
                    } else if let Some(length) = bytes[after..].first_chunk() {
                        at = after + length.len();
                        let length = u64::from_le_bytes(*length);
                        *self = Self::Value(length.saturating_add(1));
                    } else {
                        return (at, false);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::journal::tests::{OUTPUT, entry, query},
        *,
    };

    /// Returns an entry whose message has this many bytes, as text or by its length.
    fn large(size: usize, is_text: bool) -> Vec<u8> {
        let mut bytes = entry(&format!("{OUTPUT}\nA=b\nMESSAGE=@\nPRIORITY=6"));
        let at = bytes.iter().position(|byte| *byte == b'@').unwrap();
        // Lines of the value that look like the ends of entries.
        let value = if is_text {
            b"a=".repeat(size / 2)
        } else {
            b"\n\n".repeat(size / 2)
        };
        let value = if is_text {
            [b"=".as_slice(), &value].concat()
        } else {
            [
                b"\n".as_slice(),
                &(value.len() as u64).to_le_bytes(),
                &value,
            ]
            .concat()
        };
        bytes.splice(at - 1..=at, value);
        bytes
    }

    #[test]
    fn a_large_entry_is_passed_over_in_bounded_memory() {
        let query = query(None);
        for is_text in [true, false] {
            for part in [1021, 64 << 10, 256 << 10] {
                let small = entry(OUTPUT);
                let bytes = [&small[..], &large(5 << 20, is_text), &small, &small].concat();
                let mut read = Entries::default();
                let mut entries = Vec::new();
                for bytes in bytes.chunks(part) {
                    read.read(&query, bytes, &mut entries);
                    assert!(read.partial.len() <= ENTRY_MAX);
                    assert!(read.partial.capacity() <= 4 * ENTRY_MAX);
                }
                assert_eq!(entries.len(), 3, "{is_text} {part}");
                assert!(read.partial.is_empty());
            }
        }
    }

    #[test]
    fn an_end_is_found_wherever_the_parts_of_a_large_entry_end() {
        let bytes = [large(20, true), large(20, false)].concat();
        for part in 1..bytes.len() {
            let mut place = Place::Field;
            let (mut kept, mut ends) = (Vec::new(), 0);
            for bytes in bytes.chunks(part) {
                kept.extend_from_slice(bytes);
                loop {
                    let (used, has_ended) = place.pass(&kept);
                    kept.drain(..used);
                    if !has_ended {
                        break;
                    }
                    ends += 1;
                    place = Place::Field;
                }
            }
            assert_eq!((ends, kept.len()), (2, 0), "{part}");
        }
    }

    #[test]
    fn the_largest_entry_of_a_runner_is_read() {
        let mut entries = Vec::new();
        let bytes = large(250 << 10, false);
        let mut read = Entries::default();
        bytes
            .chunks(64 << 10)
            .for_each(|bytes| read.read(&query(None), bytes, &mut entries));
        assert_eq!(entries.len(), 1);
    }
}
