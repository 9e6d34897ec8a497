//! The hooks around all jobs of an executor: the setup before the first job, the cleanup after the
//! last.
//!
//! The setup is part of the DAG: the executor's jobs are ordered after the setup's service and
//! start only if it succeeded. The supervisor starts the cleanup, so that it also runs after
//! failures and cancellations.

use std::{collections::BTreeSet, time::Duration};

use super::{Cancel, Engine, SuperviseError};
use crate::{
    bounds::{TEXT_MAX, cut_text},
    error::describe,
    event::EventKind,
    graph::JobIx,
    reason::{Reason, ReasonCode},
    record::Conclusion,
    store,
    systemd::UnitState,
    unit::{self, CLEANUP_GRACE, RunSpec, UnitName, WorkspaceHook},
};

/// The time limit of cleanup hooks, including their services' own extra time.
const CLEANUP_DEADLINE: Duration = Duration::from_secs(CLEANUP_GRACE.as_secs() + 60);

impl Engine<'_> {
    /// Returns why a job cannot run, if the setup of its executor failed.
    pub(super) fn setup_failure(&self, ix: JobIx) -> Option<Reason> {
        let executor = unit::executor_of(&self.context, ix)?;
        Some(Reason::Setup {
            executor: executor.to_owned(),
            why: self.hook_failure(executor, WorkspaceHook::Setup)?,
        })
    }

    /// Returns why a hook did not succeed.
    fn hook_failure(&self, executor: &str, hook: WorkspaceHook) -> Option<String> {
        match store::read_result(&self.run.hook(executor, hook)) {
            Ok(Some(left)) if left.record.conclusion == Conclusion::Success => None,
            Ok(Some(left)) => {
                let record = left.record;
                // A hook is the only step of its job, so the step's name adds nothing.
                let of_step = (record.reason_code == Some(ReasonCode::StepFailed))
                    .then(|| record.steps.last()?.reason.clone())
                    .flatten();
                let mut reason = of_step
                    .or(record.reason)
                    .unwrap_or_else(|| record.conclusion.to_string());
                cut_text(&mut reason, TEXT_MAX);
                Some(reason)
            }
            Ok(None) => Some(Reason::NoResult.to_string()),
            Err(error) => Some(describe(&error)),
        }
    }

    /// Cleans up each executor that was set up or that needs no setup, and ends the services of the
    /// setups.
    pub(super) async fn clean_up_executors(&mut self) -> Result<(), SuperviseError> {
        let run: &RunSpec = self.context.run;
        let setups: BTreeSet<&str> =
            unit::executors_with(&self.context, WorkspaceHook::Setup).collect();
        let was_begun = |executor: &&str| {
            !setups.contains(executor)
                || store::has_started(&self.run.hook(executor, WorkspaceHook::Setup))
        };
        let cleanups: Vec<&str> = if self.cancel == Cancel::Killed {
            Vec::new()
        } else {
            unit::executors_with(&self.context, WorkspaceHook::Cleanup)
                .filter(was_begun)
                .collect()
        };
        let mut pending = BTreeSet::new();
        for executor in &cleanups {
            let unit = unit::hook_unit(&self.context, executor, WorkspaceHook::Cleanup);
            if let Err(error) = self.manager.start(&unit, &[]).await {
                // Most likely an earlier supervisor has started it.
                tracing::warn!("{}, waiting for it if it runs already", describe(&error));
                if !self
                    .manager
                    .list(&[unit.name.as_str()])
                    .await?
                    .iter()
                    .any(UnitState::is_pending)
                {
                    continue;
                }
            }
            pending.insert(unit.name.to_string());
        }
        match tokio::time::timeout(CLEANUP_DEADLINE, self.ended(pending)).await {
            Ok(ended) => ended?,
            Err(_) => tracing::warn!(
                "the cleanup hooks did not end within {} s, leaving them to systemd",
                CLEANUP_DEADLINE.as_secs()
            ),
        }
        for executor in cleanups {
            if let Some(reason) = self.hook_failure(executor, WorkspaceHook::Cleanup) {
                self.emit(EventKind::Warning {
                    message: format!("cleanupWorkspace of executor `{executor}`: {reason}"),
                });
            }
        }
        for executor in setups {
            self.manager
                .stop(&UnitName::hook(&run.run, executor, WorkspaceHook::Setup))
                .await?;
        }
        Ok(())
    }
}
