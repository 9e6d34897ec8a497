//! The unit that sets up the place of a job before the job starts.

use super::{Context, UnitName, WorkspaceHook, hooks::executor_of, placement::shared_executor};
use crate::graph::JobIx;

/// Returns the unit that must be there before a job starts: the setup of its executor's workspace,
/// or the container that it shares with other jobs.
pub fn setup_of(context: &Context<'_>, ix: JobIx) -> Option<UnitName> {
    let run = &context.run.run;
    let hook = executor_of(context, ix);
    let hook = hook.map(|executor| UnitName::hook(run, executor, WorkspaceHook::Setup));
    hook.or_else(|| {
        let executor = shared_executor(context, context.job(ix).1)?;
        Some(UnitName::container(run, executor))
    })
}
