//! Images that are kept by a name, from one process to the next: one obtains them and ends, and
//! another uses them. Nobody removes them in between.

use std::{collections::BTreeMap, fs, io, path::PathBuf, thread};

use super::{Images, Obtained, not_written};
use crate::{
    ImageError,
    image::Digest,
    lock::{Kind, LOOK},
};

/// The images that are kept by one name: the digest of each, by a key of the caller's.
pub type Kept = BTreeMap<String, Digest>;

impl Images {
    /// Keeps images by a name, in place of those that it has kept before. The caller holds them.
    ///
    /// # Errors
    /// The note cannot be written.
    pub fn keep(&self, name: &str, kept: &Kept) -> Result<(), ImageError> {
        self.create()?;
        let path = self.note_of(name);
        nixactions_store::write_json(&path, kept, 0o600, false)
            .map_err(|error| not_written(&path, error))
    }

    /// Returns the images that are kept by a name. It keeps none if it was never used.
    ///
    /// # Errors
    /// The note cannot be read.
    pub fn kept(&self, name: &str) -> Result<Kept, ImageError> {
        let path = self.note_of(name);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| ImageError::io("read", &path, io::Error::from(error))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Kept::new()),
            Err(error) => Err(ImageError::io("read", &path, error)),
        }
    }

    /// Keeps no images by a name any more.
    ///
    /// # Errors
    /// The note cannot be removed.
    pub fn release(&self, name: &str) -> Result<(), ImageError> {
        let path = self.note_of(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(ImageError::io("remove", &path, error))
            }
            _ => Ok(()),
        }
    }

    /// Returns an image that is kept, with a lock. Returns `None` if it is not there.
    ///
    /// # Errors
    /// The lock cannot be taken, or a signal has come.
    pub fn hold(&self, digest: &Digest) -> Result<Option<Obtained>, ImageError> {
        while self.description(digest).is_some() {
            if let Some(hold) = self.lock(digest, Kind::Shared)? {
                return self.found(digest, hold, false);
            }
            // A process that removes images has the lock until it finds that this one is kept.
            self.stop
                .check()
                .map_err(|error| self.lock_error(digest, error))?;
            thread::sleep(LOOK);
        }
        Ok(None)
    }

    /// Returns whether some name keeps an image.
    pub(super) fn is_kept(&self, digest: &Digest) -> bool {
        let entries = fs::read_dir(self.path.join("kept"));
        entries.into_iter().flatten().flatten().any(|entry| {
            let kept = fs::read(entry.path()).ok();
            let kept = kept.and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
            kept.is_some_and(|kept| kept.values().any(|kept| kept == digest))
        })
    }

    fn note_of(&self, name: &str) -> PathBuf {
        self.path.join("kept").join(name)
    }
}
