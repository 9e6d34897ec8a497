//! Finds Nix's programs and runs them.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::PathBuf,
    process::{ExitStatus, Stdio},
};

use nix::{sys::signal, unistd::Pid};
use tokio::{
    process::Command,
    signal::unix::{SignalKind, signal as listen},
};

use super::LanguageError;
use crate::programs;

/// The directories in which Nix is looked for after PATH. The PATH of a service has none of them.
pub(super) const PLACES: [&str; 2] = [
    "/run/current-system/sw/bin",
    "/nix/var/nix/profiles/default/bin",
];

/// The destination of Nix's standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// The caller's standard error.
    User,
    /// A buffer.
    Nobody,
}

/// A program of Nix with its arguments.
#[derive(Debug)]
pub(super) struct Nix {
    program: &'static str,
    arguments: Vec<OsString>,
    builds_nothing: bool,
}

/// The setting that lets Nix build during an evaluation. Nix names the setting if it would need it.
const MAY_BUILD: &str = "allow-import-from-derivation";

/// The end of a program.
#[derive(Debug)]
pub(super) struct Ended {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Nix {
    /// Returns one of the classic programs, such as `nix-build`.
    pub(super) fn program(program: &'static str) -> Self {
        Self {
            program,
            arguments: Vec::new(),
            builds_nothing: false,
        }
    }

    /// Returns a command of `nix`. It needs no configuration.
    pub(super) fn command(name: &str) -> Self {
        Self::program("nix").args(["--extra-experimental-features", "nix-command flakes", name])
    }

    /// Makes the program fail instead of building something for the evaluation.
    pub(super) fn building_nothing(self) -> Self {
        Self {
            builds_nothing: true,
            ..self.args(["--option", MAY_BUILD, "false"])
        }
    }

    /// Returns whether the program may not build anything.
    pub(super) fn builds_nothing(&self) -> bool {
        self.builds_nothing
    }

    /// Adds arguments.
    pub(super) fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(
            arguments
                .into_iter()
                .map(|argument| argument.as_ref().to_owned()),
        );
        self
    }

    /// Adds an argument.
    pub(super) fn arg(self, argument: impl AsRef<OsStr>) -> Self {
        self.args([argument])
    }

    /// Returns whether the program failed because it would have to build. Runs the evaluation once
    /// more to find out.
    pub(super) async fn would_build(&self) -> Result<bool, LanguageError> {
        if !self.builds_nothing {
            return Ok(false);
        }
        let said = self.run(Told::Nobody).await?.stderr;
        Ok(String::from_utf8_lossy(&said).contains(MAY_BUILD))
    }

    fn missing(&self) -> LanguageError {
        LanguageError::Missing {
            program: self.program,
            has_path: env::var_os("PATH").is_some_and(|path| !path.is_empty()),
        }
    }

    /// Runs the program to its end. Passes SIGINT and SIGTERM on to Nix.
    pub(super) async fn run(&self, told: Told) -> Result<Ended, LanguageError> {
        let failed = |source| LanguageError::Start {
            program: self.program,
            source,
        };
        let path = find(self.program).ok_or_else(|| self.missing())?;
        let mut command = Command::new(path);
        command
            .args(&self.arguments)
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        match told {
            Told::User => {}
            Told::Nobody => _ = command.stdin(Stdio::null()).stderr(Stdio::piped()),
        }
        let mut interrupts = listen(SignalKind::interrupt()).map_err(failed)?;
        let mut terminations = listen(SignalKind::terminate()).map_err(failed)?;
        let child = command.spawn().map_err(failed)?;
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .map(Pid::from_raw);
        let ended = child.wait_with_output();
        tokio::pin!(ended);
        let mut interrupted = false;
        loop {
            let number = tokio::select! {
                ended = &mut ended => {
                    let std::process::Output { status, stdout, stderr } = ended.map_err(failed)?;
                    return if interrupted { Err(LanguageError::Interrupted) } else { Ok(Ended { status, stdout, stderr }) };
                }
                _ = interrupts.recv() => signal::Signal::SIGINT,
                _ = terminations.recv() => signal::Signal::SIGTERM,
            };
            interrupted = true;
            // Nix may have ended just now. If the terminal has signalled Nix, too, the second
            // signal changes nothing.
            _ = pid.map(|pid| signal::kill(pid, number));
        }
    }
}

/// Returns the path of a program.
fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    programs::find(
        programs::directories(&path)
            .chain(PLACES.map(PathBuf::from))
            .chain(programs::brought()),
        program,
    )
}
