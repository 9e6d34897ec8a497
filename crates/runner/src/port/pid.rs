//! The runner's process id, as the run knows it: outside of the job's PID namespace.

use std::{fs::File, io, os::fd::AsFd};

use rustix::{fs::readlinkat, stdio::dup2_stdin};

/// Returns this process's id outside of its PID namespace, by which journald knows it. systemd
/// opened the /proc of the outside as standard input, whose link `self` tells the id there. No step
/// inherits it.
pub(crate) fn pid_outside() -> io::Result<u32> {
    let proc = io::stdin().as_fd().try_clone_to_owned()?;
    dup2_stdin(File::open("/dev/null")?)?;
    own_pid_in(proc)
}

/// Returns this process's id as a /proc knows it.
pub(crate) fn own_pid_in(proc: impl AsFd) -> io::Result<u32> {
    let link = readlinkat(proc, "self", Vec::new())?;
    let text = link.to_str().map_err(io::Error::other)?;
    text.parse().map_err(io::Error::other)
}
