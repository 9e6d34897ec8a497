//! The process that holds the ports of a job's services on the host's network, so that no two jobs
//! with the same port meet. systemd starts the services when it has all of them.
//!
//! Each port has a file with a lock (flock(2)) in the directory that systemd opens as standard
//! input. The kernel releases the locks when the process ends, however it ends.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Write as _},
    os::fd::{AsFd as _, AsRawFd as _},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use sd_notify::NotifyState;

/// The exit status of one that cannot hold the ports.
const EXIT_FAILURE: u8 = 1;

/// Takes these ports, in their order, then tells systemd and waits to be ended.
pub fn main(ports: impl Iterator<Item = OsString>) -> u8 {
    let ports: Vec<_> = ports.collect();
    let held = match take(&ports) {
        Ok(held) => held,
        Err(error) => {
            let _ = writeln!(
                io::stderr(),
                "failed to take the ports of services: {error}"
            );
            return EXIT_FAILURE;
        }
    };
    // The job's runner reads this.
    if let Err(error) = io::stdout()
        .write_all(b"held\n")
        .and_then(|()| io::stdout().flush())
    {
        let _ = writeln!(io::stderr(), "failed to tell of the ports: {error}");
        return EXIT_FAILURE;
    }
    // Without systemd's answer, the services do not start, which the job's runner tells.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    let _held = held;
    super::super::hold()
}

fn take(ports: &[OsString]) -> io::Result<Vec<Flock<File>>> {
    let directory = io::stdin().as_fd().try_clone_to_owned()?;
    let mut held = Vec::new();
    for port in ports {
        let path = std::path::PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
        let file = File::open(path.join(port))?;
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((file, Errno::EWOULDBLOCK)) => {
                let port = port.display();
                let text =
                    format!("port {port} is a service's of another job; waiting for its end");
                let _ = writeln!(io::stderr(), "{text}");
                Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error)?
            }
            Err((_, error)) => return Err(error.into()),
        };
        held.push(lock);
    }
    Ok(held)
}
