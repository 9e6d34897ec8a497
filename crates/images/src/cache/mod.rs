//! The images of a state directory: each unpacked once, bounded in size together.
//!
//! An image is made under a lock in a directory of its own and then renamed, so that it is there
//! whole or not at all. The lock's holders use the image, and nobody removes it meanwhile. A
//! process that is killed leaves a directory in `unpacking/`, which the next one removes.

mod keep;
mod make;
mod remember;
mod removal;
#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use nixactions_store::StoreError;
use serde::{Deserialize, Serialize};

pub use keep::Kept;
pub use removal::Removal;

use make::Order;

use crate::{
    ImageError,
    hash::Hashing,
    image::{Digest, ImageSource},
    lock::{Hold, Kind},
    source::{self, Config, Login, Scratch},
    stop::Stop,
    unpack::{Limits, Notes, Whiteouts},
};

/// The size of all images together, unless the caller says another one: 20 GiB.
const SIZE: u64 = 20 << 30;
/// The version of `image.json`.
const VERSION: u32 = 1;

/// The images of a state directory.
#[derive(Debug, Clone)]
pub struct Images {
    path: PathBuf,
    size: u64,
    limits: Limits,
    stop: Stop,
}

/// An image that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The digest of its manifest, or of its file.
    pub digest: Digest,
    /// The directory that holds its root file system.
    pub root: PathBuf,
    /// The file or reference that it was first made from.
    pub source: String,
    /// Its variables, each `K=V`.
    pub env: Vec<String>,
    /// Its user, and its group after a colon. Empty if the image names none.
    pub user: String,
    /// Its working directory. Empty if the image names none.
    pub working_dir: String,
    /// Its command: the entry point and its arguments. Empty if the image names none.
    pub command: Vec<String>,
    /// The size of its files.
    pub bytes: u64,
    /// The parts that were left out, in words.
    pub notes: Vec<String>,
    /// The moment at which it was unpacked.
    pub unpacked_at: Timestamp,
    /// The moment of its last use.
    pub used_at: Timestamp,
}

/// The kinds of files that are unpacked. The same file may be read as both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Form {
    /// An image with layers.
    Image,
    /// A tar archive of a root file system.
    Archive,
}

/// The file beside an image's root.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    version: u32,
    source: String,
    /// Absent in the files of earlier versions.
    form: Option<Form>,
    config: Config,
    bytes: u64,
    notes: Notes,
    unpacked_at: Timestamp,
}

/// An image and the lock that keeps it.
#[derive(Debug)]
pub struct Obtained {
    /// The image.
    pub image: Image,
    /// The lock.
    pub hold: Hold,
    /// Whether this call has unpacked the image.
    pub is_new: bool,
}

/// A message on the way to an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The digest of a file is being computed.
    Hashing(PathBuf),
    /// Another process is unpacking the image.
    Waiting(Digest),
    /// A layer is being unpacked: its number and that of all layers.
    Layer(usize, usize),
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hashing(path) => write!(f, "computing the digest of {}", path.display()),
            Self::Waiting(digest) => write!(f, "another process is unpacking {digest}, waiting"),
            Self::Layer(layer, layers) => write!(f, "unpacking layer {layer} of {layers}"),
        }
    }
}

impl Images {
    /// Returns the images of a state directory. Makes nothing.
    pub fn new(state: &Path) -> Self {
        Self {
            path: state.join("images"),
            size: SIZE,
            limits: Limits::default(),
            stop: Stop::default(),
        }
    }

    /// Sets the size of all images together, in bytes. Only images that are not in use are removed
    /// to keep it. No image may be larger.
    #[must_use]
    pub fn with_size(self, size: u64) -> Self {
        Self { size, ..self }
    }

    /// Sets the bounds of each image.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Sets the flag that ends the work early. Nothing is left of an image that was being made.
    #[must_use]
    pub fn with_stop(self, stop: Stop) -> Self {
        Self { stop, ..self }
    }

