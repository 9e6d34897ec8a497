//! Tells whether a run is alive, by locks instead of a bus. A supervisor holds a lock as long as it
//! lives, also in a namespace of its own, and the kernel always releases the lock. The client that
//! starts a run holds another lock until the run goes on.

use std::{
    fs::File,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;

use super::{
    RunDir, StoreError,
    lock::{self, Held},
    run_lock::{RunLock, boot_id},
};

/// The longest time after a run's last event in which systemd may still be restarting the
/// supervisor.
const RESTART: Duration = Duration::from_secs(10);

/// The longest time after a run's creation in which its first supervisor may still start, once no
/// client is starting the run: systemd may be busy. When the time is over, systemd is asked before
/// the run is closed.
const START: Duration = Duration::from_secs(60);

/// The longest time by which a clock may have been set back so that the times of files still tell
/// something.
const SET_BACK: Duration = Duration::from_secs(600);

/// The state of a run, as far as its directory shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// The final record exists.
    Finished,
    /// The run goes on, as far as the directory shows.
    Running,
    /// The run never started: it has no spec, and no client is starting it.
    Incomplete,
    /// The supervisor is gone and left no record.
    Lost,
}

/// The names of the lock files in the run's directory.
const SUPERVISOR: &str = "supervisor.lock";
const CLIENT: &str = "start.lock";

impl RunDir {
    /// Takes the lock of the run's only supervisor. Returns `None` if the run has a supervisor.
    ///
    /// # Errors
    /// Fails with the path and the system's error.
    pub fn lock_supervisor(&self) -> Result<Option<RunLock>, StoreError> {
        self.lock(SUPERVISOR)
    }

    /// Takes the lock of the only client that starts or removes the run. Returns `None` if another
    /// client holds it.
    ///
    /// # Errors
    /// Fails with the path and the system's error.
    pub fn lock_start(&self) -> Result<Option<RunLock>, StoreError> {
        self.lock(CLIENT)
    }

    /// Protects the run from removal while a client follows it. Returns `None` if another client is
    /// starting or removing the run, or if locking fails.
    pub fn lock_follower(&self) -> Option<RunLock> {
        let file = File::open(self.path().join(CLIENT)).ok()?;
        RunLock(file).share().ok()
    }

    fn lock(&self, name: &str) -> Result<Option<RunLock>, StoreError> {
        let path = self.path().join(name);
        let file = lock::open(&path).map_err(|source| StoreError::io("open", &path, source))?;
        let is_ours = lock::try_lock(&file);
        let is_ours = is_ours.map_err(|source| StoreError::io("lock", &path, source))?;
        Ok(is_ours.then_some(RunLock(file)))
    }

    /// Returns whether a supervisor holds the run's lock, or `None` if no supervisor ever took it.
    pub fn is_supervised(&self) -> Option<bool> {
        Some(self.held(SUPERVISOR)?.is_some())
    }

    /// Returns whether a client is starting the run.
    fn is_being_started(&self) -> bool {
        self.held(CLIENT) == Some(Some(Held::Exclusive))
    }

    /// Returns the lock on a file, or `None` if the file does not exist.
    fn held(&self, name: &str) -> Option<Option<Held>> {
        let file = File::open(self.path().join(name)).ok()?;
        lock::held(&file).ok()
    }

    /// Returns the state of the run. A run goes on if a client is starting it, if a supervisor
    /// holds its lock, or if its last event is recent and not older than the machine's boot.
    pub fn liveness(&self) -> Liveness {
        match self.liveness_without_client() {
            Liveness::Finished => Liveness::Finished,
            _ if self.is_being_started() => Liveness::Running,
            other => other,
        }
    }

    /// Like [`Self::liveness`], for a run that no client is starting.
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
            // Its files are of the future, and tell nothing.
            (Some(false) | None, None) => Liveness::Lost,
            // The client was killed before it started a supervisor, or systemd stopped the
            // supervisor before the first event.
            (None, Some(age)) if age > START => Liveness::Lost,
            (Some(false) | None, _) => Liveness::Running,
        }
    }

    /// Returns the time of the run's end, or of the last sign of life.
    pub(super) fn ended(&self) -> Option<Timestamp> {
        let now = Timestamp::now();
        let record = self.load_record().ok();
        // The clock may have been ahead.
        let is_past = |at: &Timestamp| *at <= now;
        let said = record.as_ref().and_then(|record| record.finished_at);
        said.filter(is_past)
            .or_else(|| {
                let age = jiff::SignedDuration::try_from(self.age()?).ok()?;
                now.checked_sub(age).ok()
            })
            .or_else(|| record.map(|record| record.started_at).filter(is_past))
    }

    /// Returns whether the machine has booted since the run's last sign of life.
    pub(super) fn is_of_an_earlier_boot(&self) -> bool {
        match self.age() {
            Some(age) => booted().is_some_and(|up| age > up),
            None => self
                .supervisors_boot()
                .zip(boot_id())
                .is_some_and(|(then, now)| then != now),
        }
    }

    /// Returns the id of the boot in which the run's last supervisor started, if that is known.
    fn supervisors_boot(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.path().join(SUPERVISOR)).ok()?;
        Some(text.trim().to_owned()).filter(|id| !id.is_empty())
    }

    /// Returns the time since the run's last sign of life. `None` means that the times of files
    /// tell nothing: they are far in the future, so the clock was ahead when they were written.
    fn age(&self) -> Option<Duration> {
        let modified = |path| {
            std::fs::metadata(path)
                .and_then(|meta| meta.modified())
                .ok()
        };
        let last = modified(self.events())
            .or_else(|| modified(self.spec()))
            .or_else(|| modified(self.path().to_owned()))?;
        match SystemTime::now().duration_since(last) {
            Ok(age) => Some(age),
            // The clock was set back a little.
            Err(ahead) => (ahead.duration() <= SET_BACK).then_some(Duration::ZERO),
        }
    }
}

/// Returns the time since the kernel's start (proc_uptime(5)).
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
        assert!(
            !state.remove(&run, false).unwrap(),
            "a client follows the run"
        );
        drop(other);
        assert!(state.remove(&run, false).unwrap());
        assert!(!run.path().exists());
    }

    #[test]
    fn a_run_without_a_supervisor_for_long_is_lost() {
        let (_dir, run) = run();
        assert_eq!(run.liveness(), Liveness::Incomplete);
        std::fs::write(run.spec(), "{}").unwrap();
        std::fs::write(run.events(), "").unwrap();
        assert_eq!(
            run.liveness(),
            Liveness::Running,
            "a supervisor may still start"
        );
        let lock = run.lock_supervisor().unwrap();
        assert_eq!(run.liveness(), Liveness::Running);
        drop(lock);
        assert_eq!(
            run.liveness(),
            Liveness::Running,
            "systemd may be restarting the supervisor"
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
    fn a_run_that_never_got_a_supervisor_is_finally_lost() {
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
        set(Duration::from_secs(30));
        assert_eq!(
            run.liveness(),
            Liveness::Running,
            "a supervisor may still start"
        );
        set(Duration::from_secs(90));
        assert_eq!(run.liveness(), Liveness::Lost);
    }

    #[test]
    fn a_reboot_ends_every_run() {
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
