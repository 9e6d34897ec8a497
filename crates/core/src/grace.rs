//! How long each party of a cancellation waits for another: steps, jobs, runners.
//!
//! A step gets SIGINT, then SIGTERM, then SIGKILL. Knows nothing of processes.

use std::time::Duration;

/// How long a step gets after SIGINT, until SIGTERM.
pub const INTERRUPT_GRACE: Duration = Duration::from_millis(7500);
/// How long a step gets after SIGTERM, until SIGKILL.
pub const TERMINATE_GRACE: Duration = Duration::from_millis(2500);
/// How long `always()` and `cancelled()` work may take after a cancellation.
pub const CLEANUP_GRACE: Duration = Duration::from_secs(300);
/// What PID 1 waits beyond all that, before it ends a runner that hangs.
pub const RUNNER_SLACK: Duration = Duration::from_secs(30);

/// Returns what PID 1 waits for a job that may take so long.
pub fn start_timeout(timeout: Duration) -> Duration {
    timeout + INTERRUPT_GRACE + TERMINATE_GRACE + CLEANUP_GRACE + RUNNER_SLACK
}
