//! Limits on jobs at once that no systemd counts: each running job holds one of N file locks
//! (flock(2)). Those are `maxParallel` on a systemd before 258, and the limit on the jobs of all
//! runs of a state directory.
//!
//! systemd opens the directory of the locks before it builds the sandbox, and hands it to the
//! runner as standard input, or as descriptor [`SLOTS_FD`]. The runner takes it from there at once,
//! so no step inherits it; and no step finds the directory by a path, or in what the runner has
//! open.
//!
//! The kernel releases a lock when its holder dies, however it dies. One more lock is the queue:
//! only its holder looks for a free slot. So the end of one job does not wake up a thousand waiting
//! ones.

use std::{
    fs::File,
    io::{self, PipeWriter, Read},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
    unistd::close,
};

use rustix::stdio::dup2_stdin;
use sd_notify::NotifyState;

use super::{
    parent::{self, Ask},
    signals::Signals,
};
use crate::{paths::SlotPaths, spec::SLOTS_FD};

/// The longest sleep of a waiting job before it looks again, in milliseconds, in case it missed a
/// notification.
const LOOK_AGAIN: u16 = 2000;
/// The status of the unit of a job that waits (`systemctl status`).
const WAITS: &str = "waiting for a place among the jobs that run at once";

/// The directory of the locks.
#[derive(Debug)]
pub struct Slots(OwnedFd);

impl Slots {
    /// Takes over what systemd handed the runner, as standard input or beside it.
    ///
    /// # Errors
    /// Fails where that is not a directory.
    pub fn take(beside_input: bool) -> io::Result<Self> {
        let directory: OwnedFd = if beside_input {
            let directory = File::open(format!("/proc/self/fd/{SLOTS_FD}"))?;
            close(SLOTS_FD)?;
            directory.into()
        } else {
            let directory = io::stdin().as_fd().try_clone_to_owned()?;
            dup2_stdin(File::open("/dev/null")?)?;
            directory
        };
        if File::from(directory.try_clone()?).metadata()?.is_dir() {
            Ok(Self(directory))
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        }
    }

    /// Returns where the runner, and nobody else, finds the locks.
    pub fn paths(&self) -> SlotPaths {
        SlotPaths::at(format!("/proc/self/fd/{}", self.0.as_raw_fd()).into())
    }
}

/// Keeps PID 1 from taking the wait for a slot for a start that hangs (sd_notify(3),
/// `EXTEND_TIMEOUT_USEC=`), and tells PID 1 of the wait. The job's timeout begins when the job has
/// its slot.
#[derive(Debug)]
pub struct Patience {
    /// PID 1's time limit for a start; `None` if there is none.
    limit: Option<Duration>,
    /// The way to the process above, where there is one: PID 1 listens to that only.
    above: Option<PipeWriter>,
    told: Instant,
    waited: bool,
}

impl Patience {
    /// Returns the patience of PID 1 with a start that has just begun. `above` is the way to the
    /// process above, where there is one.
    pub fn new(limit: Option<Duration>, above: Option<PipeWriter>) -> Self {
        Self {
            limit,
            above,
            told: Instant::now(),
            waited: false,
        }
    }

    /// Asks for more time before the limit, while the job waits.
    fn renew(&mut self) {
        if !self.waited {
            self.waited = true;
            self.tell(Ask::Waits);
        }
        if self
            .limit
            .is_some_and(|limit| self.told.elapsed() > limit / 4)
        {
            self.ask();
        }
    }

    /// Asks for the whole time again after a wait. Returns whether there was a wait.
    pub fn end(mut self) -> bool {
        if self.waited {
            self.ask();
            self.tell(Ask::Begins);
        }
        self.waited
    }

    fn ask(&mut self) {
        if self.limit.is_some() {
            self.tell(Ask::Time);
            self.told = Instant::now();
        }
    }

    fn tell(&self, what: Ask) {
        match &self.above {
            Some(above) => parent::ask(above, what),
            None => tell(what, self.limit),
        }
    }
}

/// Tells PID 1 that the job waits or begins, or asks it for the whole time from now on.
pub fn tell(what: Ask, limit: Option<Duration>) {
    let state = match (what, limit) {
        (Ask::Time, None) => return,
        (Ask::Time, Some(limit)) => {
            NotifyState::Custom(&format!("EXTEND_TIMEOUT_USEC={}", limit.as_micros()))
        }
        (Ask::Waits, _) => NotifyState::Status(WAITS),
        (Ask::Begins, _) => NotifyState::Status(""),
    };
    // Without an answer PID 1 may end the job too early. It then reports a timeout.
    let _ = sd_notify::notify(&[state]);
}

