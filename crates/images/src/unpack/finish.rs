//! The metadata of directories. It is set when all layers are there: a later entry changes the time
//! of its directory, and needs the right to write there.

use std::os::fd::AsFd;

use rustix::{
    fs::{self, Gid, Mode, Timespec, Timestamps, Uid},
    io::Errno,
};

use super::Tree;
use crate::{
    ImageError,
    archive::{Entry, shown},
};

/// The metadata of a directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Directory {
    mode: u32,
    uid: u32,
    gid: u32,
    modified: Option<i64>,
}

impl Directory {
    /// Returns the metadata of a directory for which there is no entry.
    pub(super) fn implied() -> Self {
        Self {
            mode: 0o755,
            uid: 0,
            gid: 0,
            modified: None,
        }
    }

    pub(super) fn of(entry: &Entry) -> Self {
        Self {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            modified: Some(entry.modified),
        }
    }
}

/// Returns the times of a file.
pub(super) fn times(modified: i64) -> Timestamps {
    let time = Timespec {
        tv_sec: modified,
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

impl Tree {
    /// Sets the metadata of all directories, the innermost first.
    pub(super) fn set_directories(&mut self) -> Result<(), ImageError> {
        for (path, meta) in std::mem::take(&mut self.directories).into_iter().rev() {
            let directory = match self.resolve(&path) {
                Ok(directory) => directory,
                // A later entry has replaced it.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(errno) => return Err(failed(&path, "open", errno)),
            };
            if self.is_root {
                let (uid, gid) = (Uid::from_raw(meta.uid), Gid::from_raw(meta.gid));
                fs::fchown(&directory, Some(uid), Some(gid))
                    .map_err(|errno| failed(&path, "set the owner of", errno))?;
            }
            fs::fchmod(&directory, Mode::from_raw_mode(meta.mode))
                .map_err(|errno| failed(&path, "set the mode of", errno))?;
            if let Some(modified) = meta.modified {
                fs::futimens(directory.as_fd(), &times(modified))
                    .map_err(|errno| failed(&path, "set the time of", errno))?;
            }
        }
        Ok(())
    }
}

fn failed(path: &[u8], action: &'static str, errno: Errno) -> ImageError {
    ImageError::Write {
        archive: "the image".to_owned(),
        entry: shown(path),
        action,
        source: errno.into(),
    }
}
