//! Room on the disk for a run's record: it is set aside when the run is made, so that the record
//! can be written to a disk that is full by then.

use std::{
    fs::{self, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
};

use super::{RunDir, StoreError};
use crate::record::RunRecord;

/// The disk space that is reserved for a record, in bytes: a fixed part and a part for each job.
const RECORD_BYTES: u64 = 64 << 10;
const RECORD_BYTES_PER_JOB: u64 = 1 << 10;

impl RunDir {
    /// Reserves disk space for the final record, so that the record can be written to a full disk.
    ///
    /// # Errors
    /// The disk does not have that space.
    pub fn reserve(&self, jobs: usize) -> Result<(), StoreError> {
        let path = self.reserve_file();
        let size = RECORD_BYTES + RECORD_BYTES_PER_JOB * jobs as u64;
        let reserve = || -> io::Result<()> {
            let file = fs::File::create(&path)?;
            Ok(nix::fcntl::posix_fallocate(
                &file,
                0,
                size.try_into().unwrap_or(i64::MAX),
            )?)
        };
        reserve().map_err(|source| StoreError::io("reserve room in", &path, source))
    }

    /// Writes the final record into the space that [`Self::reserve`] reserved, so that no other
    /// file can take that space meanwhile. Leaves texts out if the record is too large.
    ///
    /// # Errors
    /// The run has no reserved space, or the record does not fit into it.
    pub fn write_in_reserve(&self, record: &RunRecord) -> Result<(), StoreError> {
        let path = self.reserve_file();
        let write = || -> io::Result<()> {
            let mut file = fs::OpenOptions::new().write(true).open(&path)?;
            let room = file.metadata()?.len();
            let mut bytes = serde_json::to_vec(record)?;
            if bytes.len() as u64 >= room {
                let mut bare = record.clone();
                bare.jobs.values_mut().for_each(|job| job.reason = None);
                bytes = serde_json::to_vec(&bare)?;
            }
            bytes.push(b'\n');
            if bytes.len() as u64 > room {
                return Err(io::ErrorKind::StorageFull.into());
            }
            file.write_all(&bytes)?;
            file.set_len(bytes.len() as u64)?;
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.sync_data()?;
            fs::rename(&path, self.record())
        };
        write().map_err(|source| StoreError::io("write", &self.record(), source))
    }

    /// Releases the space that [`Self::reserve`] reserved.
    pub fn release_reserve(&self) {
        // A reserve that cannot be removed does no harm.
        let _ = fs::remove_file(self.reserve_file());
    }

    fn reserve_file(&self) -> PathBuf {
        self.path().join("record.reserve")
    }
}
