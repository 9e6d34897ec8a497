//! Concurrency groups: at most one run of a group at a time in a state directory, and at most one
//! that waits.
//!
//! ```text
//! <state>/concurrency/<group>/lock     locked by the run that goes on; its id, for those who ask
//! <state>/concurrency/<group>/waiting  the id of the run that waits
//! <state>/concurrency/<group>/queue    locked while somebody changes the two
//! ```
//!
//! The lock is one of an open file description (fcntl_locking(2)): the kernel gives it back when
//! the last process has closed it, however that ends. What keeps it over a supervisor's restart is
//! its caller's to see to. Knows nothing of what a run does in the meantime.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
};

use super::{RunDir, StateDir, StoreError, files, liveness::write_lock, make_dir};
use crate::{ids::RunId, spec::RunSpec};

/// How long the run whose turn it is gets to notice, before it is asked for again; and how long a
/// lock is left alone that somebody else has.
const ITS_TURN: Duration = Duration::from_millis(20);
/// How long another may change the group, and how long the run whose turn it is may take to notice:
/// either may have been stopped.
const PATIENCE: Duration = Duration::from_secs(30);

/// A concurrency group of a state directory.
#[derive(Debug, Clone)]
pub struct ConcurrencyGroup {
    state: StateDir,
    path: PathBuf,
    patience: Duration,
}

/// The lock of a group, held until the last copy of it is closed.
#[derive(Debug)]
pub struct GroupLock(File);

impl GroupLock {
    /// Returns the open file that holds the lock.
    pub fn file(&self) -> &File {
        &self.0
    }
}

/// What becomes of a run that comes to a group.
#[derive(Debug)]
pub enum Arrival {
    /// It goes on.
    Entered(GroupLock),
    /// It waits for the run that holds the group.
    Waits {
        /// That run, as far as it is known.
        holder: Option<RunId>,
    },
    /// A newer run waits already.
    Replaced {
        /// That run.
        by: RunId,
    },
}

impl ConcurrencyGroup {
    /// Opens a group, making it where it is new.
    ///
    /// # Errors
    /// Fails with the path and the system's reason.
    pub fn open(state: &Path, group: &str) -> Result<Self, StoreError> {
        let all = state.join("concurrency");
        make_dir(&all, 0o700)?;
        // As on GitHub, `Prod` and `prod` are one group.
        let path = all.join(group.to_lowercase());
        make_dir(&path, 0o700)?;
        Ok(Self {
            state: StateDir::open(state)?,
            path,
            patience: PATIENCE,
        })
    }

    /// Comes to the group: takes it where it is free; else waits for it in the place of an older
    /// run that did, which is told, and tells the run that holds it to end where
    /// `cancel_in_progress`. A run that waits already keeps its place. Blocks for as long as others
    /// change the group.
    ///
    /// # Errors
    /// Fails with the path and the system's reason, or when others take too long.
    pub fn arrive(&self, run: &RunId, cancel_in_progress: bool) -> Result<Arrival, StoreError> {
        let deadline = Instant::now() + self.patience;
        loop {
            let queue = self.queue()?;
            let waiting = self.waiting().filter(|waiting| waiting != run);
            if let Some(lock) = lock(&self.path.join("lock"), Wait::No)? {
                // Between the end of one run and the next it is the turn of the one that waits, if
                // it is still there to take it, and does.
                if waiting
                    .as_ref()
                    .is_some_and(|waiting| self.is_alive(waiting))
                    && Instant::now() < deadline
                {
                    drop((lock, queue));
                    std::thread::sleep(ITS_TURN);
                    continue;
                }
                self.take(&lock, run)?;
                return Ok(Arrival::Entered(lock));
            }
            if let Some(by) = waiting
                .as_ref()
                .filter(|waiting| self.is_newer(waiting, run))
            {
                return Ok(Arrival::Replaced { by: by.clone() });
            }
            if let Some(waiting) = waiting {
                self.tell(&waiting, &format!("replaced by {run}"));
            }
            files::write_atomically(
                &self.path.join("waiting"),
                run.as_str().as_bytes(),
                0o600,
                false,
            )?;
            let holder = self.holder();
            if let Some(holder) = holder
                .as_ref()
                .filter(|holder| cancel_in_progress && self.is_newer(run, holder))
            {
                self.tell(
                    holder,
                    &format!("cancelled by {run}, which is next in its concurrency group"),
                );
            }
            return Ok(Arrival::Waits { holder });
        }
    }

    /// Waits until the group is free; blocks. `None` where the run's place was taken by another
    /// meanwhile.
    ///
    /// # Errors
    /// Fails with the path and the system's reason.
    pub fn wait(&self, run: &RunId) -> Result<Option<GroupLock>, StoreError> {
        let Some(lock) = lock(&self.path.join("lock"), Wait::Always)? else {
            return Ok(None);
        };
        let _queue = self.queue()?;
        if self.waiting().as_ref() != Some(run) {
            return Ok(None);
        }
        self.take(&lock, run)?;
        Ok(Some(lock))
    }

