//! The entries of a tar archive, with bounds on all that an archive may make us keep.
//!
//! The crate `tar` reads headers and long names; it would keep a long name of any length. Here it
//! reads through a meter, which stops headers that are too large.

use std::{
    cell::Cell,
    io::{self, Read, Seek, SeekFrom},
    rc::Rc,
};

use tar::EntryType;

use crate::ImageError;

/// The most bytes of the headers of one entry: long names and extended attributes.
const HEADERS_MAX: u64 = 2 << 20;
/// The start of the keys of extended attributes (pax headers of star, GNU tar and bsdtar).
const ATTRIBUTE: &[u8] = b"SCHILY.xattr.";
/// The start of the keys of sparse files, which the crate `tar` reads only in GNU's own format.
const SPARSE: &[u8] = b"GNU.sparse.";

/// The kind of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    /// The text of the link.
    Symlink(Vec<u8>),
    /// The name of another entry.
    HardLink(Vec<u8>),
    Fifo,
    /// A character or block device.
    Device,
}

/// An entry without its content.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The name, as the archive has it.
    pub name: Vec<u8>,
    pub kind: Kind,
    /// The permissions, set-user-ID bits and sticky bit.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since the epoch.
    pub modified: i64,
    pub size: u64,
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// Returns the name as a text for people.
    pub(crate) fn shown(&self) -> String {
        shown(&self.name)
    }
}

/// Returns a name as a text for people.
pub(crate) fn shown(name: &[u8]) -> String {
    nixactions_core::error::escaped(&String::from_utf8_lossy(name)).into_owned()
}

/// Passes each entry of an archive and its content to a function, in order.
///
/// # Errors
/// The archive is broken, an entry has a form that is not understood, or the function fails.
pub(crate) fn for_each(
    archive: &str,
    reader: impl Read,
    mut function: impl FnMut(&Entry, &mut dyn Read) -> Result<(), ImageError>,
) -> Result<(), ImageError> {
    let (meter, left) = Meter::new(reader);
    let broken = |source| ImageError::Broken {
        archive: archive.to_owned(),
        source,
    };
    let mut archive_reader = tar::Archive::new(meter);
    let mut entries = archive_reader.entries().map_err(broken)?;
    loop {
        left.renew();
        let Some(read) = entries.next() else {
            return Ok(());
        };
        let mut read = read.map_err(broken)?;
        let Some(entry) = understand(archive, &mut read)? else {
            // A global header concerns no single entry.
            continue;
        };
        left.lift();
        function(&entry, &mut read)?;
        io::copy(&mut read, &mut io::sink()).map_err(broken)?;
    }
}

fn understand<R: Read>(
    archive: &str,
    read: &mut tar::Entry<'_, R>,
) -> Result<Option<Entry>, ImageError> {
    let name = read.path_bytes().into_owned();
    let refuse = |fault: String| ImageError::Entry {
        archive: archive.to_owned(),
        entry: shown(&name),
        fault,
    };
    let header = read.header();
    let link = || {
        let link = read.link_name_bytes().filter(|link| !link.is_empty());
        link.map(|link| link.into_owned())
            .ok_or_else(|| refuse("is a link without a target".to_owned()))
    };
    let kind = match header.entry_type() {
        // An old header has no type for directories.
        EntryType::Regular | EntryType::Continuous if name.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink(link()?),
        EntryType::Link => Kind::HardLink(link()?),
        EntryType::Fifo => Kind::Fifo,
        EntryType::Char | EntryType::Block => Kind::Device,
        EntryType::XGlobalHeader => return Ok(None),
        other => {
            return Err(refuse(format!(
                "is of the unknown type `{}`",
                char::from(other.as_byte()).escape_default()
            )));
        }
    };
    let bad = |what: &str| refuse(format!("has an invalid {what}"));
    // The number -1 means "no change" to the kernel.
    let owner = |id: io::Result<u64>, what: &str| {
        let id = id.ok().and_then(|id| u32::try_from(id).ok());
        id.filter(|id| *id != u32::MAX).ok_or_else(|| bad(what))
    };
    let mut entry = Entry {
        kind,
        mode: header.mode().map_err(|_| bad("mode"))? & 0o7777,
        uid: owner(header.uid(), "user")?,
        gid: owner(header.gid(), "group")?,
        modified: header
            .mtime()
            .ok()
            .and_then(|time| i64::try_from(time).ok())
            .unwrap_or(0),
        size: read.size(),
        attributes: Vec::new(),
        name: name.clone(),
    };
    let extensions = read.pax_extensions().map_err(|_| bad("extended header"))?;
    for extension in extensions.into_iter().flatten() {
        let extension = extension.map_err(|_| bad("extended header"))?;
        let key = extension.key_bytes();
        if key.starts_with(SPARSE) {
            return Err(refuse(
                "is a sparse file in the format of pax, which is not understood".to_owned(),
            ));
        }
        if let Some(name) = key.strip_prefix(ATTRIBUTE) {
            let pair = (name.to_owned(), extension.value_bytes().to_owned());
            entry.attributes.push(pair);
        }
    }
    Ok(Some(entry))
}

