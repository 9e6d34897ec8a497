//! The removal of images: by name, by size, and of what a killed process has left.

use nixactions_store::remove_tree;

use super::{Images, digest_of_hex};
use crate::{ImageError, image::Digest, lock::Kind};

/// An image that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// The image.
    pub digest: Digest,
    /// The size of its files.
    pub bytes: u64,
}

impl Images {
    /// Removes an image, named by its digest or by the first digits of it.
    ///
    /// # Errors
    /// No image or several have such a digest, the image is in use, or the system refuses.
    pub fn remove(
        &self,
        text: &str,
        in_use: &dyn Fn(&Digest) -> bool,
    ) -> Result<Removal, ImageError> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let mut found: Vec<_> = self
            .list()?
            .into_iter()
            .filter(|image| !digits.is_empty() && image.digest.hex().starts_with(digits))
            .collect();
        let image = match (found.pop(), found.len()) {
            (Some(image), 0) => image,
            (None, _) => {
                return Err(ImageError::Unknown {
                    text: text.to_owned(),
                });
            }
            (Some(_), others) => {
                return Err(ImageError::Ambiguous {
                    text: text.to_owned(),
                    count: others + 1,
                });
            }
        };
        if !self.remove_unused(&image.digest, in_use)? {
            return Err(ImageError::InUse {
                digest: image.digest,
            });
        }
        self.forget();
        Ok(Removal {
            digest: image.digest,
            bytes: image.bytes,
        })
    }

    /// Removes images until the others fit into a size, the least recently used first. Leaves
    /// images that are in use.
    ///
    /// # Errors
    /// The system refuses to read or remove an image.
    pub fn shrink(
        &self,
        size: u64,
        in_use: &dyn Fn(&Digest) -> bool,
    ) -> Result<Vec<Removal>, ImageError> {
        let images = self.list()?;
        let mut all: u64 = images.iter().map(|image| image.bytes).sum();
        let mut removed = Vec::new();
        for image in images.into_iter().rev() {
            if all <= size {
                break;
            }
            if self.remove_unused(&image.digest, in_use)? {
                all -= image.bytes;
                removed.push(Removal {
                    digest: image.digest,
                    bytes: image.bytes,
                });
            }
        }
        if !removed.is_empty() {
            self.forget();
        }
        Ok(removed)
    }

    /// Removes what killed processes have left, and images beyond the size of all together.
    ///
    /// # Errors
    /// The system refuses to read or remove an image.
    pub fn tidy(&self, in_use: &dyn Fn(&Digest) -> bool) -> Result<Vec<Removal>, ImageError> {
        self.sweep(None);
        self.shrink(self.size, in_use)
    }

    /// Removes what killed processes have left, but for an image that the caller makes.
    pub fn sweep(&self, but: Option<&Digest>) {
        let entries = std::fs::read_dir(self.unpacking());
        for entry in entries.into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(digest) = name.to_str().and_then(digest_of_hex) else {
                continue;
            };
            if Some(&digest) == but {
                continue;
            }
            // Its maker lives as long as it has the lock.
            if let Ok(Some(_lock)) = self.lock(&digest, Kind::Alone) {
                // The next one tries again.
                let _ = remove_tree(&entry.path());
                if !self.place(&digest).exists() {
                    let _ = std::fs::remove_file(self.lock_path(&digest));
                }
            }
        }
    }

    /// Removes an image that nobody uses. Returns whether it is gone.
    fn remove_unused(
        &self,
        digest: &Digest,
        in_use: &dyn Fn(&Digest) -> bool,
    ) -> Result<bool, ImageError> {
        let Some(_lock) = self.lock(digest, Kind::Alone)? else {
            return Ok(false);
        };
        // The question comes after the lock: a run takes note of its images before it gives up its
        // own lock.
        if in_use(digest) || self.is_kept(digest) {
            return Ok(false);
        }
        let place = self.place(digest);
        let away = self.unpacking().join(digest.hex());
        remove_tree(&away).map_err(|error| ImageError::io("remove", &away, error))?;
        match std::fs::rename(&place, &away) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(ImageError::io("rename", &place, error));
            }
            _ => {}
        }
        remove_tree(&away).map_err(|error| ImageError::io("remove", &away, error))?;
        let _ = std::fs::remove_file(self.lock_path(digest));
        Ok(true)
    }
}
