//! Waits for a directory to change. It polls at short intervals at first, then uses inotify(7), or
//! polls at longer intervals if the system has no watch left.

use std::{
    path::{Path, PathBuf},
    pin::Pin,
    time::{Duration, Instant},
};

use futures_util::{Stream, StreamExt};
use inotify::{Inotify, WatchMask};
use tokio::time::sleep;

/// The time of polling before the client makes a watch, and the interval of the polls. The kernel
/// takes up to 20 ms to remove a watch, which is a large part of a short run.
const FIRST: Duration = Duration::from_millis(250);
const FIRST_POLL: Duration = Duration::from_millis(1);
/// The time in which the client collects changes after that. Users do not notice so small a delay,
/// and each look takes time from the jobs.
const GATHER: Duration = Duration::from_millis(20);
/// The interval of polls without a watch.
const POLL: Duration = Duration::from_millis(100);

/// A watch on a directory's files.
pub(super) struct Watch {
    directory: PathBuf,
    began: Instant,
    events: Events,
}

enum Events {
    NotYet,
    By(Pin<Box<dyn Stream<Item = ()>>>),
    Never,
}

impl Watch {
    /// Returns a watch on a directory.
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            began: Instant::now(),
            events: Events::NotYet,
        }
    }

    /// Waits until a file of the directory has been written, made or replaced. May return without a
    /// change.
    pub(super) async fn changed(&mut self) {
        match &mut self.events {
            Events::NotYet if self.began.elapsed() < FIRST => sleep(FIRST_POLL).await,
            // Something may have changed before there was a watch.
            Events::NotYet => {
                self.events = inotify(&self.directory).map_or(Events::Never, Events::By)
            }
            Events::By(events) => {
                if events.next().await.is_none() {
                    self.events = Events::Never;
                }
                sleep(GATHER).await;
            }
            Events::Never => sleep(POLL).await,
        }
    }
}

fn inotify(directory: &Path) -> std::io::Result<Pin<Box<dyn Stream<Item = ()>>>> {
    let inotify = Inotify::init()?;
    inotify.watches().add(
        directory,
        WatchMask::MODIFY | WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::DELETE_SELF,
    )?;
    // The caller reads the changes itself, so the events need no details.
    Ok(Box::pin(
        inotify
            .into_event_stream([0; 4096])?
            .ready_chunks(256)
            .map(|_| ()),
    ))
}
