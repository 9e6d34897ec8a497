//! Selects the runs to keep and removes the others, while other processes may work in the state
//! directory.
//!
//! A removal first renames the run out of the runs, so that no process finds half a run. The number
//! of a removed run is not reused. The next removal also removes the leftovers of a killed one.

use std::{collections::HashSet, fs, io::ErrorKind, path::PathBuf};

use jiff::Timestamp;

use super::{Liveness, RunDir, StateDir, StoreError, disk_usage, files, make_dir, remove_tree};
use crate::{
    ids::{RunId, WorkflowName},
    record::Conclusion,
};

/// The conditions for removing a run. A run may be removed if it meets all of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Retention {
    /// The number of runs of each workflow to keep, newest first. A run that never began does not
    /// count, and this condition does not keep it.
    pub keep: Option<usize>,
    /// Keep the runs that ended after this time.
    pub before: Option<Timestamp>,
    /// Keep all runs as long as all of them together take no more than this disk space, in bytes.
    pub size: Option<u64>,
    /// Whether to keep the newest success and the newest failure of each workflow.
    pub latest: bool,
}

impl StateDir {
    /// Returns the runs that may be removed, the oldest first. `liveness` returns the state of a
    /// run. A run that goes on is kept.
    ///
    /// # Errors
    /// The runs cannot be listed.
    pub fn expired(
        &self,
        retention: Retention,
        liveness: impl Fn(&RunDir) -> Liveness,
    ) -> Result<Vec<RunDir>, StoreError> {
        let runs: Vec<(RunDir, Liveness)> = self
            .runs()?
            .iter()
            // A run that is gone meanwhile needs no removal.
            .filter_map(|id| self.run(id.as_str()).ok())
            .map(|run| {
                let liveness = liveness(&run);
                (run, liveness)
            })
            .collect();
        let latest = if retention.latest {
            latest(&runs)
        } else {
            HashSet::new()
        };
        let mut expired = Vec::new();
        for (place, (run, liveness)) in runs.iter().enumerate() {
            if latest.contains(run.id()) {
                continue;
            }
            // The list is sorted by workflow and number, so newer runs follow.
            let newer = runs[place + 1..]
                .iter()
                .take_while(|(other, _)| other.id().split().0 == run.id().split().0)
                .filter(|(_, liveness)| *liveness != Liveness::Incomplete)
                .count();
            let is_of_the_newest = match liveness {
                Liveness::Running => continue,
                Liveness::Incomplete => false,
                Liveness::Finished | Liveness::Lost => {
                    retention.keep.is_some_and(|keep| newer < keep)
                }
            };
            let ended = run.ended();
            let is_old = |before: Timestamp| ended.is_some_and(|end| end < before);
            if !is_of_the_newest && retention.before.is_none_or(is_old) {
                expired.push((ended, run.clone()));
            }
        }
        expired.sort_by_key(|(ended, _)| *ended);
        let expired = expired.into_iter().map(|(_, run)| run).collect();
        Ok(match retention.size {
            None => expired,
            Some(size) => beyond(&runs, expired, size),
        })
    }

    /// Removes a run that has ended or never began. With `nothing_goes_on`, the manager has told
    /// that no unit of the run is left, and the run may have any state. Returns whether the run was
    /// removed. A run with a supervisor or with a client that is starting it is not removed, nor is
    /// a run that is gone.
    ///
    /// # Errors
    /// Fails with the path and the system's error.
    pub fn remove(&self, run: &RunDir, nothing_goes_on: bool) -> Result<bool, StoreError> {
        let held = |lock| match lock {
            Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
            other => other,
        };
        // Hold both locks until the end: a late client or supervisor must not find the directory.
        let Some(_start) = held(run.lock_start())? else {
            return Ok(false);
        };
        let is_over = matches!(
            run.liveness_without_client(),
            Liveness::Finished | Liveness::Incomplete
        );
        if !is_over && !nothing_goes_on {
            return Ok(false);
        }
        let Some(_supervisor) = held(run.lock_supervisor())? else {
            return Ok(false);
        };
        let (workflow, number) = run.id().split();
        self.note_number(workflow, number)?;
        let trash = self.trash();
        make_dir(&trash, 0o700)?;
        let gone = trash.join(format!("{}.{}", run.id(), std::process::id()));
        match fs::rename(run.path(), &gone) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(StoreError::io("remove", run.path(), error)),
        }
        remove_tree(&gone).map_err(|source| StoreError::io("remove", &gone, source))?;
        Ok(true)
    }

    /// Removes the leftovers of earlier removals.
    pub fn empty_trash(&self) {
        for entry in fs::read_dir(self.trash()).into_iter().flatten().flatten() {
            // Another process may be removing the same tree.
            let _ = remove_tree(&entry.path());
        }
    }

    /// Returns the directory of the runs that are being removed.
    fn trash(&self) -> PathBuf {
        self.runs_dir().join(".trash")
    }

    /// Returns the highest number of a removed run of this workflow.
    pub(super) fn last_removed(&self, workflow: &WorkflowName) -> u64 {
        let text = fs::read_to_string(self.path().join("numbers").join(workflow.as_str()))
            .unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    fn note_number(&self, workflow: &str, number: u64) -> Result<(), StoreError> {
        let Ok(name) = workflow.parse() else {
            return Ok(());
        };
        if self.last_removed(&name) >= number {
            return Ok(());
        }
        let numbers = self.path().join("numbers");
        make_dir(&numbers, 0o700)?;
        files::write_atomically(
            &numbers.join(workflow),
            number.to_string().as_bytes(),
            0o600,
            false,
        )
    }
}

