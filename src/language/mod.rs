//! Workflows in Nix: turns the user's target into a plan, builds it and keeps it.
//!
//! Nix runs in processes of its own, and its standard error goes to the caller unchanged. Knows
//! nothing of runs, and leaves terminals to Nix.

mod command;
mod gc_root;
mod target;
mod workflow;

use std::{io, path::PathBuf, process::ExitStatus};

pub use gc_root::{GcRootError, add_gc_root, is_collected, store_path};
pub use target::{Argument, Named, Target, TargetError, Workflow};

/// The error of getting a plan from Nix.
#[derive(Debug, thiserror::Error)]
pub enum LanguageError {
    /// The target cannot be run.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Nix is missing.
    #[error("Nix is missing: found `{program}` neither in PATH{} nor in {}", unset(*.has_path), command::PLACES.join(" or "))]
    Missing {
        /// The missing program.
        program: &'static str,
        /// Whether PATH is set.
        has_path: bool,
    },
    /// Nix could not be started or waited for.
    #[error("failed to run `{program}`")]
    Start {
        /// The program of Nix.
        program: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// Nix failed and has printed the reason.
    #[error("Nix did not {action} {workflow}, {status}; nothing was started")]
    Failed {
        /// The failed action, as a verb: evaluate or build.
        action: &'static str,
        /// The requested workflow.
        workflow: Workflow,
        /// The status with which Nix ended.
        status: ExitStatus,
    },
    /// Nix must build something to evaluate the workflow, but this command builds nothing.
    #[error(
        "evaluating {workflow} needs something to be built first (import from derivation), and \
         nothing is built here"
    )]
    NeedsBuild {
        /// The requested workflow.
        workflow: Workflow,
    },
    /// Nix was interrupted together with this program.
    #[error("interrupted; nothing was started")]
    Interrupted,
    /// The file or flake does not have this workflow, or has several and the user named none.
    #[error("{workflow} is not a workflow{}", listed(.workflow, .known))]
    NoWorkflow {
        /// The requested workflow.
        workflow: Workflow,
        /// The existing workflows.
        known: Vec<Workflow>,
    },
    /// The build result has no plan.
    #[error("{workflow} is not a workflow: `{}` has no plan.json", path.display())]
    NoPlan {
        /// The requested workflow.
        workflow: Workflow,
        /// The path of the build result.
        path: PathBuf,
    },
}

impl LanguageError {
    /// Returns advice for the user.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Target(error) => error.hint(),
            Self::Missing { has_path: false, .. } => Some("set PATH, with the directory that has Nix's programs".to_owned()),
            Self::Missing { .. } => Some(
                "install Nix (https://nixos.org/download, or the package `nix-bin`); a built plan runs without Nix: `nixactions run plan.json`"
                    .to_owned(),
            ),
            Self::NoWorkflow { known, .. } => Some(match known.first() {
                Some(first) => format!("name a workflow, as in `{}`", first.on_the_command_line()),
                None => RETURNED.to_owned(),
            }),
            Self::NeedsBuild { workflow } => Some(format!(
                "`nixactions run {}` builds it; or write the file into the repository in place of \
                 making it while Nix evaluates",
                workflow.on_the_command_line()
            )),
            Self::NoPlan { path, .. } if !path.exists() => {
                Some("this Nix has its store in another place; jobs need it in /nix/store, where a Nix for all users has it".to_owned())
            }
            Self::NoPlan { .. } => Some(RETURNED.to_owned()),
            Self::Start { .. } | Self::Failed { .. } | Self::Interrupted => None,
        }
    }
}

/// The definition of a workflow, as a hint.
const RETURNED: &str = "make a workflow by `nixactions.mkWorkflow { … }`";

/// Returns the end of an error's text, which lists the existing workflows.
fn listed(workflow: &Workflow, known: &[Workflow]) -> String {
    match known {
        [] if workflow.is_whole_file() => ", and not a set of workflows either".to_owned(),
        [] => "; there are no others in its place".to_owned(),
        known => {
            format!(
                "; known: {}",
                known
                    .iter()
                    .map(|known| format!("`{}`", known.name()))
                    .collect::<Vec<_>>()
                    .join(", ")
            )
        }
    }
}

/// Returns a remark for an unset PATH.
fn unset(has_path: bool) -> &'static str {
    if has_path { "" } else { " (PATH is not set)" }
}
