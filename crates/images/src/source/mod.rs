//! The sources of images: files, layouts and registries. Each is read to the same parts: a digest,
//! a configuration, and layers whose content is checked as it is read.

mod document;
mod files;
mod layout;
mod login;
mod registry;

use std::{io::Read, path::Path};

pub(crate) use document::Config;
pub use files::{Root, root_of};
pub(crate) use files::{absent, open_file};
pub use login::Login;

use crate::{
    ImageError,
    hash::Hashing,
    image::{Digest, ImageSource},
    stop::Stop,
    unpack::{Tree, Whiteouts},
};
use files::Files;

/// The most bytes of a manifest, an index or a configuration (OCI distribution-spec).
const DOCUMENT_MAX: u64 = 4 << 20;
/// The most bytes of the plain content of a layer that is checked.
const PLAIN_MAX: u64 = 128 << 30;
/// The most layers of an image. Overlays of other programs take fewer than 200.
const LAYERS_MAX: usize = 2_000;

/// A part of an image: a layer or a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub digest: Digest,
    pub size: u64,
    /// The part in words.
    pub name: String,
}

/// The place of the parts of an image.
pub(crate) trait Parts {
    /// Opens a part. Its content is not checked yet.
    fn open(&mut self, part: &Part) -> Result<Box<dyn Read + '_>, ImageError>;

    /// Returns whether the digests of layers are those of their plain content, whatever their
    /// compression is.
    fn has_plain_digests(&self) -> bool {
        false
    }
}

/// Reads a document and checks it.
pub(crate) fn read_document(parts: &mut dyn Parts, part: &Part) -> Result<Vec<u8>, ImageError> {
    if part.size > DOCUMENT_MAX {
        return Err(ImageError::TooLarge {
            archive: part.name.clone(),
            limit: format!("{DOCUMENT_MAX} bytes"),
        });
    }
    let mut bytes = Vec::new();
    let mut reader = Hashing::new(parts.open(part)?, part.size);
    let read = reader.read_to_end(&mut bytes).and_then(|_| reader.finish());
    check(part, read.map_err(|source| broken(part, source))?)?;
    Ok(bytes)
}

/// An image that is about to be unpacked.
pub(crate) struct Opened<'a> {
    /// The digest of the manifest for this machine, or of the configuration in a docker-archive.
    pub digest: Digest,
    pub config: Config,
    layers: Vec<Part>,
    parts: Box<dyn Parts + 'a>,
}

impl Opened<'_> {
    /// Returns the number of layers.
    pub(crate) fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Writes a layer into a tree, and checks its content.
    pub(crate) fn unpack(
        &mut self,
        layer: usize,
        tree: &mut Tree,
        stop: &Stop,
    ) -> Result<(), ImageError> {
        let part = &self.layers[layer];
        let has_plain_digests = self.parts.has_plain_digests();
        // The rest of the layer is also read to check it.
        let reader = stop.reader(self.parts.open(part)?);
        if has_plain_digests {
            let plain = crate::compression::plain(reader).map_err(|source| broken(part, source))?;
            let mut reader = Hashing::new(plain, PLAIN_MAX);
            let added = tree.add(&part.name, &mut reader, Whiteouts::Obeyed);
            checked(part, reader, added, |size| size)
        } else {
            let mut reader = Hashing::new(reader, part.size);
            let added = crate::compression::plain(&mut reader)
                .map_err(|source| broken(part, source))
                .and_then(|plain| tree.add(&part.name, plain, Whiteouts::Obeyed));
            checked(part, reader, added, |_| part.size)
        }
    }
}

/// Checks the content of a part that has been unpacked. Broken content most probably has another
/// digest, which tells more than the error of a decompressor.
fn checked<R: Read>(
    part: &Part,
    reader: Hashing<R>,
    added: Result<(), ImageError>,
    size: impl FnOnce(u64) -> u64,
) -> Result<(), ImageError> {
    if !matches!(added, Ok(()) | Err(ImageError::Broken { .. })) {
        return added;
    }
    match reader.finish() {
        Ok((read, found)) => {
            let part = Part {
                size: size(read),
                ..part.clone()
            };
            check(&part, (read, found)).and(added)
        }
        Err(source) => added.and(Err(broken(part, source))),
    }
}

fn broken(part: &Part, source: std::io::Error) -> ImageError {
    ImageError::Broken {
        archive: part.name.clone(),
        source,
    }
}

/// Checks the size and digest of a part's content.
fn check(part: &Part, (size, found): (u64, Digest)) -> Result<(), ImageError> {
    if size != part.size {
        return Err(ImageError::Size {
            content: part.name.clone(),
            expected: part.size,
            found: size,
        });
    }
    if found != part.digest {
        return Err(ImageError::Digest {
            content: part.name.clone(),
            expected: part.digest.clone(),
            found,
        });
    }
    Ok(())
}

/// The place for the plain content of a compressed archive.
pub(crate) struct Scratch<'a> {
    pub directory: &'a Path,
    /// The most bytes of the content.
    pub bytes: u64,
    pub stop: &'a Stop,
}

/// Opens an image.
pub(crate) fn open(
    source: &ImageSource,
    wanted: Option<&Digest>,
    login: &Login,
    scratch: &Scratch<'_>,
) -> Result<Opened<'static>, ImageError> {
    match source {
        ImageSource::Path(path) => layout::open(Files::open(path, scratch)?, wanted),
        ImageSource::Registry(reference) => registry::open(reference, wanted, login),
    }
}