    /// Gives up the run's place among those that wait.
    ///
    /// # Errors
    /// Fails with the path and the system's reason.
    pub fn leave(&self, run: &RunId) -> Result<(), StoreError> {
        let _queue = self.queue()?;
        if self.waiting().as_ref() == Some(run) {
            self.clear()
        } else {
            Ok(())
        }
    }

    fn take(&self, lock: &GroupLock, run: &RunId) -> Result<(), StoreError> {
        let path = self.path.join("lock");
        let write = || {
            use std::os::unix::fs::FileExt;
            lock.0.set_len(0)?;
            lock.0.write_all_at(run.as_str().as_bytes(), 0)
        };
        write().map_err(|source| StoreError::io("write", &path, source))?;
        if self.waiting().as_ref() == Some(run) {
            self.clear()
        } else {
            Ok(())
        }
    }

    fn clear(&self) -> Result<(), StoreError> {
        let path = self.path.join("waiting");
        std::fs::remove_file(&path).map_err(|source| StoreError::io("remove", &path, source))
    }

    fn queue(&self) -> Result<Option<GroupLock>, StoreError> {
        lock(&self.path.join("queue"), Wait::For(self.patience))
    }

    fn waiting(&self) -> Option<RunId> {
        read_id(&self.path.join("waiting"))
    }

    fn holder(&self) -> Option<RunId> {
        read_id(&self.path.join("lock"))
    }

    fn run(&self, id: &RunId) -> Option<RunDir> {
        self.state.run(id.as_str()).ok()
    }

    fn is_alive(&self, id: &RunId) -> bool {
        self.run(id).is_some_and(|run| {
            run.is_supervised() == Some(true)
                && !run.record().exists()
                && run.superseded().is_none()
        })
    }

    /// Returns whether a run was made after another one that is still there.
    fn is_newer(&self, run: &RunId, than: &RunId) -> bool {
        let made = |id: &RunId| {
            files::read_document::<RunSpec>(&self.run(id)?.spec())
                .ok()
                .map(|spec| spec.created_at)
        };
        made(run)
            .zip(made(than))
            .is_some_and(|(run, than)| run > than)
    }

    /// Tells a run to end in favour of another. One that is gone cannot be told, and need not.
    fn tell(&self, id: &RunId, reason: &str) {
        let told = self.run(id).map(|run| run.supersede(reason));
        if let Some(Err(error)) = told {
            tracing::warn!(run = %id, "{}, it goes on", crate::error::describe(&error));
        }
    }
}

fn read_id(path: &Path) -> Option<RunId> {
    std::fs::read_to_string(path).ok()?.parse().ok()
}

/// How long a lock is waited for that somebody else has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    No,
    For(Duration),
    Always,
}

