//! Why a program could not be started. The system's error tells little: the fault may lie with the
//! program, its interpreter or its working directory.

use std::{io, path::Path, process::Command};

use nix::{
    errno::Errno,
    unistd::{AccessFlags, access},
};

/// Returns why a command could not be started.
pub(super) fn not_started(command: &Command, error: &io::Error) -> String {
    let program = command.get_program().to_string_lossy();
    let directory_gone = command.get_current_dir().is_some_and(|dir| !dir.is_dir());
    let closed = closed_directory(command);
    let directory = command.get_current_dir().unwrap_or_else(|| ".".as_ref());
    match error.kind() {
        io::ErrorKind::NotFound if directory_gone => {
            format!(
                "its working directory `{}` does not exist",
                directory.display()
            )
        }
        io::ErrorKind::NotADirectory if directory_gone => format!(
            "its working directory `{}` is not a directory",
            directory.display()
        ),
        io::ErrorKind::NotFound if Path::new(&*program).exists() => {
            format!("the interpreter of `{program}` does not exist")
        }
        io::ErrorKind::NotFound if !program.contains('/') => {
            format!("executable `{program}` was not found in PATH")
        }
        io::ErrorKind::NotFound => format!("executable `{program}` does not exist"),
        io::ErrorKind::ArgumentListTooLong => {
            format!("`{program}` has longer arguments than a process takes")
        }
        io::ErrorKind::PermissionDenied if closed.is_some() => format!(
            "its working directory `{}` cannot be entered: its mode or that of a directory above \
             forbids it",
            closed.unwrap_or_else(|| ".".as_ref()).display()
        ),
        io::ErrorKind::PermissionDenied => {
            format!("`{program}` is not executable by the job's user")
        }
        _ => format!("`{program}` could not be started: {error}"),
    }
}

/// Returns the working directory of a command if it cannot be entered.
fn closed_directory(command: &Command) -> Option<&Path> {
    let directory = command.get_current_dir()?;
    access(directory, AccessFlags::X_OK)
        .is_err_and(|errno| errno == Errno::EACCES)
        .then_some(directory)
}
