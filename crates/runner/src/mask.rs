//! Hides secrets in the output and the results of a job: each becomes `***`.
//!
//! The masker searches for each *line* of a value, as on GitHub, without surrounding blanks, so a
//! match never crosses two lines of output. It also searches for encoded forms of the value, such
//! as Base64. One search finds them all at once (Aho and Corasick's automaton). Every match is
//! hidden, also if secrets overlap. This module does not know where values come from.

use std::{borrow::Cow, cell::OnceCell, collections::BTreeMap, fmt};

use aho_corasick::AhoCorasick;

use super::forms;

/// The replacement of a secret.
const MASK: &[u8] = b"***";
/// The shortest value, or line of a value, that is masked, in characters: `1`, `no` or `{` would
/// match everywhere.
const PART_MIN: usize = 4;
/// Common words of logs, in lower case. They are not masked either.
const COMMON: [&str; 48] = [
    "true",
    "false",
    "null",
    "none",
    "never",
    "always",
    "auto",
    "enabled",
    "disabled",
    "default",
    "test",
    "tests",
    "testing",
    "build",
    "release",
    "debug",
    "info",
    "warn",
    "warning",
    "error",
    "main",
    "master",
    "develop",
    "development",
    "staging",
    "production",
    "local",
    "localhost",
    "linux",
    "latest",
    "stable",
    "http",
    "https",
    "root",
    "user",
    "admin",
    "nobody",
    "name",
    "value",
    "data",
    "file",
    "path",
    "home",
    "host",
    "port",
    "text",
    "json",
    "yaml",
];
/// A longer line of a secret is split into pieces of this many bytes, which bounds how much of a
/// line is held back.
const PIECE: usize = 1024;
/// The longest part that is searched for, in bytes.
pub const PART_MAX: usize = 2 * PIECE;
/// The bound on all masked values, in bytes. The automaton takes several times that in memory.
const ALL_MAX: usize = 4 << 20;

/// The part of this bound that forms may take.
const FORMS_MAX: usize = 1 << 20;

/// The error of too many values to mask.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many values to mask: more than {} MiB", ALL_MAX >> 20)]
pub struct TooMuch;

/// Why a value is not hidden, or not in all its forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// The value is too short.
    Short,
    /// The value is a common word.
    Common,
    /// The value has too many forms, or they are too long.
    Forms,
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => write!(f, "is not masked: it has fewer than {PART_MIN} characters"),
            Self::Common => f.write_str("is not masked: it is a common word"),
            Self::Forms => f.write_str(
                "is masked in its plain form only: it is too long for its encoded forms",
            ),
        }
    }
}

/// The values to hide.
#[derive(Debug, Default)]
pub struct Masker {
    /// The hidden texts, each with its number in the order in which they came.
    parts: BTreeMap<Vec<u8>, usize>,
    /// The length of all parts together, and of the forms among them.
    size: usize,
    forms: usize,
    /// The length of the longest part.
    longest: usize,
    /// Built at the first search after a value was added.
    search: OnceCell<Option<AhoCorasick>>,
}

impl Masker {
    /// Hides a value from now on: the forms of the value, and each of its lines that is neither
    /// short nor a common word. Returns the reason if a part of the value is not hidden.
    ///
    /// Fails if there are too many values. The value is then not hidden.
    pub fn add(&mut self, value: &[u8]) -> Result<Option<Limited>, TooMuch> {
        let mut limited = None;
        let mut is_hidden = false;
        for line in lines(value) {
            match why_open(line) {
                Some(why) => limited = Some(why),
                None => {
                    self.add_line(line)?;
                    is_hidden = true;
                }
            }
        }
        if is_hidden {
            // Some lines of a value with several lines are always short, so this needs no warning.
            limited = self.add_forms(value);
        }
        Ok(limited)
    }

