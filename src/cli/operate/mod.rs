//! `--system` for users who are not root: the machine's runs, through a socket of systemd's.
//!
//! The service behind the socket (`nixactions operate`) runs as root, once for each call. It asks
//! the kernel who calls, refuses strangers, and runs one of a few commands for operators. So
//! operators need neither root nor rights to the files of runs, and strangers learn nothing.
//!
//! Knows nothing of what the commands do.

mod client;
mod protocol;
mod server;

use std::io;

pub(super) use client::call;
pub(super) use server::main;

use super::{
    Exit,
    args::{Cli, Command},
};

/// Where the socket is. `nixos/operators.nix` has the same path.
const SOCKET: &str = "/run/nixactions-operate.socket";

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
    /// The command is for root, or needs no rights.
    #[error("`--system` does not go with `nixactions {0}`")]
    Command(&'static str),
    /// The option would give operators the rights of a workflow's author.
    #[error("operators cannot set `{0}`")]
    Option(&'static str),
}

impl OperateError {
    /// Returns the exit status.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::NoSocket
            | Self::Unreachable(_)
            | Self::Broken
            | Self::Stranger { .. }
            | Self::Version => Exit::Trouble,
            Self::Command(_) | Self::Option(_) => Exit::Usage,
        }
    }

    /// Returns advice for the user.
    pub(super) fn hint(&self) -> Option<String> {
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
        };
        Some(hint.to_owned())
    }
}

/// Checks that operators may run this command.
fn check(cli: &Cli) -> Result<(), OperateError> {
    let command = match &cli.command {
        Command::List(_)
        | Command::Show(_)
        | Command::Logs(_)
        | Command::Attach(_)
        | Command::Cancel(_) => return no_state_dir(cli),
        // Variables reach the steps, which hold the workflow's secrets. Files are read by root.
        Command::Rerun(args) => {
            let given = [
                ("--env", !args.env.is_empty()),
                ("--env-file", !args.env_file.is_empty()),
                ("--secret-env-file", !args.secret_env_file.is_empty()),
                ("--manager", args.manager.is_some()),
            ];
            return match given.iter().find(|(_, is_given)| *is_given) {
                Some((option, _)) => Err(OperateError::Option(option)),
                None => no_state_dir(cli),
            };
        }
        Command::Run(_) => "run",
        Command::Check(_) => "check",
        Command::Graph(_) => "graph",
        Command::Clean(_) => "clean",
        Command::Image(_) => "image",
        Command::Shell(_) => "shell",
        Command::Completions(_) => "completions",
        Command::Man(_) => "man",
    };
    Err(OperateError::Command(command))
}

fn no_state_dir(cli: &Cli) -> Result<(), OperateError> {
    let own = std::env::var_os("NIXACTIONS_STATE_DIR");
    match &cli.state_dir {
        // The variable is for the caller's own runs.
        Some(named) if own.as_deref() != Some(named.as_os_str()) => {
            Err(OperateError::Option("--state-dir"))
        }
        _ => Ok(()),
    }
}
