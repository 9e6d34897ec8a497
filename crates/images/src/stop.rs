//! A flag that ends the work on an image early, for example because a signal has come.

use std::{
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// A flag that ends the work on an image when it is not zero.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicUsize>);

impl Stop {
    /// Returns a stop that obeys a flag.
    pub fn on(flag: Arc<AtomicUsize>) -> Self {
        Self(flag)
    }

    /// Fails if the work is to end.
    pub(crate) fn check(&self) -> io::Result<()> {
        match self.0.load(Ordering::SeqCst) {
            0 => Ok(()),
            // Not `Interrupted`, after which readers try again.
            _ => Err(io::Error::other("stopped by a signal")),
        }
    }

    /// Returns a reader that ends with the work.
    pub(crate) fn reader<R: Read>(&self, inner: R) -> impl Read + use<'_, R> {
        Stopping { inner, stop: self }
    }
}

struct Stopping<'a, R> {
    inner: R,
    stop: &'a Stop,
}

impl<R: Read> Read for Stopping<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stop.check()?;
        self.inner.read(buffer)
    }
}
