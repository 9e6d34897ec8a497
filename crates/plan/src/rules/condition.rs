//! The check of a condition: a status function, an expression, or bash.
//!
//! Bash would take what is meant as an expression for a missing command or for a mistake, and the
//! job would be skipped without a word. So a text that looks like an expression, or like a misspelt
//! call, is refused.

use nixactions_core::conditions::{Condition, without_quotes};
use nixactions_expression::{Function, STATUS_FUNCTIONS, Sign, parse};

use super::meant::{Meant, meant};
use crate::fault::{Refusal, nearest, quoted};

/// The longest text that a hint repeats.
const SHOWN: usize = 80;
/// The most characters in which a misspelt status function differs.
const DISTANCE: usize = 2;

/// A condition: a status function, an expression, or bash that is not meant to be one. `validate`
/// checks expressions.
pub(crate) fn condition(text: &str) -> Result<(), Refusal> {
    const EXPECTED: &str =
        "`success()`, `failure()`, `always()`, `cancelled()`, an expression or bash";
    let refuse = |hint: String| Err(Refusal::new(quoted(text), EXPECTED).hint(hint));
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return refuse("leave `condition` out".to_owned());
    }
    if text.contains('\0') {
        return Err(Refusal::new(
            quoted(text),
            "a condition without NUL characters",
        ));
    }
    let Condition::Bash(_) = Condition::parse(Some(text)) else {
        return Ok(());
    };
    if text.contains("${{") {
        return refuse("wrap the whole condition in one `${{ }}`".to_owned());
    }
    if let Some(hint) = expression_hint(trimmed)
        .or_else(|| call_hint(trimmed))
        .or_else(|| meant_hint(trimmed))
    {
        return refuse(hint);
    }
    // `word()` alone is not valid bash either. `word` alone would be a missing command, which would
    // silently skip the job.
    let word = trimmed.split('(').next().unwrap_or_default().trim_end();
    let call: String = trimmed.chars().filter(|c| !c.is_whitespace()).collect();
    let is_word = !word.is_empty()
        && word
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if is_word && call == format!("{word}()") {
        let near = nearest(word, STATUS_FUNCTIONS)
            .or(STATUS_FUNCTIONS.into_iter().find(|known| *known == word));
        return match near.or_else(|| (word == "canceled").then_some("cancelled")) {
            Some(near) => refuse(format!("did you mean `{near}()`?")),
            None => refuse(format!("unknown function `{word}()`")),
        };
    }
    if let Some(function) = STATUS_FUNCTIONS
        .iter()
        .find(|function| trimmed.eq_ignore_ascii_case(function))
    {
        return refuse(format!("did you mean `{function}()`?"));
    }
    Ok(())
}

/// Returns a hint for a text that is an expression by its form and its names.
fn expression_hint(text: &str) -> Option<String> {
    Some(match parse(text).ok()?.sign()? {
        Sign::Call(name) => match (misspelt(&name), Function::find(&name)) {
            (Some(function), _) => format!("did you mean `{function}()`?"),
            (None, Some(_)) => wrapped(text, None),
            (None, None) => format!("unknown function `{name}()`"),
        },
        Sign::Context(name) => wrapped(text, Some(&name)),
    })
}

/// Returns a hint for bash that is meant to be an expression, and is not quite one.
fn meant_hint(text: &str) -> Option<String> {
    let context = match meant(text)? {
        Meant::Status(function) => return Some(format!("did you mean `{function}()`?")),
        Meant::Context(context) => Some(context),
        Meant::Expression => None,
    };
    let single = text.replace('"', "'");
    let has_both = text.contains('"') && text.contains('\'');
    Some(match parse(if has_both { text } else { &single }) {
        Ok(_) => wrapped(&single, context),
        Err(error) => {
            let hint = format!(
                "an expression is wrapped in `${{{{ }}}}`, and this is none yet: found {}",
                error.found
            );
            hint + &program(context)
        }
    })
}

