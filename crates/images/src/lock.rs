//! Locks of images. A lock dies with the process that holds it (flock(2)).

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

/// The time between two tries.
pub(crate) const LOOK: Duration = Duration::from_millis(50);

/// A lock on an image, which is released when this is dropped. An image stays as it is meanwhile.
#[derive(Debug)]
pub struct Hold {
    file: File,
}

/// The kinds of locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of one of many users.
    Shared,
    /// Of the only process that makes or removes an image.
    Alone,
}

impl Hold {
    /// Takes a lock. Returns `None` if another process holds it.
    pub(crate) fn take(path: &Path, kind: Kind) -> io::Result<Option<Self>> {
        let operation = match kind {
            Kind::Shared => FlockOperation::NonBlockingLockShared,
            Kind::Alone => FlockOperation::NonBlockingLockExclusive,
        };
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(path)?;
            match flock(&file, operation) {
                // The file may have been removed between the two calls.
                Ok(()) if is_at(&file, path) => return Ok(Some(Self { file })),
                Ok(()) | Err(Errno::INTR) => continue,
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Lets others use the image, too. Another process may take the lock in between.
    pub(crate) fn share(self) -> io::Result<Option<Self>> {
        match flock(&self.file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(Some(self)),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Takes note of the use of the image: the time of the file.
    pub(crate) fn touch(&self) -> io::Result<()> {
        self.file.set_modified(std::time::SystemTime::now())
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let id = |meta: io::Result<std::fs::Metadata>| meta.ok().map(|meta| (meta.dev(), meta.ino()));
    let own = id(file.metadata());
    own.is_some() && own == id(std::fs::symlink_metadata(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_excludes_others_and_survives_the_removal_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let take = |kind| Hold::take(&path, kind).unwrap();
        let first = take(Kind::Shared).unwrap();
        let second = take(Kind::Shared).unwrap();
        assert!(take(Kind::Alone).is_none());
        drop((first, second));
        let alone = take(Kind::Alone).unwrap();
        assert!(take(Kind::Shared).is_none());
        std::fs::remove_file(&path).unwrap();
        // It is another lock now, and the first holder has none any more.
        assert!(take(Kind::Alone).is_some());
        assert!(!is_at(&alone.file, &path));
    }
}
