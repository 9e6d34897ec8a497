//! A unit that runs out of memory: systemd stops it, or lets it go on after the kernel has killed
//! one of its processes.
//!
//! Each unit says which, since its runner tells by it why systemd stops the unit.

use super::{Context, Value};
use crate::plan::{Env, Job, Plan};

/// The property that tells systemd what to do with a unit after the kernel killed one of its
/// processes for want of memory, and two of its values (systemd.service(5)).
const OOM_POLICY: &str = "OOMPolicy";
const OOM_CONTINUE: &str = "continue";
const OOM_STOP: &str = "stop";

/// Returns the property of a unit that systemd stops. By default, the manager's own setting would
/// hold, and a unit with control groups of its own (`Delegate=`) would go on.
pub(super) fn stops() -> (&'static str, Value) {
    (OOM_POLICY, Value::Str(OOM_STOP.into()))
}

/// Returns whether properties of a plan let a unit go on.
pub(super) fn goes_on(of_plan: &Env) -> Option<bool> {
    let policy = of_plan.get(OOM_POLICY)?;
    Some(policy == OOM_CONTINUE)
}

/// Returns whether a job goes on.
pub(super) fn job_goes_on(context: &Context<'_>, job: &Job) -> bool {
    let of_executor = context.placement(job).properties();
    goes_on(&job.properties)
        .or_else(|| of_executor.and_then(goes_on))
        .unwrap_or_else(|| tries_again(context.plan, job) || context.run.keep_failed.is_some())
}

/// Lets the unit go on.
pub(super) fn go_on(properties: &mut [(&'static str, Value)]) {
    for (_, value) in properties
        .iter_mut()
        .filter(|(name, _)| *name == OOM_POLICY)
    {
        *value = Value::Str(OOM_CONTINUE.into());
    }
}

/// Returns whether a job, or a step of it, is tried again after a failure.
fn tries_again(plan: &Plan, job: &Job) -> bool {
    let of_job = job.retry.over(plan.retry.over(None));
    let of_steps = job.steps.iter().map(|step| step.retry.over(None));
    [of_job]
        .into_iter()
        .chain(of_steps)
        .flatten()
        .any(|retry| retry.max_attempts > 1)
}
