//! Whether somebody looks after a run, asked of the kernel rather than of a bus: its supervisor
//! holds a lock for as long as it lives, also in a namespace of its own, and cannot fail to give it
//! back. The client that starts the run holds another one until the run goes on.
//!
//! The lock is one of an open file description (fcntl_locking(2)), which, unlike that of flock(2),
//! can be asked for without being taken.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    libc,
};

use super::{RunDir, StoreError};

/// For how long after a run's last event its supervisor may just be being restarted.
const RESTART: Duration = Duration::from_secs(10);

/// For how long after it was made a run may wait for its first supervisor: a large source tree is
/// copied before.
const START: Duration = Duration::from_secs(600);

/// What a run directory without a final record tells of its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// There is a final record.
    Finished,
    /// It goes on, as far as can be told.
    Running,
    /// It was never started: it has no spec, and no client starts it.
    Incomplete,
    /// Its supervisor is gone and left no record.
    Lost,
}

/// A lock on a run, of its supervisor or of a client; held until it is dropped.
#[derive(Debug)]
pub struct RunLock(File);

impl RunLock {
    /// Turns the lock of a client that starts the run into one of a client that follows it, of
    /// which there may be several.
    ///
    /// # Errors
    /// Fails with the system's reason.
    pub fn share(self) -> io::Result<Self> {
        fcntl(&self.0, FcntlArg::F_OFD_SETLK(&lock_of(libc::F_RDLCK)))?;
        Ok(self)
    }
}

/// The names of their files in the run's directory.
const SUPERVISOR: &str = "supervisor.lock";
const CLIENT: &str = "start.lock";

impl RunDir {
    /// Becomes the run's one supervisor; `None` where it has one.
    ///
    /// # Errors
    /// Fails with the path and the system's reason.
    pub fn lock_supervisor(&self) -> Result<Option<RunLock>, StoreError> {
        self.lock(SUPERVISOR)
    }

    /// Becomes the one client that starts the run, or that removes it; `None` where there is one.
    ///
    /// # Errors
    /// Fails with the path and the system's reason.
    pub fn lock_start(&self) -> Result<Option<RunLock>, StoreError> {
        self.lock(CLIENT)
    }

    /// Keeps the run from being removed while a client follows it. `None` where it is being started
    /// or removed, or cannot be locked.
    pub fn lock_follower(&self) -> Option<RunLock> {
        let file = File::open(self.path().join(CLIENT)).ok()?;
        RunLock(file).share().ok()
    }

    fn lock(&self, name: &str) -> Result<Option<RunLock>, StoreError> {
        let path = self.path().join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        let file = file.map_err(|source| StoreError::io("open", &path, source))?;
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&write_lock())) {
            Ok(_) => Ok(Some(RunLock(file))),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
            Err(errno) => Err(StoreError::io("lock", &path, errno.into())),
        }
    }

    /// Returns whether a supervisor holds the run's lock; `None` where the run never had one that
    /// took it.
    pub fn is_supervised(&self) -> Option<bool> {
        Some(self.held(SUPERVISOR)? != libc::F_UNLCK)
    }

    /// Returns whether a client is starting the run.
    fn is_being_started(&self) -> bool {
        self.held(CLIENT) == Some(libc::F_WRLCK)
    }

    /// Returns the type of the lock on a file that keeps others from having it alone.
    fn held(&self, name: &str) -> Option<i32> {
        let file = File::open(self.path().join(name)).ok()?;
        let mut lock = write_lock();
        fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock)).ok()?;
        Some(i32::from(lock.l_type))
    }

    /// Returns what the directory tells of the run: a client that starts it, a supervisor that
    /// holds its lock, or events that are younger than the machine's start.
    pub fn liveness(&self) -> Liveness {
        match self.liveness_without_client() {
            Liveness::Finished => Liveness::Finished,
            _ if self.is_being_started() => Liveness::Running,
            other => other,
        }
    }

    /// As [`Self::liveness`], of a run that no client is starting.
    pub(super) fn liveness_without_client(&self) -> Liveness {
        if self.record().exists() {
            return Liveness::Finished;
        }
        if !self.spec().exists() {
            return Liveness::Incomplete;
        }
        match (self.is_supervised(), self.age()) {
            (Some(true), _) => Liveness::Running,
            _ if self.is_of_an_earlier_boot() => Liveness::Lost,
            (Some(false), Some(age)) if age > RESTART => Liveness::Lost,
            // The client was killed before it started one, or systemd stopped it before it could
            // write a line.
            (None, Some(age)) if age > START => Liveness::Lost,
            (Some(false) | None, _) => Liveness::Running,
        }
    }

    /// Returns when the run ended, or when something was last heard of it.
    pub(super) fn ended(&self) -> Option<Timestamp> {
        let record = self.load_record().ok();
        let said = record.and_then(|record| record.finished_at);
        // A job may have said that it ended in a future that never comes.
        let said = said.filter(|end| *end <= Timestamp::now());
        said.or_else(|| {
            let age = jiff::SignedDuration::try_from(self.age()?).ok()?;
            Timestamp::now().checked_sub(age).ok()
        })
    }

    /// Returns whether the machine was started since anything was last heard of the run.
    pub(super) fn is_of_an_earlier_boot(&self) -> bool {
        self.age().zip(booted()).is_some_and(|(age, up)| age > up)
    }

    /// Returns how long ago something was last heard of the run.
    fn age(&self) -> Option<Duration> {
        let modified = |path| {
            std::fs::metadata(path)
                .and_then(|meta| meta.modified())
                .ok()
        };
        let last = modified(self.events())
            .or_else(|| modified(self.spec()))
            .or_else(|| modified(self.path().to_owned()))?;
        SystemTime::now().duration_since(last).ok()
    }
}