/// A slot, held until this is dropped.
#[derive(Debug)]
pub struct Slot(#[expect(dead_code, reason = "held for its lock")] Flock<File>);

/// Waits for a slot. Returns `None` if the job is asked to end in the meantime. Calls `waits` when
/// the wait begins, and perhaps again.
///
/// # Errors
/// Fails with the system's reason.
pub fn acquire(
    slots: &Path,
    count: u32,
    signals: &mut Signals,
    patience: &mut Patience,
    mut waits: impl FnMut(),
) -> io::Result<Option<Slot>> {
    let queue = slots.join("queue");
    let Some(_queue) = wait_in_queue(&queue, signals, patience, &mut waits)? else {
        return Ok(None);
    };
    // Each slot's file is opened only once: closing it would look like the end of its holder to the
    // watch.
    let mut files = Vec::new();
    for number in 0..count {
        match try_lock(File::open(slots.join(number.to_string()))?)? {
            Ok(slot) => return Ok(Some(slot)),
            Err(file) => files.push(file),
        }
    }
    waits();
    patience.renew();
    let watch = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    for number in 0..count {
        watch.add_watch(
            &slots.join(number.to_string()),
            AddWatchFlags::IN_CLOSE_NOWRITE,
        )?;
    }
    loop {
        let mut busy = Vec::with_capacity(files.len());
        for file in files {
            match try_lock(file)? {
                Ok(slot) => return Ok(Some(slot)),
                Err(file) => busy.push(file),
            }
        }
        files = busy;
        if sleep(watch.as_fd(), signals, patience)? {
            return Ok(None);
        }
        // Drops the notifications, since the next round checks every slot.
        let _ = watch.read_events();
    }
}

/// Takes a slot's lock, or returns the file if another job holds the lock.
fn try_lock(file: File) -> io::Result<Result<Slot, File>> {
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Ok(Slot(lock))),
        Err((file, Errno::EWOULDBLOCK)) => Ok(Err(file)),
        Err((_, error)) => Err(error.into()),
    }
}

/// Waits for the queue's lock. A blocking flock(2) is first come, first served, and wakes only one
/// waiter, but it cannot be polled beside signals. So a thread waits for it and reports through a
/// pipe.
fn wait_in_queue(
    path: &Path,
    signals: &mut Signals,
    patience: &mut Patience,
    waits: &mut impl FnMut(),
) -> io::Result<Option<Flock<File>>> {
    let file = match Flock::lock(File::open(path)?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => return Ok(Some(lock)),
        Err((file, Errno::EWOULDBLOCK)) => file,
        Err((_, error)) => return Err(error.into()),
    };
    waits();
    let (mut told, teller) = io::pipe()?;
    let waiter = std::thread::Builder::new()
        .stack_size(64 << 10)
        .spawn(move || {
            let lock = Flock::lock(file, FlockArg::LockExclusive);
            drop(teller);
            lock
        })?;
    loop {
        // After a cancellation the process ends soon, and the thread with it.
        if sleep(told.as_fd(), signals, patience)? {
            return Ok(None);
        }
        let mut fds = [PollFd::new(told.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::ZERO)? > 0 {
            told.read_to_end(&mut Vec::new())?;
            let lock = waiter
                .join()
                .map_err(|_| io::Error::other("the thread that waits in the queue panicked"))?;
            return lock.map(Some).map_err(|(_, error)| error.into());
        }
    }
}

/// Sleeps until there is something to read, a signal comes, or it is time to look again. Returns
/// whether the job was cancelled.
fn sleep(fd: BorrowedFd<'_>, signals: &mut Signals, patience: &mut Patience) -> io::Result<bool> {
    if signals.cancelled() {
        return Ok(true);
    }
    patience.renew();
    let mut fds = [
        PollFd::new(fd, PollFlags::POLLIN),
        PollFd::new(signals.fd(), PollFlags::POLLIN),
    ];
    match poll(&mut fds, PollTimeout::from(LOOK_AGAIN)) {
        Ok(_) | Err(Errno::EINTR) => Ok(signals.cancelled()),
        Err(error) => Err(error.into()),
    }
}
