//! Providers: executables of the plan that print variables as `export NAME="value"` lines. Their
//! values are secret.
//!
//! All providers of a job run before its first step, in the job's sandbox, workspace and
//! environment: the workflow's, the job's, then each step's. The runner reads their output as bash
//! would, but strictly. A line that is neither an assignment nor a comment is an error. The error
//! names the line and never its contents.

use std::{process, time::Duration};

use super::{
    env::{Environment, Level},
    job::Job,
    journal::{LINE_MAX, Priority},
    mask::TooMuch,
    output::Kept,
    process::Ended,
    step::find,
};
use crate::{
    reason::Reason,
    settings::{Argv, Seconds, fits_process, is_variable_name},
};

/// The comment that a provider prints before values that are not secret. They are not masked.
const NOT_SECRET: &str = "# nixactions: not secret";
/// The bound on a provider's output, in bytes.
const OUTPUT_MAX: usize = 1 << 20;
/// The bound on the shown standard error of a provider, in bytes.
const ERROR_MAX: usize = 64 << 10;
/// The timeout of a provider.
const TIMEOUT: Duration = Duration::from_secs(60);

impl Job<'_> {
    /// Runs all providers. Returns `false` if that failed or ended the job; the job's record then
    /// has the reason.
    pub(super) fn provide(&mut self, environment: &mut Environment) -> bool {
        let spec = self.spec;
        let steps = spec
            .steps
            .iter()
            .enumerate()
            .map(|(index, step)| (Level::Step(index), &step.env_from));
        let levels = [
            (Level::Workflow, &spec.workflow_env_from),
            (Level::Job, &spec.job_env_from),
        ]
        .into_iter()
        .chain(steps);
        for (level, argv) in
            levels.flat_map(|(level, providers)| providers.iter().map(move |argv| (level, argv)))
        {
            self.notice_cancellation();
            if self.cleanup_until.is_some() || self.processes.killed {
                return false;
            }
            if let Err(why) = self.ask_provider(level, argv, environment) {
                let provider = argv.join(" ");
                let reason = Reason::Provider { provider, why };
                self.processes
                    .journal
                    .note(&reason.to_string(), Priority::Error);
                self.fail(&reason);
                return false;
            }
        }
        true
    }

    fn ask_provider(
        &mut self,
        level: Level,
        argv: &Argv,
        environment: &mut Environment,
    ) -> Result<(), String> {
        let (program, arguments) = argv.split_first().ok_or("has no command")?;
        let variables = environment.of_provider(self.spec, self.port, level);
        let mut command = process::Command::new(find(
            program,
            variables.get("PATH").map_or("", String::as_str),
        ));
        command.args(arguments).current_dir(self.port.workspace());
        self.set_variables(&mut command, variables, environment);
        let timeout = Seconds::try_from(TIMEOUT.as_secs_f64()).ok();
        let (out, err) = (Kept::new(OUTPUT_MAX, true), Kept::new(ERROR_MAX, false));
        self.tell();
        let (ended, stop) = self
            .processes
            .keep(&mut command, self.limits(timeout), [&out, &err]);
        let out = out.borrow();
        let parsed = parse(&out.bytes);
        // A provider's messages may contain values that it printed, so hide these first. Invalid
        // output has no known values.
        let mut limited = Vec::new();
        let hidden = parsed
            .iter()
            .flatten()
            .filter(|variable| variable.is_secret)
            .try_for_each(|Variable { name, value, .. }| {
                let why = self.processes.journal.masker.add(value.as_bytes())?;
                limited.extend(why.map(|why| format!("the value of `{name}` {why}")));
                Ok::<(), TooMuch>(())
            });
        limited
            .into_iter()
            .for_each(|warning| self.warn_once(warning));
        self.complain(&err.borrow());
        if let Some((_, reason)) = self.ended_by(stop, timeout) {
            return Err(reason.to_string());
        }
        match ended {
            _ if out.more => return Err(format!("printed more than {OUTPUT_MAX} bytes")),
            Ended::Exited(0) => {}
            other => return Err(Reason::from(other).to_string()),
        }
        hidden.map_err(|error| error.to_string())?;
        let parsed = parsed.map_err(|error| error.to_string())?;
        let parsed = parsed
            .into_iter()
            .map(|variable| (variable.name, variable.value))
            .collect();
        let dropped = environment.provide(self.spec, level, parsed);
        self.warn_of_dropped(&format!("provider `{}`", argv.join(" ")), &dropped);
        Ok(())
    }

    /// Shows a provider's standard error.
    fn complain(&mut self, said: &Kept) {
        let journal = &mut self.processes.journal;
        let fields = journal.stream_fields(None, "stderr");
        let masked = journal.masker.bytes(&said.bytes).into_owned();
        for line in masked.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            line.chunks(LINE_MAX)
                .for_each(|part| journal.line(part, Priority::Notice, &fields));
        }
        if said.more {
            journal.note(
                &format!("the provider wrote more than {ERROR_MAX} bytes to standard error; the rest is not shown"),
                Priority::Warning,
            );
        }
    }
}

