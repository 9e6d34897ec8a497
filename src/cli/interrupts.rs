//! The signals that end a command early, from before it makes anything until a run is followed.
//!
//! While a run is started, a signal only leaves a mark: the start looks for it at each step and
//! takes back all that it has made. From the moment that the run goes on, a signal waits for the
//! command that follows the run. So no signal falls between.

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

/// The bit mask of the signals that a process was started with ignored (proc_pid_status(5)).
const IGNORED: &str = "SigIgn:";

/// A signal came before a run was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted; nothing was started")]
pub struct Interrupted(pub Signal);

/// The mark that a signal leaves during a start.
#[derive(Debug, Clone, Default)]
pub struct Mark(Arc<AtomicUsize>);

impl Mark {
    /// Fails when a signal has come.
    ///
    /// # Errors
    /// Fails with the last signal that has come.
    pub fn check(&self) -> Result<(), Interrupted> {
        let number = i32::try_from(self.0.load(Ordering::SeqCst)).unwrap_or_default();
        match Signal::try_from(number) {
            Ok(signal) => Err(Interrupted(signal)),
            Err(_) => Ok(()),
        }
    }

    /// Returns the number of the last signal that has come, or zero, for code that may not wait.
    pub fn raw(&self) -> &AtomicUsize {
        &self.0
    }
}

/// The signals that end a command early.
#[derive(Debug)]
pub struct Interrupts {
    streams: Vec<(Signal, unix::Signal)>,
    mark: Mark,
    /// Whether the signals that say nothing about a run end this program again, as they do where
    /// no program handles them.
    defaults: Arc<AtomicBool>,
}

impl Interrupts {
    /// Catches all signals that end a program. To be called before anything is made.
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
            // A client that was started with nohup(1) goes on without its terminal.
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

    /// Catches Ctrl-C alone: any other signal ends this program.
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
    /// # Errors
    /// Fails with the signal that has come.
    pub async fn unless<T>(&mut self, future: impl Future<Output = T>) -> Result<T, Interrupted> {
        let mark = self.mark.clone();
        mark.check()?;
        tokio::select! {
            result = future => mark.check().map(|()| result),
            signal = self.recv() => Err(Interrupted(signal)),
        }
    }

    /// Says that the run goes on by itself: from now on a terminal that is closed ends only this
    /// program.
    pub fn started(&self) {
        self.defaults.store(true, Ordering::SeqCst);
    }

    /// Waits for a signal that has not been waited for before.
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

/// Undoes what the caller of this program may have done to signals, which would pass through
/// execve(2): signals that are blocked never come, and where SIGCHLD is ignored nobody can wait for
/// a child.
///
/// # Errors
/// Fails when the system refuses a handler.
pub fn reset() -> io::Result<()> {
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    if ignored() & (1 << (libc::SIGCHLD - 1)) != 0 {
        // With a handler, whatever it does, the kernel keeps children until they are waited for;
        // and execve(2) sets the default in place of a handler.
        flag::register(libc::SIGCHLD, Arc::default())?;
    }
    Ok(())
}

/// Returns the set of signals that are ignored now; none where that cannot be read.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix(IGNORED));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}
