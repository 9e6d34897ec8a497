//! Signals as something to poll: SIGTERM and SIGINT ask the runner to cancel, SIGCHLD says that a process ended.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};

/// The runner's signals, blocked and read from a descriptor (signalfd(2)). Children get an empty mask again from
/// the standard library.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    /// How often the runner was asked to cancel.
    pub cancels: u32,
}

impl Signals {
    /// Blocks the signals; must come first in the process.
    ///
    /// # Errors
    /// Fails with the system's reason.
    pub fn new() -> nix::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD, Signal::SIGHUP] {
            set.add(signal);
        }
        set.thread_block()?;
        Ok(Self { fd: SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?, cancels: 0 })
    }

    /// Returns the descriptor, to be polled.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Takes in what has arrived.
    pub fn read(&mut self) {
        while let Ok(Some(info)) = self.fd.read_signal() {
            if info.ssi_signo == Signal::SIGTERM as u32 || info.ssi_signo == Signal::SIGINT as u32 {
                self.cancels += 1;
            }
        }
    }

    /// Returns whether the runner was asked to cancel, looking anew.
    pub fn cancelled(&mut self) -> bool {
        self.read();
        self.cancels > 0
    }
}
