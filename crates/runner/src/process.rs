//! Runs one process of a step, takes its output, and ends it in time.
//!
//! A single thread polls the pipes and the signals. Every wait has a deadline.

use std::{
    cell::RefCell,
    collections::HashSet,
    io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::{Command, Stdio},
    rc::Rc,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{Signal, killpg},
        stat::{Mode, umask},
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::Pid,
};

use super::{
    cgroup::Cgroup,
    commands::{Commands, Stopped},
    interleave::{self, Order, PUMPS},
    journal::{Journal, Priority},
    masks::Masks,
    not_started::not_started,
    output::{Kept, Sink, Stream},
    port::Cancellation,
    signals::Signals,
    stop::{Ask, Limits, Stop, Stopping},
};
use crate::reason::Reason;

/// The time between two checks of the run's kill flag while a step runs.
const FLAG_INTERVAL: Duration = Duration::from_secs(1);

/// A child of another thread, which waits for it. While a child is started, the lock is held.
pub(super) static UNREAPED: Mutex<Option<i32>> = Mutex::new(None);

/// The umask of the runner itself: other users must be able to read its files, whatever the unit's
/// umask is.
const OWN_UMASK: Mode = Mode::S_IWGRP.union(Mode::S_IWOTH);

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this status.
    Exited(i32),
    /// A signal ended it. The flag tells whether it dumped core.
    Signaled(Signal, bool),
    /// The kernel killed it, or another process of the job, for want of memory.
    OutOfMemory,
    /// It could not be started.
    NotStarted(String),
}

impl From<Ended> for Reason {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Exited(status) => Self::Exit { status },
            Ended::Signaled(signal, core) => Self::Signal {
                signal: signal.to_string(),
                core,
            },
            Ended::OutOfMemory => Self::OutOfMemory,
            Ended::NotStarted(why) => Self::NotStarted { why },
        }
    }
}

/// The state that all processes of a job share.
pub struct Processes {
    /// The runner's signals.
    pub signals: Signals,
    /// The job's cgroup.
    pub cgroup: Cgroup,
    /// The journal for output lines.
    pub journal: Journal,
    /// The workflow commands of steps.
    pub commands: Commands,
    /// The masks that a job and its services share.
    pub masks: Masks,
    /// Whether the run was killed. No further process is started then.
    pub killed: bool,
    /// Whether the unit goes on when the kernel kills one of its processes for want of memory.
    pub goes_on_out_of_memory: bool,
    streams: Vec<Stream>,
    /// Reports the streams with data. It is made with the first stream.
    order: Option<Order>,
    /// The requests to end the job. A service has none.
    cancellation: Option<Cancellation>,
    /// The umask of the unit, for the steps.
    umask: Mode,
}

impl Processes {
    /// Takes the runner's signals, cgroup and journal, and keeps the unit's umask for the steps.
    pub fn new(
        signals: Signals,
        cgroup: Cgroup,
        journal: Journal,
        cancellation: Option<Cancellation>,
    ) -> Self {
        Self {
            signals,
            cgroup,
            journal,
            commands: Commands::default(),
            masks: Masks::default(),
            killed: false,
            goes_on_out_of_memory: false,
            streams: Vec::new(),
            order: None,
            cancellation,
            umask: umask(OWN_UMASK),
        }
    }

    fn look_for_kill(&mut self) {
        self.killed |= self
            .cancellation
            .as_ref()
            .is_some_and(Cancellation::is_killed);
    }

    /// Runs a command to its end, in its own process group. Its output goes to the journal under
    /// this step and attempt.
    pub fn run(
        &mut self,
        command: &mut Command,
        step: Option<(&str, u32)>,
        limits: Limits,
    ) -> (Ended, Stop) {
        if let Some((name, attempt)) = step {
            self.commands.begin(name, attempt);
        }
        let [of_out, of_err] =
            ["stdout", "stderr"].map(|name| self.journal.stream_fields(step, name));
        let streams = |out, err| {
            let stopped = Stopped::default();
            [
                Stream::new(out, of_out, Priority::Info, stopped.clone()),
                Stream::new(err, of_err, Priority::Notice, stopped),
            ]
        };
        self.run_to(command, limits, streams).0
    }

    /// Runs a command to its end like [`Self::run`], but keeps its standard output and error.
    /// Leaves no process of its process group.
    pub fn keep(
        &mut self,
        command: &mut Command,
        limits: Limits,
        kept: [&Rc<RefCell<Kept>>; 2],
    ) -> (Ended, Stop) {
        let [out, err] = kept.map(Rc::clone);
        let (ended, child) = self.run_to(command, limits, |out_pipe, err_pipe| {
            [Stream::kept(out_pipe, out), Stream::kept(err_pipe, err)]
        });
        if let Some(group) = child {
            // This fails if the group has ended, as is usual.
            let _ = killpg(group, Signal::SIGKILL);
        }
        // Processes that still hold the command's pipes have no reader any more.
        self.streams.retain(Stream::is_shown);
        ended
    }

