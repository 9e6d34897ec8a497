//! A delay of the machine's shutdown by logind (org.freedesktop.login1(5), "Inhibition").

use std::time::Duration;

use zbus::{OwnedFd, connection, proxy};

use super::{SystemdError, manager::within_time};

/// The deadline of the calls: a run goes on without an answer.
const DEADLINE: Duration = Duration::from_secs(10);

#[proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
trait Login {
    fn inhibit(&self, what: &str, who: &str, why: &str, mode: &str) -> zbus::Result<OwnedFd>;
}

/// Delays a shutdown of the machine until this is dropped, or the process ends. logind bounds the
/// delay (`InhibitDelayMaxSec=`, logind.conf(5)).
#[derive(Debug)]
pub struct ShutdownDelay(#[expect(dead_code, reason = "held for its lock")] OwnedFd);

impl ShutdownDelay {
    /// Takes the lock, for this reason.
    ///
    /// # Errors
    /// Fails where there is no logind, or where the machine is shutting down.
    pub async fn take(why: &str) -> Result<Self, SystemdError> {
        let lock = async {
            // logind is on the system's bus, also for a user's run.
            let connection = connection::Builder::system().build().await?;
            let login = LoginProxy::new(&connection).await?;
            login.inhibit("shutdown", "nixactions", why, "delay").await
        };
        let lock = within_time(DEADLINE, "delay a shutdown", lock).await?;
        let failed = |source| SystemdError::Call {
            what: "delay a shutdown".to_owned(),
            source,
        };
        lock.map(Self).map_err(failed)
    }
}
