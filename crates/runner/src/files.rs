//! The files that a step may write: `$NIXACTIONS_ENV`, `_PATH`, `_OUTPUT`, `_SUMMARY`, and their
//! GitHub names.
//!
//! They hold `K=V` lines or `K<<DELIM` heredocs, as on GitHub
//! (<https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#environment-files>).
//! A step may write anything, so the error about a bad line names the line and never its value.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::{error::describe, store};

/// The largest file that is read, in bytes: GitHub's bound for outputs.
pub const FILE_MAX: u64 = 1 << 20;

/// A fault in a file that a step wrote.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be read as a plain file.
    #[error("{name}: cannot be read ({reason})")]
    Unreadable {
        /// The variable that names the file.
        name: &'static str,
        /// The cause.
        reason: String,
    },
    /// The file is too large.
    #[error("{name}: has more than {FILE_MAX} bytes")]
    TooLarge {
        /// The variable that names the file.
        name: &'static str,
    },
    /// A line has neither form.
    #[error("{name}, line {line}: {what}")]
    Line {
        /// The variable that names the file.
        name: &'static str,
        /// The line, from 1.
        line: usize,
        /// The fault, as a phrase.
        what: &'static str,
    },
}

/// The four files of an attempt at a step. They are removed when this is dropped, since their
/// contents may be secret.
#[derive(Debug)]
pub struct StepFiles {
    /// The common part of their paths.
    stem: PathBuf,
}

/// The contents of a step's files.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Variables for later steps.
    pub env: Vec<(String, String)>,
    /// Directories for the front of `PATH`, in the order in which the step wrote them.
    pub path: Vec<String>,
    /// Outputs of the job.
    pub outputs: Vec<(String, String)>,
}

/// The variables that name each file, ours first, and the file's name.
const NAMES: [(&[&str], &str); 4] = [
    (&["NIXACTIONS_ENV", "JOB_ENV", "GITHUB_ENV"], "env"),
    (&["NIXACTIONS_PATH", "GITHUB_PATH"], "path"),
    (&["NIXACTIONS_OUTPUT", "GITHUB_OUTPUT"], "output"),
    (&["NIXACTIONS_SUMMARY", "GITHUB_STEP_SUMMARY"], "summary"),
];

/// Returns whether a variable names a file of a step.
pub fn is_file_variable(name: &str) -> bool {
    NAMES.iter().any(|(names, _)| names.contains(&name))
}

impl StepFiles {
    /// Makes the files of a step's attempt, empty.
    ///
    /// # Errors
    /// Fails with the system's reason.
    pub fn create(files: &Path, index: usize, attempt: u32) -> io::Result<Self> {
        let own = Self::of(files, index, attempt);
        NAMES
            .iter()
            .try_for_each(|(_, file)| write_anew(&own.path(file), b""))?;
        Ok(own)
    }

    /// Returns the files of a step's attempt, which were made before.
    pub fn of(files: &Path, index: usize, attempt: u32) -> Self {
        Self {
            stem: files.join(format!("{index}-{attempt}")),
        }
    }

    /// Returns the variables that name the step's files.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, PathBuf)> {
        NAMES
            .into_iter()
            .flat_map(move |(names, file)| names.iter().map(move |name| (*name, self.path(file))))
    }

    fn path(&self, file: &str) -> PathBuf {
        self.stem.with_extension(file)
    }

    /// Reads the files of the step.
    ///
    /// Fails at the first line that has neither form.
    pub fn read(&self) -> Result<Written, FileError> {
        let path = self.text("NIXACTIONS_PATH", "path")?;
        Ok(Written {
            env: assignments("NIXACTIONS_ENV", &self.text("NIXACTIONS_ENV", "env")?)?,
            path: directories("NIXACTIONS_PATH", &path)?,
            outputs: assignments(
                "NIXACTIONS_OUTPUT",
                &self.text("NIXACTIONS_OUTPUT", "output")?,
            )?,
        })
    }

    /// Reads the step's summary, which need not be UTF-8.
    ///
    /// Fails if the file is too large, or is not a file any more.
    pub fn summary(&self) -> Result<String, FileError> {
        self.bytes("NIXACTIONS_SUMMARY", "summary")
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn text(&self, name: &'static str, file: &str) -> Result<String, FileError> {
        let bytes = self.bytes(name, file)?;
        String::from_utf8(bytes).map_err(|error| FileError::Line {
            name,
            line: error.as_bytes()[..error.utf8_error().valid_up_to()]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count()
                + 1,
            what: "is not UTF-8",
        })
    }

    fn bytes(&self, name: &'static str, file: &str) -> Result<Vec<u8>, FileError> {
        use io::Read;
        let unreadable = |reason: String| FileError::Unreadable { name, reason };
        let path = self.path(file);
        // Most files stay empty.
        if path
            .symlink_metadata()
            .is_ok_and(|meta| meta.is_file() && meta.len() == 0)
        {
            return Ok(Vec::new());
        }
        let opened = store::open_untrusted(&path).map_err(|error| match error {
            // The path means nothing to readers of the message.
            store::StoreError::NotPlain { .. } => unreadable("not a plain file".to_owned()),
            error => unreadable(describe(&error)),
        })?;
        let Some(opened) = opened else {
            return Ok(Vec::new());
        };
        let mut bytes = Vec::new();
        opened
            .take(FILE_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| unreadable(error.to_string()))?;
        if bytes.len() as u64 > FILE_MAX {
            return Err(FileError::TooLarge { name });
        }
        Ok(bytes)
    }
}