    fn run_to(
        &mut self,
        command: &mut Command,
        limits: Limits,
        streams: impl FnOnce(io::PipeReader, io::PipeReader) -> [Stream; 2],
    ) -> ((Ended, Stop), Option<Pid>) {
        let spared = if self.streams.is_empty() {
            HashSet::new()
        } else {
            self.cgroup.others()
        };
        let child = match self.spawn(command, streams) {
            Ok(child) => child,
            Err(error) => {
                return (
                    (Ended::NotStarted(not_started(command, &error)), Stop::Not),
                    None,
                );
            }
        };
        if self.goes_on_out_of_memory {
            // The kernel may have killed a process of an earlier step, which says nothing of this.
            self.cgroup.ran_out();
        }
        let mut stopping = Stopping {
            group: child,
            stop: Stop::Not,
            next: None,
        };
        let mut flag_at = Instant::now() + FLAG_INTERVAL;
        let status = loop {
            let now = Instant::now();
            if now >= flag_at {
                flag_at = now + FLAG_INTERVAL;
                self.look_for_kill();
            }
            let ask = if self.killed {
                Ask::Kill
            } else {
                Ask::cancel_if(self.signals.cancelled)
            };
            stopping.advance(now, &limits, ask, &self.cgroup, &spared);
            if let Some(status) = reap(child) {
                break status;
            }
            self.wait(stopping.wake(&limits).map_or(flag_at, |at| at.min(flag_at)));
        };
        if stopping.stop != Stop::Not {
            self.cgroup.kill_others(&spared);
        }
        let is_by_others = self.killed || self.goes_on_out_of_memory;
        let ended = with_memory(status, stopping.stop, is_by_others, || {
            self.cgroup.ran_out()
        });
        self.drain();
        (ended, Some(child))
    }

    /// Waits, unless the job must end before that. Meanwhile it takes the output of processes that
    /// earlier steps left behind.
    pub fn sleep(&mut self, duration: Duration, limits: &Limits) -> Stop {
        let until = Instant::now() + duration;
        loop {
            let now = Instant::now();
            self.look_for_kill();
            match () {
                () if self.killed || self.signals.cancelled() && limits.cleanup.is_none() => {
                    return Stop::Cancelled;
                }
                () if limits.cleanup.is_some_and(|at| now >= at) => return Stop::CleanupOver,
                () if limits.job.is_some_and(|at| now >= at) => return Stop::JobTimeout,
                () if now >= until => return Stop::Not,
                () => {}
            }
            let next = [Some(until), limits.job, limits.cleanup]
                .into_iter()
                .flatten()
                .min()
                .unwrap_or(until);
            self.wait(next.min(now + FLAG_INTERVAL));
        }
    }

    /// Ends all remaining processes of the job and takes their last lines.
    pub fn finish(&mut self) {
        // Also ends processes that closed their output: no process of the job may outlive the
        // runner.
        self.cgroup.kill_others(&HashSet::new());
        self.drain();
        let mut sink = Sink {
            journal: &mut self.journal,
            commands: &mut self.commands,
        };
        for stream in &mut self.streams {
            stream.finish(&mut sink);
        }
        self.streams.clear();
    }

