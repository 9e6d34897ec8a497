//! Signs in bash that its author meant an expression. Nix looks for the same
//! (nix/condition-hints.nix); a test holds that both take the same texts.
//!
//! Only a place where a command begins is looked at: there a context, a literal or a function of
//! expressions is a command that is not there, and the step would be skipped without a word. A text
//! with a sign that no expression has, such as `;` or `$`, is meant as bash and is not looked at.

use nixactions_core::conditions::without_quotes;
use nixactions_expression::{CONTEXTS, Function, STATUS_FUNCTIONS};

/// Signs that stand in bash and not in expressions.
const OF_BASH: [&str; 10] = [";", "$", "\\", "@", "{", "}", "<<", "<(", "((", "[["];

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
    let plain = without_quotes(text).to_ascii_lowercase();
    let plain = without_braces(plain.trim_matches(' '));
    // Quotes in an inner command would end the quotes around it.
    let has_command = text.contains("$(") || text.contains('`');
    if has_command || OF_BASH.iter().any(|sign| plain.contains(sign)) {
        return None;
    }
    let plain = plain.replace("&&", "|");
    plain.split('|').find_map(|piece| sign(start(piece)))
}

/// Returns a text without the braces around it that are nearly those of an expression.
fn without_braces(plain: &str) -> &str {
    [("{{", "}}"), ("${ ", "}")]
        .into_iter()
        .find_map(|(open, close)| plain.strip_prefix(open)?.strip_suffix(close))
        .unwrap_or(plain)
}

/// Returns a command without the signs that stand before it in bash or in an expression.
fn start(piece: &str) -> &str {
    let mut rest = piece;
    while let Some(next) = ["not ", "(", "!", " "]
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
    let digits = &rest[..rest.len() - number.len()];
    let is_number = word.is_empty() && digits.bytes().any(|byte| byte.is_ascii_digit());
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
            "[[ a == b ]] && env.sh",
            "(( 1 < n ))",
            "((1 <= 2))",
            "./needs.sh || ./env.sh",
            "grep env.py f",
            "command env.sh",
            "ls (env.py",
            "echo 'a; needs.x' \"b && inputs.c\" \\; env.sh",
            "echo \"$(cat \"a && needs.x\")\" && env.sh",
            "true # needs.a && needs.b",
            "# needs.a == 'b' && (true)\ntest -f x",
            "env A=b true",
            "join() { true; }; join a",
            "format () { true; }",
            "needs[0]=x",
            "env['a']=b",
            "env['a']=b; env[\"b\"]+=c",
            "true > file",
            "\"$program\" > file && 'x' = y",
            "2>/dev/null ls",
            "my_env.sh",
            "x=$(success)",
            "true -- always",
            "not_env.sh",
            "case x in (true) == ;; success) true;; esac",
            "case $x in\n  (true|false) true ;;\nesac",
            ". <(echo true)",
            "ls @(success|failure)",
            "function failure { true; }; failure",
            "$env.x",
            "{ env.sh; } && true",
        ] {
            assert_eq!(meant(text), None, "{text}");
        }
    }
}
