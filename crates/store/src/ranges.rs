//! The ranges of user ids of containers. Each container gets 65,536 ids of its own while it runs:
//! on the host, its root user and all its other users are users without any files.
//!
//! The ranges are the last ones of those that systemd leaves to containers
//! (<https://systemd.io/UIDS-GIDS/>). useradd(8) gives its ranges away from the first ones. The
//! record of a user with the first id claims a range, so no two containers of any run have the same
//! one.
//!
//! Other programs take ranges too. systemd-nspawn(1) locks a file for a range, and then asks for
//! the users with its first and its last id. A claim does the same: the record is written before
//! the lock is tried, so one of the two finds the other. While a container runs, its main process
//! holds the lock as well ([`RangeLock`]): a systemd-nspawn of a host that does not look users up
//! through systemd finds no record.
//!
//! Some ranges belong to users of the host. SSSD's mapping of a directory's users gives a domain
//! 200,000 ids in a row (sssd-ad(5)), which may lie here. Nobody lists them, and to ask for each of
//! 65,536 ids takes seconds, so only the ids are asked for that systemd-nspawn asks for.
//!
//! Knows nothing of units.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    ops::RangeInclusive,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{
    StoreError, lock,
    users::{
        RECORDS, Resting, claim, exist, file, foreign, id_in_name, is_id_in_use, remove, user_name,
    },
};

/// The number of ids of a container.
pub const RANGE_IDS: u32 = 1 << 16;

/// The ids of all ranges.
const IDS: RangeInclusive<u32> = 0x6000_0000..=0x6FFF_FFFF;
/// The number of ranges.
const RANGES: u32 = (*IDS.end() - *IDS.start()) / RANGE_IDS + 1;
/// The files that give ranges of ids to users (subuid(5)).
const SUBORDINATE: [&str; 2] = ["/etc/subuid", "/etc/subgid"];
/// The offset of the last id of a range that systemd-nspawn(1) asks for. It leaves out the one that
/// is -1 in 16 bits.
const LAST: u32 = 0xFFFE;
/// The directory in which systemd-nspawn(1) locks a file for each range that it has chosen.
pub const RANGE_LOCKS: &str = "/run/systemd/nspawn-uid";

/// The lock of a range of ids, as systemd-nspawn(1) holds one: a lock of an open file description
/// (fcntl_locking(2)). The file goes with it. A file without a lock is left by a process that was
/// killed, and means nothing.
#[derive(Debug)]
pub struct RangeLock {
    path: PathBuf,
    _file: File,
}

impl RangeLock {
    /// Locks the range with this first id. Returns `None` if another process has the lock.
    ///
    /// # Errors
    /// Fails with the system's reason.
    pub fn take(first: u32) -> io::Result<Option<Self>> {
        Self::take_in(Path::new(RANGE_LOCKS), first)
    }

    fn take_in(directory: &Path, first: u32) -> io::Result<Option<Self>> {
        fs::create_dir_all(directory)?;
        let path = directory.join(first.to_string());
        loop {
            let file = lock::open(&path)?;
            if !lock::try_lock(&file)? {
                return Ok(None);
            }
            // The process that had the lock may have removed the file meanwhile.
            if file.metadata()?.nlink() > 0 {
                return Ok(Some(Self { path, _file: file }));
            }
        }
    }
}

impl Drop for RangeLock {
    fn drop(&mut self) {
        // A file that is left means nothing.
        let _ = fs::remove_file(&self.path);
    }
}

