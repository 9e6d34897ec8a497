//! The waits of a cancellation, for steps, jobs and runners.
//!
//! A step gets SIGINT, then SIGTERM, then SIGKILL. Knows nothing of processes.

use std::time::Duration;

/// The time from SIGINT to SIGTERM, for a step.
pub const INTERRUPT_GRACE: Duration = Duration::from_millis(7500);
/// The time from SIGTERM to SIGKILL, for a step.
pub const TERMINATE_GRACE: Duration = Duration::from_millis(2500);
/// The time that `always()` and `cancelled()` work may take after a cancellation.
pub const CLEANUP_GRACE: Duration = Duration::from_secs(300);
/// The time that PID 1, or the supervisor, adds to all these waits before it ends a hanging runner.
pub const RUNNER_SLACK: Duration = Duration::from_secs(30);

/// Returns the time after which PID 1, or the supervisor, ends a job with this timeout.
pub fn start_timeout(timeout: Duration) -> Duration {
    timeout + INTERRUPT_GRACE + TERMINATE_GRACE + CLEANUP_GRACE + RUNNER_SLACK
}