/// A reader that fails when it has read too much since it was renewed.
pub(crate) struct Meter<R> {
    inner: R,
    left: Allowance,
}

/// The bytes that a [`Meter`] may still read.
#[derive(Clone)]
pub(crate) struct Allowance(Rc<Cell<u64>>);

impl Allowance {
    /// Allows the headers of one entry.
    pub(crate) fn renew(&self) {
        self.0.set(HEADERS_MAX);
    }

    /// Allows any content.
    fn lift(&self) {
        self.0.set(u64::MAX);
    }
}

impl<R> Meter<R> {
    pub(crate) fn new(inner: R) -> (Self, Allowance) {
        let left = Allowance(Rc::new(Cell::new(HEADERS_MAX)));
        let meter = Self {
            inner,
            left: left.clone(),
        };
        (meter, left)
    }
}

impl<R: Read> Read for Meter<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        match self.left.0.get() {
            u64::MAX => {}
            left if left < count as u64 => {
                return Err(io::Error::other(format!(
                    "the headers of an entry have more than {HEADERS_MAX} bytes"
                )));
            }
            left => self.left.0.set(left - count as u64),
        }
        Ok(count)
    }
}

impl<R: Seek> Seek for Meter<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(bytes: &[u8]) -> Result<Vec<String>, ImageError> {
        let mut names = Vec::new();
        for_each("it", bytes, |entry, _| {
            names.push(entry.shown());
            Ok(())
        })?;
        Ok(names)
    }

    fn header(kind: EntryType, size: u64) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        header
    }

    #[test]
    fn a_name_without_end_is_refused_before_it_fills_the_memory() {
        // The header says 1 TiB, and zeros come as long as they are read.
        let mut start = header(EntryType::GNULongName, 1 << 40).as_bytes().to_vec();
        start.extend([0; 512]);
        let endless = start.as_slice().chain(io::repeat(b'x'));
        let error = for_each("it", endless, |_, _| Ok(())).unwrap_err();
        assert!(matches!(error, ImageError::Broken { .. }), "{error}");
    }

    #[test]
    fn unknown_types_and_owners_are_refused() {
        let mut owner = header(EntryType::Regular, 0);
        owner.set_uid(u64::from(u32::MAX));
        owner.set_cksum();
        for header in [header(EntryType::new(b'Z'), 0), owner] {
            let error = names(header.as_bytes()).unwrap_err();
            assert!(matches!(error, ImageError::Entry { .. }), "{error}");
        }
        assert_eq!(names(&[]).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn text_is_not_an_archive() {
        let error = names(&[b'x'; 1024]).unwrap_err();
        assert!(matches!(error, ImageError::Broken { .. }), "{error}");
    }
}
