//! The locks that limit how many jobs run at once: each running job holds one. The runners take
//! them (`nixactions_runner`), and the kernel frees them.
//!
//! A run has locks of its own, where systemd does not count the jobs of a run. All runs of a state
//! directory share more of them, where the directory has a limit:
//!
//! ```text
//! <state>/max-concurrent-jobs        the limit, a number
//! <state>/runs/.slots/0 1 … queue-4  the locks, and a queue for each limit that there was
//! <run>/slots/shared/0 1 … queue     links of these: runners find all locks in one place
//! ```
//!
//! The locks lie beside the runs, as a file has its links in one file system only, and that of the
//! runs may be another one than the state directory's.
//!
//! Another limit applies to the runs that start from then on. Until the runs before them have
//! ended, the larger limit holds for all together: both take the locks from the lowest on. The jobs
//! of different limits queue apart, as the first of a queue takes none but the locks of its limit.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
};

use super::{StateDir, StoreError, make_dir, state::runs_in};
use crate::paths::SlotPaths;

/// The largest limit on the jobs of all runs. A runner that looks for a free lock opens all of
/// them, and may open 1024 files.
pub(super) const JOBS_MAX: u32 = 512;
/// The file that holds the limit.
const LIMIT: &str = "max-concurrent-jobs";
/// The lock in front of the others.
const QUEUE: &str = "queue";

impl StateDir {
    /// Returns the most jobs of all runs that may run at once, if there is a limit.
    ///
    /// # Errors
    /// The file of the limit cannot be read, or does not hold a number of jobs.
    pub fn max_jobs(&self) -> Result<Option<u32>, StoreError> {
        let path = self.path().join(LIMIT);
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).trim().to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::io("read", &path, source)),
        };
        match text.parse() {
            Ok(count) if (1..=JOBS_MAX).contains(&count) => Ok(Some(count)),
            Ok(_) | Err(_) => Err(StoreError::BadLimit {
                path,
                text: text.chars().take(20).collect(),
            }),
        }
    }
}

/// Makes locks in a directory, and the directory. Every user may open them, whatever the umask is,
/// as the jobs' users are not known yet; a directory above keeps others out.
///
/// # Errors
/// Fails with the path and the system's error.
pub fn create_slots(directory: &Path, count: u32) -> Result<(), StoreError> {
    let missing: Vec<_> = directory
        .ancestors()
        .take_while(|path| !path.exists())
        .collect();
    for path in missing.into_iter().rev() {
        make_dir(path, 0o755)?;
    }
    create(directory, names(count))
}

fn create(directory: &Path, names: impl Iterator<Item = String>) -> Result<(), StoreError> {
    for path in names.map(|name| directory.join(name)) {
        let make = || match File::create_new(&path) {
            Ok(file) => file.set_permissions(Permissions::from_mode(0o644)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        };
        make().map_err(|source| StoreError::io("create", &path, source))?;
    }
    Ok(())
}

/// Makes the locks that all runs of a state directory share, and links them for one of its runs.
///
/// # Errors
/// Fails with the path and the system's error.
pub fn link_slots(state: &Path, slots: &SlotPaths, count: u32) -> Result<(), StoreError> {
    let shared = runs_in(state).join(".slots");
    make_dir(&shared, 0o700)?;
    let of_limit = |name: String| {
        if name == QUEUE {
            format!("{QUEUE}-{count}")
        } else {
            name
        }
    };
    create(&shared, names(count).map(of_limit))?;
    make_dir(slots.path(), 0o755)?;
    make_dir(&slots.shared(), 0o755)?;
    for name in names(count) {
        let link = slots.shared().join(&name);
        match fs::hard_link(shared.join(of_limit(name)), &link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(StoreError::io("link", &link, error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Returns the names of this many locks, and that of the queue in front of them.
fn names(count: u32) -> impl Iterator<Item = String> {
    let numbers = (0..count).map(|number| number.to_string());
    numbers.chain([QUEUE.to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_a_number_of_jobs() {
        let place = tempfile::tempdir().unwrap();
        let state = StateDir::create(place.path()).unwrap();
        assert_eq!(state.max_jobs().unwrap(), None);
        for (text, limit) in [("2", 2), ("1\n", 1), (" 512 \n", 512)] {
            fs::write(place.path().join(LIMIT), text).unwrap();
            assert_eq!(state.max_jobs().unwrap(), Some(limit));
        }
        for text in ["0", "-1", "513", "", "two", "1 2", "\u{fffd}"] {
            fs::write(place.path().join(LIMIT), text).unwrap();
            let error = state.max_jobs().unwrap_err();
            assert!(error.to_string().contains(LIMIT), "{text}: {error}");
            assert!(error.hint().is_some_and(|hint| hint.contains("1 to 512")));
        }
    }

    #[test]
    fn runs_share_their_locks_and_every_user_may_open_them() {
        use std::os::unix::fs::MetadataExt;
        let state = tempfile::tempdir().unwrap();
        fs::create_dir(state.path().join("runs")).unwrap();
        let runs = ["a", "b", "c"].map(|run| SlotPaths::at(state.path().join(run)));
        link_slots(state.path(), &runs[0], 2).unwrap();
        link_slots(state.path(), &runs[1], 3).unwrap();
        // A supervisor may do so again after a client.
        link_slots(state.path(), &runs[0], 2).unwrap();
        let inode = |run: &SlotPaths, name: &str| {
            let meta = fs::metadata(run.shared().join(name)).unwrap();
            assert_eq!(meta.mode() & 0o777, 0o644);
            meta.ino()
        };
        for name in ["0", "1"] {
            assert_eq!(inode(&runs[0], name), inode(&runs[1], name));
        }
        assert_ne!(inode(&runs[0], "queue"), inode(&runs[1], "queue"));
        link_slots(state.path(), &runs[2], 3).unwrap();
        assert_eq!(inode(&runs[1], "queue"), inode(&runs[2], "queue"));
        assert!(!runs[0].shared().join("2").exists());
        assert!(runs[1].shared().join("2").exists());
    }
}