/// A variable in a provider's output.
#[derive(Debug, PartialEq, Eq)]
struct Variable {
    name: String,
    value: String,
    /// Whether the value is masked.
    is_secret: bool,
}

/// A fault in a line of a provider's output.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of its output {what}")]
struct BadLine {
    line: usize,
    what: &'static str,
}

/// Parses `export NAME="value"` lines. If a name occurs twice, the later value comes last.
fn parse(bytes: &[u8]) -> Result<Vec<Variable>, BadLine> {
    let newlines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
    let text = std::str::from_utf8(bytes).map_err(|error| BadLine {
        line: newlines(&bytes[..error.valid_up_to()]),
        what: "is not UTF-8",
    })?;
    let mut pairs = Vec::new();
    let mut rest = text;
    let mut is_secret = true;
    while !rest.is_empty() {
        let line = newlines(&bytes[..text.len() - rest.len()]);
        let bad = |what| BadLine { line, what };
        let start = rest.trim_start_matches([' ', '\t', '\r']);
        if start.is_empty() || start.starts_with(['\n', '#']) {
            let (comment, after) = start.split_once('\n').unwrap_or((start, ""));
            is_secret &= comment.trim_end() != NOT_SECRET;
            rest = after;
            continue;
        }
        let assignment = start
            .strip_prefix("export")
            .filter(|after| after.starts_with([' ', '\t']));
        let assignment = assignment
            .ok_or_else(|| bad("is not of the form export NAME=\"value\""))?
            .trim_start_matches([' ', '\t']);
        let end = assignment
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(assignment.len());
        let (name, after) = assignment.split_at(end);
        if !is_variable_name(name) {
            return Err(bad("has no variable's name after `export`"));
        }
        let after = after
            .strip_prefix('=')
            .ok_or_else(|| bad("has no `=` after the variable's name"))?;
        let (value, after) = word(after).map_err(bad)?;
        let after = after.trim_start_matches([' ', '\t', '\r']);
        rest = match after.strip_prefix('\n') {
            Some(next) => next,
            None if after.is_empty() => "",
            None => return Err(bad("has something after the value")),
        };
        if !fits_process(name, &value) {
            return Err(bad(
                "has a value that is longer than the 128 KiB that a process can take",
            ));
        }
        pairs.push(Variable {
            name: name.to_owned(),
            value,
            is_secret,
        });
    }
    Ok(pairs)
}

/// Reads a word as bash does (bash(1), "QUOTING"), up to a blank or the end of the line. Returns
/// its value and the remaining text.
fn word(text: &str) -> Result<(String, &str), &'static str> {
    const EXPANDED: &str =
        "has a `$` or backquote that bash would expand: write `\\$`, or use single quotes";
    let mut value = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            ' ' | '\t' | '\r' | '\n' => return Ok((value, rest)),
            '\0' => return Err("has a NUL in its value"),
            '\'' => {
                let (quoted, after) = after
                    .split_once('\'')
                    .ok_or("begins a quote that is not closed")?;
                if quoted.contains('\0') {
                    return Err("has a NUL in its value");
                }
                value.push_str(quoted);
                after
            }
            '"' => double_quoted(after, &mut value, EXPANDED)?,
            '\\' => {
                let escaped = after.chars().next().ok_or("ends with a backslash")?;
                if escaped != '\n' {
                    value.push(escaped);
                }
                &after[escaped.len_utf8()..]
            }
            '$' | '`' => return Err(EXPANDED),
            ';' | '&' | '|' | '<' | '>' | '(' | ')' => {
                return Err("has a character that must be quoted");
            }
            c => {
                value.push(c);
                after
            }
        };
    }
    Ok((value, rest))
}

