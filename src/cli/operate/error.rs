//! The reasons why a command is not run for an operator, and what the user can do about them.

use std::io;

use crate::cli::Exit;

/// Where the socket is. `nixos/operators.nix` has the same path.
pub(super) const SOCKET: &str = "/run/nixactions-operate.socket";

/// The reasons why a command is not run for an operator.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// The machine has no such socket.
    #[error("the machine has no `{SOCKET}`")]
    NoSocket,
    /// Nobody answers.
    #[error("failed to reach `{SOCKET}`")]
    Unreachable(#[source] io::Error),
    /// The answer ended too early.
    #[error("`nixactions-operate` did not answer to the end")]
    Broken,
    /// The caller is a stranger.
    #[error("{user} is not an operator of this machine's workflows")]
    Stranger {
        /// The user, as a phrase.
        user: String,
    },
    /// Another version asks.
    #[error("the request is of another version of nixactions")]
    Version,
    /// The service was started without a directory for the plan of a rerun.
    #[error("the service of operators has no RUNTIME_DIRECTORY")]
    NoDirectory,
    /// The command is for root, or needs no rights.
    #[error("`--system` does not go with `nixactions {0}`")]
    Command(&'static str),
    /// The option would give operators the rights of a workflow's author.
    #[error("operators cannot set `{0}`")]
    Option(&'static str),
}

impl OperateError {
    /// Returns the exit status.
    pub(in crate::cli) fn exit(&self) -> Exit {
        match self {
            Self::NoSocket
            | Self::Unreachable(_)
            | Self::Broken
            | Self::Stranger { .. }
            | Self::Version
            | Self::NoDirectory => Exit::Trouble,
            Self::Command(_) | Self::Option(_) => Exit::Usage,
        }
    }

    /// Returns advice for the user.
    pub(in crate::cli) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoSocket => {
                "an administrator can name operators in `services.nixactions.operators`"
            }
            Self::Unreachable(_) | Self::Broken => {
                "`systemctl status nixactions-operate.socket` shows the state of the socket"
            }
            Self::Stranger { .. } => {
                "an administrator can add the user, or a group of the user, to `services.nixactions.operators`"
            }
            Self::Version => "use the `nixactions` of the machine's configuration",
            Self::Command(_) => {
                "it goes with `list`, `show`, `logs`, `attach`, `cancel` and `rerun`; \
                 `systemctl start nixactions@NAME` starts a workflow"
            }
            Self::Option(_) => "only root can change what a run does",
            Self::NoDirectory => "its unit needs `RuntimeDirectory=`, as the NixOS module sets it",
        };
        Some(hint.to_owned())
    }
}
