//! Waits for the inotify instances that a manager needs. The kernel gives root 128 by default, and
//! systemd ends at once without its instances.
//!
//! Managers that start at the same moment take turns. There is a gap between the check for free
//! instances and the moment when systemd makes its own; another start must not count the same
//! instances in that gap.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::inotify::{InitFlags, Inotify},
};

use super::error::{At, StageError};

/// The instances that a run holds: four of systemd, one of D-Bus, one of the supervisor.
const NEEDED: usize = 6;
/// The instances that a manager holds soon after its start: those of systemd and D-Bus.
const HELD_SOON: usize = 5;
/// The instances that must stay free beside the needed ones. Supervisors of earlier starts, and
/// clients, take theirs a little later.
const SPARE: usize = 4;
/// The longest wait of a start for other runs to release their instances. It is short, so that a
/// caller does not take the wait for a hang.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);
/// The longest turn of a start, if its manager does not come up.
const TURN: Duration = Duration::from_secs(5);
/// The start that has its turn holds this lock.
const TURN_LOCK: &str = "/run/nixactions-embedded.lock";

/// A start's turn, and the instances reserved for its manager.
pub(super) struct Reserved {
    /// `None` where /run is not writable. Starts take no turns there.
    turn: Option<TurnLock>,
    instances: Vec<Inotify>,
}

/// Waits for this start's turn and takes the instances that a manager needs, so that no other
/// process takes them while PID 1 starts. If there are too few, it says so once and waits for a
/// while.
pub(super) fn reserve(say: impl FnMut(&str)) -> Result<Reserved, StageError> {
    let mut turn = None;
    let make = || {
        // A start that waits for instances gives up its turn.
        turn = None;
        let lock = TurnLock::take()?;
        let instance = || Inotify::init(InitFlags::IN_CLOEXEC).map_err(io::Error::from);
        let mut instances = (0..NEEDED + SPARE)
            .map(|_| instance())
            .collect::<io::Result<Vec<_>>>()?;
        instances.truncate(NEEDED);
        turn = lock;
        Ok(instances)
    };
    let instances = reserve_with(make, PATIENCE, PAUSE, say).at("make inotify instances")?;
    Ok(Reserved { turn, instances })
}

/// The lock of the start that has its turn. Its file is gone when the turn is over.
struct TurnLock(#[expect(dead_code, reason = "held for its lock")] File);

impl TurnLock {
    /// Takes the lock. `None` where /run is not writable.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] while another start has its turn.
    fn take() -> io::Result<Option<Self>> {
        let opened = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(TURN_LOCK);
        let Ok(file) = opened else { return Ok(None) };
        file.try_lock()?;
        // The start before this one may have removed the file after this start had opened it.
        let is_there = fs::metadata(TURN_LOCK)
            .and_then(|there| Ok(there.ino() == file.metadata()?.ino()))
            .unwrap_or(false);
        if is_there {
            Ok(Some(Self(file)))
        } else {
            Err(io::ErrorKind::WouldBlock.into())
        }
    }
}

impl Drop for TurnLock {
    fn drop(&mut self) {
        // The lock is held until the file is closed, so no other start has this file as its lock.
        let _ = fs::remove_file(TURN_LOCK);
    }
}

impl Reserved {
    /// Frees the instances for the manager that was just started in this cgroup. The turn ends when
    /// the manager holds its own instances.
    pub fn hand_over(self, cgroup: &Path) -> Turn {
        drop(self.instances);
        Turn {
            lock: self.turn,
            cgroup: cgroup.to_owned(),
            deadline: Instant::now() + TURN,
        }
    }
}

/// The turn of a start whose manager is coming up.
pub(super) struct Turn {
    lock: Option<TurnLock>,
    cgroup: PathBuf,
    deadline: Instant,
}

impl Turn {
    /// Ends the turn if the manager holds its instances or its time is over. Returns whether the
    /// turn goes on; the caller then calls again soon.
    pub fn goes_on(&mut self) -> bool {
        let over = || held_in(&self.cgroup) >= HELD_SOON || Instant::now() >= self.deadline;
        if self.lock.is_some() && over() {
            self.lock = None;
        }
        self.lock.is_some()
    }
}

/// Returns the number of inotify instances that are open in a cgroup and in the cgroups below it.
fn held_in(cgroup: &Path) -> usize {
    let processes = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    let own: usize = processes
        .lines()
        .filter_map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).ok())
        .flat_map(|descriptors| descriptors.flatten())
        .filter(|descriptor| {
            fs::read_link(descriptor.path())
                .is_ok_and(|target| target.as_os_str() == "anon_inode:inotify")
        })
        .count();
    let below: usize = fs::read_dir(cgroup)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| held_in(&entry.path()))
        .sum();
    own + below
}

