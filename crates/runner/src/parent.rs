//! The process above the runner of a job that has a `retry`: the main process of the job's unit.
//!
//! When the main process of a unit ends, systemd starts or drops the jobs that come after. So no
//! attempt could follow a runner that was killed. Here the main process is a small parent, and the
//! runner is its child. The parent waits. It hands on the signals that ask a runner to end. When a
//! signal has killed the runner, and nobody has asked the job to end, the parent ends all that is
//! left of the attempt and forks the next runner, which makes the next attempt. When no attempt is
//! left, the parent ends by the same signal, and systemd says so.
//!
//! The parent has read the job's spec, which the job's steps can read as well. It holds no secrets:
//! the runner takes those after the fork. The parent does not enter the job's Landlock domain, so
//! no step can signal it (from Linux 6.12 on). Like a runner, it cannot be traced.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal, kill, raise},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork, getppid},
};

use super::{cgroup::Cgroup, exit::exit_status, port::Port};
use crate::{
    event::{Event, EventKind},
    settings::{Retry, Setting},
    spec::{JobSpec, StepSpec},
};

/// The longest wait for the end of an attempt's processes: SIGKILL does not reach a process that
/// waits for a disk.
const CLEAR_DEADLINE: Duration = Duration::from_secs(10);
/// The wait between two looks at these processes.
const CLEAR_WAIT: Duration = Duration::from_millis(1);
/// The number that a shell adds to the signal that ended a program.
const EXIT_SIGNAL: u8 = 128;

/// Which of the two processes this is.
pub(super) enum Side {
    /// The parent, and the job is over; with the exit status that is due.
    Parent(u8),
    /// A runner.
    Runner(Tie),
}

/// The link between a runner and its parent.
pub(super) struct Tie {
    /// The parent's process id.
    pub(super) above: Pid,
    /// Where the runner follows one that was killed, how far that came.
    pub(super) past: Option<Past>,
}

impl Tie {
    /// Lets the signals through that the parent waits for. Due once the runner catches them.
    ///
    /// # Errors
    /// Fails with the system's reason.
    pub(super) fn listen(&self) -> io::Result<()> {
        Ok(handled().thread_unblock()?)
    }
}

/// How far a job had come when its runner was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Past {
    /// The signal that killed the runner.
    pub(super) signal: Signal,
    /// Whether the kernel did so for want of memory.
    pub(super) is_out_of_memory: bool,
    /// The attempt that this ended, from 1.
    pub(super) attempt: u32,
    /// When the job started, if it had.
    pub(super) started_at: Option<Timestamp>,
    /// The time that its runners have waited for a place since then.
    pub(super) waited: Duration,
}

/// Returns the signals that the parent waits for, in place of being ended by them.
fn handled() -> SigSet {
    [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGPIPE,
        Signal::SIGCHLD,
    ]
    .into_iter()
    .collect()
}

/// Forks a runner, and another one for each that is killed, as long as the job's retry allows.
/// Returns in each runner, and in the parent once the job is over. `counts` is the cgroup that
/// counts memory, where that is not the own one.
///
/// # Errors
/// Fails where not even the first runner can be forked.
pub(super) fn stand_above(
    spec: &JobSpec,
    retry: &Retry,
    port: &Port,
    counts: Option<OwnedFd>,
) -> io::Result<Side> {
    let handled = handled();
    handled.thread_block()?;
    let mut parent = Parent {
        signals: SignalFd::with_flags(&handled, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?,
        cgroup: Cgroup::own(None, counts),
        port,
        retry,
        steps: &spec.steps,
        attempt: 1,
        is_stopping: false,
    };
    let mut past: Option<Past> = None;
    loop {
        let child = match (fork_runner(), past) {
            (Ok(ForkResult::Parent { child }), _) => child,
            (Ok(ForkResult::Child), past) => {
                return Ok(Side::Runner(Tie {
                    above: getppid(),
                    past,
                }));
            }
            (Err(error), None) => return Err(error.into()),
            // How the last runner ended is what there is to say.
            (Err(_), Some(past)) => return Ok(Side::Parent(end_by(past.signal))),
        };
        let signal = match parent.wait(child) {
            End::Exited(status) => return Ok(Side::Parent(status)),
            End::Killed(signal) => signal,
        };
        if let Some(result) = port.own_result() {
            // It had said its last word.
            return Ok(Side::Parent(exit_status(result.record.conclusion)));
        }
        past = parent.next(signal);
        if past.is_none() {
            return Ok(Side::Parent(end_by(signal)));
        }
    }
}

#[expect(
    unsafe_code,
    reason = "fork(2) copies the calling thread only, and this process has no other one yet"
)]
fn fork_runner() -> nix::Result<ForkResult> {
    unsafe { fork() }
}

