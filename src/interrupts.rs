//! The signals that end a command early. They are caught before the command makes anything, until
//! its run is followed.
//!
//! During a start, a signal only leaves a mark. The start checks the mark at each step and removes
//! everything that it made. After the run has started, a signal waits for the code that follows the
//! run. So no signal is lost.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
};

use nix::{
    libc,
    sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask},
};
use signal_hook::flag;
use tokio::signal::unix::{self, SignalKind};

/// The mask of the signals that are ignored from the start of a process (proc_pid_status(5)).
const IGNORED: &str = "SigIgn:";

/// A signal came before a run was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted; nothing was started")]
pub struct Interrupted(pub Signal);

/// The mark that a signal leaves during a start.
#[derive(Debug, Clone, Default)]
pub struct Mark(Arc<AtomicUsize>);

impl Mark {
    /// Returns an error if a signal has come.
    ///
    /// Fails with the last signal.
    pub fn check(&self) -> Result<(), Interrupted> {
        let number = i32::try_from(self.0.load(Ordering::SeqCst)).unwrap_or_default();
        match Signal::try_from(number) {
            Ok(signal) => Err(Interrupted(signal)),
            Err(_) => Ok(()),
        }
    }

    /// Returns the flag itself, which holds the number of the last signal or zero.
    pub fn shared(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.0)
    }

    /// Returns the number of the last signal or zero, for code that cannot wait.
    pub fn raw(&self) -> &AtomicUsize {
        &self.0
    }
}

/// The signals that end a command early.
#[derive(Debug)]
pub struct Interrupts {
    streams: Vec<(Signal, unix::Signal)>,
    mark: Mark,
    /// Whether the signals that do not concern a run end this program again, as without a handler.
    defaults: Arc<AtomicBool>,
}

impl Interrupts {
    /// Catches all signals that end a program. Call this before the command makes anything.
    ///
    /// # Errors
    /// Fails when the system refuses a handler.
    pub fn catch() -> io::Result<Self> {
        let mut interrupts = Self {
            streams: Vec::new(),
            mark: Mark::default(),
            defaults: Arc::default(),
        };
        let ignored = ignored();
        for signal in [
            Signal::SIGINT,
            Signal::SIGTERM,
            Signal::SIGHUP,
            Signal::SIGQUIT,
        ] {
            let number = signal as i32;
            let of_terminal = matches!(signal, Signal::SIGHUP | Signal::SIGQUIT);
            // A client started with nohup(1) goes on without its terminal.
            if of_terminal && ignored & (1 << (number - 1)) != 0 {
                continue;
            }
            if of_terminal {
                let defaults = Arc::clone(&interrupts.defaults);
                flag::register_conditional_default(number, defaults)?;
            }
            let value = usize::try_from(number).unwrap_or_default();
            flag::register_usize(number, Arc::clone(&interrupts.mark.0), value)?;
            let stream = unix::signal(SignalKind::from_raw(number))?;
            interrupts.streams.push((signal, stream));
        }
        Ok(interrupts)
    }

    /// Catches only Ctrl-C. Any other signal ends this program.
    ///
    /// # Errors
    /// Fails when the system refuses a handler.
    pub fn ctrl_c() -> io::Result<Self> {
        Ok(Self {
            streams: vec![(Signal::SIGINT, unix::signal(SignalKind::interrupt())?)],
            mark: Mark::default(),
            defaults: Arc::default(),
        })
    }

    /// Returns the mark that a signal leaves.
    pub fn mark(&self) -> &Mark {
        &self.mark
    }

    /// Waits for a future of a start, unless a signal comes first.
    ///
    /// Fails with the signal.
    pub async fn unless<T>(&mut self, future: impl Future<Output = T>) -> Result<T, Interrupted> {
        let mark = self.mark.clone();
        mark.check()?;
        tokio::select! {
            result = future => mark.check().map(|()| result),
            signal = self.recv() => Err(Interrupted(signal)),
        }
    }

    /// Notes that the run goes on by itself: from now on, closing the terminal ends only this
    /// program.
    pub fn started(&self) {
        self.defaults.store(true, Ordering::SeqCst);
    }

    /// Waits for the next signal.
    pub async fn recv(&mut self) -> Signal {
        std::future::poll_fn(|context| {
            for (signal, stream) in &mut self.streams {
                if stream.poll_recv(context).is_ready() {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Resets signal settings of this program's caller, which pass through execve(2). Blocked signals
/// would never come, and while SIGCHLD is ignored, no process can wait for a child.
///
/// # Errors
/// Fails when the system refuses a handler.
pub fn reset() -> io::Result<()> {
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    if ignored() & (1 << (libc::SIGCHLD - 1)) != 0 {
        // With any handler, the kernel keeps children until they are waited for. execve(2) replaces
        // a handler by the default action.
        flag::register(libc::SIGCHLD, Arc::default())?;
    }
    Ok(())
}

/// Returns the set of ignored signals, or none if it cannot be read.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix(IGNORED));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}
