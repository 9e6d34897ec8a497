//! Readers that hash and bound the bytes that pass.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use crate::{ImageError, image::Digest};

/// Returns the digest of bytes.
pub(crate) fn digest_of(bytes: &[u8]) -> Digest {
    Digest::of_bytes(&Sha256::digest(bytes).into())
}

/// Checks the digest of bytes.
pub(crate) fn check(content: &str, bytes: &[u8], expected: &Digest) -> Result<(), ImageError> {
    let found = digest_of(bytes);
    if found == *expected {
        return Ok(());
    }
    Err(ImageError::Digest {
        content: content.to_owned(),
        expected: expected.clone(),
        found,
    })
}

/// A reader that hashes all bytes that it reads. It reads no more than one byte beyond `max`.
pub(crate) struct Hashing<R> {
    inner: R,
    hash: Sha256,
    read: u64,
    max: u64,
}

impl<R: Read> Hashing<R> {
    pub(crate) fn new(inner: R, max: u64) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            read: 0,
            max,
        }
    }

    /// Reads the rest, and returns the number of bytes and their digest.
    pub(crate) fn finish(mut self) -> io::Result<(u64, Digest)> {
        io::copy(&mut self, &mut io::sink())?;
        Ok((self.read, Digest::of_bytes(&self.hash.finalize().into())))
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // One byte beyond the limit tells that there is more.
        let left = (self.max + 1).saturating_sub(self.read);
        let most = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = self.inner.read(&mut buffer[..most])?;
        self.hash.update(&buffer[..count]);
        self.read += count as u64;
        Ok(count)
    }
}
