//! The files of an image on disk: of a directory, or of a tar archive that is read in place.

use std::{
    collections::HashMap,
    fs::{File, Metadata, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};

use super::Scratch;
use crate::{ImageError, archive::Meter, compression, stop::Stop};

/// The most files of an archive that holds an image.
const FILES_MAX: usize = 100_000;
/// The size of the buffer between two files, in bytes.
const BUFFER: usize = 256 << 10;
/// The most links in a row.
const LINKS_MAX: usize = 8;

/// The file systems that the kernel mounts from a file, each with the offset of its magic number
/// (linux/magic.h) and its bytes.
const FILE_SYSTEMS: [(&str, u64, &[u8]); 3] = [
    ("squashfs", 0, b"hsqs"),
    ("erofs", 1024, &[0xe2, 0xe1, 0xf5, 0xe0]),
    ("ext4", 1080, &[0x53, 0xef]),
];

/// The kinds of roots that a plan may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// A directory.
    Directory,
    /// A tar archive, which [`crate::Images`] unpacks.
    Archive,
    /// A disk image, with the type of its file system.
    Disk(&'static str),
    /// Another file.
    Other,
}

/// Returns the kind of a root file system by its first bytes.
///
/// # Errors
/// The path does not exist or cannot be read.
pub fn root_of(path: &Path) -> Result<Root, ImageError> {
    let meta = std::fs::metadata(path).map_err(|error| absent(path, error))?;
    if meta.is_dir() {
        return Ok(Root::Directory);
    }
    let open = || open_file(path).map_err(|error| absent(path, error));
    let (file, _) = open()?;
    // Only a tar archive, plain or compressed, starts with a header that has its magic.
    let mut start = Vec::new();
    let read = compression::plain(file).and_then(|plain| plain.take(512).read_to_end(&mut start));
    let is_archive = read.is_ok() && start.get(257..262) == Some(b"ustar");
    if is_archive {
        return Ok(Root::Archive);
    }
    let (file, _) = open()?;
    let found = FILE_SYSTEMS.iter().find(|(_, offset, magic)| {
        let mut start = vec![0; magic.len()];
        file.read_exact_at(&mut start, *offset).is_ok() && start == *magic
    });
    Ok(found.map_or(Root::Other, |(name, ..)| Root::Disk(name)))
}

/// Opens a file or block device. Does not wait for a named pipe.
pub(crate) fn open_file(path: &Path) -> io::Result<(File, Metadata)> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    let meta = file.metadata()?;
    match meta.is_file() || meta.file_type().is_block_device() {
        true => Ok((file, meta)),
        false => Err(io::Error::other("not a plain file")),
    }
}

pub(crate) fn absent(path: &Path, error: io::Error) -> ImageError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ImageError::Missing {
            path: path.to_owned(),
        },
        _ => ImageError::io("read", path, error),
    }
}

/// A reader of a file, and the file's size.
type OpenFile<'a> = (Box<dyn Read + 'a>, u64);

/// The files of an image on disk.
pub(super) struct Files {
    path: PathBuf,
    content: Content,
}

enum Content {
    Directory,
    Archive {
        file: File,
        /// The offset and size of each file.
        files: HashMap<String, (u64, u64)>,
    },
}

impl Files {
    /// Opens a directory or an archive. The plain content of a compressed one goes to `scratch`.
    pub(super) fn open(path: &Path, scratch: &Scratch<'_>) -> Result<Self, ImageError> {
        let meta = std::fs::metadata(path).map_err(|error| absent(path, error))?;
        let content = if meta.is_dir() {
            Content::Directory
        } else {
            let (file, _) = open_file(path).map_err(|error| absent(path, error))?;
            let mut file = uncompressed(path, file, scratch)?;
            let files = index(path, &mut file, scratch.stop)?;
            Content::Archive { file, files }
        };
        Ok(Self {
            path: path.to_owned(),
            content,
        })
    }

    /// Returns the path of the directory or archive.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a file. Returns `None` if it is not there. Also returns its size.
    pub(super) fn file(&self, name: &str) -> Result<Option<OpenFile<'_>>, ImageError> {
        match &self.content {
            Content::Directory => {
                let path = self.path.join(name);
                match open_file(&path) {
                    Ok((file, meta)) => Ok(Some((Box::new(file), meta.len()))),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(error) => Err(ImageError::io("read", &path, error)),
                }
            }
            Content::Archive { file, files } => Ok(files.get(name).map(|(offset, size)| {
                let section = Section {
                    file,
                    at: *offset,
                    end: offset + size,
                };
                (Box::new(section) as Box<dyn Read>, *size)
            })),
        }
    }

    /// Reads a small file.
    pub(super) fn small(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>, ImageError> {
        let Some((reader, size)) = self.file(name)? else {
            return Ok(None);
        };
        if size > max {
            return Err(ImageError::TooLarge {
                archive: format!("`{name}` in `{}`", self.path.display()),
                limit: format!("{max} bytes"),
            });
        }
        let mut bytes = Vec::new();
        reader
            .take(max)
            .read_to_end(&mut bytes)
            .map_err(|error| ImageError::io("read", &self.path, error))?;
        Ok(Some(bytes))
    }
}

