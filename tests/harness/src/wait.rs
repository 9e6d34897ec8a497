//! Waiting with a deadline, and running commands with one. Nothing in a test sleeps for a result.

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// The deadline for what should take well under a second; generous, since test machines are loaded.
pub const SOON: Duration = Duration::from_secs(30);

/// Polls `probe` until it returns something; panics, naming `what`, when it has not by the
/// deadline.
pub fn wait_for<T>(deadline: Duration, what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + deadline;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(
            Instant::now() < end,
            "waited {deadline:?} in vain for {what}"
        );
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Waits until `child` has ended; kills it and returns `None` when it has not by the deadline.
pub fn ended_within(child: &mut Child, deadline: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + deadline;
    let mut pause = Duration::from_micros(500);
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return Some(status);
        }
        if Instant::now() >= end {
            child.kill().expect("a child can be killed");
            child.wait().expect("a child can be waited for");
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// Commands that a test runs to their end.
pub trait CommandExt {
    /// Runs it without input and returns what it printed; panics with that when it has not ended by
    /// the deadline. A background process that keeps the output open is not waited for.
    fn output_within(&mut self, deadline: Duration) -> Output;

    /// Runs it with the deadline [`SOON`], panics with all it printed unless it succeeds, and
    /// returns its standard output.
    fn ok(&mut self) -> String;

    /// Runs it with the deadline [`SOON`], panics unless it fails, and returns its standard error.
    fn fails(&mut self) -> String;

    /// Runs it as [`CommandExt::ok`] does and parses what it printed as JSON.
    fn json(&mut self) -> Value {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("not JSON ({error}): {text}"))
    }
}

impl CommandExt for Command {
    fn output_within(&mut self, deadline: Duration) -> Output {
        // Files, not pipes: a process that inherits a pipe keeps its reader waiting, and a full
        // pipe blocks its writer.
        let [out, err] =
            [(); 2].map(|()| tempfile::tempfile().expect("a temporary file can be made"));
        let duplicate = |file: &File| {
            Stdio::from(
                file.try_clone()
                    .expect("a file descriptor can be duplicated"),
            )
        };
        let mut child = self
            .stdin(Stdio::null())
            .stdout(duplicate(&out))
            .stderr(duplicate(&err))
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {self:?}: {error}"));
        let status = ended_within(&mut child, deadline);
        let (stdout, stderr) = (read_back(&out), read_back(&err));
        match status {
            Some(status) => Output {
                status,
                stdout,
                stderr,
            },
            None => panic!(
                "not ended after {deadline:?}: {}",
                describe(self, &stdout, &stderr)
            ),
        }
    }

    fn ok(&mut self) -> String {
        let output = self.output_within(SOON);
        assert!(
            output.status.success(),
            "{}: {}",
            output.status,
            describe(self, &output.stdout, &output.stderr)
        );
        String::from_utf8(output.stdout).expect("output is UTF-8")
    }

    fn fails(&mut self) -> String {
        let output = self.output_within(SOON);
        assert!(
            !output.status.success(),
            "did not fail: {}",
            describe(self, &output.stdout, &output.stderr)
        );
        String::from_utf8(output.stderr).expect("output is UTF-8")
    }
}

/// Reads a file that others write through duplicates of `file`; their common offset stays where it
/// is.
pub(crate) fn read_back(file: &File) -> Vec<u8> {
    let length = file.metadata().expect("an open file has metadata").len();
    let mut bytes = vec![0; usize::try_from(length).expect("output fits into memory")];
    file.read_exact_at(&mut bytes, 0)
        .expect("a temporary file can be read");
    bytes
}

fn describe(command: &Command, stdout: &[u8], stderr: &[u8]) -> String {
    let argv: Vec<_> = command
        .get_args()
        .map(|arg| arg.to_string_lossy())
        .collect();
    format!(
        "`{}`\n--- stdout\n{}--- stderr\n{}",
        argv.join(" "),
        String::from_utf8_lossy(stdout),
        String::from_utf8_lossy(stderr)
    )
}
