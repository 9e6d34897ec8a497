//! The parts that a new run takes over from an earlier one: its source tree, and the results and
//! artifacts of the jobs that do not run again.

use std::path::Path;

use jiff::Timestamp;

use crate::{
    event::{Event, EventKind},
    graph::Graph,
    ids::{JobName, RunId},
    interrupts::Mark,
    plan::Plan,
    record::{Conclusion, JobRecord, JobResult, RESULT_VERSION, RunRecord},
    store::{self, EventWriter, ModePolicy, RunDir, StoreError, TreeCopy},
};

/// The parts that a new run takes over from an earlier one.
#[derive(Debug)]
pub(super) struct Reuse {
    from: RunDir,
    has_source: bool,
    /// The jobs that do not run again, each with whether it or a job before it failed.
    jobs: Vec<(JobName, Vec<String>, JobRecord, bool)>,
}

impl Reuse {
    /// Takes the jobs that do not run again from the record of the earlier run.
    pub(super) fn new(
        from: RunDir,
        has_source: bool,
        plan: &Plan,
        graph: &Graph,
        record: &RunRecord,
        again: &[bool],
    ) -> Self {
        let mut failed = vec![false; graph.len()];
        let mut jobs = Vec::new();
        for ix in graph.jobs() {
            let name = graph.name(ix);
            let Some(ended) = record.jobs.get(name) else {
                continue;
            };
            failed[ix.index()] = ended.conclusion == Conclusion::Failure
                || graph.needs(ix).iter().any(|need| failed[need.index()]);
            if again[ix.index()] {
                continue;
            }
            let mut ended = ended.clone();
            ended.reused_from.get_or_insert_with(|| record.run.clone());
            // The job's lines are in the earlier run's log.
            ended.log_lines = 0;
            let outputs = plan
                .jobs
                .get(name)
                .map(|job| job.outputs.keys().cloned().collect())
                .unwrap_or_default();
            jobs.push((name.clone(), outputs, ended, failed[ix.index()]));
        }
        Self {
            from,
            has_source,
            jobs,
        }
    }

    /// Returns the number of jobs that do not run again.
    pub(super) fn jobs(&self) -> usize {
        self.jobs.len()
    }

    /// Returns the earlier run.
    pub(super) fn run(&self) -> &RunId {
        self.from.id()
    }

    /// Fills the new run's directory, and returns the events of the jobs that ended in the earlier
    /// run.
    pub(super) fn fill(
        &self,
        run: &RunDir,
        at: Timestamp,
        mark: &Mark,
    ) -> Result<Vec<Event>, StoreError> {
        if self.has_source {
            copy(&self.from.source(), &run.source(), mark)?;
        }
        let mut events = Vec::new();
        for (name, artifacts, record, failed) in &self.jobs {
            let (old, new) = (self.from.job(name), run.job(name));
            store::create_job(
                &new,
                &artifacts.iter().map(String::as_str).collect::<Vec<_>>(),
            )?;
            for artifact in artifacts
                .iter()
                .filter(|artifact| old.artifact(artifact).is_dir())
            {
                copy(&old.artifact(artifact), &new.artifact(artifact), mark)?;
            }
            let result = JobResult {
                version: RESULT_VERSION,
                failed: *failed,
                record: record.clone(),
            };
            let left = Event {
                at,
                event: EventKind::RunnerEnded {
                    job: name.clone(),
                    result,
                },
            };
            EventWriter::open(&new.events(), 0o644)?.append(&[left])?;
            events.push(Event {
                at,
                event: EventKind::JobFinished {
                    job: name.clone(),
                    record: record.clone(),
                },
            });
        }
        Ok(events)
    }
}

/// Copies a directory of a run. Shares blocks if the file system can.
fn copy(from: &Path, to: &Path, mark: &Mark) -> Result<(), StoreError> {
    std::fs::create_dir_all(to).map_err(|source| StoreError::io("create", to, source))?;
    TreeCopy {
        stop: Some(mark.raw()),
        ..TreeCopy::new(from, to, ModePolicy::Keep)
    }
    .all()
    .map(drop)
}