/// Reads the rest of a text in double quotes. Returns the text after the closing quote.
fn double_quoted<'a>(
    text: &'a str,
    value: &mut String,
    expanded: &'static str,
) -> Result<&'a str, &'static str> {
    let mut chars = text.chars();
    loop {
        match chars.next().ok_or("begins a quote that is not closed")? {
            '"' => return Ok(chars.as_str()),
            '\0' => return Err("has a NUL in its value"),
            '$' | '`' => return Err(expanded),
            '\\' => match chars.next().ok_or("begins a quote that is not closed")? {
                escaped @ ('\\' | '"' | '$' | '`') => value.push(escaped),
                '\n' => {}
                other => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<String> {
        parse(text.as_bytes())
            .unwrap()
            .into_iter()
            .map(|variable| format!("{}={}", variable.name, variable.value))
            .collect()
    }

    fn bad(text: &[u8]) -> (usize, &'static str) {
        let error = parse(text).unwrap_err();
        (error.line, error.what)
    }

    #[test]
    fn values_are_read_as_bash_reads_them() {
        let text = "# a comment\n\nexport A=\"a \\\"b\\\" \\\\ \\$c \\`d\\` \\n\"\n  export B='it'\\''s $HOME' \n\texport C=bare/word:1\nexport D=\nexport E=\"\"";
        assert_eq!(
            values(text),
            [
                "A=a \"b\" \\ $c `d` \\n",
                "B=it's $HOME",
                "C=bare/word:1",
                "D=",
                "E="
            ]
        );
        assert_eq!(
            values("export A=\"one\ntwo\"\r\nexport B='x\ny'z\\ q\n"),
            ["A=one\ntwo", "B=x\nyz q"]
        );
        assert_eq!(values("export A=1\nexport A=2"), ["A=1", "A=2"]);
        assert_eq!(values(""), [""; 0]);
    }

    #[test]
    fn values_after_the_comment_are_not_secret() {
        let text = "export A=1\n# nixactions: not secret, perhaps\nexport B=2\n# nixactions: not secret\nexport C=3\n#\nexport D=4";
        let secret: Vec<bool> = parse(text.as_bytes())
            .unwrap()
            .iter()
            .map(|variable| variable.is_secret)
            .collect();
        assert_eq!(secret, [true, true, false, false]);
    }

    #[test]
    fn a_bad_line_is_named_by_number_without_its_value() {
        let form = "is not of the form export NAME=\"value\"";
        assert_eq!(bad(b"export A=1\n\nsecret\n"), (3, form));
        assert_eq!(bad(b"A=secret\n"), (1, form));
        assert_eq!(bad(b"exportA=secret\n"), (1, form));
        // The lines of a value with several lines count.
        assert_eq!(
            bad(b"export A='1\n2\n3'\nexport 1A=secret"),
            (4, "has no variable's name after `export`")
        );
        assert_eq!(
            bad(b"export A-B=secret"),
            (1, "has no `=` after the variable's name")
        );
        assert_eq!(
            bad(b"export A"),
            (1, "has no `=` after the variable's name")
        );
        assert_eq!(
            bad(b"export A=1 export B=2"),
            (1, "has something after the value")
        );
        assert_eq!(
            bad(b"export A=\"secret\nmore"),
            (1, "begins a quote that is not closed")
        );
        assert_eq!(
            bad(b"export A='secret"),
            (1, "begins a quote that is not closed")
        );
        assert_eq!(bad(b"export A=1\nexport B=\xff"), (2, "is not UTF-8"));
        for text in [
            "export A=a$b",
            "export A=\"a$b\"",
            "export A=\"`id`\"",
            "export A=$'x'",
        ] {
            assert!(bad(text.as_bytes()).1.contains("expand"), "{text}");
        }
        assert_eq!(
            bad(b"export A=a;b"),
            (1, "has a character that must be quoted")
        );
        assert_eq!(bad(b"export A='a\0b'"), (1, "has a NUL in its value"));
        assert!(
            bad(format!("export A={}", "x".repeat(200 << 10)).as_bytes())
                .1
                .contains("128 KiB")
        );
    }
}
