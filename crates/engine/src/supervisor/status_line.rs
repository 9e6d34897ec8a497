//! What systemd is told of the run: `systemctl status` shows it live (sd_notify(3), `STATUS=`).

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::ids::RunId;

/// How often the status is sent at most: each costs PID 1 a wake-up and a signal on the bus.
const INTERVAL: Duration = Duration::from_millis(250);
/// How many running jobs are named.
const NAMED: usize = 8;

/// Sends the status now and then.
#[derive(Debug)]
pub struct StatusLine {
    last: String,
    sent_at: Instant,
}

impl StatusLine {
    /// Says that the supervisor is ready.
    pub fn ready() -> Self {
        // Without a manager that listens there is nobody to tell.
        let _ = sd_notify::notify(&[NotifyState::Ready]);
        Self {
            last: String::new(),
            sent_at: Instant::now(),
        }
    }

    /// Sends a status where it is new and due. Returns when to come back with one that was not due
    /// yet.
    pub fn update(&mut self, text: String, force: bool) -> Option<Instant> {
        if text == self.last {
            return None;
        }
        let due = self.sent_at + INTERVAL;
        if !force && Instant::now() < due {
            return Some(due);
        }
        // Without a manager that listens there is nobody to tell.
        let _ = sd_notify::notify(&[NotifyState::Status(&text)]);
        self.last = text;
        self.sent_at = Instant::now();
        None
    }
}

/// Says again and again that the process is not stuck, as its unit's `WatchdogSec=` asks for.
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

/// Puts counts and running jobs into one line.
pub fn text<'a>(
    finished: usize,
    failed: usize,
    total: usize,
    cancelling: bool,
    running: impl ExactSizeIterator<Item = &'a str>,
) -> String {
    let mut text = format!("{finished} of {total} jobs done");
    if failed > 0 {
        text.push_str(&format!(", {failed} failed"));
    }
    if cancelling {
        text.push_str(", cancelling");
    }
    let count = running.len();
    if count > 0 {
        let names: Vec<&str> = running.take(NAMED).collect();
        text.push_str(&format!("; running: {}", names.join(", ")));
        if count > NAMED {
            text.push_str(&format!(" and {} more", count - NAMED));
        }
    }
    text
}

/// Says what the run waits for before it begins.
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
            text(0, 0, 3, false, ["a", "b"].into_iter()),
            "0 of 3 jobs done; running: a, b"
        );
        assert_eq!(
            text(3, 1, 3, true, [].into_iter()),
            "3 of 3 jobs done, 1 failed, cancelling"
        );
        assert!(text(0, 0, 20, false, ["x"; 12].into_iter()).ends_with("x and 4 more"));
    }
}
