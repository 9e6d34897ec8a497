//! The limits on jobs at once that systemd does not count itself: each running job holds one of N
//! file locks (flock(2)). These limits are `maxParallel` on a systemd before 258, and the limit on
//! the jobs of all runs of a state directory.
//!
//! systemd opens the directory of the locks before it builds the sandbox, and hands it to the
//! runner as standard input, or as descriptor [`HANDED_FD`]. The runner takes it from there at
//! once, so no step inherits it; and no step finds the directory by a path, or in what the runner
//! has open. A service's runner gets the directory of its job's masks in the same way.
//!
//! The kernel releases a lock when its holder dies, however it dies. One more lock is the queue:
//! only its holder looks for a free slot. So the end of one job does not wake up a thousand waiting
//! ones.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
    unistd::close,
};

use rustix::stdio::dup2_stdin;

use super::signals::Signals;
use crate::{paths::SlotPaths, spec::HANDED_FD};

/// The longest sleep of a waiting job before it looks again, in milliseconds, in case it missed a
/// notification.
const LOOK_AGAIN: u16 = 2000;

/// The directory of the locks.
#[derive(Debug)]
pub struct Slots(OwnedFd);

impl Slots {
    /// Takes over what systemd handed the runner, as standard input or beside it.
    ///
    /// # Errors
    /// Fails where that is not a directory.
    pub fn take(beside_input: bool) -> io::Result<Self> {
        handed_directory(beside_input).map(Self)
    }

    /// Returns where the runner, and nobody else, finds the locks.
    pub fn paths(&self) -> SlotPaths {
        SlotPaths::at(format!("/proc/self/fd/{}", self.0.as_raw_fd()).into())
    }
}

/// Takes over the directory that systemd handed the runner, as standard input or beside it. No step
/// inherits it.
///
/// # Errors
/// Fails where that is not a directory.
pub(super) fn handed_directory(beside_input: bool) -> io::Result<OwnedFd> {
    let directory: OwnedFd = if beside_input {
        let directory = File::open(format!("/proc/self/fd/{HANDED_FD}"))?;
        close(HANDED_FD)?;
        directory.into()
    } else {
        let directory = io::stdin().as_fd().try_clone_to_owned()?;
        dup2_stdin(File::open("/dev/null")?)?;
        directory
    };
    if File::from(directory.try_clone()?).metadata()?.is_dir() {
        Ok(directory)
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    }
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
    mut waits: impl FnMut(),
) -> io::Result<Option<Slot>> {
    let queue = slots.join("queue");
    let Some(_queue) = wait_in_queue(&queue, signals, &mut waits)? else {
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
    let watch = watch(slots, count);
    loop {
        let mut busy = Vec::with_capacity(files.len());
        for file in files {
            match try_lock(file)? {
                Ok(slot) => return Ok(Some(slot)),
                Err(file) => busy.push(file),
            }
        }
        files = busy;
        if sleep(watch.as_ref().map(AsFd::as_fd), signals)? {
            return Ok(None);
        }
        // Drops the notifications, since the next round checks every slot.
        let _ = watch.as_ref().map(Inotify::read_events);
    }
}

/// Returns a watch of the slots' files, or none if the kernel refuses it: it gives each user 128
/// by default (`fs.inotify.max_user_instances`, inotify(7)). Without it, the job looks again every
/// [`LOOK_AGAIN`].
fn watch(slots: &Path, count: u32) -> Option<Inotify> {
    let watch = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok()?;
    for number in 0..count {
        let file = slots.join(number.to_string());
        watch
            .add_watch(&file, AddWatchFlags::IN_CLOSE_NOWRITE)
            .ok()?;
    }
    Some(watch)
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
        if sleep(Some(told.as_fd()), signals)? {
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
fn sleep(fd: Option<BorrowedFd<'_>>, signals: &mut Signals) -> io::Result<bool> {
    if signals.cancelled() {
        return Ok(true);
    }
    let fds = [Some(signals.fd()), fd].into_iter().flatten();
    let mut fds: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    match poll(&mut fds, PollTimeout::from(LOOK_AGAIN)) {
        Ok(_) | Err(Errno::EINTR) => Ok(signals.cancelled()),
        Err(error) => Err(error.into()),
    }
}