impl Drop for StepFiles {
    fn drop(&mut self) {
        for (_, file) in NAMES {
            // If a step made a directory in a file's place, it is removed with the rest of the job.
            let _ = fs::remove_file(self.path(file));
        }
    }
}

/// Writes a file of the runner in a directory where steps may write as well. A link or pipe that a
/// step put in the file's place is removed: it is neither followed nor waited for.
///
/// # Errors
/// Fails with the system's reason.
pub fn write_anew(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let create = || {
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
    };
    let mut file = match create() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            create()?
        }
        other => other?,
    };
    file.write_all(bytes)
}

/// Parses `K=V` lines and `K<<DELIM` heredocs. If a name occurs twice, the later value comes last.
fn assignments(name: &'static str, text: &str) -> Result<Vec<(String, String)>, FileError> {
    let mut out = Vec::new();
    let mut lines = text.split('\n').enumerate();
    while let Some((index, line)) = lines.next() {
        let bad = |what| FileError::Line {
            name,
            line: index + 1,
            what,
        };
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let (key, value) = match (line.find('='), line.find("<<")) {
            (equals, Some(heredoc)) if equals.is_none_or(|equals| heredoc < equals) => {
                let (key, delimiter) = (&line[..heredoc], &line[heredoc + 2..]);
                if delimiter.is_empty() {
                    return Err(bad("has no delimiter after `<<`"));
                }
                let mut value: Vec<&str> = Vec::new();
                // A carriage return belongs to the value, unless all lines of the file end with
                // one.
                let value = loop {
                    match lines.next() {
                        Some((_, end)) if end == delimiter => break value.join("\n"),
                        Some((_, end)) if end.strip_suffix('\r') == Some(delimiter) => {
                            let text = value.join("\n");
                            break text.strip_suffix('\r').unwrap_or(&text).to_owned();
                        }
                        Some((_, part)) => value.push(part),
                        None => return Err(bad("begins a value without its end delimiter")),
                    }
                };
                (key, value)
            }
            (Some(equals), _) => (&line[..equals], line[equals + 1..].to_owned()),
            (None, _) => return Err(bad("is neither `NAME=value` nor `NAME<<DELIMITER`")),
        };
        if !is_name(key) {
            return Err(bad("does not begin with a variable's name"));
        }
        if value.contains('\0') {
            return Err(bad("has a NUL in its value"));
        }
        out.push((key.to_owned(), value));
    }
    Ok(out)
}

/// Parses directories, one a line. With a NUL in it, no later step could be started.
fn directories(name: &'static str, text: &str) -> Result<Vec<String>, FileError> {
    let lines = text.lines().map(str::trim).enumerate();
    lines
        .filter(|(_, line)| !line.is_empty())
        .map(|(index, line)| match line.contains('\0') {
            true => Err(FileError::Line {
                name,
                line: index + 1,
                what: "has a NUL",
            }),
            false => Ok(line.to_owned()),
        })
        .collect()
}

/// Returns whether a text is a valid name of a variable or an output.
pub fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
        assignments("F", text).map_err(|error| error.to_string())
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn assignments_and_heredocs_are_read_as_on_github() {
        assert_eq!(
            parse("A=b\n\nC=d=e\n").unwrap(),
            [pair("A", "b"), pair("C", "d=e")]
        );
        assert_eq!(
            parse("A<<EOF\none\ntwo=2\nEOF\nB=<<x\n").unwrap(),
            [pair("A", "one\ntwo=2"), pair("B", "<<x")]
        );
        assert_eq!(parse("A<<E\nE\n").unwrap(), [pair("A", "")]);
        assert_eq!(
            parse("A<<E\none\r\ntwo\r\nE\nB=1\r\n").unwrap(),
            [pair("A", "one\r\ntwo\r"), pair("B", "1")]
        );
        assert_eq!(
            parse("A<<E\r\none\r\ntwo\r\nE\r\nB<<E\r\nE\r\n").unwrap(),
            [pair("A", "one\r\ntwo"), pair("B", "")]
        );
    }

    #[test]
    fn a_directory_with_a_nul_is_an_error_of_the_step_that_wrote_it() {
        let parse = |text| directories("F", text).map_err(|error| error.to_string());
        assert_eq!(parse("/a b\n\n /c \r\n").unwrap(), ["/a b", "/c"]);
        assert_eq!(parse("/a\n/b\0\n").unwrap_err(), "F, line 2: has a NUL");
    }

    #[test]
    fn a_bad_line_is_named_by_number_without_its_value() {
        assert_eq!(
            parse("A=b\nsecret\n").unwrap_err(),
            "F, line 2: is neither `NAME=value` nor `NAME<<DELIMITER`"
        );
        assert_eq!(
            parse("A<<EOF\nsecret\n").unwrap_err(),
            "F, line 1: begins a value without its end delimiter"
        );
        assert_eq!(
            parse("1=secret\n").unwrap_err(),
            "F, line 1: does not begin with a variable's name"
        );
    }
}
