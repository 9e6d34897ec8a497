//! The choice of a manager.

use std::path::Path;

use crate::{
    embedded,
    systemd::{Manager, Scope, SystemdError},
    unit::ManagerKind,
};

/// The requested manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The first available one.
    Auto,
    /// This one.
    Only(ManagerKind),
}

/// A usable manager. An embedded one is booted later.
#[derive(Debug)]
pub enum Chosen {
    /// A manager that is running.
    Running(ManagerKind, Box<Manager>),
    /// A private one, to be booted.
    Embedded,
}

impl Chosen {
    /// Returns its kind.
    pub fn kind(&self) -> ManagerKind {
        match self {
            Self::Running(kind, _) => *kind,
            Self::Embedded => ManagerKind::Embedded,
        }
    }
}

/// The reason why there is no manager.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// The requested manager is not available.
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    /// An embedded manager is not possible.
    #[error(transparent)]
    Embedded(#[from] embedded::EmbeddedError),
    /// None of the three is available.
    #[error(
        "there is no systemd manager to run the units\n  system: {system}\n  user: {user}\n  embedded: {embedded}"
    )]
    None {
        /// The reason against the system's.
        system: String,
        /// The reason against the user's.
        user: String,
        /// The reason against an embedded one.
        embedded: String,
    },
}

/// Chooses the manager: for root the system's or an embedded one, for others the user's.
///
/// Fails with the reasons against each manager.
pub async fn choose(choice: Choice) -> Result<Chosen, ManagerError> {
    let connect = async |kind: ManagerKind| {
        Manager::connect(Scope::from(kind))
            .await
            .map(|manager| Chosen::Running(kind, Box::new(manager)))
    };
    match choice {
        Choice::Only(ManagerKind::Embedded) => {
            embedded::check()?;
            Ok(Chosen::Embedded)
        }
        Choice::Only(kind) => Ok(connect(kind).await?),
        Choice::Auto if nix::unistd::geteuid().is_root() => {
            // sd_booted(3): without systemd no manager answers, and a bus without a manager would
            // only cost time.
            let system = if Path::new("/run/systemd/system").exists() {
                connect(ManagerKind::System).await
            } else {
                Err(not_booted())
            };
            match system {
                Ok(chosen) => Ok(chosen),
                Err(error) => match embedded::check() {
                    Ok(_) => Ok(Chosen::Embedded),
                    Err(missing) => Err(ManagerError::None {
                        system: tell(&error),
                        user: "root uses it only with `--manager user`".to_owned(),
                        embedded: tell(&missing),
                    }),
                },
            }
        }
        Choice::Auto => match connect(ManagerKind::User).await {
            Ok(chosen) => Ok(chosen),
            Err(error) => Err(ManagerError::None {
                system: "needs root (or permission from polkit with `--manager system`)".to_owned(),
                user: format!(
                    "{}; log in through PAM, or let root run `loginctl enable-linger`",
                    tell(&error)
                ),
                embedded: "needs root".to_owned(),
            }),
        },
    }
}

fn not_booted() -> SystemdError {
    SystemdError::Unreachable {
        scope: Scope::System,
        source: zbus::Error::Failure("the host was not booted with systemd".to_owned()),
    }
}

fn tell(error: &dyn std::error::Error) -> String {
    error
        .source()
        .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
