//! Nix's programs: where they are, and how they are run to their end.

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

/// Where Nix is looked for besides PATH: a service's has none of these.
pub(super) const PLACES: [&str; 2] = [
    "/run/current-system/sw/bin",
    "/nix/var/nix/profiles/default/bin",
];

/// What becomes of Nix's standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It is the caller's.
    User,
    /// It is kept.
    Nobody,
}

/// A program of Nix with its arguments.
#[derive(Debug)]
pub(super) struct Nix {
    program: &'static str,
    arguments: Vec<OsString>,
    builds_nothing: bool,
}

/// Nix' setting without which an evaluation may build; its name is in what Nix says where it is
/// needed.
const MAY_BUILD: &str = "allow-import-from-derivation";

/// How it ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Nix {
    /// Returns one of the programs that are as old as Nix: `nix-build` and the like.
    pub(super) fn program(program: &'static str) -> Self {
        Self {
            program,
            arguments: Vec::new(),
            builds_nothing: false,
        }
    }

    /// Returns a command of `nix`, for which nothing need be configured.
    pub(super) fn command(name: &str) -> Self {
        Self::program("nix").args(["--extra-experimental-features", "nix-command flakes", name])
    }

    /// Lets it fail where it would build something in order to evaluate.
    pub(super) fn building_nothing(self) -> Self {
        Self {
            builds_nothing: true,
            ..self.args(["--option", MAY_BUILD, "false"])
        }
    }

    /// Returns whether it builds nothing.
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

    /// Returns whether it fails since it would have to build; evaluates once more for it.
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

    /// Runs it to its end. A signal that asks this program to end asks Nix.
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
            // It may just have ended; and where a terminal has told it as well, twice is no more
            // than once.
            _ = pid.map(|pid| signal::kill(pid, number));
        }
    }
}

/// Returns where a program lies.
fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    programs::find(
        programs::directories(&path)
            .chain(PLACES.map(PathBuf::from))
            .chain(programs::brought()),
        program,
    )
}