/// Returns the hint that this text, which begins with a context or a call, is to be wrapped.
fn wrapped(text: &str, context: Option<&str>) -> String {
    let mut hint = if text.len() <= SHOWN {
        format!("an expression is wrapped: write `${{{{ {text} }}}}`")
    } else {
        "an expression is wrapped: write `${{ … }}` around it".to_owned()
    };
    let here = match context.map(str::to_ascii_lowercase).as_deref() {
        Some("github") => Some("nixactions"),
        Some("secrets" | "vars") => Some("env"),
        Some("strategy") => Some("matrix"),
        _ => None,
    };
    if let (Some(context), Some(here)) = (context, here) {
        hint += &format!(", with `{here}` for `{context}`");
    }
    hint + &program(context)
}

fn program(context: Option<&str>) -> String {
    context.map_or_else(String::new, |name| {
        format!("; a program of this name is called by `command {name}…`")
    })
}

/// Returns a hint for a text that calls a misspelt status function where bash has no call: at an
/// end of the text, beside an operator, or in parentheses, and outside of quotes.
fn call_hint(text: &str) -> Option<String> {
    let text = without_quotes(text);
    text.match_indices('(').find_map(|(open, _)| {
        let before = text[..open].trim_end_matches(' ');
        let begin = before
            .rfind(|c: char| !c.is_ascii_alphabetic() && c != '_')
            .map_or(0, |at| {
                at + before[at..].chars().next().map_or(1, char::len_utf8)
            });
        let is_call = matches!(
            before[..begin].trim_end_matches(' ').chars().next_back(),
            None | Some('!' | '(' | '&' | '|')
        );
        let rest = text[open + 1..].trim_start_matches(' ').strip_prefix(')')?;
        let is_whole = matches!(
            rest.trim_start_matches(' ').chars().next(),
            None | Some('&' | '|' | ')')
        );
        let function = misspelt(&before[begin..])?;
        (is_call && is_whole).then(|| format!("did you mean `{function}()`?"))
    })
}

