//! Signals as something to poll: SIGTERM and SIGINT ask the runner to cancel, SIGCHLD says that a
//! process ended.
//!
//! They are caught, not blocked: a child inherits the mask (the standard library leaves it alone)
//! and would be deaf to the very signals that are to end it, while caught signals have their
//! default action again once it is executed (execve(2)).

use std::{
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use nix::libc::{SIGCHLD, SIGHUP, SIGINT, SIGPIPE, SIGTERM};
use signal_hook::{flag, low_level::pipe};

/// The runner's signals, told by a byte each.
#[derive(Debug)]
pub struct Signals {
    /// Has a byte for each signal of any kind.
    any: UnixStream,
    /// Whether one that asks to cancel has come.
    cancel: Arc<AtomicBool>,
    /// Whether the runner was asked to cancel, as far as it has looked.
    pub cancelled: bool,
}

impl Signals {
    /// Catches the signals; must come first in the process.
    ///
    /// # Errors
    /// Fails with the system's reason.
    pub fn new() -> io::Result<Self> {
        let (any, any_writer) = UnixStream::pair()?;
        any.set_nonblocking(true)?;
        let cancel = Arc::new(AtomicBool::new(false));
        // What wakes up comes last, so that what it wakes up for is there by then.
        for signal in [SIGTERM, SIGINT] {
            flag::register(signal, Arc::clone(&cancel))?;
        }
        // Whoever writes is told by an error, and steps are to have its default.
        flag::register(SIGPIPE, Arc::default())?;
        for signal in [SIGTERM, SIGINT, SIGCHLD, SIGHUP] {
            pipe::register(signal, any_writer.try_clone()?)?;
        }
        Ok(Self {
            any,
            cancel,
            cancelled: false,
        })
    }

    /// Returns the descriptor, to be polled.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.any.as_fd()
    }

    /// Takes in what has arrived.
    pub fn read(&mut self) {
        drain(&mut self.any);
        self.cancelled |= self.cancel.load(Ordering::SeqCst);
    }

    /// Returns whether the runner was asked to cancel, looking anew.
    pub fn cancelled(&mut self) -> bool {
        self.read();
        self.cancelled
    }
}

/// Reads all there is.
fn drain(stream: &mut UnixStream) {
    let mut buffer = [0; 64];
    loop {
        match stream.read(&mut buffer) {
            Ok(64) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => return,
        }
    }
}
