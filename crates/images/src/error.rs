//! The errors of images, with advice.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::image::{Digest, ImageNameError};

/// The errors of images.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The text does not name an image.
    #[error(transparent)]
    Name(#[from] ImageNameError),
    /// The system refused an action.
    #[error("failed to {action} `{}`", path.display())]
    Io {
        /// The action, as a verb.
        action: &'static str,
        /// The path of the action.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The path does not exist.
    #[error("image `{}` does not exist", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// The file is of another kind.
    #[error("`{}` is not an OCI archive, an OCI layout or a docker-archive", path.display())]
    NoImage {
        /// The path.
        path: PathBuf,
    },
    /// The file is not a tar archive.
    #[error("`{}` is not a tar archive", path.display())]
    NoArchive {
        /// The path.
        path: PathBuf,
    },
    /// A document of the image cannot be read.
    #[error("{document} of the image is malformed")]
    Malformed {
        /// The document, in words.
        document: String,
        /// The error of the JSON parser.
        source: serde_json::Error,
    },
    /// A document of the image contradicts another one, or lacks a part.
    #[error("{document} of the image {fault}")]
    Unusable {
        /// The document, in words.
        document: String,
        /// The fault, as the rest of a sentence.
        fault: String,
    },
    /// Content has another digest.
    #[error("{content} has the digest `{found}`, not `{expected}`")]
    Digest {
        /// The content, in words.
        content: String,
        /// The digest that it must have.
        expected: Digest,
        /// The digest that it has.
        found: Digest,
    },
    /// Content has another size.
    #[error("{content} has {found} bytes, not {expected}")]
    Size {
        /// The content, in words.
        content: String,
        /// The size that it must have.
        expected: u64,
        /// The size that it has, or the first size beyond it.
        found: u64,
    },
    /// The image is for other machines.
    #[error("the image is for {found}, and this machine is {machine}")]
    Platform {
        /// The platforms of the image.
        found: String,
        /// The platform of this machine.
        machine: String,
    },
    /// The file holds more than one image.
    #[error("`{}` holds {} images: {}", path.display(), found.len(), found.join(", "))]
    Several {
        /// The path of the file.
        path: PathBuf,
        /// The images, each with its digest.
        found: Vec<String>,
    },
    /// The image lacks a part.
    #[error("{place} lacks {part}")]
    Absent {
        /// The file or registry.
        place: String,
        /// The part, in words.
        part: String,
    },
    /// An archive cannot be read to its end.
    #[error("{archive} is broken")]
    Broken {
        /// The archive, in words.
        archive: String,
        /// The error of the archive or its compression.
        source: io::Error,
    },
    /// An entry of an archive is refused.
    #[error("entry `{entry}` of {archive} {fault}")]
    Entry {
        /// The archive, in words.
        archive: String,
        /// The name of the entry.
        entry: String,
        /// The fault, as the rest of a sentence.
        fault: String,
    },
    /// The system refused to write an entry.
    #[error("failed to {action} `{entry}` of {archive}")]
    Write {
        /// The archive, in words.
        archive: String,
        /// The name of the entry.
        entry: String,
        /// The action, as a verb.
        action: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// The image is too large.
    #[error("{archive} has more than {limit}")]
    TooLarge {
        /// The archive, in words.
        archive: String,
        /// The limit and its unit.
        limit: String,
    },
    /// The registry cannot be reached.
    #[error("registry `{host}` cannot be reached")]
    Unreachable {
        /// The host.
        host: String,
        /// The error of the connection.
        source: Box<ureq::Error>,
    },
    /// The registry refuses the login, or asks for one.
    #[error("registry `{host}` refuses {login}")]
    Login {
        /// The host.
        host: String,
        /// The login, in words.
        login: String,
    },
    /// The file with the logins cannot be used.
    #[error("the file of logins `{}` {fault}", path.display())]
    Logins {
        /// The path.
        path: PathBuf,
        /// The fault, as the rest of a sentence.
        fault: String,
    },
    /// The registry answers with an error.
    #[error("registry `{host}` answers {status} to a request for {content}")]
    Status {
        /// The host.
        host: String,
        /// The status of the answer.
        status: u16,
        /// The requested content, in words.
        content: String,
    },
    /// The registry's answer makes no sense.
    #[error("registry `{host}` {fault}")]
    Registry {
        /// The host.
        host: String,
        /// The fault, as the rest of a sentence.
        fault: String,
    },
    /// Another process has been unpacking the image for too long.
    #[error("another process holds image `{digest}`")]
    Held {
        /// The image.
        digest: Digest,
    },
    /// The image was not kept, or is gone.
    #[error("`{name}` has not obtained the image `{image}`")]
    NotKept {
        /// The file or reference of the image.
        image: String,
        /// The name by which it should be kept.
        name: String,
    },
    /// A run or another process uses the image.
    #[error("image `{digest}` is in use")]
    InUse {
        /// The image.
        digest: Digest,
    },
    /// No image has such a digest.
    #[error("no image `{text}`")]
    Unknown {
        /// The text.
        text: String,
    },
    /// Several images have digests with this start.
    #[error("{count} images start with `{text}`")]
    Ambiguous {
        /// The text.
        text: String,
        /// The number of images.
        count: usize,
    },
}

impl ImageError {
    /// Returns the error of an action on a path.
    pub(crate) fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io {
            action,
            path: path.to_owned(),
            source: source.into(),
        }
    }

    /// Returns whether the disk is full (ENOSPC, EDQUOT).
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } | Self::Write { source, .. } if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }

    /// Returns advice for the user.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Name(error) => error.hint(),
            Self::Several { .. } => Some("name one of them by `digest`".to_owned()),
            Self::Platform { .. } => {
                Some("name an image that was built for this machine".to_owned())
            }
            Self::Digest { .. } => {
                Some("the content has changed, or the digest is that of another image".to_owned())
            }
            Self::Login { .. } => Some(
                "log in with `podman login`, `buildah login` or `skopeo login`; the file with the logins may be named by REGISTRY_AUTH_FILE"
                    .to_owned(),
            ),
            Self::Logins { .. } => Some(
                "`podman login --authfile FILE` writes such a file (containers-auth.json(5))".to_owned(),
            ),
            Self::TooLarge { .. } => {
                Some("the variable NIXACTIONS_IMAGES_SIZE sets the size of all images together".to_owned())
            }
            Self::Unknown { .. } => Some("`nixactions image list` shows all images".to_owned()),
            Self::NotKept { name, .. } => Some(format!("`journalctl --unit={name}` says what it did")),
            Self::InUse { .. } => Some("`nixactions list` shows the runs that go on".to_owned()),
            Self::Held { .. } => Some("try again when the other process has ended".to_owned()),
            Self::Unreachable { .. } => {
                Some("check the name of the host, and the network".to_owned())
            }
            Self::Status { status: 404, .. } => {
                Some("check the name, and the tag or digest, of the image".to_owned())
            }
            Self::Status { .. } | Self::Registry { .. } => Some("try again later".to_owned()),
            Self::Missing { .. } => Some("a path is absolute, and is looked up on this machine".to_owned()),
            Self::NoArchive { .. } => {
                Some("a `root` is a directory, or a tar archive, plain or compressed".to_owned())
            }
            Self::Malformed { .. }
            | Self::Unusable { .. }
            | Self::Size { .. }
            | Self::Absent { .. }
            | Self::Broken { .. }
            | Self::Entry { .. } => Some("make or fetch the image anew".to_owned()),
            Self::Ambiguous { .. } => Some("write more digits".to_owned()),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("run as root, or name a directory of your own with `--state-dir`".to_owned())
            }
            _ if self.is_full() => Some(
                "free some space with `nixactions image clean`, or name another directory with `--state-dir`"
                    .to_owned(),
            ),
            Self::NoImage { .. } => {
                Some("a tar archive of a root file system is a `root`, not an `image`".to_owned())
            }
            _ => None,
        }
    }
}
