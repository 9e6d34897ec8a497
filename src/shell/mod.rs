//! Opens a shell in a running job: in its namespaces and its control group, with the user, the
//! environment and the working directory of its step. systemd ends the shell with the job.
//!
//! The shell has no more rights than the step: its resource limits, no capabilities that the job
//! lacks, and no new ones by set-user-ID programs where the job gets none. The filters of system
//! calls and Landlock's domain do not hold for it, since a process cannot join them.

mod process;
mod terminal;

use std::{
    ffi::OsString,
    io,
    os::{
        fd::AsFd as _,
        unix::process::{CommandExt as _, ExitStatusExt as _},
    },
    path::Path,
    process::{Command, ExitStatus},
};

use rustix::{
    process::{Pid, PidfdFlags, fchdir, pidfd_open, setrlimit},
    thread::{
        CapabilitySet, capability_is_in_bounding_set, move_into_thread_name_spaces,
        remove_capability_from_bounding_set, set_no_new_privs,
    },
};

use process::{Process, Rights};
use terminal::Terminal;

/// The reasons why there is no shell.
#[derive(Debug, thiserror::Error)]
pub enum ShellError {
    /// No step of the job runs, or none that the caller sees.
    #[error("no step of job `{job}` runs now")]
    NotRunning {
        /// The job.
        job: String,
    },
    /// The caller may not enter the job.
    #[error("failed to enter job `{job}`")]
    Enter {
        /// The job.
        job: String,
        /// The fault.
        source: io::Error,
    },
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
    /// Returns what the user can do about the error.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NotRunning { .. } => "`nixactions show RUN` tells how far the run is",
            Self::Enter { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "only root enters jobs of the system's manager; a user enters jobs of the own \
                 manager by `systemd-run --user --pty nixactions shell …`"
            }
            Self::NoShell => "name a program: `nixactions shell RUN JOB -- PROGRAM`",
            Self::Enter { .. } | Self::Start { .. } | Self::Terminal(_) => return None,
        };
        Some(text.to_owned())
    }
}

/// Opens a shell in a running job, or runs a command there. Returns the exit status, as shells have
/// it: 128 and the signal's number for a program that a signal ended.
///
/// # Errors
/// Fails when no step of the job runs, or the caller may not enter the job.
pub fn open(directory: &Path, job: &str, command: &[OsString]) -> Result<u8, ShellError> {
    let Some(step) = Process::of_step(directory) else {
        return Err(ShellError::NotRunning {
            job: job.to_owned(),
        });
    };
    let failed = |source: io::Error| ShellError::Enter {
        job: job.to_owned(),
        source,
    };
    let environment = step.environment().map_err(failed)?;
    // The files of the host are opened before this process leaves the host.
    let terminal = Terminal::open().map_err(ShellError::Terminal)?;
    let (own, groups) = process::own_groups()
        .and_then(|own| Ok((own, step.groups()?)))
        .map_err(failed)?;
    process::join(&groups).map_err(failed)?;
    let spawned = enter(&step).map_err(failed).and_then(|rights| {
        let (program, arguments) = match command.split_first() {
            Some((program, arguments)) => (program.clone(), arguments),
            None => (shell().ok_or(ShellError::NoShell)?, &[][..]),
        };
        let mut shell = Command::new(&program);
        shell
            .args(arguments)
            .env_clear()
            .envs(environment)
            .uid(rights.user)
            .gid(rights.group);
        terminal.spawn(shell).map_err(|source| ShellError::Start {
            program: program.to_string_lossy().into_owned(),
            source,
        })
    });
    // systemd ends the job's control group with the job. This process still has to set the caller's
    // terminal back.
    process::join(&own).map_err(failed)?;
    let ended = terminal.follow(spawned?).map_err(ShellError::Terminal)?;
    Ok(code(ended))
}

/// Returns the first shell that this mount namespace has.
fn shell() -> Option<OsString> {
    let shells = ["/bin/bash", "/bin/sh"].map(Path::new);
    let found = shells.into_iter().find(|shell| shell.exists());
    found.map(Into::into)
}

fn code(status: ExitStatus) -> u8 {
    let signal = || status.signal().map(|signal| 128 + signal);
    let code = status.code().or_else(signal);
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Moves this process into the namespaces and the working directory of another one, and gives up
/// the rights that the other one lacks. Children get its PID namespace.
fn enter(process: &Process) -> io::Result<Rights> {
    let pid = Pid::from_raw(process.id()).ok_or(io::ErrorKind::NotFound)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let directory = process.working_directory()?;
    for (resource, limit) in process.limits()? {
        // Only root raises a limit again.
        let _ = setrlimit(resource, limit);
    }
    // All at once: in the user namespace alone, this process might lack the right to enter a mount
    // namespace of the host's.
    let differing = process.namespaces()?;
    if !differing.is_empty() {
        move_into_thread_name_spaces(pidfd.as_fd(), differing)?;
    }
    let rights = process.rights()?;
    fchdir(&directory)?;
    for capability in CapabilitySet::all().iter() {
        let is_held = capability_is_in_bounding_set(capability);
        if is_held.is_ok_and(|held| held) && !rights.bounding.contains(capability) {
            remove_capability_from_bounding_set(capability)?;
        }
    }
    if rights.no_new_privileges {
        set_no_new_privs(true)?;
    }
    Ok(rights)
}
