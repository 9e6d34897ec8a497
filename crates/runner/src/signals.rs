//! Makes signals pollable. SIGTERM and SIGINT ask the runner to cancel, and SIGCHLD reports the end
//! of a process.
//!
//! The signals are caught, not blocked. A child inherits the signal mask (the standard library does
//! not change it) and would not get the signals that should end it. Caught signals have their
//! default action again after execve(2).

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

/// The runner's signals. Each writes a byte to a socket.
#[derive(Debug)]
pub struct Signals {
    /// Gets a byte for each signal of any kind.
    any: UnixStream,
    /// Whether a signal asked to cancel.
    cancel: Arc<AtomicBool>,
    /// Whether the runner was asked to cancel, as of the last read.
    pub cancelled: bool,
}

impl Signals {
    /// Catches the signals. Call this before anything else in the process.
    ///
    /// # Errors
    /// Fails with the system's reason.
    pub fn new() -> io::Result<Self> {
        let (any, any_writer) = UnixStream::pair()?;
        any.set_nonblocking(true)?;
        let cancel = Arc::new(AtomicBool::new(false));
        // The handler that wakes the runner is registered last, so that the flag is set before.
        for signal in [SIGTERM, SIGINT] {
            flag::register(signal, Arc::clone(&cancel))?;
        }
        // Writers get an error instead of SIGPIPE, and steps get the default action.
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

    /// Returns the descriptor, for polling.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.any.as_fd()
    }

    /// Takes in the signals that have arrived.
    pub fn read(&mut self) {
        drain(&mut self.any);
        self.cancelled |= self.cancel.load(Ordering::SeqCst);
    }

    /// Forgets that the runner was asked to cancel, for a job that goes on all the same.
    pub fn forget_cancellation(&mut self) {
        self.cancel.store(false, Ordering::SeqCst);
        self.cancelled = false;
    }

    /// Reads new signals, and returns whether the runner was asked to cancel.
    pub fn cancelled(&mut self) -> bool {
        self.read();
        self.cancelled
    }
}

/// Reads all available bytes.
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