impl StateDir {
    /// Returns the newest success or failure of a run's workflow before this run, if there is one.
    /// Runs that were cancelled or that go on do not count.
    pub fn before(&self, run: &RunId) -> Option<(RunId, Conclusion)> {
        let (workflow, number) = run.split();
        let mut earlier: Vec<_> = self.runs().ok()?;
        earlier.retain(|id| id.split().0 == workflow && id.split().1 < number);
        earlier.sort_by_key(|id| std::cmp::Reverse(id.split().1));
        earlier.into_iter().find_map(|id| {
            let run = self.run(id.as_str()).ok()?;
            if !run.record().exists() {
                return None;
            }
            match run.load_record().ok()?.conclusion? {
                conclusion @ (Conclusion::Success | Conclusion::Failure) => Some((id, conclusion)),
                _ => None,
            }
        })
    }
}

/// Returns the newest success and the newest failure of each workflow.
fn latest(runs: &[(RunDir, Liveness)]) -> HashSet<RunId> {
    let mut seen = HashSet::new();
    // The list is sorted by workflow and number, so the later one of two runs is newer.
    let newest = runs.iter().rev().filter_map(|(run, _)| {
        let conclusion = run.load_record().ok()?.conclusion?;
        let counts = matches!(conclusion, Conclusion::Success | Conclusion::Failure);
        let is_first = seen.insert((run.id().split().0.to_owned(), conclusion.to_string()));
        (counts && is_first).then(|| run.id().clone())
    });
    newest.collect()
}