/// Returns whether no process has the lock of the range with this first id.
fn is_unlocked(directory: &Path, first: u32) -> io::Result<bool> {
    match File::open(directory.join(first.to_string())) {
        Ok(file) => Ok(lock::held(&file)?.is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// The ranges of ids of a run's containers.
#[derive(Debug)]
pub struct JobRanges {
    /// The run's directory.
    run: PathBuf,
    home: PathBuf,
    /// The ids of the host's own users and groups.
    foreign: BTreeSet<u32>,
    /// The ranges that the host gives to users.
    given: Vec<RangeInclusive<u32>>,
    /// The ranges whose users were asked for, by their first ids, and whether there is one.
    asked: BTreeMap<u32, bool>,
    resting: Resting,
}

impl JobRanges {
    /// Returns whether the ids of containers exist here. In a container, they may not.
    pub fn exist() -> bool {
        ["uid_map", "gid_map"].iter().all(|map| {
            let map = Path::new("/proc/self").join(map);
            exist(&fs::read_to_string(map).unwrap_or_default(), &IDS)
        })
    }

    /// Returns the ranges of a run, whose users have this home.
    pub fn of_run(run: &Path, home: &Path) -> Self {
        let given = SUBORDINATE.iter().flat_map(|file| {
            let text = fs::read_to_string(file).unwrap_or_default();
            subordinate(&text)
        });
        Self {
            run: run.to_owned(),
            home: home.to_owned(),
            foreign: foreign(),
            given: given.collect(),
            asked: BTreeMap::new(),
            resting: Resting::default(),
        }
    }

    /// Claims a range for a container. Returns the name of the user with its first id.
    ///
    /// # Errors
    /// All ranges are taken, or a record cannot be written.
    pub fn take(&mut self) -> Result<String, StoreError> {
        self.resting.wake();
        fs::create_dir_all(RECORDS)
            .map_err(|error| StoreError::io("create", Path::new(RECORDS), error))?;
        // The first free one: some versions of journald keep a journal for each range.
        for number in 0..RANGES {
            let first = first_of(number);
            let record = record_of(first);
            // The record of another container would be found as a user.
            if record.exists() || self.is_foreign(first, is_id_in_use) {
                continue;
            }
            match self.claim(first) {
                Ok(true) => return Ok(user_name(first)),
                Ok(false) => {}
                Err(error) => return Err(StoreError::io("write", &record, error)),
            }
        }
        let none = io::Error::other("all ranges of user ids are taken");
        Err(StoreError::io("claim ids in", Path::new(RECORDS), none))
    }

    /// Claims the range with this first id. Returns `false` if it is taken.
    fn claim(&self, first: u32) -> io::Result<bool> {
        if !claim(&self.run, &self.home, Path::new("/bin/sh"), first)? {
            return Ok(false);
        }
        let is_free = is_unlocked(Path::new(RANGE_LOCKS), first);
        if !matches!(is_free, Ok(true)) {
            remove(&user_name(first));
        }
        is_free
    }

    /// Returns whether the host may use an id of the range with this first id for something else.
    /// `is_in_use` tells whether a user or a group has an id.
    fn is_foreign(&mut self, first: u32, is_in_use: impl Fn(u32) -> bool) -> bool {
        let range = first..=first + (RANGE_IDS - 1);
        let is_given = |given: &RangeInclusive<u32>| {
            given.start() <= range.end() && range.start() <= given.end()
        };
        let ask = || [first, first + LAST].into_iter().any(is_in_use);
        self.given.iter().any(is_given)
            || self.foreign.range(range.clone()).next().is_some()
            || *self.asked.entry(first).or_insert_with(ask)
    }

    /// Returns whether this user claims a range.
    pub fn is_range_user(user: &str) -> bool {
        id_in_name(user).is_some_and(|id| IDS.contains(&id))
    }

    /// Notes that a job has ended. After a while its range is free again.
    pub fn release(&mut self, name: String) {
        self.resting.add(name);
    }
}

/// Returns the first id of a range.
fn first_of(number: u32) -> u32 {
    IDS.start() + number * RANGE_IDS
}

/// Returns the path of the record that claims the range with this first id.
fn record_of(first: u32) -> PathBuf {
    file(&user_name(first), "user")
}

/// Returns the ranges in a file of subordinate ids.
fn subordinate(text: &str) -> Vec<RangeInclusive<u32>> {
    let range = |line: &str| {
        let mut numbers = line.split(':').skip(1).map(str::parse::<u32>);
        let (first, count) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        (count > 0).then(|| first..=first.saturating_add(count - 1))
    };
    text.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn ranges(foreign: &[u32], subordinate_ids: &str) -> JobRanges {
        JobRanges {
            run: PathBuf::new(),
            home: PathBuf::new(),
            foreign: foreign.iter().copied().collect(),
            given: subordinate(subordinate_ids),
            asked: BTreeMap::new(),
            resting: Resting::default(),
        }
    }

    #[test]
    fn ranges_lie_within_those_that_systemd_leaves_to_containers() {
        assert_eq!(RANGES, 4096);
        assert!(*IDS.start() > 0x8_0000 && *IDS.end() <= 0x6FFF_FFFF);
    }

    #[test]
    fn ranges_of_others_are_not_used() {
        let mut found = ranges(&[0x6001_0005], "alice:1610743810:2\nbroken\nbob:5:0\n");
        let calls = Cell::new(0);
        let ask = |id: u32| {
            calls.set(calls.get() + 1);
            id == 0x6004_FFFE
        };
        let mut is_foreign = |first: u32| found.is_foreign(first, ask);
        assert!(!is_foreign(0x6000_0000));
        assert!(is_foreign(0x6001_0000), "an id of a user");
        assert!(is_foreign(0x6002_0000), "subordinate ids");
        assert!(
            is_foreign(0x6004_0000),
            "the last id of a user of a directory"
        );
        assert!(!is_foreign(0x6000_0000) && is_foreign(0x6004_0000));
        assert_eq!(calls.get(), 4, "each range is asked for once");
    }

    #[test]
    fn a_range_is_locked_by_one_process() {
        let place = tempfile::tempdir().unwrap();
        let take = || RangeLock::take_in(place.path(), 5).unwrap();
        let path = place.path().join("5");
        fs::write(&path, "").unwrap();
        let lock = take();
        assert!(lock.is_some(), "a file without a lock means nothing");
        assert!(take().is_none() && !is_unlocked(place.path(), 5).unwrap());
        drop(lock);
        assert!(!path.exists() && is_unlocked(place.path(), 5).unwrap());
        assert!(take().is_some());
    }
}