    /// Returns an image, which is unpacked if it is not there. `in_use` tells whether a run uses
    /// another image, which may have to make room.
    ///
    /// # Errors
    /// The image cannot be read, is refused, or cannot be written.
    pub fn obtain(
        &self,
        source: &ImageSource,
        wanted: Option<&Digest>,
        login: &Login,
        in_use: &dyn Fn(&Digest) -> bool,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Obtained, ImageError> {
        let pinned = match (source, wanted) {
            (ImageSource::Registry(reference), wanted) => {
                match (reference.digest.as_ref(), wanted) {
                    (Some(found), Some(wanted)) if found != wanted => {
                        return Err(ImageError::Digest {
                            content: format!("`{reference}`"),
                            expected: wanted.clone(),
                            found: found.clone(),
                        });
                    }
                    (own, wanted) => own.or(wanted),
                }
            }
            (ImageSource::Path(_), wanted) => wanted,
        };
        self.create()?;
        // A pinned image needs no look at its source.
        let known = match (pinned, source) {
            (Some(pinned), _) => Some(self.alias(pinned)),
            (None, ImageSource::Path(path)) => self.known(path, Form::Image),
            (None, ImageSource::Registry(_)) => None,
        };
        if let Some(known) = known
            && let Some(found) = self.find(&known, Form::Image)?
        {
            return Ok(found);
        }
        let before = match source {
            ImageSource::Path(path) => remember::key_of(path, Form::Image),
            ImageSource::Registry(_) => None,
        };
        let scratch = Scratch {
            directory: &self.path,
            bytes: self.limits().bytes,
            stop: &self.stop,
        };
        let mut opened = source::open(source, wanted, login, &scratch)?;
        let digest = opened.digest.clone();
        let order = Order {
            digest: &digest,
            source: &source.to_string(),
            form: Form::Image,
            in_use,
        };
        let obtained = self.make(&order, progress, |tree, progress| {
            let layers = opened.layers();
            for layer in 0..layers {
                progress(Progress::Layer(layer + 1, layers));
                opened.unpack(layer, tree, &self.stop)?;
            }
            Ok(std::mem::take(&mut opened.config))
        })?;
        if let Some(pinned) = pinned {
            self.remember_alias(pinned, &digest);
        } else if let (Some(key), ImageSource::Path(path)) = (before, source) {
            self.remember((path, Form::Image), &key, &digest);
        }
        Ok(obtained)
    }

    /// Returns the root file system of a tar archive, whose digest is that of its file. It is
    /// checked before anything is unpacked.
    ///
    /// # Errors
    /// The archive cannot be read, is refused, or cannot be written.
    pub fn obtain_archive(
        &self,
        path: &Path,
        wanted: Option<&Digest>,
        in_use: &dyn Fn(&Digest) -> bool,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Obtained, ImageError> {
        self.create()?;
        let name = format!("`{}`", path.display());
        let check = |found: &Digest| match wanted {
            Some(wanted) if wanted != found => Err(ImageError::Digest {
                content: name.clone(),
                expected: wanted.clone(),
                found: found.clone(),
            }),
            _ => Ok(()),
        };
        let open = || {
            let (file, _) = source::open_file(path).map_err(|error| source::absent(path, error))?;
            Ok::<_, ImageError>(self.stop.reader(file))
        };
        if let Some(known) = self.known(path, Form::Archive) {
            check(&known)?;
            if let Some(found) = self.find(&known, Form::Archive)? {
                return Ok(found);
            }
        }
        let before = remember::key_of(path, Form::Archive);
        progress(Progress::Hashing(path.to_owned()));
        let (_, digest) = Hashing::new(open()?, u64::MAX - 1)
            .finish()
            .map_err(|error| ImageError::io("read", path, error))?;
        check(&digest)?;
        let order = Order {
            digest: &digest,
            source: &path.display().to_string(),
            form: Form::Archive,
            in_use,
        };
        let obtained = self.make(&order, progress, |tree, progress| {
            progress(Progress::Layer(1, 1));
            // The file may change while it is read.
            let mut reader = Hashing::new(open()?, u64::MAX - 1);
            let plain = crate::compression::plain(&mut reader)
                .map_err(|error| ImageError::io("read", path, error))?;
            tree.add(&name, plain, Whiteouts::Files)
                .map_err(|error| match error {
                    ImageError::Broken { .. } if !tree.has_entries() => ImageError::NoArchive {
                        path: path.to_owned(),
                    },
                    error => error,
                })?;
            // Zeros are an archive without entries.
            if !tree.has_entries() {
                return Err(ImageError::NoArchive {
                    path: path.to_owned(),
                });
            }
            let (_, found) = reader
                .finish()
                .map_err(|error| ImageError::io("read", path, error))?;
            if found != digest {
                return Err(ImageError::Digest {
                    content: name.clone(),
                    expected: digest.clone(),
                    found,
                });
            }
            Ok(Config::default())
        })?;
        if let Some(key) = before {
            self.remember((path, Form::Archive), &key, &digest);
        }
        Ok(obtained)
    }

    /// Returns an image that is there, and keeps it.
    fn find(&self, digest: &Digest, form: Form) -> Result<Option<Obtained>, ImageError> {
        // An image that cannot be used is not locked: others would take it for one in use.
        if !self.is_there(digest, form) {
            return Ok(None);
        }
        match self.lock(digest, Kind::Shared)? {
            Some(hold) => self.found(digest, hold, false),
            // It is being removed, or made anew.
            None => Ok(None),
        }
    }

    /// Returns all images, the last used first.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn list(&self) -> Result<Vec<Image>, ImageError> {
        let entries = match std::fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(ImageError::io("read", &self.path, error)),
        };
        let mut images: Vec<Image> = entries
            .flatten()
            .filter_map(|entry| digest_of_hex(entry.file_name().to_str()?))
            .filter_map(|digest| self.describe(&digest))
            .collect();
        images.sort_by(|a, b| b.used_at.cmp(&a.used_at).then(a.digest.cmp(&b.digest)));
        Ok(images)
    }