    /// Hides a value of `::add-mask::` from now on: a single line, however short, or several lines.
    ///
    /// Fails if there are too many values. The value is then not hidden.
    pub fn add_asked_for(&mut self, value: &[u8]) -> Result<(), TooMuch> {
        let mut all = lines(value);
        if let (Some(line), None) = (all.next(), all.next())
            && why_open(line).is_some()
        {
            return self.add_line(line);
        }
        self.add(value).map(drop)
    }

    fn add_forms(&mut self, value: &[u8]) -> Option<Limited> {
        let value = value.trim_ascii();
        if value.len() > forms::VALUE_MAX {
            return Some(Limited::Forms);
        }
        let hidden = lines(value).filter(|line| why_open(line).is_none());
        for form in forms::forms(value, hidden) {
            self.forms += form.len();
            if self.forms > FORMS_MAX || self.add_line(&form).is_err() {
                return Some(Limited::Forms);
            }
        }
        None
    }

    fn add_line(&mut self, line: &[u8]) -> Result<(), TooMuch> {
        let mut rest = line;
        while !rest.is_empty() {
            // A very short piece would match everywhere.
            let (piece, more) = rest.split_at(if rest.len() < 2 * PIECE {
                rest.len()
            } else {
                PIECE
            });
            rest = more;
            self.add_part(piece)?;
        }
        Ok(())
    }

    /// Hides a part of another masker ([`Self::parts_from`]) from now on.
    ///
    /// Fails if there are too many values. The part is then not hidden.
    pub fn add_part(&mut self, part: &[u8]) -> Result<(), TooMuch> {
        if part.is_empty() || self.parts.contains_key(part) {
            return Ok(());
        }
        if self.size + part.len() > ALL_MAX {
            return Err(TooMuch);
        }
        self.size += part.len();
        self.longest = self.longest.max(part.len());
        let number = self.parts.len();
        self.parts.insert(part.to_owned(), number);
        self.search = OnceCell::new();
        Ok(())
    }

    /// Returns the number of parts: all texts that are hidden, each of at most [`PART_MAX`] bytes.
    pub fn count(&self) -> usize {
        self.parts.len()
    }

    /// Returns the parts that came after the first `count` ones.
    pub fn parts_from(&self, count: usize) -> impl Iterator<Item = &[u8]> {
        let parts = self.parts.iter();
        parts
            .filter(move |(_, number)| **number >= count)
            .map(|(part, _)| part.as_slice())
    }

    /// Returns how many bytes of an unfinished line must be held back, since a secret may start in
    /// them.
    pub fn held_back(&self) -> usize {
        self.longest.saturating_sub(1)
    }

    /// Returns text with its secrets hidden.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.bytes(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            // Masked bytes need not be text: a match may cut a character.
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }

    /// Returns bytes with their secrets hidden. Scans the bytes only once if there are none.
    pub fn bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let mut out = Vec::new();
        if self.hide(bytes, 0, bytes.len(), &mut out) == Hidden::Nothing {
            Cow::Borrowed(bytes)
        } else {
            Cow::Owned(out)
        }
    }

    /// Appends the first `cut` bytes with their secrets hidden, or nothing if there are none. The
    /// first `hidden` of the bytes belong to a secret whose mask has been written. Returns how many
    /// bytes after `cut` belong to such a secret. Unless the line ends at `cut`, at least
    /// [`Self::held_back`] bytes must follow it.
    pub fn hide(&self, bytes: &[u8], hidden: usize, cut: usize, out: &mut Vec<u8>) -> Hidden {
        let Some(search) = self.search() else {
            return Hidden::Nothing;
        };
        if hidden == 0 && search.find(bytes).is_none() {
            return Hidden::Nothing;
        }
        let mut written = hidden.min(cut);
        for (start, end) in spans(search, bytes, hidden) {
            if start >= cut {
                break;
            }
            out.extend_from_slice(&bytes[written.min(start)..start]);
            if start > 0 || hidden == 0 {
                out.extend_from_slice(MASK);
            }
            written = end;
        }
        out.extend_from_slice(&bytes[written.min(cut)..cut]);
        Hidden::Upto(written.saturating_sub(cut))
    }

    fn search(&self) -> Option<&AhoCorasick> {
        // The size bounds the number of states far below the automaton's limit.
        self.search
            .get_or_init(|| {
                (!self.parts.is_empty()).then(|| {
                    AhoCorasick::new(self.parts.keys()).expect("invariant: the size is bounded")
                })
            })
            .as_ref()
    }
}

