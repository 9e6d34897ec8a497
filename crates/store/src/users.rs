//! The users of jobs. Each job gets a user and a group of its own while it runs.
//!
//! The users are JSON records in /run/userdb (<https://systemd.io/USER_RECORD/>). nss-systemd(8)
//! looks them up there, so `User=` accepts their names. `DynamicUser=` would do the same without
//! records. But its system call filter breaks openat2(2) and setgid directories, and its users have
//! no home and no shell.
//!
//! The ids are in systemd's range for dynamic users: for each id outside that range, journald would
//! make a journal file of its own (<https://systemd.io/UIDS-GIDS/>). Two rules keep us and systemd
//! from using the same id. We create each record exclusively, and systemd looks for a user with an
//! id before it gives the id to a unit. systemd locks a file while a unit has the id, and we test
//! that lock. An embedded manager uses the machine's directories.
//!
//! Knows nothing of units.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    ops::RangeInclusive,
    os::unix::fs::{OpenOptionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    fcntl::{Flock, FlockArg},
    unistd::{Group, User},
};
use serde::{Deserialize, Serialize};

use super::StoreError;

/// The directory of the records.
pub const RECORDS: &str = "/run/userdb";
/// The directory in which systemd locks a file for each id that a unit has.
pub const LOCKS: &str = "/run/systemd/dynamic-uid";

/// The lists of the host's users and groups.
const FILES: [&str; 2] = ["/etc/passwd", "/etc/group"];
/// The directories of records of the host's users and groups (nss-systemd(8)).
const RECORDS_OF_OTHERS: [&str; 3] = ["/etc/userdb", "/run/host/userdb", "/usr/lib/userdb"];

/// systemd's range for dynamic users.
const IDS: RangeInclusive<u32> = 61184..=65519;
/// The time before an id is used again. The rest of a job's processes ends in this time, and so do
/// its services, which systemd stops after the job.
pub const REST: Duration = Duration::from_secs(30);
const PREFIX: &str = "nixactions-";

/// A user record. systemd ignores fields that it does not know.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UserRecord {
    user_name: String,
    uid: u32,
    gid: u32,
    home_directory: PathBuf,
    shell: PathBuf,
    locked: bool,
    /// The directory of the user's run.
    nixactions_run: PathBuf,
}

/// A group record.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupRecord {
    group_name: String,
    gid: u32,
}

/// The users of a run's jobs.
#[derive(Debug)]
pub struct JobUsers {
    /// The run's directory.
    run: PathBuf,
    home: PathBuf,
    shell: PathBuf,
    /// The next id to try.
    next: u32,
    /// The ids of the host's own users and groups.
    foreign: BTreeSet<u32>,
    resting: Resting,
}

/// Released users, each with the time of its release.
#[derive(Debug, Default)]
pub(super) struct Resting(Vec<(Instant, String)>);

impl Resting {
    /// Adds a user whose job has ended.
    pub(super) fn add(&mut self, name: String) {
        self.0.push((Instant::now(), name));
    }

    /// Removes the users that were released long enough ago.
    pub(super) fn wake(&mut self) {
        let is_over = |(since, _): &mut (Instant, String)| since.elapsed() > REST;
        for (_, name) in self.0.extract_if(.., is_over) {
            remove(&name);
        }
    }
}

impl JobUsers {
    /// Returns the users of a run, with this home and shell. Makes a user to test this host.
    /// Returns `None` if the host does not look such users up, if their ids do not exist, or if
    /// their records cannot be written.
    ///
    /// # Errors
    /// The disk of the records is full. systemd could not make users there either.
    pub fn of_run(run: &Path, home: &Path, shell: &Path) -> Result<Option<Self>, StoreError> {
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        if !are_looked_up() || !exist(&map, &IDS) {
            return Ok(None);
        }
        if let Err(error) = fs::create_dir_all(RECORDS) {
            let error = StoreError::io("create", Path::new(RECORDS), error);
            return if error.is_full() {
                Err(error)
            } else {
                Ok(None)
            };
        }
        let mut users = Self {
            run: run.to_owned(),
            home: home.to_owned(),
            shell: shell.to_owned(),
            next: *IDS.start() + std::process::id() % size(),
            foreign: foreign(),
            resting: Resting::default(),
        };
        let probe = match users.take() {
            Ok(probe) => probe,
            Err(error) if error.is_full() => return Err(error),
            Err(_) => return Ok(None),
        };
        let found = is_found(&probe);
        remove(&probe);
        Ok(found.then_some(users))
    }