/// Locks a file, making it where it is absent. `None` where it is locked and not waited for.
fn lock(path: &Path, wait: Wait) -> Result<Option<GroupLock>, StoreError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    let file = file.map_err(|source| StoreError::io("open", path, source))?;
    let wanted = write_lock();
    let begin = Instant::now();
    loop {
        let argument = match wait {
            Wait::Always => FcntlArg::F_OFD_SETLKW(&wanted),
            Wait::No | Wait::For(_) => FcntlArg::F_OFD_SETLK(&wanted),
        };
        match (fcntl(&file, argument), wait) {
            (Ok(_), _) => return Ok(Some(GroupLock(file))),
            (Err(Errno::EINTR), _) => {}
            (Err(Errno::EAGAIN | Errno::EACCES), Wait::No) => return Ok(None),
            (Err(Errno::EAGAIN | Errno::EACCES), Wait::For(patience)) => {
                if begin.elapsed() >= patience {
                    let late = std::io::ErrorKind::TimedOut.into();
                    return Err(StoreError::io("lock", path, late));
                }
                std::thread::sleep(ITS_TURN);
            }
            (Err(errno), _) => return Err(StoreError::io("lock", path, errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        RunLock,
        settings::Env,
        spec::{ManagerKind, SPEC_VERSION},
    };

    /// Makes a run that is as new as its number and has a supervisor.
    fn run(state: &Path, number: i64) -> (RunDir, RunLock) {
        let run = StateDir::create(state)
            .unwrap()
            .create_run(&"ci".parse().unwrap())
            .unwrap();
        let spec = RunSpec {
            version: SPEC_VERSION,
            run: run.id().clone(),
            workflow: "ci".parse().unwrap(),
            manager: ManagerKind::System,
            created_at: jiff::Timestamp::from_second(number).unwrap(),
            program: "/p".into(),
            directory: run.path().to_owned(),
            state_directory: state.to_owned(),
            runtime_directory: state.to_owned(),
            overrides: Env::new(),
            secrets: None,
            inputs: Env::new(),
            path: String::new(),
            has_source: false,
            mounts_source: false,
            max_parallel: 1,
        };
        files::write_json(&run.spec(), &spec, 0o600, false).unwrap();
        let lock = run.lock_supervisor().unwrap().unwrap();
        (run, lock)
    }

    #[test]
    fn one_holds_one_waits_and_a_newer_one_replaces_it() {
        let dir = tempfile::tempdir().unwrap();
        let group = ConcurrencyGroup::open(dir.path(), "deploy").unwrap();
        let [(one, _a), (two, _b), (three, _c)] = [1, 2, 3].map(|number| run(dir.path(), number));
        let Arrival::Entered(held) = group.arrive(one.id(), false).unwrap() else {
            panic!("it was free")
        };
        let Arrival::Waits { holder } = group.arrive(two.id(), false).unwrap() else {
            panic!("it was not free")
        };
        assert_eq!(
            (holder.as_ref(), two.superseded(), one.superseded()),
            (Some(one.id()), None, None)
        );
        // Twice the same, as after a restart of its supervisor.
        assert!(matches!(
            group.arrive(two.id(), false).unwrap(),
            Arrival::Waits { .. }
        ));
        assert!(matches!(
            group.arrive(three.id(), false).unwrap(),
            Arrival::Waits { .. }
        ));
        assert_eq!(
            (two.superseded().as_deref(), one.superseded()),
            (Some("replaced by ci-3"), None)
        );
        // The order in which they were made counts, not that in which they come.
        assert!(
            matches!(group.arrive(two.id(), false).unwrap(), Arrival::Replaced { by } if by == *three.id())
        );
        drop(held);
        assert!(
            group.wait(two.id()).unwrap().is_none(),
            "its place was taken"
        );
        assert!(group.wait(three.id()).unwrap().is_some());
    }

    #[test]
    fn a_waiting_run_that_is_gone_holds_up_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let group = ConcurrencyGroup::open(dir.path(), "deploy").unwrap();
        let [(one, _a), (two, gone), (three, _c)] = [1, 2, 3].map(|number| run(dir.path(), number));
        let Arrival::Entered(held) = group.arrive(one.id(), false).unwrap() else {
            panic!("it was free")
        };
        assert!(matches!(
            group.arrive(two.id(), false).unwrap(),
            Arrival::Waits { .. }
        ));
        drop((held, gone));
        assert!(matches!(
            group.arrive(three.id(), false).unwrap(),
            Arrival::Entered(_)
        ));
    }

    #[test]
    fn cancel_in_progress_tells_the_holder_if_it_is_older() {
        let dir = tempfile::tempdir().unwrap();
        let group = ConcurrencyGroup::open(dir.path(), "deploy").unwrap();
        let [(one, _a), (two, _b), (three, _c)] = [1, 2, 3].map(|number| run(dir.path(), number));
        let Arrival::Entered(_held) = group.arrive(two.id(), false).unwrap() else {
            panic!("it was free")
        };
        assert!(matches!(
            group.arrive(one.id(), true).unwrap(),
            Arrival::Waits { .. }
        ));
        assert_eq!(two.superseded(), None);
        assert!(matches!(
            group.arrive(three.id(), true).unwrap(),
            Arrival::Waits { .. }
        ));
        assert_eq!(
            two.superseded().as_deref(),
            Some("cancelled by ci-3, which is next in its concurrency group")
        );
    }

    #[test]
    fn a_group_that_somebody_is_changing_for_ever_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let mut group = ConcurrencyGroup::open(dir.path(), "deploy").unwrap();
        group.patience = Duration::from_millis(50);
        let (one, _a) = run(dir.path(), 1);
        let held = lock(&group.path.join("queue"), Wait::No).unwrap();
        let error = group.arrive(one.id(), false).unwrap_err();
        assert!(matches!(error, StoreError::Io { action: "lock", .. }));
        assert!(group.leave(one.id()).is_err());
        drop(held);
        assert!(matches!(
            group.arrive(one.id(), false).unwrap(),
            Arrival::Entered(_)
        ));
    }

    #[test]
    fn a_waiting_run_that_does_not_take_its_turn_loses_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut group = ConcurrencyGroup::open(dir.path(), "deploy").unwrap();
        group.patience = Duration::from_millis(50);
        let [(one, _a), (two, _b), (three, _c)] = [1, 2, 3].map(|number| run(dir.path(), number));
        let Arrival::Entered(held) = group.arrive(one.id(), false).unwrap() else {
            panic!("it was free")
        };
        group.arrive(two.id(), false).unwrap();
        // `two` lives, and is stopped.
        drop(held);
        assert!(matches!(
            group.arrive(three.id(), false).unwrap(),
            Arrival::Entered(_)
        ));
    }

    #[test]
    fn who_leaves_waits_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let group = ConcurrencyGroup::open(dir.path(), "deploy").unwrap();
        let [(one, _a), (two, _b)] = [1, 2].map(|number| run(dir.path(), number));
        let Arrival::Entered(held) = group.arrive(one.id(), false).unwrap() else {
            panic!("it was free")
        };
        assert!(matches!(
            group.arrive(two.id(), false).unwrap(),
            Arrival::Waits { .. }
        ));
        group.leave(two.id()).unwrap();
        drop(held);
        assert!(group.wait(two.id()).unwrap().is_none());
    }
}