/// Returns a lock of a whole file for one holder.
pub(super) fn write_lock() -> libc::flock {
    lock_of(libc::F_WRLCK)
}

fn lock_of(kind: i32) -> libc::flock {
    libc::flock {
        l_type: i16::try_from(kind).expect("invariant: a lock type is small"),
        l_whence: i16::try_from(libc::SEEK_SET).expect("invariant: a whence is small"),
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Returns how long ago the kernel started (proc_uptime(5)).
fn booted() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    Duration::try_from_secs_f64(text.split(' ').next()?.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StateDir;

    fn run() -> (tempfile::TempDir, RunDir) {
        let dir = tempfile::tempdir().unwrap();
        let run = StateDir::create(dir.path())
            .unwrap()
            .create_run(&"ci".parse().unwrap())
            .unwrap();
        (dir, run)
    }

    #[test]
    fn one_supervisor_at_a_time() {
        let (_dir, run) = run();
        assert_eq!(run.is_supervised(), None);
        let lock = run.lock_supervisor().unwrap();
        assert!(lock.is_some());
        assert_eq!(run.is_supervised(), Some(true));
        assert!(run.lock_supervisor().unwrap().is_none(), "a second one");
        drop(lock);
        assert_eq!(run.is_supervised(), Some(false));
        assert!(run.lock_supervisor().unwrap().is_some());
    }

    #[test]
    fn a_run_that_a_client_starts_is_neither_incomplete_nor_lost() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(dir.path()).unwrap();
        let (run, lock) = state.begin_run(&"ci".parse().unwrap(), 0).unwrap();
        assert_eq!(run.liveness(), Liveness::Running);
        assert!(!state.remove(&run, true).unwrap());
        let lock = lock.share().unwrap();
        assert_eq!(run.liveness(), Liveness::Incomplete);
        let other = run.lock_follower();
        drop(lock);
        assert!(!state.remove(&run, false).unwrap(), "it is followed");
        drop(other);
        assert!(state.remove(&run, false).unwrap());
        assert!(!run.path().exists());
    }

    #[test]
    fn a_run_whose_supervisor_is_gone_for_long_is_lost() {
        let (_dir, run) = run();
        assert_eq!(run.liveness(), Liveness::Incomplete);
        std::fs::write(run.spec(), "{}").unwrap();
        std::fs::write(run.events(), "").unwrap();
        assert_eq!(
            run.liveness(),
            Liveness::Running,
            "a supervisor is still to come"
        );
        let lock = run.lock_supervisor().unwrap();
        assert_eq!(run.liveness(), Liveness::Running);
        drop(lock);
        assert_eq!(
            run.liveness(),
            Liveness::Running,
            "it may be being restarted"
        );
        let old = SystemTime::now() - RESTART * 2;
        File::options()
            .write(true)
            .open(run.events())
            .unwrap()
            .set_modified(old)
            .unwrap();
        assert_eq!(run.liveness(), Liveness::Lost);
        std::fs::write(run.record(), "{}").unwrap();
        assert_eq!(run.liveness(), Liveness::Finished);
    }

    #[test]
    fn a_run_that_never_got_a_supervisor_is_lost_in_the_end() {
        let (_dir, run) = run();
        std::fs::write(run.spec(), "{}").unwrap();
        std::fs::write(run.events(), "").unwrap();
        let set = |age| {
            File::options()
                .write(true)
                .open(run.events())
                .unwrap()
                .set_modified(SystemTime::now() - age)
                .unwrap()
        };
        set(START / 2);
        assert_eq!(run.liveness(), Liveness::Running, "one is still to come");
        set(START * 2);
        assert_eq!(run.liveness(), Liveness::Lost);
    }

    #[test]
    fn no_run_survives_the_machine() {
        let (_dir, run) = run();
        std::fs::write(run.spec(), "{}").unwrap();
        std::fs::write(run.events(), "").unwrap();
        File::options()
            .write(true)
            .open(run.events())
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH)
            .unwrap();
        assert_eq!(run.liveness(), Liveness::Lost);
    }
}
