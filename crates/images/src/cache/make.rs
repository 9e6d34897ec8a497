//! How an image is made: under its lock, in a directory of its own, and then renamed.

use std::{
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use nixactions_store::remove_tree;

use super::{Description, Images, Obtained, Progress, VERSION, make_dir, sync};
use crate::{
    ImageError,
    image::Digest,
    lock::{Hold, Kind, LOOK},
    source::Config,
    unpack::Tree,
};

/// The time for which another process may unpack an image.
const WAIT: Duration = Duration::from_secs(60 * 60);

/// An image that another process makes, or a lock with which this one makes it.
enum Waited {
    Found(Box<Obtained>),
    Locked(Hold),
}

impl Images {
    /// Makes an image, unless another process does so first.
    pub(super) fn make(
        &self,
        digest: &Digest,
        source: &str,
        in_use: &dyn Fn(&Digest) -> bool,
        progress: &mut dyn FnMut(Progress),
        fill: impl FnOnce(&mut Tree, &mut dyn FnMut(Progress)) -> Result<Config, ImageError>,
    ) -> Result<Obtained, ImageError> {
        self.sweep(Some(digest));
        let lock = match self.wait(digest, progress)? {
            Waited::Found(found) => return Ok(*found),
            Waited::Locked(lock) => lock,
        };
        let is_there = self.describe(digest).is_some();
        if !is_there {
            self.make_alone(digest, source, in_use, progress, fill)
                .inspect_err(|_| {
                    // A process that waits for the lock makes a new one.
                    let _ = std::fs::remove_file(self.lock_path(digest));
                })?;
        }
        let held = || ImageError::Held {
            digest: digest.clone(),
        };
        let hold = lock
            .share()
            .map_err(|error| self.lock_error(digest, error))?;
        // Another process may have removed the image before the lock was shared.
        let obtained = self.found(digest, hold.ok_or_else(held)?, !is_there)?;
        let obtained = obtained.ok_or_else(held)?;
        if !is_there {
            // The image is there. Room that cannot be made is made by the next one.
            let _ = self.shrink(self.size, in_use);
        }
        Ok(obtained)
    }

    /// Waits until an image is there, or this process may make it. Others may use the image by
    /// then, so their locks are not waited for.
    fn wait(
        &self,
        digest: &Digest,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Waited, ImageError> {
        let end = Instant::now() + WAIT;
        let mut is_told = false;
        loop {
            if let Some(found) = self.find(digest)? {
                return Ok(Waited::Found(Box::new(found)));
            }
            if let Some(lock) = self.lock(digest, Kind::Alone)? {
                return Ok(Waited::Locked(lock));
            }
            if self.place(digest).exists()
                && self.lock(digest, Kind::Shared)?.is_some()
                && self.describe(digest).is_none()
            {
                // Others use its files, but its description cannot be read.
                return Err(ImageError::InUse {
                    digest: digest.clone(),
                });
            }
            if !is_told {
                progress(Progress::Waiting(digest.clone()));
                is_told = true;
            }
            if Instant::now() >= end {
                return Err(ImageError::Held {
                    digest: digest.clone(),
                });
            }
            self.stop
                .check()
                .map_err(|error| self.lock_error(digest, error))?;
            thread::sleep(LOOK);
        }
    }

    /// Makes an image whose lock this process holds.
    fn make_alone(
        &self,
        digest: &Digest,
        source: &str,
        in_use: &dyn Fn(&Digest) -> bool,
        progress: &mut dyn FnMut(Progress),
        fill: impl FnOnce(&mut Tree, &mut dyn FnMut(Progress)) -> Result<Config, ImageError>,
    ) -> Result<(), ImageError> {
        let (unpacking, place) = (self.unpacking().join(digest.hex()), self.place(digest));
        let remove =
            |path: &Path| remove_tree(path).map_err(|error| ImageError::io("remove", path, error));
        // The lock is ours, so that its maker is gone.
        remove(&unpacking)?;
        if place.exists() {
            // Its description cannot be read.
            if in_use(digest) {
                return Err(ImageError::InUse {
                    digest: digest.clone(),
                });
            }
            remove(&place)?;
        }
        let made = self.unpack_into(&unpacking, source, progress, fill);
        if let Err(error) = made {
            // The first error tells more.
            let _ = remove(&unpacking);
            return Err(error);
        }
        std::fs::rename(&unpacking, &place)
            .map_err(|error| ImageError::io("rename to", &place, error))?;
        sync(&self.path)
    }

    fn unpack_into(
        &self,
        unpacking: &Path,
        source: &str,
        progress: &mut dyn FnMut(Progress),
        fill: impl FnOnce(&mut Tree, &mut dyn FnMut(Progress)) -> Result<Config, ImageError>,
    ) -> Result<(), ImageError> {
        let root = unpacking.join("root");
        make_dir(unpacking)?;
        make_dir(&root)?;
        let mut tree = Tree::new(&root, self.limits(), self.stop.clone())?;
        let config = fill(&mut tree, progress)?;
        let (bytes, notes) = tree.finish()?;
        let description = Description {
            version: VERSION,
            source: source.to_owned(),
            config,
            bytes,
            notes,
            unpacked_at: Timestamp::now(),
        };
        let path = unpacking.join("image.json");
        nixactions_store::write_json(&path, &description, 0o600, false).map_err(
            |error| match error {
                nixactions_store::StoreError::Io {
                    action,
                    path,
                    source,
                } => ImageError::io(action, &path, source),
                other => ImageError::io("write", &path, io::Error::other(other.to_string())),
            },
        )?;
        // After a loss of power, the image must be there whole or not at all.
        let file =
            std::fs::File::open(&path).map_err(|error| ImageError::io("open", &path, error))?;
        rustix::fs::syncfs(&file).map_err(|errno| ImageError::io("sync", unpacking, errno))
    }
}