/// Returns the status function that is probably meant by a name.
fn misspelt(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    STATUS_FUNCTIONS
        .into_iter()
        .map(|function| (strsim::levenshtein(&name, function), function))
        .filter(|(distance, _)| *distance <= DISTANCE)
        .min()
        .map(|(_, function)| function)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(checked: Result<(), Refusal>) -> String {
        checked.unwrap_err().hint.unwrap_or_default()
    }

    #[test]
    fn bash_conditions_are_left_alone() {
        let bash = [
            "test -f x",
            "false",
            "[ \"$A\" = b ]",
            "f() { true; }; f",
            "grep -q always file",
            "my_success() { :; }; my_success",
            "failure.sh",
            "./env.sh && true",
            "command env.sh",
            "test.sh || make.check",
            "succes() { true; }; succes",
            "succes() ( true )",
            "grep 'succes()' file",
            "a && b",
            "!grep",
        ];
        for text in bash {
            condition(text).unwrap();
        }
        for text in ["success()", " always() ", "failure()", "cancelled()"] {
            condition(text).unwrap();
        }
    }

    #[test]
    fn misspelt_status_functions_are_refused() {
        assert_eq!(hint(condition("succes()")), "did you mean `success()`?");
        assert_eq!(hint(condition("canceled()")), "did you mean `cancelled()`?");
        assert_eq!(hint(condition("ALWAYS")), "did you mean `always()`?");
        assert_eq!(hint(condition("failed()")), "unknown function `failed()`");
        assert_eq!(hint(condition("always")), "did you mean `always()`?");
        assert_eq!(
            hint(condition("${{ env.A }} && ${{ env.B }}")),
            "wrap the whole condition in one `${{ }}`"
        );
        for expression in [
            "!cancelled()",
            "success() && test -f x",
            "${{ success() }}",
            "Always ( )",
            "!Cancelled()",
            "Success() && true",
        ] {
            condition(expression).unwrap();
        }
        assert_eq!(hint(condition(" ")), "leave `condition` out");
    }

    #[test]
    fn bash_that_looks_like_an_expression_is_refused() {
        for (text, expected) in [
            ("succes() && true", "did you mean `success()`?"),
            ("! canceled()", "did you mean `cancelled()`?"),
            ("Alway() || false", "did you mean `always()`?"),
            ("sucess() && test -f x", "did you mean `success()`?"),
            ("test -f x || ( failur ( ) )", "did you mean `failure()`?"),
            ("foo() && true", "unknown function `foo()`"),
            (
                "contains(needs.*.result, 'failure')",
                "an expression is wrapped: write `${{ contains(needs.*.result, 'failure') }}`",
            ),
        ] {
            assert_eq!(hint(condition(text)), expected, "{text}");
        }
        for text in [
            "needs.build.result == 'success'",
            "github.ref == 'refs/heads/main'",
            "!inputs.deploy",
            "(steps.a.outcome != 'failure')",
            "matrix['os'] == 'linux'",
            "env.sh",
        ] {
            let hint = hint(condition(text));
            let here = if text.starts_with("github") {
                ", with `nixactions` for `github`"
            } else {
                ""
            };
            let expected = format!("an expression is wrapped: write `${{{{ {text} }}}}`{here}; ");
            assert!(hint.starts_with(&expected), "{hint}");
        }
    }
    #[test]
    fn bash_that_is_nearly_an_expression_is_refused() {
        let wrapped = "an expression is wrapped: write `${{ ";
        let bad = "an expression is wrapped in `${{ }}`, and this is none yet: found ";
        for (text, expected) in [
            (
                "needs.test.result == \"success\"",
                "needs.test.result == 'success' }}`; ",
            ),
            ("inputs.level == \"full\"", "inputs.level == 'full' }}`; "),
            (
                "contains(needs.*.result, \"failure\")",
                "contains(needs.*.result, 'failure') }}`",
            ),
            (
                "startsWith(nixactions.ref, \"refs/tags/\")",
                "startsWith(nixactions.ref, 'refs/",
            ),
            ("test -f x && hashFiles(\"x\") != \"\"", ""),
            ("hashFiles(\"x\") != \"\"", "hashFiles('x') != '' }}`"),
            ("1 == 1", "1 == 1 }}`"),
            ("'a' == 'a'", "'a' == 'a' }}`"),
        ] {
            let hint = hint(condition(text));
            let start = if expected.is_empty() { bad } else { wrapped };
            assert!(
                hint.starts_with(&format!("{start}{expected}")),
                "{text}: {hint}"
            );
        }
        for (text, expected) in [
            (
                "needs.test.result = 'success'",
                "`=`: an expression compares by `==`",
            ),
            (
                "needs.test.result === 'success'",
                "`=`: an expression compares by `==`",
            ),
            (
                "needs.a.result == 'x' and inputs.b",
                "`and` where an operator or the end may",
            ),
            (
                "not inputs.b",
                "`inputs` where an operator or the end may stand",
            ),
            (
                "needs.a.result == 'success' && [ -f a ]",
                "`-`: an option stands in bash alone",
            ),
            ("needs.a.result == 'success' # x", ""),
            ("{{ needs.a.result }}", ""),
            ("${ needs.a.result }", ""),
            ("inputs.b ? true : false", ""),
            (
                "! (NEEDS.a.result == \"it's\")",
                "`\"`: texts stand in single quotes",
            ),
            ("matrix[\"os\"] == \"linux\" x", ""),
        ] {
            let hint = hint(condition(text));
            assert!(
                hint.starts_with(&format!("{bad}{expected}")),
                "{text}: {hint}"
            );
        }
        for (text, function) in [
            ("!cancelled", "cancelled"),
            ("!always", "always"),
            ("(failure) && true", "failure"),
        ] {
            assert_eq!(
                hint(condition(text)),
                format!("did you mean `{function}()`?")
            );
        }
    }
}
