//! Concurrency groups. In a state directory, at most one run of a group goes on and at most one
//! waits.
//!
//! ```text
//! <state>/concurrency/<group>/lock     locked by the run that goes on; holds the run's id
//! <state>/concurrency/<group>/waiting  the id of the waiting run
//! <state>/concurrency/<group>/queue    locked while a process changes the two files above
//! ```
//!
//! The lock belongs to an open file description (fcntl_locking(2)). The kernel releases it when the
//! last process has closed the description, however that process ends. The caller keeps the
//! description open over a supervisor's restart. This module knows nothing of the work of a run.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{RunDir, StateDir, StoreError, files, lock, make_dir};
use crate::{ids::RunId, reason::Reason, spec::RunSpec};

/// The time that the next run gets to take a free group before the group is checked again. Also the
/// pause between two attempts to get a lock.
const ITS_TURN: Duration = Duration::from_millis(20);
/// The longest wait for another process that changes the group, and for the next run to take a free
/// group. The process or run may have been stopped.
const PATIENCE: Duration = Duration::from_secs(30);

/// A concurrency group of a state directory.
#[derive(Debug, Clone)]
pub struct ConcurrencyGroup {
    state: StateDir,
    path: PathBuf,
    patience: Duration,
}

/// The lock of a group. It is held until the last copy of the open file is closed.
#[derive(Debug)]
pub struct GroupLock(File);

impl GroupLock {
    /// Returns the open file that holds the lock.
    pub fn file(&self) -> &File {
        &self.0
    }
}

/// The result of a run's arrival at a group.
#[derive(Debug)]
pub enum Arrival {
    /// The run goes on and holds the group.
    Entered(GroupLock),
    /// The run waits for the run that holds the group.
    Waits {
        /// The run that holds the group, if known.
        holder: Option<RunId>,
    },
    /// A newer run waits already, so the run must end.
    Replaced {
        /// The newer run.
        by: RunId,
    },
}

impl ConcurrencyGroup {
    /// Opens a group and creates it if it is new.
    ///
    /// # Errors
    /// Fails with the path and the system's error.
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

    /// Arrives at the group with a run. A free group is taken at once. Otherwise the run waits: it
    /// replaces an older waiting run and tells that run to end. With `cancel_in_progress` it also
    /// tells the run that holds the group to end. A run that waits already keeps its place. This
    /// call blocks while other processes change the group.
    ///
    /// # Errors
    /// Fails with the path and the system's error, or if other processes take too long.
    pub fn arrive(&self, run: &RunId, cancel_in_progress: bool) -> Result<Arrival, StoreError> {
        let deadline = Instant::now() + self.patience;
        loop {
            let queue = self.queue()?;
            let waiting = self.waiting().filter(|waiting| waiting != run);
            if let Some(lock) = lock_file(&self.path.join("lock"), Wait::No)? {
                // The group is free, but another run waits for it. Leave the group to that run, if
                // it is alive and takes the group in time.
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
                self.tell(
                    &waiting,
                    &Reason::Replaced {
                        by: Some(run.clone()),
                    },
                );
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
                    &Reason::CancelledBy {
                        run: Some(run.clone()),
                    },
                );
            }
            return Ok(Arrival::Waits { holder });
        }
    }

    /// Blocks until the group is free. Returns `None` if another run took this run's place
    /// meanwhile.
    ///
    /// # Errors
    /// Fails with the path and the system's error.
    pub fn wait(&self, run: &RunId) -> Result<Option<GroupLock>, StoreError> {
        let Some(lock) = lock_file(&self.path.join("lock"), Wait::Always)? else {
            return Ok(None);
        };
        let _queue = self.queue()?;
        if self.waiting().as_ref() != Some(run) {
            return Ok(None);
        }
        self.take(&lock, run)?;
        Ok(Some(lock))
    }

    /// Gives up the run's place if the run waits.
    ///
    /// # Errors
    /// Fails with the path and the system's error.
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
        lock_file(&self.path.join("queue"), Wait::For(self.patience))
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

    /// Returns whether a run was made after another run that still exists.
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

    /// Tells a run to end in favour of another one. Does nothing if the run is gone.
    fn tell(&self, id: &RunId, reason: &Reason) {
        let told = self.run(id).map(|run| run.supersede(reason));
        if let Some(Err(error)) = told {
            tracing::warn!(run = %id, "{}, the run goes on", crate::error::describe(&error));
        }
    }
}

fn read_id(path: &Path) -> Option<RunId> {
    std::fs::read_to_string(path).ok()?.parse().ok()
}

/// The time to wait for a lock that another process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    No,
    For(Duration),
    Always,
}

/// Locks a file and creates it if it is absent. Returns `None` if the file is locked and `wait` is
/// [`Wait::No`].
fn lock_file(path: &Path, wait: Wait) -> Result<Option<GroupLock>, StoreError> {
    let at = |what: &'static str| move |source| StoreError::io(what, path, source);
    let file = lock::open(path).map_err(at("open"))?;
    let begin = Instant::now();
    loop {
        match wait {
            Wait::Always => lock::lock(&file).map_err(at("lock"))?,
            Wait::No | Wait::For(_) if lock::try_lock(&file).map_err(at("lock"))? => {}
            Wait::No => return Ok(None),
            Wait::For(patience) if begin.elapsed() >= patience => {
                return Err(at("lock")(std::io::ErrorKind::TimedOut.into()));
            }
            Wait::For(_) => {
                std::thread::sleep(ITS_TURN);
                continue;
            }
        }
        return Ok(Some(GroupLock(file)));
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

    /// Makes a run whose age follows from its number, with a supervisor.
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
            roots: Default::default(),
            images: Default::default(),
            disks: Default::default(),
            max_parallel: 1,
            max_jobs: None,
            origin: None,
            notify: Default::default(),
            keep_failed: None,
            delays_shutdown: false,
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
        // Arrive twice, as after a restart of the run's supervisor.
        assert!(matches!(
            group.arrive(two.id(), false).unwrap(),
            Arrival::Waits { .. }
        ));
        assert!(matches!(
            group.arrive(three.id(), false).unwrap(),
            Arrival::Waits { .. }
        ));
        assert_eq!(
            (two.superseded(), one.superseded()),
            (
                Some(Reason::Replaced {
                    by: Some(three.id().clone())
                }),
                None
            )
        );
        // The order of creation counts, not the order of arrival.
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
    fn a_dead_waiting_run_does_not_block_the_group() {
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
            two.superseded(),
            Some(Reason::CancelledBy {
                run: Some(three.id().clone())
            })
        );
    }

    #[test]
    fn waiting_for_a_change_of_the_group_ends() {
        let dir = tempfile::tempdir().unwrap();
        let mut group = ConcurrencyGroup::open(dir.path(), "deploy").unwrap();
        group.patience = Duration::from_millis(50);
        let (one, _a) = run(dir.path(), 1);
        let held = lock_file(&group.path.join("queue"), Wait::No).unwrap();
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
        // The run `two` is alive, but stopped.
        drop(held);
        assert!(matches!(
            group.arrive(three.id(), false).unwrap(),
            Arrival::Entered(_)
        ));
    }

    #[test]
    fn a_run_that_leaves_waits_no_more() {
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