/// Returns those of the removable runs that must go so that all runs together take no more than
/// `size` bytes.
fn beyond(all: &[(RunDir, Liveness)], may_go: Vec<RunDir>, size: u64) -> Vec<RunDir> {
    // A run that cannot be measured counts as empty.
    let room = |run: &RunDir| disk_usage(run.path()).unwrap_or(0);
    let mut total: u64 = all.iter().map(|(run, _)| room(run)).sum();
    let mut go = Vec::new();
    for run in may_go {
        if total <= size {
            break;
        }
        total = total.saturating_sub(room(&run));
        go.push(run);
    }
    go
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::event::Event;

    fn run(state: &StateDir, workflow: &str, finished: Option<i64>) -> RunDir {
        let run = state.create_run(&workflow.parse().unwrap()).unwrap();
        files::write_json(&run.spec(), &1, 0o600, false).unwrap();
        if let Some(at) = finished {
            let mut record = Event::empty_record(
                run.id().clone(),
                workflow.parse().unwrap(),
                Timestamp::default(),
            );
            record.conclusion = Some(Conclusion::Success);
            record.finished_at = Some(Timestamp::from_second(at).unwrap());
            files::write_json(&run.record(), &record, 0o600, false).unwrap();
        }
        run
    }

    fn ids(state: &StateDir, keep: Option<usize>, before: Option<i64>) -> Vec<String> {
        let before = before.map(|before| Timestamp::from_second(before).unwrap());
        state
            .expired(
                Retention {
                    keep,
                    before,
                    ..Retention::default()
                },
                RunDir::liveness,
            )
            .unwrap()
            .iter()
            .map(|run| run.id().to_string())
            .collect()
    }

    #[test]
    fn the_newest_of_each_workflow_and_running_runs_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(dir.path()).unwrap();
        for (workflow, finished) in [
            ("ci", Some(10)),
            ("ci", None),
            ("ci", Some(30)),
            ("ci", Some(40)),
            ("docs", Some(5)),
        ] {
            run(&state, workflow, finished);
        }
        assert_eq!(ids(&state, Some(1), None), ["ci-1", "ci-3"]);
        assert_eq!(
            ids(&state, Some(0), None),
            ["docs-1", "ci-1", "ci-3", "ci-4"]
        );
        assert_eq!(ids(&state, None, Some(35)), ["docs-1", "ci-1", "ci-3"]);
        assert_eq!(ids(&state, Some(2), Some(35)), ["ci-1"]);
    }

    #[test]
    fn a_removed_run_leaves_no_files_and_its_number_is_not_reused() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(dir.path()).unwrap();
        let run = run(&state, "ci", Some(1));
        let unwritable = run.path().join("jobs/a/b");
        fs::create_dir_all(&unwritable).unwrap();
        fs::write(unwritable.join("file"), "").unwrap();
        fs::set_permissions(&unwritable, fs::Permissions::from_mode(0o500)).unwrap();
        assert!(state.remove(&run, false).unwrap());
        assert!(!state.remove(&run, false).unwrap(), "twice");
        assert_eq!(fs::read_dir(state.trash()).unwrap().count(), 0);
        assert_eq!(
            state
                .create_run(&"ci".parse().unwrap())
                .unwrap()
                .id()
                .as_str(),
            "ci-2"
        );
    }

    #[test]
    fn a_run_with_a_supervisor_or_without_a_record_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(dir.path()).unwrap();
        let [ending, going_on] = [Some(1), None].map(|finished| run(&state, "ci", finished));
        let _lock = ending.lock_supervisor().unwrap();
        assert!(!state.remove(&ending, true).unwrap());
        assert!(!state.remove(&going_on, false).unwrap());
        assert_eq!(state.runs().unwrap().len(), 2);
    }

    #[test]
    fn keep_neither_keeps_nor_counts_a_run_that_never_began() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(dir.path()).unwrap();
        run(&state, "ci", Some(10));
        let begun = state.create_run(&"ci".parse().unwrap()).unwrap();
        assert_eq!(ids(&state, Some(5), None), ["ci-2"]);
        assert_eq!(ids(&state, Some(1), None), ["ci-2"]);
        assert!(
            ids(&state, None, Some(15)) == ["ci-1"],
            "the run is not that old"
        );
        assert!(state.remove(&begun, false).unwrap());
    }

    #[test]
    fn a_lost_run_is_removed_if_its_manager_has_no_unit_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(dir.path()).unwrap();
        let lost = run(&state, "ci", None);
        drop(lost.lock_supervisor().unwrap());
        fs::write(lost.events(), "").unwrap();
        fs::File::options()
            .write(true)
            .open(lost.events())
            .unwrap()
            .set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(60))
            .unwrap();
        assert_eq!(ids(&state, Some(0), None), ["ci-1"]);
        assert!(!state.remove(&lost, false).unwrap());
        assert!(state.remove(&lost, true).unwrap());
    }

    #[test]
    fn the_oldest_runs_are_removed_until_the_others_fit() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(dir.path()).unwrap();
        for finished in [Some(30), Some(10), None, Some(20)] {
            let run = run(&state, "ci", finished);
            fs::write(run.path().join("large"), vec![1; 1 << 20]).unwrap();
        }
        let size = |size| {
            let retention = Retention {
                size: Some(size),
                ..Retention::default()
            };
            let expired = state.expired(retention, RunDir::liveness).unwrap();
            expired
                .iter()
                .map(|run| run.id().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(size(5 << 20), [""; 0]);
        assert_eq!(size(5 << 19), ["ci-2", "ci-4"]);
        assert_eq!(size(0), ["ci-2", "ci-4", "ci-1"], "a running run stays");
    }

    #[test]
    fn leftovers_of_a_killed_removal_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(dir.path()).unwrap();
        fs::create_dir_all(state.trash().join("ci-1.77/jobs")).unwrap();
        state.empty_trash();
        assert_eq!(fs::read_dir(state.trash()).unwrap().count(), 0);
    }

    #[test]
    fn the_newest_success_and_failure_of_each_workflow_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(dir.path()).unwrap();
        for (workflow, conclusion) in [
            ("ci", Conclusion::Failure),
            ("ci", Conclusion::Failure),
            ("ci", Conclusion::Success),
            ("ci", Conclusion::Success),
            ("ci", Conclusion::Cancelled),
            ("docs", Conclusion::Success),
        ] {
            let run = run(&state, workflow, Some(10));
            let mut record = run.load_record().unwrap();
            record.conclusion = Some(conclusion);
            files::write_json(&run.record(), &record, 0o600, false).unwrap();
        }
        let retention = Retention {
            keep: Some(0),
            latest: true,
            ..Retention::default()
        };
        let mut expired: Vec<_> = state
            .expired(retention, RunDir::liveness)
            .unwrap()
            .iter()
            .map(|run| run.id().to_string())
            .collect();
        expired.sort();
        assert_eq!(expired, ["ci-1", "ci-3", "ci-5"]);
    }
}