    /// Returns the image of a lock, if it is there, and takes note of its use.
    fn found(
        &self,
        digest: &Digest,
        hold: Hold,
        is_new: bool,
    ) -> Result<Option<Obtained>, ImageError> {
        hold.touch()
            .map_err(|error| self.lock_error(digest, error))?;
        Ok(self.describe(digest).map(|image| Obtained {
            image,
            hold,
            is_new,
        }))
    }

    /// Returns the description of an image that is there.
    fn description(&self, digest: &Digest) -> Option<Description> {
        let text = std::fs::read(self.place(digest).join("image.json")).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Returns whether an image is there, and was unpacked from a file of this form.
    fn is_there(&self, digest: &Digest, form: Form) -> bool {
        self.description(digest)
            .is_some_and(|it| it.form.is_none_or(|its| its == form))
    }

    /// Returns an image that is there.
    fn describe(&self, digest: &Digest) -> Option<Image> {
        let place = self.place(digest);
        let description = self.description(digest)?;
        let mut notes = description.notes.notes;
        if description.notes.more > 0 {
            notes.push(format!(
                "{} more parts were left out",
                description.notes.more
            ));
        }
        let used = std::fs::metadata(self.lock_path(digest)).and_then(|meta| meta.modified());
        let used = used.ok().and_then(|time| Timestamp::try_from(time).ok());
        Some(Image {
            digest: digest.clone(),
            root: place.join("root"),
            source: description.source,
            env: description.config.env,
            user: description.config.user,
            working_dir: description.config.working_dir,
            command: description.config.command,
            bytes: description.bytes,
            notes,
            unpacked_at: description.unpacked_at,
            used_at: used.unwrap_or(description.unpacked_at),
        })
    }

    /// Returns the bounds of the next image.
    fn limits(&self) -> Limits {
        Limits {
            bytes: self.limits.bytes.min(self.size),
            ..self.limits
        }
    }

    fn create(&self) -> Result<(), ImageError> {
        if let Some(state) = self.path.parent() {
            std::fs::create_dir_all(state)
                .map_err(|error| ImageError::io("create", state, error))?;
        }
        // No user may run set-user-ID files of images: only root gets in.
        for path in [
            self.path.clone(),
            self.locks(),
            self.unpacking(),
            self.path.join("known"),
            self.path.join("aliases"),
            self.path.join("kept"),
        ] {
            make_dir(&path)?;
        }
        let mode = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&self.path, mode)
            .map_err(|error| ImageError::io("set the mode of", &self.path, error))
    }

    fn place(&self, digest: &Digest) -> PathBuf {
        self.path.join(digest.hex())
    }

    fn locks(&self) -> PathBuf {
        self.path.join("locks")
    }

    fn lock_path(&self, digest: &Digest) -> PathBuf {
        self.locks().join(digest.hex())
    }

    fn unpacking(&self) -> PathBuf {
        self.path.join("unpacking")
    }

    fn lock(&self, digest: &Digest, kind: Kind) -> Result<Option<Hold>, ImageError> {
        Hold::take(&self.lock_path(digest), kind).map_err(|error| self.lock_error(digest, error))
    }

    fn lock_error(&self, digest: &Digest, error: io::Error) -> ImageError {
        ImageError::io("lock", &self.lock_path(digest), error)
    }
}

/// Returns the digest of a directory's name.
fn digest_of_hex(hex: &str) -> Option<Digest> {
    format!("sha256:{hex}").parse().ok()
}

fn make_dir(path: &Path) -> Result<(), ImageError> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(ImageError::io("create", path, error))
        }
        _ => Ok(()),
    }
}

/// Returns the error of a file that the store did not write.
fn not_written(path: &Path, error: StoreError) -> ImageError {
    match error {
        StoreError::Io {
            action,
            path,
            source,
        } => ImageError::io(action, &path, source),
        other => ImageError::io("write", path, io::Error::other(other.to_string())),
    }
}

/// Makes a rename in a directory durable (fsync(2)).
fn sync(path: &Path) -> Result<(), ImageError> {
    std::fs::File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| ImageError::io("sync", path, error))
}
