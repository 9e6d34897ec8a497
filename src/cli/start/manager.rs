//! The choice of a manager.

use std::path::Path;

use crate::{
    embedded,
    systemd::{Manager, Scope, SystemdError},
    unit::ManagerKind,
};

/// What the caller asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The first that is there.
    Auto,
    /// This one.
    Only(ManagerKind),
}

/// A manager that can be used; an embedded one is booted later.
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

/// Why there is no manager.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// The one that was asked for is not there.
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    /// The embedded one cannot be had.
    #[error(transparent)]
    Embedded(#[from] embedded::EmbeddedError),
    /// None of the three.
    #[error(
        "there is no systemd manager to run the units\n  system: {system}\n  user: {user}\n  embedded: {embedded}"
    )]
    None {
        /// Why not the system's.
        system: String,
        /// Why not the user's.
        user: String,
        /// Why not an embedded one.
        embedded: String,
    },
}

/// Finds the manager: the system's for root, else the user's, else for root an embedded one.
///
/// # Errors
/// Fails with what is missing of each.
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
            // sd_booted(3): without it nothing answers on the bus, and a bus alone would only be
            // waited for.
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
                        user: "not used by root unless asked for with `--manager user`".to_owned(),
                        embedded: tell(&missing),
                    }),
                },
            }
        }
        Choice::Auto => match connect(ManagerKind::User).await {
            Ok(chosen) => Ok(chosen),
            Err(error) => Err(ManagerError::None {
                system: "needs root (or polkit's leave with `--manager system`)".to_owned(),
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
