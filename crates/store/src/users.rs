//! The users of jobs: for each a user and a group of its own, that exist as long as the job.
//!
//! They are JSON records in /run/userdb (<https://systemd.io/USER_RECORD/>), which nss-systemd(8)
//! looks up, so that `User=` takes them by name. `DynamicUser=` would do the same without records,
//! but with a system call filter under which openat2(2) and setgid directories fail, without a home
//! and without a shell.
//!
//! Ids are of systemd's range for dynamic users: outside of it journald would make a journal file
//! for each id (<https://systemd.io/UIDS-GIDS/>). A record claims an id, since it is created
//! exclusively; systemd, before it gives an id to a unit, looks whether somebody has it, and locks
//! a file for as long as the unit has it, which is looked at here. So neither gives out what the
//! other has. An embedded manager has the machine's directories.
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
    unistd::User,
};
use serde::{Deserialize, Serialize};

use super::StoreError;

/// Where the records lie.
pub const RECORDS: &str = "/run/userdb";
/// Where systemd locks a file for each id that one of its units has.
pub const LOCKS: &str = "/run/systemd/dynamic-uid";

/// systemd's range for dynamic users.
const IDS: RangeInclusive<u32> = 61184..=65519;
/// For how long an id is not given out again: what is left of a job's processes ends meanwhile.
const REST: Duration = Duration::from_secs(10);
const PREFIX: &str = "nixactions-";

/// A user record; systemd ignores fields that it does not know.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UserRecord {
    user_name: String,
    uid: u32,
    gid: u32,
    home_directory: PathBuf,
    shell: PathBuf,
    locked: bool,
    /// The directory of the run that the user is for.
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
    /// Where the search for a free id goes on.
    next: u32,
    /// Ids that others have for good.
    foreign: BTreeSet<u32>,
    /// Users that are over, and since when.
    resting: Vec<(Instant, String)>,
}

impl JobUsers {
    /// Returns the users of a run, all with this home and shell; `None` where such users would not
    /// be looked up, or their ids do not exist. That is tried.
    pub fn of_run(run: &Path, home: &Path, shell: &Path) -> Option<Self> {
        if !are_looked_up() || !exist(&fs::read_to_string("/proc/self/uid_map").ok()?) {
            return None;
        }
        fs::create_dir_all(RECORDS).ok()?;
        let ids = |file: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            text.lines()
                .filter_map(|line| line.split(':').nth(2)?.parse().ok())
                .collect::<Vec<u32>>()
        };
        let mut users = Self {
            run: run.to_owned(),
            home: home.to_owned(),
            shell: shell.to_owned(),
            next: *IDS.start() + std::process::id() % size(),
            foreign: ["/etc/passwd", "/etc/group"]
                .into_iter()
                .flat_map(ids)
                .collect(),
            resting: Vec::new(),
        };
        let probe = users.take().ok()?;
        let found = is_found(&probe);
        remove(&probe);
        found.then_some(users)
    }

    /// Makes a user for a job; returns its name.
    ///
    /// # Errors
    /// Fails when all ids are taken, or a record cannot be written.
    pub fn take(&mut self) -> Result<String, StoreError> {
        self.wake();
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
            let name = format!("{PREFIX}{id}");
            match self.claim(&name, id) {
                Ok(true) => return Ok(name),
                Ok(false) => {}
                Err(error) => return Err(StoreError::io("write", &file(&name, "user"), error)),
            }
        }
        let none = io::Error::other("all user ids that systemd gives to services are taken");
        Err(StoreError::io("make a user in", Path::new(RECORDS), none))
    }

    /// Takes in that a job is over: after a while its user is nobody's.
    pub fn release(&mut self, name: String) {
        self.resting.push((Instant::now(), name));
    }

    /// Removes all users of the run, whose jobs are over, also of a supervisor before this one.
    pub fn remove_all(&self) {
        remove_users(&self.run);
    }

    /// Removes the users that have rested.
    fn wake(&mut self) {
        let is_over = |(since, _): &mut (Instant, String)| since.elapsed() > REST;
        for (_, name) in self.resting.extract_if(.., is_over) {
            remove(&name);
        }
    }

    /// Writes the records of a user, unless somebody has the id.
    fn claim(&self, name: &str, id: u32) -> io::Result<bool> {
        let user = UserRecord {
            user_name: name.to_owned(),
            uid: id,
            gid: id,
            home_directory: self.home.clone(),
            shell: self.shell.clone(),
            locked: true,
            nixactions_run: self.run.clone(),
        };
        let group = GroupRecord {
            group_name: name.to_owned(),
            gid: id,
        };
        match write_new(&file(name, "user"), &user) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            other => other?,
        }
        let written = write_new(&file(name, "group"), &group).and_then(|()| {
            ["user", "group"]
                .into_iter()
                .try_for_each(|kind| symlink(format!("{name}.{kind}"), file(&id.to_string(), kind)))
        });
        // Only now: a systemd that takes the id after this finds the record.
        let is_free = written.and_then(|()| is_unlocked(id));
        if !matches!(is_free, Ok(true)) {
            remove(name);
        }
        // What another has left half removed is not to stop anybody.
        match is_free {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            other => other,
        }
    }
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

/// Removes all users of a run, whose jobs are over.
pub fn remove_users(run: &Path) {
    // Its directory may go by another name as well.
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    for (name, record) in records() {
        if record.nixactions_run == run || real(&record.nixactions_run) == real(run) {
            remove(&name);
        }
    }
}

/// Removes the users of runs that are over without having removed them: their manager was killed.
/// To be called where the runs' directories are seen.
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

/// Returns whether all ids exist in this user namespace (user_namespaces(7)).
fn exist(uid_map: &str) -> bool {
    uid_map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(first)), Some(Ok(_)), Some(Ok(count))) =
            (numbers.next(), numbers.next(), numbers.next())
        else {
            return false;
        };
        first <= u64::from(*IDS.start()) && u64::from(*IDS.end()) < first + count
    })
}

/// Returns whether a user is found by its name. Of a program with a C library of its own, as from
/// Nix, the modules of the host may be out of reach, but not of systemd: there the host's own
/// program is asked.
fn is_found(name: &str) -> bool {
    let asked = || {
        Command::new("getent")
            .args(["passwd", name])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    matches!(User::from_name(name), Ok(Some(_))) || asked()
}

/// Returns whether systemd has not given the id to a unit.
fn is_unlocked(id: u32) -> io::Result<bool> {
    match File::open(Path::new(LOCKS).join(id.to_string())) {
        Ok(file) => Ok(Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

fn file(name: &str, kind: &str) -> PathBuf {
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

/// Removes a user; its claim goes last.
fn remove(name: &str) {
    let id = name.strip_prefix(PREFIX).unwrap_or_default();
    for (name, kind) in [(id, "user"), (id, "group"), (name, "group"), (name, "user")] {
        // What is not there needs not be removed.
        let _ = fs::remove_file(file(name, kind));
    }
}

#[cfg(test)]
mod tests {
    use super::exist;

    #[test]
    fn ids_exist_where_the_user_namespace_maps_all_of_them() {
        assert!(exist("         0          0 4294967295\n"));
        assert!(exist("0 100000 65536\n"));
        assert!(exist("0 1000 1\n1 100000 65536\n"));
        assert!(!exist("0 100000 65000\n"));
        assert!(!exist("0 1000 1\n"));
        assert!(!exist(""));
    }
}
