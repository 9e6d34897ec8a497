//! The way out for lines: journald's native protocol
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).

use std::{
    io::{self, IoSlice},
    os::{fd::AsRawFd, unix::net::UnixDatagram},
    time::Duration,
};

use nix::sys::socket::{MsgFlags, UnixAddr, sendmsg};

/// The socket of journald.
const SOCKET: &str = "/run/systemd/journal/socket";
/// The longest wait for room in a full socket before a line counts as lost.
const SEND_DEADLINE: Duration = Duration::from_secs(30);

/// A connection to the journal.
#[derive(Debug)]
pub(crate) struct Lines(UnixDatagram);

impl Lines {
    /// Connects to journald.
    ///
    /// # Errors
    /// Fails with the system's reason.
    pub(crate) fn connect() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(SOCKET)?;
        socket.set_write_timeout(Some(SEND_DEADLINE))?;
        Ok(Self(socket))
    }

    /// Returns a connection to a socket other than journald's.
    #[cfg(test)]
    pub(crate) fn to(socket: UnixDatagram) -> Self {
        Self(socket)
    }

    /// Sends one entry. Waits for room in the socket, up to a deadline.
    ///
    /// # Errors
    /// Fails with the system's reason.
    pub(crate) fn send(&self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let socket = self.0.as_raw_fd();
        loop {
            match sendmsg::<UnixAddr>(socket, parts, &[], MsgFlags::MSG_NOSIGNAL, None) {
                Ok(_) => return Ok(()),
                Err(nix::Error::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