    /// Makes a user for a job and returns its name.
    ///
    /// # Errors
    /// All ids are taken, or a record cannot be written.
    pub fn take(&mut self) -> Result<String, StoreError> {
        self.resting.wake();
        for _ in IDS {
            let id = self.next;
            self.next = if id == *IDS.end() {
                *IDS.start()
            } else {
                id + 1
            };
            if self.foreign.contains(&id) {
                continue;
            }
            let name = user_name(id);
            match claim(&self.run, &self.home, &self.shell, id) {
                Ok(true) => return Ok(name),
                Ok(false) => {}
                Err(error) => return Err(StoreError::io("write", &file(&name, "user"), error)),
            }
        }
        let none = io::Error::other("all user ids that systemd gives to services are taken");
        Err(StoreError::io("make a user in", Path::new(RECORDS), none))
    }

    /// Notes that a job has ended. After a while its user is removed.
    pub fn release(&mut self, name: String) {
        self.resting.add(name);
    }
}

/// Writes the records of a user. Returns `false` if the id is taken.
pub(super) fn claim(run: &Path, home: &Path, shell: &Path, id: u32) -> io::Result<bool> {
    let name = &user_name(id);
    let user = UserRecord {
        user_name: name.clone(),
        uid: id,
        gid: id,
        home_directory: home.to_owned(),
        shell: shell.to_owned(),
        locked: true,
        nixactions_run: run.to_owned(),
    };
    let group = GroupRecord {
        group_name: name.clone(),
        gid: id,
    };
    let user = match write_new(&file(name, "user"), &user) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        other => other,
    };
    let written = user
        .and_then(|()| write_new(&file(name, "group"), &group))
        .and_then(|()| {
            ["user", "group"]
                .into_iter()
                .try_for_each(|kind| symlink(format!("{name}.{kind}"), file(&id.to_string(), kind)))
        });
    // Test the lock after writing: a systemd that takes the id later finds the record.
    let is_free = written.and_then(|()| is_unlocked(id));
    if !matches!(is_free, Ok(true)) {
        remove(name);
    }
    // A user that another process has partly removed counts as taken.
    match is_free {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        other => other,
    }
}

/// Returns the name of the user with this id.
pub(super) fn user_name(id: u32) -> String {
    format!("{PREFIX}{id}")
}

/// Returns the id in the name of a job's user.
pub(super) fn id_in_name(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

/// Returns the ids of the host's own users and groups: those in files. The records of jobs' users
/// are not among them.
pub(super) fn foreign() -> BTreeSet<u32> {
    let in_file = |file: &&str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.split(':').nth(2)?.parse().ok())
            .collect::<Vec<u32>>()
    };
    let mut ids: BTreeSet<u32> = FILES.iter().flat_map(in_file).collect();
    ids.extend(
        RECORDS_OF_OTHERS
            .iter()
            .flat_map(|path| ids_of_records(Path::new(path))),
    );
    ids
}

/// Returns the ids in the names of records. Each record has a link that is named by its id
/// (nss-systemd(8)).
fn ids_of_records(directory: &Path) -> Vec<u32> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.map(|entry| PathBuf::from(entry.file_name()));
    let names = names.filter(|name| {
        let kind = name.extension().unwrap_or_default();
        kind == "user" || kind == "group"
    });
    names
        .filter_map(|name| name.file_stem()?.to_str()?.parse().ok())
        .collect()
}

/// Returns whether this host looks users up by systemd (nsswitch.conf(5), nss-systemd(8)).
pub fn are_looked_up() -> bool {
    let text = fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default();
    ["passwd:", "group:"].iter().all(|database| {
        text.lines()
            .filter_map(|line| line.trim_start().strip_prefix(database))
            .any(|services| services.split_whitespace().any(|name| name == "systemd"))
    })
}

/// Returns the id of a job's user.
pub fn id_of_user(name: &str) -> Option<u32> {
    name.starts_with(PREFIX)
        .then(|| read(name))
        .flatten()
        .map(|record| record.uid)
}

/// Removes all users of a run after its jobs.
pub fn remove_users(run: &Path) {
    // The run's directory may have another name, too.
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    for (name, record) in records() {
        if record.nixactions_run == run || real(&record.nixactions_run) == real(run) {
            remove(&name);
        }
    }
}

