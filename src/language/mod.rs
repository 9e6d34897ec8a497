//! Workflows in Nix: from what the user names to a plan, and from there to what is built and kept.
//!
//! Nix does all of it, in processes of its own whose standard error is the caller's, untouched.
//! Knows nothing of runs, and of terminals only that they are Nix's own business.

mod command;
mod keep;
mod target;
mod workflow;

use std::{io, path::PathBuf, process::ExitStatus};

pub use keep::{KeepError, is_collected, keep, store_path};
pub use target::{Argument, Named, Target, TargetError, Workflow};

/// Why there is no plan from Nix.
#[derive(Debug, thiserror::Error)]
pub enum LanguageError {
    /// What the user named cannot be run.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// There is no Nix.
    #[error("there is no Nix: `{program}` is in no directory of PATH{}, nor in {}", unset(*.has_path), command::PLACES.join(" or "))]
    Missing {
        /// The program of Nix that was looked for.
        program: &'static str,
        /// Whether PATH is set at all.
        has_path: bool,
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
    /// Nix would have to build something before it knows the workflow, where nothing is built.
    #[error(
        "evaluating {workflow} needs something to be built first (import from derivation), and \
         nothing is built here"
    )]
    NeedsBuild {
        /// The workflow that the user asked for.
        workflow: Workflow,
    },
    /// Nix was ended with this program.
    #[error("interrupted; nothing was started")]
    Interrupted,
    /// A file or flake does not have this workflow, or has several and none was named.
    #[error("{workflow} is no workflow{}", listed(.workflow, .known))]
    NoWorkflow {
        /// What was asked for.
        workflow: Workflow,
        /// Those that there are.
        known: Vec<Workflow>,
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
            Self::Missing { has_path: false, .. } => Some("set PATH, with the directory that has Nix's programs".to_owned()),
            Self::Missing { .. } => Some(
                "install Nix (https://nixos.org/download, or the package `nix-bin`); what is built runs without it: `nixactions run plan.json`"
                    .to_owned(),
            ),
            Self::NoWorkflow { known, .. } => Some(match known.first() {
                Some(first) => format!("name one of them, as in `{}`", first.on_the_command_line()),
                None => RETURNED.to_owned(),
            }),
            Self::NeedsBuild { workflow } => Some(format!(
                "`nixactions run {}` builds it; or write the file into the repository in place of \
                 making it while Nix evaluates",
                workflow.on_the_command_line()
            )),
            Self::NoPlan { path, .. } if !path.exists() => {
                Some("Nix keeps what it builds in another place here; jobs need it in /nix/store, which a Nix that is installed for all has".to_owned())
            }
            Self::NoPlan { .. } => Some(RETURNED.to_owned()),
            Self::Start { .. } | Self::Failed { .. } | Self::Interrupted => None,
        }
    }
}

/// What a workflow is, for who wants to run something else.
const RETURNED: &str = "a workflow is what `mkWorkflow` returns: `nixactions.mkWorkflow { … }`";

/// Says which workflows there are.
fn listed(workflow: &Workflow, known: &[Workflow]) -> String {
    match known {
        [] if workflow.is_whole_file() => ", nor a set of workflows".to_owned(),
        [] => "; there is none beside it either".to_owned(),
        known => {
            format!(
                "; those that there are: {}",
                known
                    .iter()
                    .map(|known| format!("`{}`", known.name()))
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        }
    }
}

/// Says that there is no PATH.
fn unset(has_path: bool) -> &'static str {
    if has_path { "" } else { ", which is not set" }
}
