//! How an image is made: under its lock, in a directory of its own, and then renamed.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use nixactions_store::remove_tree;

use super::{Description, Form, Images, Obtained, Progress, VERSION, make_dir, not_written, sync};
use crate::{
    ImageError,
    image::Digest,
    lock::{Hold, Kind, LOOK},
    source::Config,
    unpack::Tree,
};

/// The time for which another process may unpack an image.
const WAIT: Duration = Duration::from_secs(60 * 60);
/// The number of looks in a row after which a lock is that of a user.
const USED_LOOKS: u32 = 20;

/// An image that another process makes, or a lock with which this one makes it.
enum Waited {
    Found(Box<Obtained>),
    Locked(Hold),
}

/// An image to be made.
pub(super) struct Order<'a> {
    pub digest: &'a Digest,
    /// The file or reference that it comes from.
    pub source: &'a str,
    pub form: Form,
    /// Tells whether a run uses an image.
    pub in_use: &'a dyn Fn(&Digest) -> bool,
}

impl Images {
    /// Makes an image, unless another process does so first.
    pub(super) fn make(
        &self,
        order: &Order<'_>,
        progress: &mut dyn FnMut(Progress),
        fill: impl FnOnce(&mut Tree, &mut dyn FnMut(Progress)) -> Result<Config, ImageError>,
    ) -> Result<Obtained, ImageError> {
        let digest = order.digest;
        self.sweep(Some(digest));
        let mut fill = Some(fill);
        let end = Instant::now() + WAIT;
        loop {
            let lock = match self.wait(order, end, progress)? {
                Waited::Found(mut found) => {
                    found.is_new = fill.is_none();
                    return Ok(*found);
                }
                Waited::Locked(lock) => lock,
            };
            let is_there = self.is_there(digest, order.form);
            if !is_there {
                let held = || ImageError::Held {
                    digest: digest.clone(),
                };
                // Others remove images as fast as they are made.
                let fill = fill.take().ok_or_else(held)?;
                self.make_alone(order, progress, fill).inspect_err(|_| {
                    // A process that waits for the lock makes a new one.
                    let _ = std::fs::remove_file(self.lock_path(digest));
                })?;
            }
            let hold = lock
                .share()
                .map_err(|error| self.lock_error(digest, error))?;
            // The lock is free for a moment before it is shared (flock(2)). Another process that
            // takes it then finds the image, or removes it.
            let Some(hold) = hold else { continue };
            let Some(obtained) = self.found(digest, hold, fill.is_none())? else {
                continue;
            };
            if obtained.is_new {
                // The image is there. Room that cannot be made is made by the next one.
                let _ = self.shrink(self.size, order.in_use);
            }
            return Ok(obtained);
        }
    }

    /// Waits until an image is there, or this process may make it. Others may use the image by
    /// then, so their locks are not waited for.
    fn wait(
        &self,
        order: &Order<'_>,
        end: Instant,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Waited, ImageError> {
        let digest = order.digest;
        let (mut is_told, mut used) = (false, 0);
        loop {
            if let Some(found) = self.find(digest, order.form)? {
                return Ok(Waited::Found(Box::new(found)));
            }
            if let Some(lock) = self.lock(digest, Kind::Alone)? {
                return Ok(Waited::Locked(lock));
            }
            let is_used = self.place(digest).exists()
                && self.lock(digest, Kind::Shared)?.is_some()
                && !self.is_there(digest, order.form);
            // Others use its files, but its description cannot be read. A process that also looks
            // at it has such a lock for a moment.
            used = if is_used { used + 1 } else { 0 };
            if used == USED_LOOKS {
                return Err(ImageError::InUse {
                    digest: digest.clone(),
                });
            }
            if !is_told && used == 0 {
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
        order: &Order<'_>,
        progress: &mut dyn FnMut(Progress),
        fill: impl FnOnce(&mut Tree, &mut dyn FnMut(Progress)) -> Result<Config, ImageError>,
    ) -> Result<(), ImageError> {
        let digest = order.digest;
        let (unpacking, place) = (self.unpacking().join(digest.hex()), self.place(digest));
        let remove =
            |path: &Path| remove_tree(path).map_err(|error| ImageError::io("remove", path, error));
        // The lock is ours, so that its maker is gone.
        remove(&unpacking)?;
        if place.exists() {
            // Its description cannot be read.
            if (order.in_use)(digest) {
                return Err(ImageError::InUse {
                    digest: digest.clone(),
                });
            }
            remove(&place)?;
        }
        let made = self.unpack_into(&unpacking, order, progress, fill);
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
        order: &Order<'_>,
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
            source: order.source.to_owned(),
            form: Some(order.form),
            config,
            bytes,
            notes,
            unpacked_at: Timestamp::now(),
        };
        let path = unpacking.join("image.json");
        nixactions_store::write_json(&path, &description, 0o600, false)
            .map_err(|error| not_written(&path, error))?;
        // After a loss of power, the image must be there whole or not at all.
        let file =
            std::fs::File::open(&path).map_err(|error| ImageError::io("open", &path, error))?;
        rustix::fs::syncfs(&file).map_err(|errno| ImageError::io("sync", unpacking, errno))
    }
}
