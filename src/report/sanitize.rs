//! Makes the text of jobs safe for a terminal.
//!
//! The output of a job may be hostile, or just a progress bar. It must not move the cursor, set
//! titles, answer queries or hide other lines. Colours (SGR sequences) may pass. All other
//! sequences that a terminal interprets are dropped or shown as escapes.

use std::{borrow::Cow, fmt::Write};

use anstyle_parse::{Params, Parser, Perform};

use crate::error::{escape, is_obeyed};

/// Returns the text in a safe form for one line. With `colour`, SGR sequences stay and end with the
/// line.
///
/// If carriage returns make a line overwrite itself, the result is the last state, as on a
/// terminal.
pub fn clean(text: &str, colour: bool) -> Cow<'_, str> {
    if text.bytes().all(|byte| matches!(byte, b'\t' | b' '..=b'~')) {
        return Cow::Borrowed(text);
    }
    let shown = text.trim_end_matches('\r');
    let shown = shown.rsplit_once('\r').map_or(shown, |(_, last)| last);
    let mut cleaner = Cleaner {
        out: String::with_capacity(shown.len()),
        colour,
        open: false,
    };
    let mut parser = Parser::<anstyle_parse::DefaultCharAccumulator>::new();
    for byte in shown.bytes() {
        parser.advance(&mut cleaner, byte);
    }
    if cleaner.open {
        cleaner.out.push_str("\x1b[0m");
    }
    Cow::Owned(cleaner.out)
}

struct Cleaner {
    out: String,
    colour: bool,
    /// Whether a colour was set and not reset.
    open: bool,
}

impl Perform for Cleaner {
    fn print(&mut self, c: char) {
        if is_obeyed(c) {
            self.out.push_str(&escape(c))
        } else {
            self.out.push(c)
        }
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\t' => self.out.push('\t'),
            byte => self.out.push_str(&escape(byte.into())),
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignore: bool, action: u8) {
        if !self.colour || action != b'm' || ignore || !intermediates.is_empty() {
            return;
        }
        self.out.push_str("\x1b[");
        for (index, param) in params.iter().enumerate() {
            let part: Vec<String> = param.iter().map(u16::to_string).collect();
            let _ = write!(
                self.out,
                "{}{}",
                if index > 0 { ";" } else { "" },
                part.join(":")
            );
        }
        self.out.push('m');
        self.open = params.iter().last().is_some_and(|last| last != [0]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_not_copied() {
        assert!(matches!(clean("a\tb ~", false), Cow::Borrowed("a\tb ~")));
        assert_eq!(clean("h\u{e9}llo \u{4e16}", false), "h\u{e9}llo \u{4e16}");
    }

    #[test]
    fn colours_pass_only_if_allowed_and_end_with_the_line() {
        assert_eq!(
            clean("\x1b[1;31mred\x1b[0m!", true),
            "\x1b[1;31mred\x1b[0m!"
        );
        assert_eq!(
            clean("\x1b[38;2;1;2;3mrgb", true),
            "\x1b[38;2;1;2;3mrgb\x1b[0m"
        );
        assert_eq!(clean("\x1b[4:3mcurly\x1b[m", true), "\x1b[4:3mcurly\x1b[0m");
        assert_eq!(clean("\x1b[1;31mred\x1b[0m!", false), "red!");
    }

    #[test]
    fn sequences_that_a_terminal_interprets_are_dropped() {
        for colour in [true, false] {
            assert_eq!(clean("a\x1b[2Jb\x1b[10;10Hc\x1b[?25ld", colour), "abcd");
            assert_eq!(
                clean("a\x1b]0;title\x07b\x1b]52;c;AAAA\x1b\\c", colour),
                "abc"
            );
            assert_eq!(clean("a\x1bP$q\x1b\\b\x1bcc", colour), "abc");
            assert_eq!(clean("never ended \x1b]0;title", colour), "never ended ");
            assert_eq!(
                clean("\x1b[>4;1mx", colour),
                "x",
                "not a colour: a key mode"
            );
        }
    }

    #[test]
    fn control_characters_are_shown_as_escapes() {
        assert_eq!(
            clean("bell\x07 back\x08 nul\0 del\x7f", true),
            r"bell\x07 back\x08 nul\x00 del\x7f"
        );
        assert_eq!(clean("c1 \u{9b}2J", true), r"c1 \x9b2J");
        assert_eq!(clean("bidi \u{202e}txt", true), r"bidi \u{202e}txt");
    }

    #[test]
    fn a_progress_bar_shows_its_last_state() {
        assert_eq!(clean("10%\r50%\r100%\r", false), "100%");
        assert_eq!(clean("windows\r", false), "windows");
    }
}
