//! Reads and writes single files safely: atomically, and without trust in files that a job may have
//! replaced.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use nix::fcntl::OFlag;
use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::StoreError;
use crate::{reason::Reason, record::Versioned};

/// The largest file that is read from a directory in which a job can write, in bytes.
const UNTRUSTED_MAX: u64 = 64 << 20;
/// The size of the first read of a small file, in bytes.
const READ_AT_ONCE: usize = 4 << 10;

/// Returns whether a path is a link into Nix's store.
pub fn leads_into_store(path: &Path) -> bool {
    std::fs::read_link(path).is_ok_and(|target| target.starts_with("/nix/store"))
}

/// Writes a JSON file atomically (rename(2)). Readers see the old content or the new content, and
/// so does a crash. With `durable`, the content reaches the disk first (fsync(2)).
///
/// # Errors
/// Fails with the path and the system's error. No partial file is left.
pub fn write_json<T: Serialize>(
    path: &Path,
    value: &T,
    mode: u32,
    durable: bool,
) -> Result<(), StoreError> {
    let mut bytes = serde_json::to_vec(value).expect("invariant: our types have string keys only");
    bytes.push(b'\n');
    write_atomically(path, &bytes, mode, durable)
}

/// Writes a JSON file without a temporary file, for files that nothing reads before they are
/// complete.
///
/// # Errors
/// Fails with the path and the system's error.
pub fn write_json_plainly<T: Serialize>(
    path: &Path,
    value: &T,
    mode: u32,
) -> Result<(), StoreError> {
    let bytes = serde_json::to_vec(value).expect("invariant: our types have string keys only");
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(path)?;
        file.write_all(&bytes)
    };
    write().map_err(|source| StoreError::io("write", path, source))
}

/// Writes bytes like [`write_json`].
///
/// # Errors
/// Fails with the path and the system's error. No partial file is left.
pub fn write_atomically(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    durable: bool,
) -> Result<(), StoreError> {
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        if durable {
            file.sync_data()?;
        }
        std::fs::rename(&temporary, path)
    };
    write().map_err(|source| {
        // The temporary file may not exist. Report the first error only.
        let _ = std::fs::remove_file(&temporary);
        StoreError::io("write", path, source)
    })
}

/// Raises a flag like [`raise_flag`] if nobody has raised it. Returns whether this call did. Of
/// several calls at the same time, exactly one does.
///
/// # Errors
/// Fails with the path and the system's error.
pub fn raise_first(path: &Path, reason: &str, mode: u32) -> Result<bool, StoreError> {
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    let written = write_atomically(&temporary, reason.as_bytes(), mode, false);
    let raised = match &written {
        Ok(()) => renameat_with(CWD, &temporary, CWD, path, RenameFlags::NOREPLACE),
        Err(_) => Err(Errno::NOSPC),
    };
    let first = match raised {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        // The disk is full, or its file system cannot do it (renameat2(2)).
        Err(_) => match File::create_new(path) {
            Ok(mut file) => {
                // Readers know the meaning of an empty file.
                let _ = file.write_all(reason.as_bytes());
                file.set_permissions(std::fs::Permissions::from_mode(mode))
                    .map(|()| true)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        },
    };
    // Only the first call has no temporary file left.
    let _ = std::fs::remove_file(&temporary);
    first.map_err(|source| StoreError::io("create", path, source))
}

/// Raises a flag: a file whose presence is the message and whose content is the reason. On a full
/// disk the file is empty. Readers know the meaning of an empty one.
///
/// # Errors
/// Fails with the path and the system's error.
pub fn raise_flag(path: &Path, reason: &str, mode: u32) -> Result<(), StoreError> {
    let raised = write_atomically(path, reason.as_bytes(), mode, false);
    if !raised.as_ref().is_err_and(StoreError::is_full) {
        return raised;
    }
    // Most full file systems still have room for an entry in a directory, though not for a block.
    let raise = || -> io::Result<()> {
        let file = File::create(path)?;
        file.set_permissions(std::fs::Permissions::from_mode(mode))
    };
    raise().map_err(|source| StoreError::io("create", path, source))
}

/// Raises a flag with a reason, as [`raise_flag`]. Without a reason, the flag is empty.
///
/// # Errors
/// Fails with the path and the system's error.
pub fn raise_reason(path: &Path, reason: Option<&Reason>, mode: u32) -> Result<(), StoreError> {
    let json = reason.map_or_else(String::new, |reason| {
        serde_json::to_string(reason).expect("invariant: a reason has only texts and numbers")
    });
    raise_flag(path, &json, mode)
}

/// Reads a flag with a reason. Returns `None` if the flag is not raised, and `Some(None)` if it has
/// no reason.
pub fn read_reason(path: &Path) -> Option<Option<Reason>> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_) => Some(None),
        Ok(text) if text.is_empty() => Some(None),
        // A supervisor of an earlier version wrote a text.
        Ok(text) => Some(Some(
            serde_json::from_str(&text).unwrap_or(Reason::Untold { text }),
        )),
    }
}

