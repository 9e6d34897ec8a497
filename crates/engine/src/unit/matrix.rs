//! Matrix groups: the settings that their jobs share. The validator has checked that all jobs of a
//! group agree on them.
//!
//! From systemd 258 on, a group with `maxParallel` has a slice of its own below the run's, and PID
//! 1 counts a job in both. An active slice counts as one unit in its parent (measured on 262). So
//! the run's bound is raised by the number of groups, and no job may start before these slices.

use std::{collections::BTreeMap, time::Duration};

use super::{Context, UnitName, services, start_timeout};
use crate::{
    graph::JobIx,
    plan::{Env, Job, Matrix, Plan},
};

/// Returns a plan's matrix groups by name, with the settings from their jobs.
pub fn matrix_groups(plan: &Plan) -> BTreeMap<&str, &Matrix> {
    plan.jobs
        .values()
        .filter_map(|job| job.matrix.as_ref())
        .map(|matrix| (matrix.group.as_str(), matrix))
        .collect()
}

/// Returns the jobs of a matrix group.
pub fn matrix_jobs(context: &Context<'_>, group: &str) -> Vec<JobIx> {
    let is_of_group = |ix: &JobIx| {
        context
            .job(*ix)
            .1
            .matrix
            .as_ref()
            .is_some_and(|matrix| matrix.group == group)
    };
    context.graph.jobs().filter(is_of_group).collect()
}

/// Returns the variables that hold a job's matrix values for its steps: `MATRIX_<K>`.
pub(super) fn variables(matrix: &Matrix) -> Env {
    matrix
        .values
        .iter()
        .map(|(key, value)| (crate::plan::matrix_variable(key), value.to_string()))
        .collect()
}

/// Returns whether the runner of a job takes locks: of the run or of the job's matrix, where the
/// manager does not count running jobs itself, or of all runs.
pub(super) fn waits_for_slots(context: &Context<'_>, job: &Job) -> bool {
    let of_matrix = job.matrix.as_ref().and_then(|matrix| matrix.max_parallel);
    let counted = context.bound().or(of_matrix);
    let counted = counted.filter(|_| !context.features.concurrency);
    counted.or(context.run.max_jobs).is_some()
}

/// Returns the time from the start of a job, or of a further attempt after its runner was killed,
/// after which the supervisor ends the job. Where its runner takes locks, PID 1 cannot: it would
/// count the wait. It can be asked for more time (sd_notify(3), `EXTEND_TIMEOUT_USEC=`), but
/// forgets that with each `daemon-reload` (measured on 252 and 262).
pub fn supervised_timeout(context: &Context<'_>, job: &Job) -> Option<Duration> {
    let timeout = context.job_timeout(job).map(start_timeout);
    timeout.filter(|_| waits_for_slots(context, job))
}

/// Returns the slices of the groups with a bound, by group, each with its bound.
pub(super) fn slices<'a>(context: &Context<'a>) -> BTreeMap<&'a str, (UnitName, u32)> {
    if !context.features.concurrency {
        return BTreeMap::new();
    }
    let in_steps = services::has_steps_slice(context);
    let bounded = matrix_groups(context.plan).into_iter().enumerate();
    bounded
        .filter_map(|(number, (group, matrix))| {
            Some((
                group,
                (
                    UnitName::matrix(&context.run.run, number, group, in_steps),
                    matrix.max_parallel?,
                ),
            ))
        })
        .collect()
}
