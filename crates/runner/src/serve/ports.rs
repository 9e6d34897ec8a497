//! The process that holds the ports of a job's services on the host's network, so that two jobs do
//! not use the same port at once. systemd starts the services when this process holds all ports.
//!
//! Each port has a file with a lock (flock(2)) in the directory that systemd opens as standard
//! input. The kernel releases the locks when the process ends, however it ends.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read as _, Seek as _, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::fs::OpenOptionsExt as _,
    },
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    libc::O_NONBLOCK,
};
use sd_notify::NotifyState;

use super::super::lifeline;

/// The exit status if the ports cannot be held.
const EXIT_FAILURE: u8 = 1;
/// The FIFO with the job's request, as systemd hands it on (sd_listen_fds(3)).
const WISH: &str = "/proc/self/fd/3";
/// The most bytes that are read of a lock's file.
const OWNER_MAX: u64 = 200;

/// Takes ports for an owner, in their order, then tells systemd and waits to be ended. The first
/// argument names the owner, the others are the ports.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> u8 {
    let owner = arguments.next().unwrap_or_default();
    let ports: Vec<_> = arguments.collect();
    // This lock tells the job's runner that this process lives, and may be waiting for a port.
    let held = lifeline::hold(io::stdout()).and_then(|()| take(&owner, &ports));
    let held = match held {
        Ok(held) => held,
        Err(error) => {
            let _ = writeln!(
                io::stderr(),
                "failed to take the ports of services: {error}"
            );
            return EXIT_FAILURE;
        }
    };
    // If the request stayed in the FIFO, systemd would start this process again after its end.
    if let Err(error) = take_wish() {
        let _ = writeln!(io::stderr(), "failed to take the job's wish: {error}");
    }
    // This tells the job's runner that the ports are held.
    if let Err(error) = io::stdout()
        .write_all(b"held\n")
        .and_then(|()| io::stdout().flush())
    {
        let _ = writeln!(io::stderr(), "failed to tell of the ports: {error}");
        return EXIT_FAILURE;
    }
    // If systemd does not get this message, the services do not start, and the job's runner reports
    // that.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    let _held = held;
    super::super::hold()
}

/// Takes the job's request out of the FIFO.
fn take_wish() -> io::Result<()> {
    let mut wish = fs::OpenOptions::new();
    let mut wish = wish.read(true).custom_flags(O_NONBLOCK).open(WISH)?;
    let mut bytes = [0; 64];
    match wish.read(&mut bytes) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}

fn take(owner: &OsStr, ports: &[OsString]) -> io::Result<Vec<Flock<File>>> {
    let directory = io::stdin().as_fd().try_clone_to_owned()?;
    let mut held = Vec::new();
    for port in ports {
        let path = std::path::PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
        let file = File::options()
            .read(true)
            .write(true)
            .open(path.join(port))?;
        let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((file, Errno::EWOULDBLOCK)) => {
                let port = port.display();
                let owner = owner_in(&file);
                let text = format!("port {port} is a service's of {owner}; waiting for its end");
                let _ = writeln!(io::stderr(), "{text}");
                Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error)?
            }
            Err((_, error)) => return Err(error.into()),
        };
        // Processes that wait for the port name this owner.
        lock.set_len(0)?;
        lock.rewind()?;
        lock.write_all(owner.as_encoded_bytes())?;
        held.push(lock);
    }
    Ok(held)
}

/// Returns the owner of a port, as the file of the lock names it.
fn owner_in(file: &File) -> String {
    let mut text = String::new();
    // The owner may not have written its name yet.
    match file.take(OWNER_MAX).read_to_string(&mut text) {
        Ok(length) if length > 0 => text,
        _ => "another job".to_owned(),
    }
}
