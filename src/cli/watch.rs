//! Waits for a directory to change, by inotify(7), or by looking again where the system has no watch left to give.

use std::{path::Path, pin::Pin, time::Duration};

use futures_util::{Stream, StreamExt};
use inotify::{Inotify, WatchMask};

/// How often is looked where nobody tells.
const POLL: Duration = Duration::from_millis(100);

/// A watch on a directory's files.
pub(super) struct Watch {
    events: Option<Pin<Box<dyn Stream<Item = ()>>>>,
}

impl Watch {
    /// Returns a watch on a directory.
    pub(super) fn new(directory: &Path) -> Self {
        Self { events: inotify(directory).ok() }
    }

    /// Waits until a file of the directory has been written, made or replaced; it may also wake up for nothing.
    pub(super) async fn changed(&mut self) {
        match &mut self.events {
            Some(events) => {
                if events.next().await.is_none() {
                    self.events = None;
                }
            }
            None => tokio::time::sleep(POLL).await,
        }
    }
}

fn inotify(directory: &Path) -> std::io::Result<Pin<Box<dyn Stream<Item = ()>>>> {
    let inotify = Inotify::init()?;
    inotify.watches().add(directory, WatchMask::MODIFY | WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::DELETE_SELF)?;
    // What has changed is seen by reading; that something has is enough.
    Ok(Box::pin(inotify.into_event_stream([0; 4096])?.ready_chunks(256).map(|_| ())))
}