/// Reads a document that this program wrote.
///
/// # Errors
/// The file is absent, unreadable, of another version or not of the type's form.
pub fn read_document<T: Versioned>(path: &Path) -> Result<T, StoreError> {
    let bytes = std::fs::read(path).map_err(|source| StoreError::io("read", path, source))?;
    document(path, &bytes)
}

/// Reads a JSON file that this program wrote and that has no version.
///
/// # Errors
/// The file is absent, unreadable or not of the type's form.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, StoreError> {
    let bytes = std::fs::read(path).map_err(|source| StoreError::io("read", path, source))?;
    parse(path, &bytes)
}

/// Reads a JSON file from a directory in which a job can write. It follows no link, waits for no
/// pipe or device, and loads no huge file. Returns `None` if the file does not exist.
///
/// # Errors
/// The path is not a plain file, the file is too large, or the content is not of the type's form.
pub fn read_untrusted_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    match read_untrusted(path, UNTRUSTED_MAX)? {
        Some(bytes) => parse(path, &bytes).map(Some),
        None => Ok(None),
    }
}

fn read_untrusted(path: &Path, max: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(file) = open_untrusted(path)? else {
        return Ok(None);
    };
    // A buffer of this size holds most of these files. Without it, many small reads would follow.
    let mut bytes = Vec::with_capacity(READ_AT_ONCE);
    // The file may have grown since it was opened.
    file.take(max + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| StoreError::io("read", path, source))?;
    if bytes.len() as u64 > max {
        return Err(StoreError::TooLarge {
            path: path.to_owned(),
            max,
        });
    }
    Ok(Some(bytes))
}

/// Opens a plain file for reading, in a directory in which a job can write. Returns `None` if the
/// file does not exist. The caller limits the size that it reads.
///
/// # Errors
/// The path is not a plain file.
pub fn open_untrusted(path: &Path) -> Result<Option<File>, StoreError> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = match OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)
    {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // open(2) with `O_NOFOLLOW` reports a link by this error.
        Err(error) if error.raw_os_error() == Some(nix::libc::ELOOP) => {
            return Err(StoreError::NotPlain {
                path: path.to_owned(),
            });
        }
        Err(error) => return Err(StoreError::io("open", path, error)),
    };
    let meta = file
        .metadata()
        .map_err(|source| StoreError::io("read", path, source))?;
    if !meta.is_file() {
        return Err(StoreError::NotPlain {
            path: path.to_owned(),
        });
    }
    Ok(Some(file))
}

/// Parses a document. If the document does not parse, its version decides on the error: a newer
/// document may have unknown fields.
fn document<T: Versioned>(path: &Path, bytes: &[u8]) -> Result<T, StoreError> {
    let other = |found| StoreError::OtherVersion {
        path: path.to_owned(),
        found,
        known: T::VERSION,
    };
    match serde_json::from_slice::<T>(bytes) {
        Ok(read) if read.version() == T::VERSION => Ok(read),
        Ok(read) => Err(other(read.version())),
        Err(source) => Err(match version(bytes) {
            Some(found) if found != T::VERSION => other(found),
            _ => StoreError::Malformed {
                path: path.to_owned(),
                source,
            },
        }),
    }
}

/// Returns the version in a document and ignores all other fields.
pub(super) fn version(bytes: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct Head {
        version: u32,
    }
    serde_json::from_slice::<Head>(bytes)
        .ok()
        .map(|head| head.version)
}

fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|source| StoreError::Malformed {
        path: path.to_owned(),
        source,
    })
}