/// The result of [`Masker::hide`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hidden {
    /// There was nothing to hide, and nothing was written.
    Nothing,
    /// Secrets were hidden. So many bytes after the cut belong to a secret whose mask has been
    /// written.
    Upto(usize),
}

/// Returns the positions of secrets in order, with overlapping and adjacent ones merged. The first
/// `hidden` bytes are a known one.
fn spans(search: &AhoCorasick, bytes: &[u8], hidden: usize) -> Vec<(usize, usize)> {
    let mut spans: Vec<(usize, usize)> = if hidden > 0 {
        vec![(0, hidden)]
    } else {
        Vec::new()
    };
    // The matches are sorted by their ends.
    for found in search.find_overlapping_iter(bytes) {
        let (mut start, end) = (found.start(), found.end());
        while let Some(last) = spans.pop_if(|last| last.1 >= start) {
            start = start.min(last.0);
        }
        spans.push((start, end.max(if start == 0 { hidden } else { 0 })));
    }
    spans
}

/// Returns why a line is not masked, if it is not.
fn why_open(line: &[u8]) -> Option<Limited> {
    // All common words are shorter.
    let text = String::from_utf8_lossy(&line[..line.len().min(64)]);
    if text.chars().count() < PART_MIN {
        Some(Limited::Short)
    } else if COMMON.contains(&text.to_ascii_lowercase().as_str()) {
        Some(Limited::Common)
    } else {
        None
    }
}

