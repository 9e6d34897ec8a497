//! What the service manager is told that runs this program as a service of its own (`Type=notify`,
//! sd_notify(3)). Where there is none, nobody is told.

use std::env;

use sd_notify::NotifyState;

use crate::store::RunDir;

/// Returns whether a service manager has started this program itself: systemd says by
/// `$SYSTEMD_EXEC_PID` whom it has started (systemd.exec(5)), others only that somebody listens.
pub(super) fn is_service() -> bool {
    match env::var("SYSTEMD_EXEC_PID") {
        Ok(pid) => pid == std::process::id().to_string(),
        Err(_) => env::var_os("NOTIFY_SOCKET").is_some(),
    }
}

/// Says that the run has been started.
pub(super) fn started(run: &RunDir) {
    let status = format!("{0} goes on; `nixactions attach {0}` follows it", run.id());
    let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// Says how the run has ended, as far as that is known.
pub(super) fn ended(run: &RunDir) {
    let conclusion = run.load_record().ok().and_then(|record| record.conclusion);
    let conclusion = conclusion.map_or_else(
        || "not followed to its end".to_owned(),
        |conclusion| conclusion.to_string(),
    );
    let _ = sd_notify::notify(&[NotifyState::Status(&format!("{}: {conclusion}", run.id()))]);
}
