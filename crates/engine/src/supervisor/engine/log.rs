//! Finds out whether a run's own journal has all lines of the jobs.
//!
//! journald drops its oldest lines if the disk has no room for more, and all lines if the disk has
//! no room for a journal. It reports neither. So the supervisor counts the lines if the disk is
//! nearly full.

use std::{collections::BTreeMap, io::Read, process::Command, time::Duration};

use nix::sys::statvfs::statvfs;
use nixactions_core::log::Stream;

use super::*;
use crate::{
    programs,
    store::{Entries, JournalQuery, Mode},
    unit::ManagerKind,
};

/// With less room than this on the disk, in bytes, journald may have dropped lines: what it leaves
/// free (`SystemKeepFree=`), and the smallest part in which it takes room.
const TIGHT: u64 = 16 << 20;
/// The longest time that journald takes to write a line after its arrival.
const LAG: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(300);

impl Engine<'_> {
    /// Fails the run where its journal had no room for all that its jobs printed.
    pub(super) async fn check_log(&mut self) {
        if self.context.run.manager != ManagerKind::Embedded || !self.is_tight() {
            return;
        }
        let deadline = Instant::now() + LAG;
        loop {
            let query = JournalQuery::of(&self.run, None);
            let counted = tokio::task::spawn_blocking(move || count(&query)).await;
            let missing = self.missing(&counted.unwrap_or_default());
            if missing == 0 {
                return;
            }
            if Instant::now() > deadline {
                let noun = if missing == 1 { "line" } else { "lines" };
                let what = format!("{missing} {noun} of the log had no room");
                let reason = Reason::DiskFull { what };
                tracing::error!("{reason}");
                self.failure.get_or_insert(reason);
                return;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn is_tight(&self) -> bool {
        // A disk that cannot be asked counts as one with room, as most disks have.
        statvfs(self.run.path())
            .is_ok_and(|disk| disk.blocks_available() * disk.fragment_size() <= TIGHT)
    }

    /// Returns how many lines of the jobs are not among those that were counted.
    fn missing(&self, counted: &BTreeMap<JobName, u64>) -> u64 {
        let jobs = self.record.jobs.iter();
        let ran = jobs.filter(|(_, record)| record.reused_from.is_none());
        ran.map(|(job, record)| {
            let found = counted.get(job).copied().unwrap_or_default();
            record.log_lines.saturating_sub(found)
        })
        // A job may have forged its number.
        .fold(0, u64::saturating_add)
    }
}

/// Counts the lines of each job in the journal; nothing where it cannot be read.
fn count(query: &JournalQuery) -> BTreeMap<JobName, u64> {
    let mut counted = BTreeMap::new();
    // Where journald does not answer, the lines are counted again.
    let _ = Command::new(programs::program("journalctl"))
        .arg("--sync")
        .output();
    let mode = Mode {
        follow: false,
        after: None,
    };
    let Ok(mut child) = query
        .command(mode)
        .stderr(std::process::Stdio::null())
        .spawn()
    else {
        return counted;
    };
    if let Some(mut answer) = child.stdout.take() {
        let (mut read, mut entries, mut part) =
            (Entries::default(), Vec::new(), vec![0; 256 << 10]);
        while let Ok(size @ 1..) = answer.read(&mut part) {
            read.read(query, &part[..size], &mut entries);
            for line in entries.drain(..).flat_map(|entry| entry.lines) {
                if line.stream != Stream::Manager && line.service.is_none() {
                    *counted.entry(line.job).or_default() += 1;
                }
            }
        }
    }
    let _ = child.wait();
    counted
}
