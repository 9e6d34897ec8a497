//! Errors and foreign text as printable text. Knows no error type.

use std::borrow::Cow;

/// Puts an error and its causes into one line.
pub fn describe(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Escapes foreign text for output on one line. Every character stays visible, and the terminal
/// interprets none as a command.
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

/// Like [`escaped`], but keeps newlines, for our own texts of several lines.
pub fn escaped_lines(text: &str) -> String {
    text.split('\n').map(escaped).collect::<Vec<_>>().join("\n")
}

/// Returns whether a terminal interprets a character instead of showing it. The marks that change
/// the order of other characters (Unicode UAX 9) count, too. The tab does not: it is harmless.
pub fn is_obeyed(c: char) -> bool {
    c != '\t' && c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Escapes the characters in JSON that a terminal interprets and that JSON leaves unescaped. They
/// can occur only inside strings, where the escape means the same character.
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

/// Returns the escape sequence of a character.
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
    fn escaping_disarms_a_text_and_loses_nothing() {
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
    fn escaping_json_keeps_its_meaning_and_disarms_it() {
        let all: String = ('\0'..='\u{ffff}').collect();
        let json = serde_json::to_string(&all).unwrap();
        let shown = escaped_json(&json);
        assert!(!shown.contains(is_obeyed));
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), all);
        assert!(matches!(escaped_json("{\n}"), Cow::Borrowed("{\n}")));
    }
}
