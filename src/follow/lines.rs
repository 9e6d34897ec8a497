//! Reads log lines from a journalctl(1) process, which ends with its reader.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, ChildStdout, Command},
};

use super::FollowError;
use crate::store::{Entries, JournalEntry, JournalQuery, Mode};

/// How much of journalctl's error messages is kept, in bytes.
const COMPLAINT_MAX: u64 = 4096;

/// A running journalctl.
pub struct Lines {
    query: JournalQuery,
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// The entries of its output so far.
    entries: Entries,
}

impl Lines {
    /// Starts a journalctl.
    pub fn start(query: &JournalQuery, mode: Mode<'_>) -> Result<Self, FollowError> {
        let mut command = Command::from(query.command(mode));
        // journalctl gets its own process group, so that Ctrl-C does not end it.
        command
            .process_group(0)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(FollowError::Journal)?;
        let stdout = child
            .stdout
            .take()
            .expect("invariant: the query's command has its output piped");
        Ok(Self {
            query: query.clone(),
            child,
            stdout: BufReader::with_capacity(256 << 10, stdout),
            entries: Entries::default(),
        })
    }

    /// Waits for entries and adds the available ones. Returns whether there may be more. May be
    /// dropped while it waits.
    pub async fn batch(&mut self, entries: &mut Vec<JournalEntry>) -> Result<bool, FollowError> {
        let bytes = self.stdout.fill_buf().await.map_err(FollowError::Journal)?;
        if bytes.is_empty() {
            self.ended().await?;
            return Ok(false);
        }
        let length = bytes.len();
        self.entries.read(&self.query, bytes, entries);
        self.stdout.consume(length);
        Ok(true)
    }

    /// Reads journalctl's error messages, and fails if it failed.
    async fn ended(&mut self) -> Result<(), FollowError> {
        let mut message = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            stderr
                .take(COMPLAINT_MAX)
                .read_to_end(&mut message)
                .await
                .map_err(FollowError::Journal)?;
        }
        let status = self.child.wait().await.map_err(FollowError::Journal)?;
        if status.success() {
            return Ok(());
        }
        let message = String::from_utf8_lossy(&message);
        let message = message
            .lines()
            .rfind(|line| !line.trim().is_empty())
            .map_or_else(|| status.to_string(), |line| line.trim().to_owned());
        // journalctl has one exit status for all failures.
        let is_denied = message.contains("permission");
        Err(FollowError::JournalFailed { message, is_denied })
    }
}