/// Removes the users of ended runs that did not remove them because their manager was killed. Call
/// this where the runs' directories are visible.
pub fn sweep_users() {
    for (name, record) in records() {
        let run = &record.nixactions_run;
        if matches!(run.try_exists(), Ok(false)) || run.join("record.json").exists() {
            remove(&name);
        }
    }
}

fn size() -> u32 {
    IDS.end() - IDS.start() + 1
}

/// Returns whether all these ids exist in this user namespace (user_namespaces(7)).
pub(super) fn exist(uid_map: &str, ids: &RangeInclusive<u32>) -> bool {
    uid_map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(first)), Some(Ok(_)), Some(Ok(count))) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            return false;
        };
        first <= u64::from(*ids.start()) && u64::from(*ids.end()) < first + count
    })
}

/// Returns whether a user is found by name.
fn is_found(name: &str) -> bool {
    matches!(User::from_name(name), Ok(Some(_))) || getent("passwd", name)
}

/// Returns whether a user or a group has this id.
pub(super) fn is_id_in_use(id: u32) -> bool {
    let key = id.to_string();
    matches!(User::from_uid(id.into()), Ok(Some(_)))
        || matches!(Group::from_gid(id.into()), Ok(Some(_)))
        || !asks_host_itself()
            && ["passwd", "group"]
                .iter()
                .any(|database| getent(database, &key))
}

/// Returns whether this program finds the users that the host's own programs find: it has the
/// host's C library, or a service answers for it (nscd(8)).
fn asks_host_itself() -> bool {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mut files = maps
        .lines()
        .filter_map(|line| line.find('/').map(|at| &line[at..]));
    files.any(|file| file.ends_with("/libc.so.6") && !file.starts_with("/nix/store/"))
        || Path::new("/var/run/nscd/socket").exists()
}

/// Returns whether the host's getent(1) finds a key. A program with a C library of its own, such as
/// one from Nix, may not find the host's modules. systemd does, so getent(1) decides then.
fn getent(database: &str, key: &str) -> bool {
    Command::new("getent")
        .args([database, key])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Returns whether systemd has not given the id to a unit.
fn is_unlocked(id: u32) -> io::Result<bool> {
    match File::open(Path::new(LOCKS).join(id.to_string())) {
        Ok(file) => Ok(Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

pub(super) fn file(name: &str, kind: &str) -> PathBuf {
    Path::new(RECORDS).join(format!("{name}.{kind}"))
}

fn write_new<T: Serialize>(path: &Path, record: &T) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(record)?;
    bytes.push(b'\n');
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(path)?
        .write_all(&bytes)
}

fn read(name: &str) -> Option<UserRecord> {
    serde_json::from_slice(&fs::read(file(name, "user")).ok()?).ok()
}

/// Returns the records of jobs' users.
fn records() -> impl Iterator<Item = (String, UserRecord)> {
    let entries = fs::read_dir(RECORDS).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let file_name = entry.file_name();
        let name = file_name.to_str()?.strip_suffix(".user")?;
        let record = name.starts_with(PREFIX).then(|| read(name)).flatten()?;
        Some((name.to_owned(), record))
    })
}

/// Removes a user. The record that claims the id goes last.
pub(super) fn remove(name: &str) {
    let id = name.strip_prefix(PREFIX).unwrap_or_default();
    for (name, kind) in [(id, "user"), (id, "group"), (name, "group"), (name, "user")] {
        // Ignore files that do not exist.
        let _ = fs::remove_file(file(name, kind));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_known_by_the_ids_in_their_names() {
        let place = tempfile::tempdir().unwrap();
        for name in [
            "5.user",
            "6.group",
            "alice.user",
            "7.membership",
            "8",
            ".user",
        ] {
            fs::write(place.path().join(name), "").unwrap();
        }
        let mut found = ids_of_records(place.path());
        found.sort_unstable();
        assert_eq!(found, [5, 6]);
        assert!(ids_of_records(&place.path().join("none")).is_empty());
    }

    #[test]
    fn ids_exist_if_the_user_namespace_maps_all_of_them() {
        let exist = |map| super::exist(map, &IDS);
        assert!(exist("         0          0 4294967295\n"));
        assert!(exist("0 100000 65536\n"));
        assert!(exist("0 1000 1\n1 100000 65536\n"));
        assert!(!exist("0 100000 65000\n"));
        assert!(!exist("0 1000 1\n"));
        assert!(!exist(""));
    }
}
