//! When a job or step runs: the four status functions, an expression, or bash.
//!
//! Knows how a text is told to be one of them, and not how it is evaluated.

use nixactions_expression::{STATUS_FUNCTIONS, parse, template};

/// When a job or step runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// `success()`, the default: nothing before it failed, was cancelled or skipped.
    Success,
    /// `failure()`: something before it failed.
    Failure,
    /// `always()`: in any case.
    Always,
    /// `cancelled()`: the run is being cancelled.
    Cancelled,
    /// An expression of GitHub's language.
    Expression(Expression),
    /// Bash, asked after an implicit `success()`.
    Bash(String),
}

/// A condition that is an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    /// Its text, without `${{` and `}}`.
    pub text: String,
    /// The byte of the condition at which that begins.
    pub at: usize,
    /// Whether it asks how what came before ended; if not, it comes after an implicit `success()`.
    pub calls_status: bool,
}

impl Condition {
    /// Returns the condition that a plan's text means; absent is `success()`.
    pub fn parse(text: Option<&str>) -> Self {
        let text = text.unwrap_or_default();
        let (inner, at, is_wrapped) = match template::whole(text) {
            Some((inner, at)) => (inner, at, true),
            None => (text, 0, false),
        };
        // As all names of functions, those of status functions are known in any case.
        match inner.trim().to_ascii_lowercase().as_str() {
            "" if !is_wrapped => Self::Success,
            "success()" => Self::Success,
            "failure()" => Self::Failure,
            "always()" => Self::Always,
            "cancelled()" => Self::Cancelled,
            _ if is_wrapped || calls_status(inner) => Self::Expression(Expression {
                text: inner.to_owned(),
                at,
                calls_status: parse(inner).map_or(true, |expression| expression.calls_status()),
            }),
            _ => Self::Bash(inner.trim().to_owned()),
        }
    }

    /// Returns whether it holds only when everything before succeeded.
    pub fn implies_success(&self) -> bool {
        match self {
            Self::Success | Self::Bash(_) => true,
            Self::Expression(expression) => !expression.calls_status,
            Self::Failure | Self::Always | Self::Cancelled => false,
        }
    }
}

/// The longest text in which quotes and comments are told from the rest, in bytes. Nix has no more
/// room for its regular expressions.
const QUOTES_MAX: usize = 2000;

/// Returns a text with `'` in place of all that is quoted, without comments, and with plain spaces
/// for other blanks. Nix does the same (nix/condition-hints.nix).
pub fn without_quotes(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let is_word = !(plain.is_empty() || plain.ends_with(' '));
        let end = match c {
            _ if text.len() > QUOTES_MAX => None,
            '\'' | '"' => rest[1..].find(c).map(|at| at + 2),
            '#' if !is_word => Some(rest.find('\n').unwrap_or(rest.len())),
            _ => None,
        };
        plain.push(match (c, end) {
            ('#', Some(_)) => ' ',
            (_, Some(_)) => '\'',
            (c, None) if c.is_ascii_whitespace() || c == '\u{b}' => ' ',
            (c, None) => c,
        });
        rest = &rest[end.unwrap_or(c.len_utf8())..];
    }
    plain
}

/// Returns whether a status function is called in a text: its name stands there as a word of its
/// own, in any case, before `()`, outside of quotes and comments.
pub fn calls_status(text: &str) -> bool {
    let text = without_quotes(text).to_ascii_lowercase();
    STATUS_FUNCTIONS.iter().any(|function| {
        text.match_indices(function).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let after = text[at + function.len()..].trim_start_matches(' ');
            !before.is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
                && after
                    .strip_prefix('(')
                    .is_some_and(|rest| rest.trim_start_matches(' ').starts_with(')'))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_calls_a_status_function_or_is_wrapped_is_an_expression() {
        let expression = |text: &str, at, calls_status| {
            let text = text.to_owned();
            Condition::Expression(Expression {
                text,
                at,
                calls_status,
            })
        };
        let parse = |text: &str| Condition::parse(Some(text));
        assert_eq!(parse("!cancelled()"), expression("!cancelled()", 0, true));
        assert_eq!(parse("${{ env.A }}"), expression(" env.A ", 3, false));
        assert_eq!(
            parse("${{ 'always()' }}"),
            expression(" 'always()' ", 3, false)
        );
        assert_eq!(parse("${{ }}"), expression(" ", 3, true));
        assert_eq!(parse("${{ always() }}"), Condition::Always);
        assert_eq!(parse(" failure() "), Condition::Failure);
        assert_eq!(parse("ALWAYS()"), Condition::Always);
        assert_eq!(parse("!Cancelled()"), expression("!Cancelled()", 0, true));
        assert_eq!(
            parse("\u{e9}success()"),
            expression("\u{e9}success()", 0, true)
        );
        for bash in [
            "test -f x",
            "my_success() { :; }; my_success",
            "[ ${A} ]",
            "grep -q 'failure()' log",
            "grep -q \"it's failure()\" log",
            "true # failure()",
        ] {
            assert_eq!(parse(bash), Condition::Bash(bash.to_owned()));
        }
        assert!(!parse("always() && true").implies_success());
        assert!(parse("${{ env.A }}").implies_success());
    }
}
