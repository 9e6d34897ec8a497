//! Workflows in Nix: from what the user names to a plan, and from there to what is built and kept.
//!
//! Nix does all of it, in processes of its own whose standard error is the caller's, untouched. Knows nothing of runs, and of
//! terminals only that they are Nix's own business.

mod command;
mod keep;
mod target;
mod workflow;

use std::{io, path::PathBuf, process::ExitStatus};

pub use keep::{KeepError, keep, store_path};
pub use target::{Argument, Named, Target, TargetError, Workflow};

/// Why there is no plan from Nix.
#[derive(Debug, thiserror::Error)]
pub enum LanguageError {
    /// What the user named cannot be run.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// There is no Nix.
    #[error("Nix is not installed: there is no `{program}` in PATH, nor in {}", command::PLACES.join(" or "))]
    Missing {
        /// The program of Nix that was looked for.
        program: &'static str,
    },
    /// Nix cannot be started, or not be waited for.
    #[error("failed to run `{program}`")]
    Start {
        /// The program of Nix.
        program: &'static str,
        /// The system's reason.
        source: io::Error,
    },
    /// Nix has failed, and said why.
    #[error("Nix did not {action} {workflow}, {status}; nothing was started")]
    Failed {
        /// What it was to do: evaluate or build.
        action: &'static str,
        /// What was asked for.
        workflow: Workflow,
        /// How it ended.
        status: ExitStatus,
    },
    /// Nix was ended with this program.
    #[error("interrupted; nothing was started")]
    Interrupted,
    /// A file or flake does not have this workflow, or has several and none was named.
    #[error("{workflow} is no workflow; {}", listed(.known))]
    NoWorkflow {
        /// What was asked for.
        workflow: Workflow,
        /// Those that there are.
        known: Vec<String>,
    },
    /// What was built has no plan.
    #[error("{workflow} is no workflow: `{}` has no plan.json", path.display())]
    NoPlan {
        /// What was asked for.
        workflow: Workflow,
        /// What was built.
        path: PathBuf,
    },
}

impl LanguageError {
    /// Returns what the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Target(error) => error.hint(),
            Self::Missing { .. } => Some(
                "install Nix (https://nixos.org/download, or the package `nix-bin`); what is built runs without it: `nixactions run plan.json`"
                    .to_owned(),
            ),
            Self::NoWorkflow { workflow, known } => {
                known.first().map(|name| format!("name one of them, as in `{}`", workflow.with_attribute(name).as_arguments()))
            }
            Self::NoPlan { path, .. } if !path.exists() => {
                Some("Nix keeps what it builds in another place here; jobs need it in /nix/store, which a Nix that is installed for all has".to_owned())
            }
            Self::NoPlan { .. } => Some("a workflow is what `mkWorkflow` returns".to_owned()),
            Self::Start { .. } | Self::Failed { .. } | Self::Interrupted => None,
        }
    }
}

/// Says which workflows there are.
fn listed(known: &[String]) -> String {
    match known {
        [] => "there is none beside it either".to_owned(),
        known => format!("those that there are: {}", known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
    }
}
