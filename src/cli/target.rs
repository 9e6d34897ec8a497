//! From the target on the command line to a plan: read, evaluated, or built.

use std::path::{Path, PathBuf};

use super::{CliError, args::TargetArgs, start::StartError};
use crate::{
    language::{Argument, Named, Target},
    plan::{self, Plan, PlanError},
    store::{Building, StateDir},
};

impl TargetArgs {
    /// Returns what is meant.
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

    /// Returns the plan, for which nothing is built.
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

    /// Returns where the plan lies, which is built for it if it comes from Nix. Then the place of
    /// the build is to be held until the run keeps what was built itself.
    pub(super) async fn built(
        &self,
        state: &Path,
    ) -> Result<(PathBuf, Option<Building>), CliError> {
        match self.target()? {
            Target::Plan(path) => Ok((path, None)),
            Target::Workflow(workflow) => {
                let building = StateDir::create(state)?.building()?;
                Ok((workflow.build(&building.link()).await?, Some(building)))
            }
        }
    }
}
