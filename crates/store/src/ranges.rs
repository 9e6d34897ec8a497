//! The ranges of user ids of containers. Each container gets 65,536 ids of its own while it runs:
//! on the host, its root user and all its other users are users without any files.
//!
//! The ranges are the last ones of those that systemd leaves to containers
//! (<https://systemd.io/UIDS-GIDS/>). useradd(8) gives its ranges away from the first ones. The
//! record of a user with the first id claims a range, so no two containers of any run have the same
//! one. systemd-nspawn(1) sees the record as well, when it looks for a free range itself.
//!
//! Knows nothing of units.

use std::{
    collections::BTreeSet,
    fs, io,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use super::{
    StoreError,
    users::{RECORDS, Resting, claim, exist, file, foreign, id_in_name, user_name},
};

/// The number of ids of a container.
pub const RANGE_IDS: u32 = 1 << 16;

/// The ids of all ranges.
const IDS: RangeInclusive<u32> = 0x6000_0000..=0x6FFF_FFFF;
/// The number of ranges.
const RANGES: u32 = (*IDS.end() - *IDS.start()) / RANGE_IDS + 1;
/// The files that give ranges of ids to users (subuid(5)).
const SUBORDINATE: [&str; 2] = ["/etc/subuid", "/etc/subgid"];
/// The directory in which systemd-nspawn(1) locks a file for each range that it has chosen.
const LOCKS: &str = "/run/systemd/nspawn-uid";

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
            let first = IDS.start() + number * RANGE_IDS;
            let range = first..=first + (RANGE_IDS - 1);
            if self.is_foreign(&range) {
                continue;
            }
            match claim(&self.run, &self.home, Path::new("/bin/sh"), first) {
                Ok(true) => return Ok(user_name(first)),
                Ok(false) => {}
                Err(error) => {
                    let path = file(&user_name(first), "user");
                    return Err(StoreError::io("write", &path, error));
                }
            }
        }
        let none = io::Error::other("all ranges of user ids are taken");
        Err(StoreError::io("claim ids in", Path::new(RECORDS), none))
    }

    /// Returns whether the host may use an id of a range for something else.
    fn is_foreign(&self, range: &RangeInclusive<u32>) -> bool {
        let is_given = |given: &RangeInclusive<u32>| {
            given.start() <= range.end() && range.start() <= given.end()
        };
        self.foreign.range(range.clone()).next().is_some()
            || self.given.iter().any(is_given)
            || Path::new(LOCKS).join(range.start().to_string()).exists()
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
    use super::*;

    fn ranges(foreign: &[u32], subordinate_ids: &str) -> JobRanges {
        JobRanges {
            run: PathBuf::new(),
            home: PathBuf::new(),
            foreign: foreign.iter().copied().collect(),
            given: subordinate(subordinate_ids),
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
        let range = |first: u32| first..=first + (RANGE_IDS - 1);
        let found = ranges(&[0x6001_0005], "alice:1610743810:2\nbroken\nbob:5:0\n");
        assert!(!found.is_foreign(&range(0x6000_0000)));
        assert!(found.is_foreign(&range(0x6001_0000)), "an id of a user");
        assert!(found.is_foreign(&range(0x6002_0000)), "subordinate ids");
        assert!(!found.is_foreign(&range(0x6003_0000)));
    }
}
