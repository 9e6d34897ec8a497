//! The input of the compiler: a plan, its graph, a run, and the features of the manager.

use std::time::Duration;

use super::RunSpec;
use crate::{
    graph::{Graph, JobIx},
    ids::JobName,
    plan::{Job, Plan, Setting},
};

/// The timeout of a job without one in its plan: GitHub's 360 minutes
/// (<https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#jobsjob_idtimeout-minutes>).
pub const DEFAULT_JOB_TIMEOUT: Duration = Duration::from_secs(360 * 60);

/// The features of a manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// Its major version.
    pub version: u32,
    /// Slices count their units themselves: `ConcurrencySoftMax=` (systemd 258).
    pub concurrency: bool,
}

impl Features {
    /// Returns the features of a systemd of this version.
    pub fn of_version(version: u32) -> Self {
        Self {
            version,
            concurrency: version >= 258,
        }
    }
}

/// The input of the compiler: a plan, its graph and a run.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The validated plan.
    pub plan: &'a Plan,
    /// Its graph.
    pub graph: &'a Graph,
    /// The run.
    pub run: &'a RunSpec,
    /// The features of the manager.
    pub features: Features,
}

impl<'a> Context<'a> {
    /// Returns a job of the plan.
    pub fn job(&self, ix: JobIx) -> (&'a JobName, &'a Job) {
        let name = self.graph.name(ix);
        (
            name,
            self.plan
                .jobs
                .get(name)
                .expect("invariant: the graph was made from this plan"),
        )
    }

    /// Returns the bound on jobs that run at once, if the run has more jobs than that.
    pub fn bound(&self) -> Option<u32> {
        Some(self.run.max_parallel).filter(|most| (*most as usize) < self.graph.len())
    }

    /// Returns the timeout of a job.
    pub fn job_timeout(&self, job: &Job) -> Option<Duration> {
        match job.timeout {
            Setting::Inherit => Some(DEFAULT_JOB_TIMEOUT),
            Setting::Off => None,
            Setting::Value(seconds) => Some(seconds.duration()),
        }
    }
}

/// Returns the artifacts that a job restores, each with the ancestor that saves it.
pub fn inputs<'a>(
    context: &'a Context<'_>,
    ix: JobIx,
) -> impl Iterator<Item = (&'a str, &'a JobName)> {
    let (_, job) = context.job(ix);
    job.inputs.iter().filter_map(move |input| {
        let mut ancestors = context.graph.ancestors(ix);
        let from = ancestors
            .find(|ancestor| context.job(*ancestor).1.outputs.contains_key(&input.name))?;
        Some((input.name.as_str(), context.graph.name(from)))
    })
}
