//! Ends a process in steps, as GitHub does: SIGINT, after 7.5 s SIGTERM, after another 2.5 s
//! SIGKILL to all remaining processes of the step ([`crate::grace`] has the times).

use std::{collections::HashSet, time::Instant};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use super::cgroup::Cgroup;
use crate::grace::{INTERRUPT_GRACE, TERMINATE_GRACE};

/// Why a process was asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It ended by itself.
    Not,
    /// Its own deadline passed.
    StepTimeout,
    /// The job's deadline passed.
    JobTimeout,
    /// The job was cancelled.
    Cancelled,
    /// systemd stops the job's unit, after the kernel killed one of its processes for want of
    /// memory (`OOMPolicy=`, systemd.service(5)).
    OutOfMemory,
    /// The time for cleaning up after a cancellation is over.
    CleanupOver,
}

/// The time limits of a process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// The end of the step's own time.
    pub step: Option<Instant>,
    /// The end of the job's time.
    pub job: Option<Instant>,
    /// The end of the time for cleaning up. It is set once the job is cancelled; further
    /// cancellations then change nothing.
    pub cleanup: Option<Instant>,
}

/// The progress of ending a process.
pub struct Stopping {
    /// The process group.
    pub group: Pid,
    /// Why it was asked to end, so far.
    pub stop: Stop,
    /// The next signal and its time.
    pub next: Option<(Instant, Signal)>,
}

/// A request to a running process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// No request.
    Nothing,
    /// To end. A repeated request changes nothing: a restarted supervisor repeats it.
    Cancel,
    /// To end at once.
    Kill,
}

impl Ask {
    /// Returns a request for a cancellation, if there is one.
    pub fn cancel_if(cancelled: bool) -> Self {
        if cancelled {
            Self::Cancel
        } else {
            Self::Nothing
        }
    }
}

impl Stopping {
    /// Sends the next signal if it is due.
    pub fn advance(
        &mut self,
        now: Instant,
        limits: &Limits,
        ask: Ask,
        cgroup: &Cgroup,
        spared: &HashSet<i32>,
    ) {
        if ask == Ask::Kill {
            if self.stop == Stop::Not {
                self.stop = Stop::Cancelled;
            }
            self.next = Some((now, Signal::SIGKILL));
        } else if self.stop == Stop::Not {
            self.stop = match () {
                // A process that cleans up after a cancellation or timeout goes on.
                () if ask == Ask::Cancel && limits.cleanup.is_none() => Stop::Cancelled,
                () if limits.cleanup.is_some_and(|at| now >= at) => Stop::CleanupOver,
                () if limits.job.is_some_and(|at| now >= at) => Stop::JobTimeout,
                () if limits.step.is_some_and(|at| now >= at) => Stop::StepTimeout,
                () => Stop::Not,
            };
            match self.stop {
                Stop::Not | Stop::OutOfMemory => {}
                Stop::CleanupOver => self.next = Some((now, Signal::SIGKILL)),
                Stop::StepTimeout | Stop::JobTimeout | Stop::Cancelled => {
                    self.next = Some((now, Signal::SIGINT))
                }
            }
        }
        while let Some((at, signal)) = self.next.filter(|(at, _)| now >= *at) {
            // The group may be gone already. The cgroup lists the remaining processes.
            let _ = killpg(self.group, signal);
            self.next = match signal {
                Signal::SIGINT => Some((at + INTERRUPT_GRACE, Signal::SIGTERM)),
                Signal::SIGTERM => Some((at + TERMINATE_GRACE, Signal::SIGKILL)),
                _ => {
                    cgroup.kill_others(spared);
                    None
                }
            };
        }
    }

    /// Returns the time of the next action.
    pub fn wake(&self, limits: &Limits) -> Option<Instant> {
        let pending = self.next.map(|(at, _)| at);
        if self.stop == Stop::Not {
            [limits.step, limits.job, limits.cleanup]
                .into_iter()
                .flatten()
                .min()
        } else {
            pending
        }
    }
}
