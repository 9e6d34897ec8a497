//! Errors as text. Knows none of them.

use std::borrow::Cow;

/// Puts an error and its causes into one line.
pub fn describe(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Returns text from outside as it may be told on one line: all of it is seen, and a terminal obeys
/// nothing of it.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let shown = |c: char| {
        if is_obeyed(c) {
            escape(c)
        } else {
            c.to_string()
        }
    };
    Cow::Owned(text.chars().map(shown).collect())
}

/// As [`escaped`], but newlines stay: for text of several lines of our own.
pub fn escaped_lines(text: &str) -> String {
    text.split('\n').map(escaped).collect::<Vec<_>>().join("\n")
}

/// Returns whether a terminal obeys a character rather than showing it, the marks among them that
/// change the order in which others are shown (Unicode UAX 9). Only a tab does no harm.
pub fn is_obeyed(c: char) -> bool {
    c != '\t' && c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns JSON with the characters escaped that a terminal obeys and that JSON lets pass. They can
/// stand in texts only, where an escape means the same.
pub fn escaped_json(json: &str) -> Cow<'_, str> {
    if json.bytes().all(|byte| byte < 0x7f) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c >= '\u{7f}' && is_obeyed(c) {
            // All of them are in the basic multilingual plane.
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Returns a character as an escape.
pub fn escape(c: char) -> String {
    match u32::from(c) {
        code @ 0..=0xff => format!("\\x{code:02x}"),
        code => format!("\\u{{{code:x}}}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_an_escaped_text_is_obeyed_or_lost() {
        assert!(matches!(
            escaped("a\tb \u{e9}"),
            Cow::Borrowed("a\tb \u{e9}")
        ));
        assert_eq!(
            escaped("a\x1b[2Jb\rc\nd\u{9b}e\u{202e}f\x7f"),
            r"a\x1b[2Jb\x0dc\x0ad\x9be\u{202e}f\x7f"
        );
        assert_eq!(escaped_lines("a\nb\rc"), "a\nb\\x0dc");
    }

    #[test]
    fn json_for_a_terminal_means_the_same_and_is_not_obeyed() {
        let all: String = ('\0'..='\u{ffff}').collect();
        let json = serde_json::to_string(&all).unwrap();
        let shown = escaped_json(&json);
        assert!(!shown.contains(is_obeyed));
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), all);
        assert!(matches!(escaped_json("{\n}"), Cow::Borrowed("{\n}")));
    }
}
