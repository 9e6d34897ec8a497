//! Places for the results of builds whose run has no directory yet. Each place holds the link that
//! keeps a result in Nix's store.
//!
//! The process that builds locks its place (flock(2)). An unlocked place is left over from a killed
//! process.

use std::{
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};

use super::{StateDir, StoreError, make_dir, remove_tree};

/// A place for a build. Dropping the value removes the place.
#[derive(Debug)]
pub struct BuildPlace {
    path: PathBuf,
    _lock: Flock<File>,
}

impl StateDir {
    /// Makes a place for a build and removes the places of killed processes.
    ///
    /// # Errors
    /// Fails with the path and the system's error.
    pub fn build_place(&self) -> Result<BuildPlace, StoreError> {
        let all = self.path().join("building");
        make_dir(&all, 0o700)?;
        for entry in fs::read_dir(&all).into_iter().flatten().flatten() {
            if let Some(_lock) = lock(&entry.path()) {
                // Another process may be removing the same place.
                let _ = remove_tree(&entry.path());
            }
        }
        for number in 0.. {
            let path = all.join(format!("{}.{number}", std::process::id()));
            match fs::create_dir(&path) {
                // Another process may have removed the new place as a leftover.
                Ok(()) => match lock(&path) {
                    Some(lock) if path.exists() => return Ok(BuildPlace { path, _lock: lock }),
                    _ => {}
                },
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(StoreError::io("create", &path, error)),
            }
        }
        unreachable!("invariant: there are more numbers than files")
    }
}

impl BuildPlace {
    /// Returns the path for the link to the result.
    pub fn link(&self) -> PathBuf {
        self.path.join("result")
    }
}

impl Drop for BuildPlace {
    fn drop(&mut self) {
        // The next build removes a place that cannot be removed now.
        let _ = remove_tree(&self.path);
    }
}

/// Locks a directory, unless another process has locked it.
fn lock(path: &Path) -> Option<Flock<File>> {
    Flock::lock(File::open(path).ok()?, FlockArg::LockExclusiveNonblock).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_have_places_of_their_own_and_leftovers_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(dir.path()).unwrap();
        let left = dir.path().join("building/1.0");
        fs::create_dir_all(&left).unwrap();
        std::os::unix::fs::symlink("/nowhere", left.join("result")).unwrap();
        let [one, two] = [(); 2].map(|()| state.build_place().unwrap());
        assert_ne!(one.link(), two.link());
        assert!(!left.exists());
        drop(one);
        assert_eq!(
            fs::read_dir(dir.path().join("building")).unwrap().count(),
            1
        );
        drop(two);
        assert_eq!(
            fs::read_dir(dir.path().join("building")).unwrap().count(),
            0
        );
    }
}
