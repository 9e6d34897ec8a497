//! From a text to the words and signs of an expression.

use crate::{number, syntax_error::SyntaxError};

/// A word or sign.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Open,
    Close,
    OpenIndex,
    CloseIndex,
    Comma,
    Dot,
    Star,
    Not,
    NotEqual,
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    And,
    Or,
    Number(f64),
    Text(String),
    True,
    False,
    Null,
    Name(String),
}

/// Returns the tokens of a text, each with the place where it begins.
pub(crate) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, SyntaxError> {
    let mut tokens: Vec<(usize, Token)> = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        if c.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        let rest = &text[at..];
        let follows_value = matches!(
            tokens.last(),
            Some((
                _,
                Token::Name(_) | Token::CloseIndex | Token::Close | Token::Star
            ))
        );
        let (token, length) = match c {
            '\'' => quoted(rest, at)?,
            '.' if follows_value => (Token::Dot, 1),
            '.' | '+' | '-' | '0'..='9' => {
                let length = word(rest, |c| c == '.');
                let number = number::parse(&rest[..length]);
                if number.is_nan() || !rest[..length].is_ascii() {
                    return Err(SyntaxError::new(at, no_number(&rest[..length])));
                }
                (Token::Number(number), length)
            }
            _ => match sign(rest) {
                Some(found) => found,
                None => {
                    let after_dot = matches!(tokens.last(), Some((_, Token::Dot)));
                    let length = word(rest, |_| false);
                    (name(&rest[..length], after_dot, at)?, length)
                }
            },
        };
        tokens.push((at, token));
        at += length;
    }
    Ok(tokens)
}

/// Returns a description of a word that is not a number.
fn no_number(word: &str) -> &'static str {
    let mut chars = word.chars();
    match (chars.next(), chars.next()) {
        (_, Some('0'..='9' | 'I')) | (Some('0'..='9'), _) => "a number that cannot be read",
        (Some('-'), Some(c)) if c.is_ascii_alphabetic() => "`-`: an option stands in bash alone",
        (Some('+' | '-'), _) => "`+` or `-`: an expression does not compute",
        _ => "`.` without a name or number beside it",
    }
}

/// Reads a sign, and how long it is.
fn sign(rest: &str) -> Option<(Token, usize)> {
    const SIGNS: [(&str, Token); 15] = [
        ("!=", Token::NotEqual),
        ("==", Token::Equal),
        (">=", Token::GreaterOrEqual),
        ("<=", Token::LessOrEqual),
        ("&&", Token::And),
        ("||", Token::Or),
        ("(", Token::Open),
        (")", Token::Close),
        ("[", Token::OpenIndex),
        ("]", Token::CloseIndex),
        (",", Token::Comma),
        ("*", Token::Star),
        ("!", Token::Not),
        (">", Token::Greater),
        ("<", Token::Less),
    ];
    SIGNS
        .into_iter()
        .find(|(sign, _)| rest.starts_with(sign))
        .map(|(sign, token)| (token, sign.len()))
}

/// Returns how long the word is that stands at the beginning of a text.
fn word(rest: &str, is_more: impl Fn(char) -> bool) -> usize {
    let ends = |c: char| c.is_ascii_whitespace() || "()[],.!<>=&|'".contains(c);
    rest.find(|c| ends(c) && !is_more(c))
        .unwrap_or(rest.len())
        .max(rest.chars().next().map_or(0, char::len_utf8))
}

fn name(word: &str, after_dot: bool, at: usize) -> Result<Token, SyntaxError> {
    let mut bytes = word.bytes();
    let is_name = bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if !is_name {
        return Err(match word {
            "=" => SyntaxError::new(at, "`=`: an expression compares by `==`"),
            "&" => SyntaxError::new(at, "`&`: an expression has `&&`"),
            "|" => SyntaxError::new(at, "`|`: an expression has `||`"),
            _ if word.starts_with('"') => {
                SyntaxError::new(at, "`\"`: texts stand in single quotes")
            }
            _ if word.starts_with('$') => SyntaxError::new(at, "`$`: variables are `env.NAME`"),
            _ => SyntaxError::new(at, "a character that an expression does not have"),
        });
    }
    Ok(match word {
        "true" if !after_dot => Token::True,
        "false" if !after_dot => Token::False,
        "null" if !after_dot => Token::Null,
        "NaN" if !after_dot => Token::Number(f64::NAN),
        "Infinity" if !after_dot => Token::Number(f64::INFINITY),
        _ => Token::Name(word.to_owned()),
    })
}

/// Reads a text in single quotes, where two of them are one; returns how long it is as well.
fn quoted(rest: &str, at: usize) -> Result<(Token, usize), SyntaxError> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((index, c)) = chars.next() {
        if c != '\'' {
            text.push(c);
        } else if chars.next_if(|(_, next)| *next == '\'').is_some() {
            text.push('\'');
        } else {
            return Ok((Token::Text(text), index + 1));
        }
    }
    Err(SyntaxError::new(at, "a text whose `'` is not closed"))
}