/// Ends this process by a signal. Returns the exit status for the case that the signal has no
/// effect: in a PID namespace of its own (`PrivatePIDs=`), the kernel spares the first process.
fn end_by(signal: Signal) -> u8 {
    let _ = handled().thread_unblock();
    let _ = raise(signal);
    EXIT_SIGNAL + signal as u8
}

/// How a runner ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Exited(u8),
    Killed(Signal),
}

/// The progress that the runners of a job told.
struct Told {
    /// The last attempt.
    attempt: u32,
    /// When the job started.
    started_at: Option<Timestamp>,
    /// The time that the runners have waited for a place since then.
    waited: Duration,
    /// When the wait began that goes on.
    waits_since: Option<Timestamp>,
    /// The step that had begun and not ended.
    running: Option<usize>,
    /// Whether the job was held after its last attempt.
    is_held: bool,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            attempt: 1,
            started_at: None,
            waited: Duration::ZERO,
            waits_since: None,
            running: None,
            is_held: false,
        }
    }
}

impl Told {
    fn take(&mut self, event: Event, retry: &Retry) {
        match event.event {
            EventKind::JobStarted { .. } => {
                self.end_wait(event.at, Duration::ZERO);
                self.started_at.get_or_insert(event.at);
            }
            EventKind::JobWaiting { .. } => {
                self.end_wait(event.at, Duration::ZERO);
                self.waits_since = Some(event.at);
            }
            EventKind::JobRetried { attempt, .. } => {
                // The runner had its place, and waited as the retry says.
                self.end_wait(event.at, retry.wait_after(attempt.saturating_sub(1)));
                self.attempt = attempt;
                self.running = None;
            }
            // The last one was killed while it waited.
            EventKind::RunnerStarted { .. } => self.end_wait(event.at, Duration::ZERO),
            EventKind::StepStarted { index, .. } => self.running = Some(index),
            EventKind::StepFinished { .. } => self.running = None,
            EventKind::JobHeld { .. } => self.is_held = true,
            _ => {}
        }
    }

    /// Counts the wait for a place that was over this long before `at`. Waits before the job's
    /// start do not count.
    fn end_wait(&mut self, at: Timestamp, before: Duration) {
        if let Some(since) = self.waits_since.take()
            && self.started_at.is_some()
        {
            let wait = Duration::try_from(at.duration_since(since)).unwrap_or_default();
            self.waited += wait.saturating_sub(before);
        }
    }
}

struct Parent<'a> {
    signals: SignalFd,
    cgroup: Cgroup,
    port: &'a Port,
    retry: &'a Retry,
    steps: &'a [StepSpec],
    /// The attempt that the runner is to make.
    attempt: u32,
    /// Whether the job was asked to end.
    is_stopping: bool,
}

