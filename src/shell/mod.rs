//! Opens a shell in a running job: in its namespaces and its control group, with the user, the
//! environment and the working directory of its step. systemd ends the shell with the job.
//!
//! Two processes of this program are at work. This one stays on the host and copies between the
//! caller's terminal and the shell's. It starts the other one (`nixactions enter`), which moves
//! into the job, gives up its rights, starts the shell, and leaves the job's control group again.

mod enter;
mod group;
mod process;
mod terminal;

use std::{
    ffi::OsString,
    io,
    os::{fd::AsFd as _, unix::process::ExitStatusExt as _},
    path::Path,
    process::{Child, Command, ExitStatus},
    sync::atomic::{AtomicBool, Ordering},
};

use nix::{
    poll::{PollFd, PollFlags, poll},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rustix::process::{PidfdFlags, pidfd_open};

pub use enter::enter;
use terminal::Terminal;

use crate::unit::UnitName;

/// The time between two looks at requests to end, and at the size of the terminal, in milliseconds.
const LOOK: u16 = 100;

/// The name of the other process's command.
pub const ENTER: &str = "enter";

/// The reasons why there is no shell.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// No step of the job runs, or none that the caller sees.
    #[error("no step of the job runs now")]
    NotRunning,
    /// The caller may not enter the job.
    #[error("failed to enter the job")]
    Enter(#[source] io::Error),
    /// The control groups of the job are not where this process sees them.
    #[error("the control group of the job is not in /sys/fs/cgroup")]
    NoGroup,
    /// The job's file system has no shell.
    #[error("the job's file system has neither /bin/bash nor /bin/sh")]
    NoShell,
    /// A program was not started.
    #[error("failed to start `{program}`")]
    Start {
        /// The program.
        program: String,
        /// The fault.
        source: io::Error,
    },
    /// The terminal cannot be used.
    #[error("failed to use the terminal")]
    Terminal(#[source] io::Error),
}

impl ShellError {
    /// Returns advice for the user.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NotRunning => "`nixactions show RUN` tells how far the run is",
            Self::Enter(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                "only root enters jobs of the system's manager; a user enters jobs of the own \
                 manager by `systemd-run --user --pty nixactions shell …`"
            }
            Self::NoShell => "name a program: `nixactions shell RUN JOB -- PROGRAM`",
            Self::Enter(_) | Self::NoGroup | Self::Start { .. } | Self::Terminal(_) => return None,
        };
        Some(text.to_owned())
    }
}

/// Opens a shell in a running job, or runs a command there. Returns the exit status, as shells have
/// it: 128 and the signal's number for a program that a signal ended.
///
/// # Errors
/// Fails when the terminal cannot be used. The other process tells its errors itself.
pub fn open(unit: &UnitName, run: &Path, command: &[OsString]) -> Result<u8, ShellError> {
    let program = std::env::current_exe().map_err(|source| ShellError::Start {
        program: "nixactions".to_owned(),
        source,
    })?;
    let terminal = Terminal::open().map_err(ShellError::Terminal)?;
    let mut other = Command::new(&program);
    other.arg(ENTER).arg(unit.as_str()).arg(run).args(command);
    if !terminal.is_used() {
        // The shell tells the terminal's kind from it.
        other.env_remove("TERM");
    }
    let child = terminal.spawn(other).map_err(|source| ShellError::Start {
        program: program.display().to_string(),
        source,
    })?;
    let ended = terminal.follow(child).map_err(ShellError::Terminal)?;
    Ok(code(ended))
}

/// Waits for the end of a program, and sends it this signal for each request to end: one of the
/// signals that set the flag.
fn wait(child: &mut Child, asked: &AtomicBool, signal: Signal) -> io::Result<ExitStatus> {
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    let end = rustix::process::Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData)?;
    let end = pidfd_open(end, PidfdFlags::empty())?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if asked.swap(false, Ordering::Relaxed) {
            // The program may have ended.
            let _ = kill(Pid::from_raw(pid), signal);
        }
        // A signal interrupts it, unless it comes before.
        let _ = poll(&mut [PollFd::new(end.as_fd(), PollFlags::POLLIN)], LOOK);
    }
}

/// Returns the exit status of a shell that has run a program.
fn code(status: ExitStatus) -> u8 {
    let signal = || status.signal().map(|signal| 128 + signal);
    let code = status.code().or_else(signal);
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
