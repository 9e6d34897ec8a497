//! Notifies the service manager if this program is a service itself (`Type=notify`, sd_notify(3)).

use std::{env, time::Duration};

use sd_notify::NotifyState;

use crate::store::RunDir;

/// Returns whether a service manager started this very program. systemd sets `$SYSTEMD_EXEC_PID` to
/// its process id (systemd.exec(5)); other managers only set a notify socket.
pub(super) fn is_service() -> bool {
    match env::var("SYSTEMD_EXEC_PID") {
        Ok(pid) => pid == std::process::id().to_string(),
        Err(_) => env::var_os("NOTIFY_SOCKET").is_some(),
    }
}

/// Reports that the run has not started yet, and that its start may take this time from now on.
pub(super) fn waiting(status: &str, more: Duration) {
    let more = u32::try_from(more.as_micros()).unwrap_or(u32::MAX);
    let _ = sd_notify::notify(&[
        NotifyState::Status(status),
        NotifyState::ExtendTimeoutUsec(more),
    ]);
}

/// Reports that the run has started.
pub(super) fn started(run: &RunDir) {
    let status = format!("{0} goes on; `nixactions attach {0}` follows it", run.id());
    let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// Reports how the run has ended, if known.
pub(super) fn ended(run: &RunDir) {
    let conclusion = run.load_record().ok().and_then(|record| record.conclusion);
    let conclusion = conclusion.map_or_else(
        || "not followed to its end".to_owned(),
        |conclusion| conclusion.to_string(),
    );
    let _ = sd_notify::notify(&[NotifyState::Status(&format!("{}: {conclusion}", run.id()))]);
}