/// A part of a file.
struct Section<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        let count = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// Returns the file itself, or for a compressed one a file without a name that holds its plain
/// content.
fn uncompressed(path: &Path, mut file: File, scratch: &Scratch<'_>) -> Result<File, ImageError> {
    let read = |error| ImageError::io("read", path, error);
    let mut magic = [0; 262];
    let count = file.read_at(&mut magic, 0).map_err(read)?;
    if count == magic.len() && magic[257..] == *b"ustar" {
        return Ok(file);
    }
    let write = |error| ImageError::io("write a temporary file in", scratch.directory, error);
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let plain = rustix::fs::open(scratch.directory, flags, Mode::RUSR | Mode::WUSR);
    let mut plain = File::from(plain.map_err(|errno| write(errno.into()))?);
    file.seek(SeekFrom::Start(0)).map_err(read)?;
    let no_archive = || ImageError::NoImage {
        path: path.to_owned(),
    };
    let mut reader = compression::plain(scratch.stop.reader(file)).map_err(read)?;
    // A file that is not an archive at all is not copied.
    let mut start = Vec::new();
    (&mut reader)
        .take(512)
        .read_to_end(&mut start)
        .map_err(|_| no_archive())?;
    if start.get(257..262) != Some(b"ustar") {
        return Err(no_archive());
    }
    io::copy(&mut start.as_slice(), &mut plain).map_err(write)?;
    let mut buffer = vec![0; BUFFER];
    let mut written = start.len() as u64;
    loop {
        let count = reader
            .read(&mut buffer)
            .map_err(|source| ImageError::Broken {
                archive: format!("`{}`", path.display()),
                source,
            })?;
        if count == 0 {
            break;
        }
        written += count as u64;
        if written > scratch.bytes {
            return Err(ImageError::TooLarge {
                archive: format!("`{}`", path.display()),
                limit: format!("{} bytes", scratch.bytes),
            });
        }
        plain.write_all(&buffer[..count]).map_err(write)?;
    }
    Ok(plain)
}

/// Returns the places of all files of an archive.
fn index(
    path: &Path,
    file: &mut File,
    stop: &Stop,
) -> Result<HashMap<String, (u64, u64)>, ImageError> {
    let broken = |source| ImageError::Broken {
        archive: format!("`{}`", path.display()),
        source,
    };
    file.seek(SeekFrom::Start(0)).map_err(broken)?;
    let mut files = HashMap::new();
    let mut links = Vec::new();
    let (meter, allowance) = Meter::new(file);
    let mut reader = tar::Archive::new(meter);
    for entry in reader.entries_with_seek().map_err(broken)? {
        // The content of files is skipped, so that headers are all that is read.
        allowance.renew();
        stop.check().map_err(broken)?;
        let entry = entry.map_err(broken)?;
        let Some(name) = plain_name(&entry.path_bytes()) else {
            continue;
        };
        match entry.header().entry_type() {
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                files.insert(name, (entry.raw_file_position(), entry.size()));
            }
            kind @ (tar::EntryType::Symlink | tar::EntryType::Link) => {
                let target = entry.link_name_bytes().unwrap_or_default();
                let target = if kind == tar::EntryType::Link {
                    plain_name(&target)
                } else {
                    relative(&name, &target)
                };
                links.extend(target.map(|target| (name, target)));
            }
            _ => {}
        }
        if files.len() + links.len() > FILES_MAX {
            return Err(ImageError::TooLarge {
                archive: format!("`{}`", path.display()),
                limit: format!("{FILES_MAX} files"),
            });
        }
    }
    // Older archives of Docker have links from a layer to an equal one.
    let links: HashMap<String, String> = links.into_iter().collect();
    for name in links.keys() {
        let mut target = name;
        for _ in 0..LINKS_MAX {
            match links.get(target) {
                Some(next) => target = next,
                None => break,
            }
        }
        if let Some(place) = files.get(target).copied() {
            files.entry(name.clone()).or_insert(place);
        }
    }
    Ok(files)
}

/// Returns a name without the parts that mean nothing, if it is UTF-8 and stays in the archive.
fn plain_name(name: &[u8]) -> Option<String> {
    let parts: Vec<_> = std::str::from_utf8(name)
        .ok()?
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    (!parts.contains(&"..")).then(|| parts.join("/"))
}

/// Returns the name to which a link leads.
fn relative(name: &str, target: &[u8]) -> Option<String> {
    let target = std::str::from_utf8(target).ok()?;
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}