fn reserve_with<T>(
    mut make: impl FnMut() -> io::Result<Vec<T>>,
    patience: Duration,
    pause: Duration,
    mut say: impl FnMut(&str),
) -> io::Result<Vec<T>> {
    let started = Instant::now();
    let mut told = false;
    loop {
        // A failed attempt gives its instances back at once. Otherwise two starts that each hold
        // some would wait for each other.
        let error = match make() {
            Ok(instances) => return Ok(instances),
            Err(error) => error,
        };
        let short = error.raw_os_error() == Some(Errno::EMFILE as i32);
        let others_turn = error.kind() == io::ErrorKind::WouldBlock;
        if !(short || others_turn) || started.elapsed() >= patience {
            return Err(error);
        }
        if short && !told {
            told = true;
            say(&format!(
                "waiting up to {} s for {NEEDED} inotify instances; their limit is \
                 `sysctl fs.inotify.max_user_instances`",
                patience.as_secs()
            ));
        }
        thread::sleep(if others_turn { pause / 40 } else { pause });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::{cell::Cell, rc::Rc};

    /// An instance of a kernel with a limited number of them.
    struct Instance(Rc<Cell<usize>>);

    impl Drop for Instance {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }

    fn take(free: &Rc<Cell<usize>>) -> io::Result<Vec<Instance>> {
        let one = || {
            let left = free.get().checked_sub(1).ok_or(Errno::EMFILE)?;
            free.set(left);
            Ok(Instance(Rc::clone(free)))
        };
        (0..NEEDED).map(|_| one()).collect()
    }

    #[test]
    fn waits_visibly_until_instances_are_free() {
        let free = Rc::new(Cell::new(NEEDED - 1));
        let mut asked = 0;
        let mut said = Vec::new();
        let say = |text: &str| said.push(text.to_owned());
        let make = || {
            asked += 1;
            if asked == 3 {
                // Another run has ended.
                free.set(free.get() + 1);
            }
            take(&free)
        };
        let reserved = reserve_with(make, Duration::from_secs(60), Duration::ZERO, say);
        assert_eq!(reserved.unwrap().len(), NEEDED);
        assert_eq!(said.len(), 1, "{said:?}");
        assert_eq!(free.get(), NEEDED, "dropped, they are free again");
    }

    #[test]
    fn holds_none_when_the_wait_is_over() {
        let free = Rc::new(Cell::new(NEEDED - 1));
        let error = reserve_with(|| take(&free), Duration::ZERO, Duration::ZERO, |_| ());
        let error = error.err().unwrap();
        assert_eq!(error.raw_os_error(), Some(Errno::EMFILE as i32));
        assert_eq!(free.get(), NEEDED - 1);
    }

    #[test]
    fn gives_up_at_once_for_any_other_error() {
        let mut asked = 0;
        let refuse = || {
            asked += 1;
            Err::<Vec<()>, _>(Errno::ENOMEM.into())
        };
        let patience = Duration::from_secs(60);
        let say = |said: &str| panic!("{said}");
        let error = reserve_with(refuse, patience, Duration::ZERO, say).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::ENOMEM as i32));
        assert_eq!(asked, 1);
    }

    #[test]
    fn waits_silently_for_the_turn_of_another_start() {
        let mut asked = 0;
        let make = || {
            asked += 1;
            if asked < 3 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(vec![()])
        };
        let say = |said: &str| panic!("{said}");
        let reserved = reserve_with(make, Duration::from_secs(60), Duration::ZERO, say);
        assert_eq!(reserved.unwrap().len(), 1);
    }
}
