//! Copies the content of one file between two descriptors, by the cheapest means.
//!
//! The copy shares blocks if the file system can (ioctl_ficlone(2)), and it keeps holes. Small
//! files go through a buffer, which is faster for them than copy_file_range(2). A means that fails
//! because the file system lacks it is tried once for each copy of a tree.

use std::{
    os::fd::OwnedFd,
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{
    fs::{
        FallocateFlags, FileType, SeekFrom, Stat, Timespec, Timestamps, copy_file_range, fallocate,
        ftruncate, ioctl_ficlone, seek,
    },
    io::{Errno, Result},
};

/// The largest file that is copied through the buffer.
pub(super) const BUFFER: usize = 128 << 10;
/// The most bytes of one copy_file_range(2) call.
const RANGE: usize = 1 << 30;
/// The unit of `st_blocks` (stat(3type)).
const BLOCK: u64 = 512;

/// The means that the file systems have, as far as known.
#[derive(Debug)]
pub(super) struct Means {
    clone: AtomicBool,
    range: AtomicBool,
}

impl Default for Means {
    fn default() -> Self {
        Self {
            clone: AtomicBool::new(true),
            range: AtomicBool::new(true),
        }
    }
}

impl Means {
    /// Copies a whole file into an empty file. `stat` describes the source. If the source shrinks
    /// meanwhile, the copy ends with it.
    pub fn copy(
        &self,
        from: &OwnedFd,
        to: &OwnedFd,
        stat: &Stat,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if size == 0 {
            return Ok(());
        }
        if self.clone.load(Ordering::Relaxed) {
            match ioctl_ficlone(to, from) {
                Ok(()) => return Ok(()),
                Err(error) if is_unable(error) => self.clone.store(false, Ordering::Relaxed),
                Err(error) => return Err(error),
            }
        }
        if u64::try_from(stat.st_blocks)
            .unwrap_or(0)
            .saturating_mul(BLOCK)
            < size
        {
            return self.copy_sparse(from, to, size, buffer);
        }
        if size > BUFFER as u64 {
            // Reserve the whole size first, so that a full disk is noticed before the work. Not
            // every file system can do this.
            match fallocate(to, FallocateFlags::KEEP_SIZE, 0, size) {
                Err(error) if !is_unable(error) => return Err(error),
                _ => {}
            }
        }
        self.copy_range(from, to, 0, size, buffer)
    }

    /// Copies the parts of a file that hold data, and keeps the holes.
    fn copy_sparse(
        &self,
        from: &OwnedFd,
        to: &OwnedFd,
        size: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        ftruncate(to, size)?;
        let mut at = 0;
        while at < size {
            let start = match seek(from, SeekFrom::Data(at)) {
                Ok(start) => start,
                // Only a hole follows.
                Err(Errno::NXIO) => break,
                Err(error) if is_unable(error) => {
                    return self.copy_range(from, to, at, size, buffer);
                }
                Err(error) => return Err(error),
            };
            let end = seek(from, SeekFrom::Hole(start))?.min(size);
            self.copy_range(from, to, start, end, buffer)?;
            at = end;
        }
        Ok(())
    }

    fn copy_range(
        &self,
        from: &OwnedFd,
        to: &OwnedFd,
        start: u64,
        end: u64,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        let (mut read_at, mut write_at) = (start, start);
        while end - read_at > BUFFER as u64 && self.range.load(Ordering::Relaxed) {
            let length = usize::try_from(end - read_at).unwrap_or(RANGE).min(RANGE);
            match copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), length) {
                Ok(0) => return Ok(()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) if is_unable(error) => self.range.store(false, Ordering::Relaxed),
                Err(error) => return Err(error),
            }
        }
        if read_at < end {
            buffer.resize(BUFFER, 0);
        }
        while read_at < end {
            let length = usize::try_from(end - read_at).unwrap_or(BUFFER).min(BUFFER);
            let got = retried(|| rustix::io::pread(from, &mut buffer[..length], read_at))?;
            if got == 0 {
                return Ok(());
            }
            let mut written = 0;
            while written < got {
                written += retried(|| {
                    rustix::io::pwrite(to, &buffer[written..got], read_at + written as u64)
                })?;
            }
            read_at += got as u64;
        }
        Ok(())
    }
}

fn retried(mut call: impl FnMut() -> Result<usize>) -> Result<usize> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Returns whether an error means that a means is missing, rather than that the means failed. A
/// sandbox's system call filter reports `EPERM`.
fn is_unable(error: Errno) -> bool {
    matches!(
        error,
        Errno::OPNOTSUPP
            | Errno::XDEV
            | Errno::INVAL
            | Errno::NOSYS
            | Errno::NOTTY
            | Errno::PERM
            | Errno::BADF
            | Errno::TXTBSY
    )
}

/// Returns the kind of a file that cannot be copied, in words, or `None` for a file that can be
/// copied.
pub(super) fn special(kind: FileType) -> Option<&'static str> {
    match kind {
        FileType::RegularFile | FileType::Directory | FileType::Symlink => None,
        FileType::Fifo => Some("a named pipe"),
        FileType::Socket => Some("a socket"),
        FileType::CharacterDevice | FileType::BlockDevice => Some("a device"),
        FileType::Unknown => Some("of an unknown type"),
    }
}

/// Returns the modification time in the form in which it is set.
pub(super) fn times(stat: &Stat) -> Timestamps {
    let modified = Timespec {
        tv_sec: stat.st_mtime,
        tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0),
    };
    Timestamps {
        last_access: modified,
        last_modification: modified,
    }
}