    fn spawn(
        &mut self,
        command: &mut Command,
        streams: impl FnOnce(io::PipeReader, io::PipeReader) -> [Stream; 2],
    ) -> io::Result<Pid> {
        // From here on, the process may tell a service a secret.
        self.masks.tell(&self.journal.masker, &mut self.signals)?;
        let (out, out_writer) = io::pipe()?;
        let (err, err_writer) = io::pipe()?;
        for pipe in [&out, &err] {
            fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        // Added before the child can write. Otherwise the order of its first lines would be
        // unknown.
        let order = match &mut self.order {
            Some(order) => order,
            none => none.insert(Order::new()?),
        };
        let [out, err] = streams(out, err);
        let streams = [order.add(out)?, order.add(err)?];
        command
            .stdout(OwnedFd::from(out_writer))
            .stderr(OwnedFd::from(err_writer))
            .process_group(0);
        umask(self.umask);
        let child = command.spawn();
        umask(OWN_UMASK);
        // The command holds the writing ends of the pipes. Dropping them here lets the pipes close.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = child?;
        self.streams.extend(streams);
        Ok(Pid::from_raw(
            i32::try_from(child.id()).map_err(io::Error::other)?,
        ))
    }

    /// Waits until output, a signal, or the given time.
    fn wait(&mut self, until: Instant) {
        let timeout = until
            .saturating_duration_since(Instant::now())
            .as_millis()
            .saturating_add(1);
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        let mut fds = vec![PollFd::new(self.signals.fd(), PollFlags::POLLIN)];
        fds.extend(
            self.order
                .iter()
                .map(|order| PollFd::new(order.fd(), PollFlags::POLLIN)),
        );
        let masks = self.masks.fd();
        fds.extend(masks.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        // An interrupted or failed poll does no harm, since everything is checked afterwards.
        let _ = poll(&mut fds, timeout);
        self.signals.read();
        self.listen();
    }

    /// Takes the data that the pipes hold now, but no more than they can hold: a remaining process
    /// may write for ever.
    fn drain(&mut self) {
        for _ in 0..PUMPS {
            if !self.listen() {
                break;
            }
        }
    }

    /// Takes some of the data in the pipes. Returns whether there was any.
    fn listen(&mut self) -> bool {
        // The masks come first: the service may print a secret that the job has just told.
        self.masks.take_in(&mut self.journal.masker);
        let Some(order) = &self.order else {
            return false;
        };
        let mut sink = Sink {
            journal: &mut self.journal,
            commands: &mut self.commands,
        };
        let heard = interleave::listen(&mut self.streams, order, &mut sink);
        self.streams.retain(Stream::is_open);
        // A service that has not taken the masks takes none later. No other process starts.
        if !self.masks.have_failed()
            && let Err(error) = self.masks.tell(&self.journal.masker, &mut self.signals)
        {
            self.journal.note(&error.to_string(), Priority::Warning);
        }
        heard
    }
}

/// Returns how a process ended, given whether the kernel has killed one of the job's for want of
/// memory meanwhile. `is_by_others` tells that systemd does not ask the runner to end for that.
fn with_memory(
    status: Ended,
    stop: Stop,
    is_by_others: bool,
    mut ran_out: impl FnMut() -> bool,
) -> (Ended, Stop) {
    let is_killed = matches!(status, Ended::Signaled(Signal::SIGKILL, _));
    match stop {
        Stop::Not if is_killed && ran_out() => (Ended::OutOfMemory, stop),
        // systemd notices the kill and asks the runner to end, like everybody who stops the unit.
        Stop::Cancelled if !is_by_others && ran_out() => (status, Stop::OutOfMemory),
        _ => (status, stop),
    }
}

/// Takes in the ends of processes whose parents have ended, where this is the first process of a
/// PID namespace (pid_namespaces(7)). Elsewhere PID 1 does so.
fn reap_orphans(child: Pid) {
    if Pid::this() != Pid::from_raw(1) {
        return;
    }
    let unreaped = UNREAPED.lock().unwrap_or_else(PoisonError::into_inner);
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while let Ok(status) = waitid(Id::All, look)
        && let Some(pid) = status
            .pid()
            .filter(|pid| *pid != child && Some(pid.as_raw()) != *unreaped)
    {
        // Nothing reads its status.
        let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
    }
}

/// Returns how the child ended, if it has ended.
fn reap(child: Pid) -> Option<Ended> {
    reap_orphans(child);
    loop {
        return match waitpid(child, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => Some(Ended::Exited(code)),
            Ok(WaitStatus::Signaled(_, signal, core)) => Some(Ended::Signaled(signal, core)),
            Ok(_) => None,
            Err(Errno::EINTR) => continue,
            // There is no such child: only a bug can have reaped it elsewhere. Report this rather
            // than wait for ever.
            Err(_) => Some(Ended::NotStarted("the runner missed its end".to_owned())),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ran_out_of_memory_was_not_cancelled() {
        let killed = || Ended::Signaled(Signal::SIGKILL, false);
        let interrupted = || Ended::Signaled(Signal::SIGINT, false);
        for (status, stop, is_by_others, ran_out, expected) in [
            (
                killed(),
                Stop::Not,
                false,
                true,
                (Ended::OutOfMemory, Stop::Not),
            ),
            (killed(), Stop::Not, false, false, (killed(), Stop::Not)),
            (
                Ended::Exited(1),
                Stop::Not,
                false,
                true,
                (Ended::Exited(1), Stop::Not),
            ),
            (
                interrupted(),
                Stop::Cancelled,
                false,
                true,
                (interrupted(), Stop::OutOfMemory),
            ),
            (
                interrupted(),
                Stop::Cancelled,
                false,
                false,
                (interrupted(), Stop::Cancelled),
            ),
            (
                killed(),
                Stop::Cancelled,
                true,
                true,
                (killed(), Stop::Cancelled),
            ),
            (
                killed(),
                Stop::StepTimeout,
                false,
                true,
                (killed(), Stop::StepTimeout),
            ),
        ] {
            let found = with_memory(status, stop, is_by_others, || ran_out);
            assert_eq!(found, expected);
        }
    }
}
