//! The D-Bus adapter: a systemd manager as a typed value (org.freedesktop.systemd1(5)).
//!
//! It knows units and their properties, and nothing of plans or runs.

mod cgroup;
mod convert;
mod end;
mod landlock;
mod manager;
mod proxy;
mod shutdown;

pub use cgroup::kernel_support;
pub use end::ServiceEnd;
pub use landlock::has_scopes;
pub use manager::{Manager, QueueResult, Removed, Scope, Told, UnitState};
pub use shutdown::ShutdownDelay;

use crate::unit::UnitName;

/// The errors of calls to a manager.
#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    /// There is no bus, or no manager on it.
    #[error("failed to reach the {scope} manager of systemd")]
    Unreachable {
        /// Which manager.
        scope: Scope,
        /// The cause.
        source: zbus::Error,
    },
    /// The manager did not answer in time.
    #[error("systemd did not answer within {seconds} s when asked to {what}")]
    Timeout {
        /// The request, as a phrase.
        what: String,
        /// The deadline, in seconds.
        seconds: u64,
    },
    /// The manager refused units.
    #[error("failed to start unit `{unit}`")]
    Start {
        /// The main unit of the call.
        unit: UnitName,
        /// The manager's reason.
        source: zbus::Error,
    },
    /// Another call failed.
    #[error("systemd failed to {what}")]
    Call {
        /// The request, as a phrase.
        what: String,
        /// The manager's reason.
        source: zbus::Error,
    },
    /// The connection ended.
    #[error("the connection to systemd was closed")]
    Closed,
}

impl SystemdError {
    /// Returns whether the unit is not loaded.
    pub fn is_no_such_unit(&self) -> bool {
        matches!(self, Self::Call { source: zbus::Error::MethodError(name, ..), .. } if name.as_str() == "org.freedesktop.systemd1.NoSuchUnit")
    }

    /// Returns whether no manager answered the call, for example while it re-executes itself.
    pub fn is_unanswered(&self) -> bool {
        use zbus::fdo::Error as Bus;
        let (Self::Start { source, .. } | Self::Call { source, .. }) = self else {
            return false;
        };
        match source {
            zbus::Error::FDO(error) => matches!(
                **error,
                // The bus tries to start a name without an owner, and reports its failure.
                Bus::NoReply(_)
                    | Bus::Disconnected(_)
                    | Bus::NameHasNoOwner(_)
                    | Bus::ServiceUnknown(_)
                    | Bus::SpawnChildExited(_)
                    | Bus::SpawnFailed(_)
            ),
            // The time limit of a call is over.
            zbus::Error::InputOutput(error) => error.kind() == std::io::ErrorKind::TimedOut,
            _ => false,
        }
    }

    /// Returns advice for the user.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { scope: Scope::System, .. } => {
                Some("where systemd is not the init, root can use `--manager embedded`".to_owned())
            }
            Self::Unreachable { scope: Scope::User, .. } => {
                Some("log in through PAM or `machinectl shell`, or let root run `loginctl enable-linger`; or run as root".to_owned())
            }
            Self::Start { source: zbus::Error::MethodError(name, ..), .. } if name.as_str() == "org.freedesktop.systemd1.UnitExists" => {
                Some("a unit of this name is loaded already, possibly by a run in another state directory: try again, or see `systemctl status`".to_owned())
            }
            Self::Start { source: zbus::Error::FDO(error), .. }
                if matches!(**error, zbus::fdo::Error::AccessDenied(_) | zbus::fdo::Error::InteractiveAuthorizationRequired(_)) =>
            {
                Some("run as root, or use `--manager user`".to_owned())
            }
            Self::Start { .. } | Self::Timeout { .. } | Self::Call { .. } | Self::Closed => None,
        }
    }
}
