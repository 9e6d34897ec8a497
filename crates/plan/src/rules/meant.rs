//! Signs in bash that its author meant an expression. Nix looks for the same
//! (nix/condition-signs.nix); a test holds that both take the same texts.
//!
//! Only a place where a command begins is looked at, outside of quotes, comments and `[[ ]]`: there
//! a context, a literal or a function of expressions is a command that is not there, and the step
//! would be skipped without a word.

use nixactions_expression::{CONTEXTS, Function, STATUS_FUNCTIONS};

/// The longest text that is looked at.
const BYTES_MAX: usize = 2000;

/// A sign at the place where a command begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meant {
    /// A status function without its parentheses.
    Status(&'static str),
    /// Something of a context.
    Context(&'static str),
    /// A call, or a literal that is compared.
    Expression,
}

/// Returns the first sign that a text of bash is meant to be an expression.
pub(super) fn meant(text: &str) -> Option<Meant> {
    if text.len() > BYTES_MAX {
        return None;
    }
    let plain = plain(text).to_ascii_lowercase().replace("&&", ";");
    plain.split([';', '|']).find_map(|piece| sign(start(piece)))
}

/// Returns a text with `'` for all that is quoted, and without comments and tests in `[[ ]]`.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let inner = &rest[c.len_utf8()..];
        let (length, shown) = match c {
            '\'' => (inner.find('\'').map(|at| at + 2), "'"),
            '"' => (quote_end(inner).map(|at| at + 2), "'"),
            '\\' => (inner.chars().next().map(|c| 1 + c.len_utf8()), "_"),
            '[' if rest.starts_with("[[ ") => (rest.find("]]").map(|at| at + 2), "_"),
            c if is_blank(c) && inner.starts_with('#') => {
                (Some(1 + inner.find('\n').unwrap_or(inner.len())), " ")
            }
            _ => (None, ""),
        };
        match length {
            Some(length) => {
                plain.push_str(shown);
                rest = &rest[length..];
            }
            None => {
                plain.push(if is_blank(c) { ' ' } else { c });
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    plain
}

fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\u{b}'
}

/// Returns where a text in double quotes ends.
fn quote_end(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    })
}

/// Returns a command without the signs that stand before it in bash or in an expression.
fn start(piece: &str) -> &str {
    let mut rest = piece;
    while let Some(next) = ["{{", "${ ", "not ", "(", "!", " "]
        .into_iter()
        .find_map(|sign| rest.strip_prefix(sign))
    {
        rest = next;
    }
    rest
}

fn sign(command: &str) -> Option<Meant> {
    let length = command
        .find(|c: char| !c.is_ascii_lowercase())
        .unwrap_or(command.len());
    let (word, rest) = command.split_at(length);
    let next = rest.trim_start_matches(' ');
    if let Some(context) = CONTEXTS.into_iter().find(|context| *context == word) {
        let after_index = rest.strip_prefix("[']");
        let is_index = after_index.is_some_and(|after| {
            !after.starts_with("+=") && (!after.starts_with('=') || after.starts_with("=="))
        });
        return (is_index || rest.starts_with('.')).then_some(Meant::Context(context));
    }
    let is_call = next
        .strip_prefix('(')
        .is_some_and(|inner| !inner.trim_start_matches(' ').starts_with(')'));
    if is_call && Function::find(word).is_some() {
        return Some(Meant::Expression);
    }
    if next.is_empty() || next.starts_with(')') {
        let status = STATUS_FUNCTIONS.into_iter().find(|known| *known == word);
        return status.map(Meant::Status);
    }
    let number = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let is_number = word.is_empty() && number.len() < rest.len();
    let compared = match word {
        "true" | "false" | "null" => rest,
        "" if is_number => number,
        "" => rest.strip_prefix('\'')?,
        _ => return None,
    };
    let operator = compared.trim_start_matches(' ');
    let is_compared = operator.starts_with("==")
        || operator.starts_with("!=")
        || is_number && operator.len() < compared.len() && operator.starts_with(['<', '>']);
    is_compared.then_some(Meant::Expression)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn honest_bash_has_no_sign_of_an_expression() {
        for text in [
            "test -f x",
            "[ \"$A\" = b ]",
            "[[ $A == env.x && -f needs.txt ]] && true",
            "./needs.sh || ./env.sh",
            "grep env.py f",
            "command env.sh",
            "ls (env.py",
            "echo 'a; needs.x' \"b && inputs.c\" \\; env.sh",
            "true # needs.a; needs.b",
            "env A=b true",
            "join() { true; }; join a",
            "format () { true; }",
            "needs[0]=x",
            "env['a']=b; env[\"b\"]+=c",
            "true > file",
            "\"$program\" > file && 'x' = y",
            "2>/dev/null ls",
            "my_env.sh",
            "x=$(success)",
            "true -- always",
            "not_env.sh",
        ] {
            assert_eq!(meant(text), None, "{text}");
        }
        assert_eq!(meant(&format!("needs.a{}", " ".repeat(BYTES_MAX))), None);
    }
}