impl Parent<'_> {
    /// Waits for the end of the runner, and hands on what comes meanwhile.
    fn wait(&mut self, runner: Pid) -> End {
        loop {
            self.hand_on(Some(runner));
            if let Some(end) = reap(runner) {
                return end;
            }
            let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            // An interrupted poll is followed by a look at everything all the same.
            let _ = poll(&mut fds, PollTimeout::NONE);
        }
    }

    /// Takes in the signals that have come, and hands on those that ask to end. A runner that is
    /// stopped takes no other signal than SIGCONT (signal(7)).
    fn hand_on(&mut self, runner: Option<Pid>) {
        while let Ok(Some(come)) = self.signals.read_signal() {
            let signal = i32::try_from(come.ssi_signo)
                .ok()
                .and_then(|number| Signal::try_from(number).ok());
            let Some(signal @ (Signal::SIGTERM | Signal::SIGINT)) = signal else {
                continue;
            };
            self.is_stopping = true;
            for signal in [signal, Signal::SIGCONT] {
                // It may have ended meanwhile.
                runner.into_iter().for_each(|pid| _ = kill(pid, signal));
            }
        }
    }

    /// Ends all processes that are left of an attempt whose runner was killed by this signal.
    /// Returns the state for the next attempt, or `None` if no further attempt follows.
    fn next(&mut self, signal: Signal) -> Option<Past> {
        let is_out_of_memory = signal == Signal::SIGKILL && self.cgroup.ran_out();
        let told = self.told();
        // A runner that was killed before it reported its attempt has still used up that attempt.
        let attempt = told.attempt.max(self.attempt);
        let is_step_off = told
            .running
            .and_then(|index| self.steps.get(index))
            .is_some_and(|step| step.retry == Setting::Off);
        let is_last = attempt >= self.retry.max_attempts || is_step_off || told.is_held;
        if is_last || !self.may_go_on() || !self.clear() {
            return None;
        }
        self.attempt = attempt + 1;
        self.may_go_on().then_some(Past {
            signal,
            is_out_of_memory,
            attempt,
            started_at: told.started_at,
            waited: told.waited,
        })
    }

    /// Returns the state that the runners reported.
    fn told(&self) -> Told {
        let mut told = Told::default();
        let mut tail = self.port.reported();
        loop {
            // An unreadable file counts as an empty one.
            let news = tail.read().unwrap_or_default();
            for event in news.events {
                told.take(event, self.retry);
            }
            if !news.more {
                told.end_wait(Timestamp::now(), Duration::ZERO);
                return told;
            }
        }
    }

    /// Returns whether nobody has asked the job to end.
    fn may_go_on(&mut self) -> bool {
        self.hand_on(None);
        !self.is_stopping && !self.port.cancellation.is_killed()
    }

    /// Ends all other processes of the job; returns whether none is left.
    fn clear(&self) -> bool {
        let until = Instant::now() + CLEAR_DEADLINE;
        loop {
            match self.cgroup.kill_all() {
                Some(0) => return true,
                Some(_) if Instant::now() < until => thread::sleep(CLEAR_WAIT),
                _ => return false,
            }
        }
    }
}

/// Returns how the runner ended, if it has. Also collects orphaned
/// processes: in a PID namespace of its own, this process is the first.
fn reap(runner: Pid) -> Option<End> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == runner => {
                return Some(End::Exited(u8::try_from(status).unwrap_or(u8::MAX)));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == runner => {
                return Some(End::Killed(signal));
            }
            Ok(WaitStatus::StillAlive) => return None,
            Ok(_) | Err(Errno::EINTR) => {}
            // A signal without a name, or no such child.
            Err(_) => return Some(End::Exited(u8::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_waits_for_a_place_do_not_count_for_the_timeout() {
        let job = || "j".parse().unwrap();
        let waiting = || EventKind::JobWaiting { job: job() };
        let retried = |attempt| EventKind::JobRetried {
            job: job(),
            attempt,
        };
        let runner = || EventKind::RunnerStarted {
            job: job(),
            pid: 1,
            uid: 1,
        };
        let retry: Retry = serde_json::from_value(
            serde_json::json!({ "maxAttempts": 5, "backoff": "constant", "minTime": 2 }),
        )
        .unwrap();
        let mut told = Told::default();
        let mut waited = Vec::new();
        for (at, event) in [
            (0, waiting()),
            (10, EventKind::JobStarted { job: job() }),
            (20, waiting()),
            (27, retried(2)),
            // A retry in the same runner.
            (40, retried(3)),
            (50, waiting()),
            // This one was killed in the queue.
            (53, runner()),
            (53, waiting()),
            (59, retried(4)),
        ] {
            let at = Timestamp::from_second(at).unwrap();
            told.take(Event { at, event }, &retry);
            waited.push(told.waited.as_secs());
        }
        assert_eq!(waited, [0, 0, 0, 5, 5, 5, 8, 8, 12]);
        assert_eq!(told.started_at, Some(Timestamp::from_second(10).unwrap()));
    }
}
