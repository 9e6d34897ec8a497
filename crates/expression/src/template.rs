//! Texts with expressions in them: `cargo-${{ hashFiles('Cargo.lock') }}`.

use crate::syntax_error::SyntaxError;

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment<'a> {
    /// Plain text.
    Text(&'a str),
    /// The text between `${{` and `}}`, and the byte at which it begins.
    Expression(&'a str, usize),
}

/// Returns whether a text has an expression in it.
pub fn is_template(text: &str) -> bool {
    text.contains("${{")
}

/// Splits a text. A `}}` inside of a quoted text of an expression does not end that.
///
/// # Errors
/// An expression does not end.
pub fn segments(text: &str) -> Result<Vec<Segment<'_>>, SyntaxError> {
    let mut segments = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find("${{") {
        let begin = at + found + 3;
        if found > 0 {
            segments.push(Segment::Text(&text[at..at + found]));
        }
        let Some(length) = end(&text[begin..]) else {
            return Err(SyntaxError::new(begin - 3, "`${{` without its `}}`"));
        };
        segments.push(Segment::Expression(&text[begin..begin + length], begin));
        at = begin + length + 2;
    }
    if at < text.len() {
        segments.push(Segment::Text(&text[at..]));
    }
    Ok(segments)
}

/// Returns the expression that a whole text is, without its `${{` and `}}`, and where it begins.
pub fn whole(text: &str) -> Option<(&str, usize)> {
    let blanks = text.len() - text.trim_start().len();
    match segments(text.trim()).as_deref() {
        Ok([Segment::Expression(inner, at)]) => Some((inner, blanks + at)),
        _ => None,
    }
}

/// Returns where the `}}` stands that ends an expression.
fn end(text: &str) -> Option<usize> {
    let mut is_quoted = false;
    let bytes = text.as_bytes();
    (0..bytes.len()).find(|index| {
        is_quoted ^= bytes[*index] == b'\'';
        !is_quoted && bytes[*index..].starts_with(b"}}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_found_in_texts() {
        assert_eq!(segments("plain $x"), Ok(vec![Segment::Text("plain $x")]));
        assert_eq!(segments(""), Ok(vec![]));
        assert_eq!(
            segments("a${{ b }}${{'}}'}}c"),
            Ok(vec![
                Segment::Text("a"),
                Segment::Expression(" b ", 4),
                Segment::Expression("'}}'", 12),
                Segment::Text("c"),
            ])
        );
        assert_eq!(segments("é${{ 'a' }").unwrap_err().at, 2);
        assert_eq!(segments("${{ 'a }}").unwrap_err().at, 0);
    }

    #[test]
    fn a_whole_text_is_one_expression() {
        assert_eq!(whole("  ${{ a }} "), Some((" a ", 5)));
        assert_eq!(whole("${{ a }} && ${{ b }}"), None);
        assert_eq!(whole("${{ a }} b"), None);
        assert_eq!(whole("a"), None);
        assert_eq!(whole("${{ 'a }}"), None);
    }
}
