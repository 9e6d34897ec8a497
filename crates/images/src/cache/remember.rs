//! Notes on files and references, by which an unpacked image is found at once.
//!
//! A wrong or absent note costs time only where it leads to no image. It never leads to another
//! image: a file that changes gets another inode, size or time.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, SystemTime},
};

use super::{Form, Images};
use crate::image::Digest;

/// Above this age of a file, an unchanged time means unchanged content. Clocks of file systems are
/// coarse.
const SETTLED: Duration = Duration::from_secs(2);

/// Returns a text that another content of a file would change, and another way to read it. Returns
/// `None` for a file that has just been changed, and for a directory.
pub(super) fn key_of(path: &Path, form: Form) -> Option<String> {
    let meta = std::fs::metadata(path).ok()?;
    let age = SystemTime::now()
        .duration_since(meta.modified().ok()?)
        .ok()?;
    let key = format!(
        "{}-{}-{}-{}-{}.{}-{}.{}",
        match form {
            Form::Image => "image",
            Form::Archive => "archive",
        },
        meta.dev(),
        meta.ino(),
        meta.size(),
        meta.mtime(),
        meta.mtime_nsec(),
        // A program may set the time of a file back, but not that of its last change.
        meta.ctime(),
        meta.ctime_nsec()
    );
    (meta.is_file() && age >= SETTLED).then_some(key)
}

impl Images {
    /// Returns the digest of an unchanged file.
    pub(super) fn known(&self, path: &Path, form: Form) -> Option<Digest> {
        read(&self.path.join("known").join(key_of(path, form)?))
    }

    /// Remembers the digest of a file, unless the file has changed since it had the key.
    pub(super) fn remember(&self, (path, form): (&Path, Form), key: &str, digest: &Digest) {
        if key_of(path, form).as_deref() == Some(key) {
            // Without the note, the file is read again the next time.
            let _ = write(&self.path.join("known").join(key), digest);
        }
    }

    /// Returns the digest of the manifest that a pinned digest led to, or that digest itself.
    pub(super) fn alias(&self, pinned: &Digest) -> Digest {
        read(&self.path.join("aliases").join(pinned.hex())).unwrap_or_else(|| pinned.clone())
    }

    /// Remembers the manifest to which a pinned digest led.
    pub(super) fn remember_alias(&self, pinned: &Digest, digest: &Digest) {
        if pinned != digest {
            // Without the note, the index is read again the next time.
            let _ = write(&self.path.join("aliases").join(pinned.hex()), digest);
        }
    }

    /// Forgets all notes that lead to no image.
    pub(super) fn forget(&self) {
        for kind in ["known", "aliases"] {
            let entries = std::fs::read_dir(self.path.join(kind));
            for entry in entries.into_iter().flatten().flatten() {
                let leads = read(&entry.path()).is_some_and(|digest| self.place(&digest).exists());
                if !leads {
                    let _ = std::fs::remove_file(entry.path());
                }
            }
        }
    }
}

fn read(path: &Path) -> Option<Digest> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn write(path: &Path, digest: &Digest) -> io::Result<()> {
    let text = format!("{digest}\n");
    nixactions_store::write_atomically(path, text.as_bytes(), 0o600, false)
        .map_err(|error| io::Error::other(error.to_string()))
}
