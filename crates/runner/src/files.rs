//! The files that a step may write: `$NIXACTIONS_ENV`, `_PATH`, `_OUTPUT`, `_SUMMARY`, and their
//! GitHub names.
//!
//! `K=V` lines or `K<<DELIM` heredocs, as on GitHub
//! (<https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands#environment-files>).
//! A step may have put anything there, so a bad line is an error that names the line and never its
//! value.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::{error::describe, store};

/// The largest file that is read, in bytes: GitHub's bound for outputs.
pub const FILE_MAX: u64 = 1 << 20;

/// What is wrong with a file that a step wrote.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read as a plain file.
    #[error("{name}: cannot be read ({reason})")]
    Unreadable {
        /// The variable that named it.
        name: &'static str,
        /// Why.
        reason: String,
    },
    /// It is too large.
    #[error("{name}: has more than {FILE_MAX} bytes")]
    TooLarge {
        /// The variable that named it.
        name: &'static str,
    },
    /// A line is neither form.
    #[error("{name}, line {line}: {what}")]
    Line {
        /// The variable that named it.
        name: &'static str,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// The four files of one attempt of a step; gone with this, since what a step writes there may be
/// secret.
#[derive(Debug)]
pub struct StepFiles {
    /// What their paths have in common.
    stem: PathBuf,
}

/// What a step wrote.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Variables for later steps.
    pub env: Vec<(String, String)>,
    /// Directories to go before `PATH`, in the order they were written.
    pub path: Vec<String>,
    /// Outputs of the job.
    pub outputs: Vec<(String, String)>,
}

/// The variables that name each file, ours first, and its file name.
const NAMES: [(&[&str], &str); 4] = [
    (&["NIXACTIONS_ENV", "JOB_ENV", "GITHUB_ENV"], "env"),
    (&["NIXACTIONS_PATH", "GITHUB_PATH"], "path"),
    (&["NIXACTIONS_OUTPUT", "GITHUB_OUTPUT"], "output"),
    (&["NIXACTIONS_SUMMARY", "GITHUB_STEP_SUMMARY"], "summary"),
];

/// Returns whether a variable is one that names a file of a step.
pub fn is_file_variable(name: &str) -> bool {
    NAMES.iter().any(|(names, _)| names.contains(&name))
}

impl StepFiles {
    /// Makes the files of a step's attempt, empty.
    ///
    /// # Errors
    /// Fails with the system's reason.
    pub fn create(files: &Path, index: usize, attempt: u32) -> io::Result<Self> {
        let own = Self {
            stem: files.join(format!("{index}-{attempt}")),
        };
        NAMES
            .iter()
            .try_for_each(|(_, file)| write_anew(&own.path(file), b""))?;
        Ok(own)
    }

    /// Returns the variables that tell a step where its files are.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, PathBuf)> {
        NAMES
            .into_iter()
            .flat_map(move |(names, file)| names.iter().map(move |name| (*name, self.path(file))))
    }

    fn path(&self, file: &str) -> PathBuf {
        self.stem.with_extension(file)
    }

    /// Reads what the step wrote.
    ///
    /// # Errors
    /// Fails at the first line that is of neither form.
    pub fn read(&self) -> Result<Written, FileError> {
        let path = self.text("NIXACTIONS_PATH", "path")?;
        Ok(Written {
            env: assignments("NIXACTIONS_ENV", &self.text("NIXACTIONS_ENV", "env")?)?,
            path: path
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .map(str::to_owned)
                .collect(),
            outputs: assignments(
                "NIXACTIONS_OUTPUT",
                &self.text("NIXACTIONS_OUTPUT", "output")?,
            )?,
        })
    }

    /// Reads what the step wrote to its summary, which need not be UTF-8.
    ///
    /// # Errors
    /// Fails where it is too large, or no file any more.
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
        // As most are left.
        if path
            .symlink_metadata()
            .is_ok_and(|meta| meta.is_file() && meta.len() == 0)
        {
            return Ok(Vec::new());
        }
        let opened = store::open_untrusted(&path).map_err(|error| match error {
            // Where the file lies is nothing that a reader of the reason could look at.
            store::StoreError::NotPlain { .. } => {
                unreadable("not a plain file of reasonable size".to_owned())
            }
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
            // What a step has put in a file's place goes with all that the job leaves.
            let _ = fs::remove_file(self.path(file));
        }
    }
}

/// Writes a file of the runner's where steps may write as well. What one has put in its place, a
/// link or a pipe, is not followed or waited for: it goes.
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

/// Parses `K=V` lines and `K<<DELIM` heredocs; of a name that comes twice the later value is last.
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
                // A carriage return belongs to the value, unless the file has them at the ends of
                // all its lines.
                let value = loop {
                    match lines.next() {
                        Some((_, end)) if end == delimiter => break value.join("\n"),
                        Some((_, end)) if end.strip_suffix('\r') == Some(delimiter) => {
                            let text = value.join("\n");
                            break text.strip_suffix('\r').unwrap_or(&text).to_owned();
                        }
                        Some((_, part)) => value.push(part),
                        None => return Err(bad("begins a value whose delimiter never comes")),
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

/// Returns whether a text may name a variable or an output.
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
    fn a_bad_line_is_named_by_number_without_its_value() {
        assert_eq!(
            parse("A=b\nsecret\n").unwrap_err(),
            "F, line 2: is neither `NAME=value` nor `NAME<<DELIMITER`"
        );
        assert_eq!(
            parse("A<<EOF\nsecret\n").unwrap_err(),
            "F, line 1: begins a value whose delimiter never comes"
        );
        assert_eq!(
            parse("1=secret\n").unwrap_err(),
            "F, line 1: does not begin with a variable's name"
        );
    }
}
