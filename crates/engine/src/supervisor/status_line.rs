//! The status line that the supervisor sends to systemd: `systemctl status` shows it (sd_notify(3),
//! `STATUS=`).

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::ids::RunId;

/// The least time between two status lines: each costs PID 1 a wake-up and a signal on the bus.
const INTERVAL: Duration = Duration::from_millis(250);
/// The most running jobs, and the most waiting jobs, that the line names.
const NAMED: usize = 8;

/// Sends the status line from time to time.
#[derive(Debug)]
pub struct StatusLine {
    last: String,
    sent_at: Instant,
}

impl StatusLine {
    /// Tells systemd that the supervisor is ready.
    pub fn ready() -> Self {
        // This fails if no manager listens.
        let _ = sd_notify::notify(&[NotifyState::Ready]);
        Self {
            last: String::new(),
            sent_at: Instant::now(),
        }
    }

    /// Sends a new status line if one is due. If it is not due yet, returns when to call again.
    pub fn update(&mut self, text: String, force: bool) -> Option<Instant> {
        if text == self.last {
            return None;
        }
        let due = self.sent_at + INTERVAL;
        if !force && Instant::now() < due {
            return Some(due);
        }
        // This fails if no manager listens.
        let _ = sd_notify::notify(&[NotifyState::Status(&text)]);
        self.last = text;
        self.sent_at = Instant::now();
        None
    }
}

/// Feeds the watchdog of the supervisor's unit (`WatchdogSec=`).
pub async fn feed_watchdog() {
    let Some(deadline) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut interval = tokio::time::interval(deadline / 3);
    loop {
        interval.tick().await;
        let _ = sd_notify::notify(&[NotifyState::Watchdog]);
    }
}

/// Returns the line with counts, running jobs, and jobs that wait for a place.
pub fn text(
    finished: usize,
    failed: usize,
    total: usize,
    cancelling: bool,
    running: &[&str],
    waiting: &[&str],
) -> String {
    let mut text = format!("{finished} of {total} jobs done");
    if failed > 0 {
        text.push_str(&format!(", {failed} failed"));
    }
    if cancelling {
        text.push_str(", cancelling");
    }
    for (word, jobs) in [("running", running), ("waiting for a place", waiting)] {
        if let Some(named) = jobs.chunks(NAMED).next() {
            text.push_str(&format!("; {word}: {}", named.join(", ")));
        }
        if jobs.len() > NAMED {
            text.push_str(&format!(" and {} more", jobs.len() - NAMED));
        }
    }
    text
}

/// Returns the line of a run that waits for its group.
pub fn waiting(group: &str, held_by: Option<&RunId>) -> String {
    held_by.map_or_else(
        || format!("waiting for group `{group}`"),
        |run| format!("waiting for group `{group}`, held by {run}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_has_counts_and_running_jobs() {
        assert_eq!(
            text(0, 0, 3, false, &["a", "b"], &[]),
            "0 of 3 jobs done; running: a, b"
        );
        assert_eq!(
            text(3, 1, 3, true, &[], &[]),
            "3 of 3 jobs done, 1 failed, cancelling"
        );
        assert_eq!(
            text(0, 0, 3, false, &["a"], &["b", "c"]),
            "0 of 3 jobs done; running: a; waiting for a place: b, c"
        );
        assert!(text(0, 0, 20, false, &["x"; 12], &[]).ends_with("x and 4 more"));
    }
}
