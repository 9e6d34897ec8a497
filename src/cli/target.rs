//! Turns the target on the command line into a plan: reads, evaluates or builds it.

use std::path::{Path, PathBuf};

use super::{CliError, args::TargetArgs};
use crate::{
    language::{Argument, Named, Target},
    plan::{self, Plan, PlanError},
    start::StartError,
    store::{BuildPlace, StateDir},
};

impl TargetArgs {
    /// Returns the target.
    fn target(&self) -> Result<Target, CliError> {
        let pairs = |values: &[String], make: fn(String, String) -> Argument| -> Vec<Argument> {
            values
                .chunks_exact(2)
                .map(|pair| make(pair[0].clone(), pair[1].clone()))
                .collect()
        };
        let arguments = [
            pairs(&self.arg, Argument::Expression),
            pairs(&self.argstr, Argument::Text),
        ]
        .concat();
        let named = Named {
            target: &self.target,
            attribute: self.attr.as_deref(),
            arguments: &arguments,
        };
        Ok(Target::of(named).map_err(crate::language::LanguageError::from)?)
    }

    /// Returns the plan, without a build.
    pub(super) async fn plan(&self) -> Result<Plan, CliError> {
        let plan = match self.target()? {
            Target::Plan(path) => plan::load(&path),
            Target::Workflow(workflow) => {
                plan::parse(&workflow.plan().await?).map_err(|faults| PlanError::Faulty {
                    path: self.target.clone(),
                    faults,
                })
            }
        };
        Ok(plan.map_err(StartError::from)?)
    }

    /// Returns the path of the plan, and builds a plan that comes from Nix. The caller must hold
    /// the build's location until the run itself keeps the build.
    pub(super) async fn built(
        &self,
        state: &Path,
    ) -> Result<(PathBuf, Option<BuildPlace>), CliError> {
        match self.target()? {
            Target::Plan(path) => Ok((path, None)),
            Target::Workflow(workflow) => {
                let place = StateDir::create(state)?.build_place()?;
                Ok((workflow.build(&place.link()).await?, Some(place)))
            }
        }
    }
}