/// Returns the lines of a value that are not blank, without surrounding blanks.
fn lines(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| matches!(byte, b'\n' | b'\r'))
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masker(values: &[&str]) -> Masker {
        let mut masker = Masker::default();
        values
            .iter()
            .for_each(|value| _ = masker.add(value.as_bytes()).unwrap());
        masker
    }

    /// Masks text that comes in parts, as a stream does.
    fn in_parts(masker: &Masker, text: &[u8], part: usize) -> Vec<u8> {
        let (mut out, mut held, mut hidden) = (Vec::new(), Vec::new(), 0);
        let mut step = |held: &mut Vec<u8>, cut: usize| {
            match masker.hide(held, hidden, cut, &mut out) {
                Hidden::Nothing => {
                    out.extend_from_slice(&held[..cut]);
                    hidden = 0;
                }
                Hidden::Upto(more) => hidden = more,
            }
            held.drain(..cut);
        };
        for bytes in text.chunks(part) {
            held.extend_from_slice(bytes);
            let cut = held.len().saturating_sub(masker.held_back());
            step(&mut held, cut);
        }
        let cut = held.len();
        step(&mut held, cut);
        out
    }

    #[test]
    fn all_lines_but_short_ones_are_hidden() {
        let masker = masker(&["{\n  \"key\": 1\r\n\n}\n", "hunter2", "ab"]);
        assert_eq!(masker.text("{ \"key\": 1 hunter2x ab }"), "{ *** ***x ab }");
        assert!(matches!(
            masker.text("nothing here"),
            Cow::Borrowed("nothing here")
        ));
    }

    #[test]
    fn overlapping_secrets_are_hidden_whole() {
        let masker = masker(&["secret", "secretly", "lying", "etly"]);
        assert_eq!(
            masker.text("a secret, secretly; secretlying."),
            "a ***, ***; ***."
        );
    }

    #[test]
    fn add_mask_hides_short_values_and_long_lines() {
        let mut masker = Masker::default();
        masker.add_asked_for(b" x ").unwrap();
        masker.add_asked_for(b"a\nlonger").unwrap();
        assert_eq!(masker.text("axb longer"), "a***b ***");
        let long = format!("{}{}", "0123456789".repeat(500), "end");
        masker.add(long.as_bytes()).unwrap();
        assert!(masker.held_back() < 2 * PIECE);
        assert_eq!(masker.text(&format!("<{long}>")), "<***>");
        assert_eq!(
            in_parts(&masker, format!("<{long}{long}>").as_bytes(), 700),
            b"<***>"
        );
    }

    #[test]
    fn short_values_and_common_words_are_not_hidden() {
        let mut masker = Masker::default();
        for (value, limited) in [
            ("true", Some(Limited::Common)),
            (" Test\n", Some(Limited::Common)),
            ("123", Some(Limited::Short)),
            ("äöü", Some(Limited::Short)),
            ("}\n{", Some(Limited::Short)),
            ("", None),
            ("1234", None),
            ("true\nhunter2", None),
        ] {
            assert_eq!(masker.add(value.as_bytes()), Ok(limited), "{value:?}");
        }
        assert_eq!(
            masker.text("passed=true test 123 1234 hunter2"),
            "passed=true test 123 *** ***"
        );
        masker.add_asked_for(b"true").unwrap();
        assert_eq!(masker.text("passed=true"), "passed=***");
    }

    #[test]
    fn the_forms_of_a_value_are_hidden() {
        let mut masker = Masker::default();
        assert_eq!(masker.add(b"hunter2 alpha/beta"), Ok(None));
        masker.add_asked_for(b"it's \"quoted\"").unwrap();
        for (text, hidden) in [
            (
                "https://u:hunter2%20alpha%2Fbeta@host/",
                "https://u:***@host/",
            ),
            // base64 of `user:hunter2 alpha/beta`, and of the same with a newline.
            (
                "Basic dXNlcjpodW50ZXIyIGFscGhhL2JldGE=",
                "Basic dXNlcjp***E=",
            ),
            ("dXNlcjpodW50ZXIyIGFscGhhL2JldGEK", "dXNlcjp***EK"),
            (r#"{"a":"it's \"quoted\""}"#, r#"{"a":"***"}"#),
            (r#"'it'\''s "quoted"'"#, "'***'"),
        ] {
            assert_eq!(masker.text(text), hidden);
        }
        assert_eq!(
            masker.add(&[b'x'; forms::VALUE_MAX + 1]),
            Ok(Some(Limited::Forms))
        );
    }

    #[test]
    fn too_many_values_are_refused() {
        let mut masker = Masker::default();
        let line = |n: usize| format!("{n:01000}").into_bytes();
        let refused = (0..5000).map(|n| masker.add(&line(n))).find(Result::is_err);
        assert_eq!(refused, Some(Err(TooMuch)));
    }

    proptest! {
        /// A plain search at every position gives the expected result.
        #[test]
        fn masking_does_not_depend_on_how_output_is_split(
            values in prop::collection::vec("[ab]{4,7}", 1..5), text in "[abc]{0,60}", part in 1usize..20,
        ) {
            let refs: Vec<&str> = values.iter().map(String::as_str).collect();
            let masker = masker(&refs);
            let mut hidden = vec![false; text.len()];
            // Adjacent secrets become one mask; a `c` is never hidden.
            for value in &refs {
                for at in 0..text.len() {
                    if text[at..].starts_with(value) {
                        hidden[at..at + value.len()].fill(true);
                    }
                }
            }
            let mut expected = String::new();
            for (at, c) in text.char_indices() {
                match hidden[at] {
                    false => expected.push(c),
                    true if at == 0 || !hidden[at - 1] => expected.push_str("***"),
                    true => {}
                }
            }
            prop_assert_eq!(masker.text(&text), expected.as_str());
            // Adjacent secrets at the end of a part have one mask each.
            let mut parts = String::from_utf8(in_parts(&masker, text.as_bytes(), part)).unwrap();
            while parts.contains("******") {
                parts = parts.replace("******", "***");
            }
            prop_assert_eq!(parts, expected);
        }
    }
}
