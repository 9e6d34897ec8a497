//! Which runs are kept, and how the others are removed, whoever else is at work in the state
//! directory.
//!
//! A run that goes is first renamed out of the runs, so that nobody finds half of one, and its
//! number is not given again. What a removal that was killed has left is removed by the next.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use jiff::Timestamp;

use super::{Liveness, RunDir, StateDir, StoreError, files, make_dir};
use crate::ids::WorkflowName;

/// Which finished runs may go: those that all of it applies to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Retention {
    /// How many runs of each workflow stay, the newest.
    pub keep: Option<usize>,
    /// Runs stay that ended after this moment.
    pub before: Option<Timestamp>,
}

impl StateDir {
    /// Returns the finished runs that may go, the oldest of each workflow first.
    ///
    /// # Errors
    /// Fails when the runs cannot be listed.
    pub fn expired(&self, retention: Retention) -> Result<Vec<RunDir>, StoreError> {
        let runs = self.runs()?;
        let mut expired = Vec::new();
        for (place, id) in runs.iter().enumerate() {
            // Sorted by workflow and number: those after it are newer.
            let newer = runs[place + 1..]
                .iter()
                .take_while(|other| other.split().0 == id.split().0)
                .count();
            let Ok(run) = self.run(id.as_str()) else {
                continue;
            };
            let is_old = |before: Timestamp| {
                run.load_record()
                    .is_ok_and(|record| record.finished_at.is_some_and(|end| end < before))
            };
            if retention.keep.is_none_or(|keep| newer >= keep)
                && run.liveness() == Liveness::Finished
                && retention.before.is_none_or(is_old)
            {
                expired.push(run);
            }
        }
        Ok(expired)
    }

    /// Removes a finished run. Returns whether it was removed: one that still has a supervisor, or
    /// is gone already, is not.
    ///
    /// # Errors
    /// Fails with the path and the system's reason.
    pub fn remove(&self, run: &RunDir) -> Result<bool, StoreError> {
        // Held until the end: a supervisor that wakes up late finds no place.
        let _lock = match run.lock_supervisor() {
            Ok(Some(lock)) => lock,
            Ok(None) => return Ok(false),
            Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        if run.liveness() != Liveness::Finished {
            return Ok(false);
        }
        let (workflow, number) = run.id().split();
        self.note_number(workflow, number)?;
        let trash = self.path().join("trash");
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

    /// Removes what earlier removals have left.
    pub fn empty_trash(&self) {
        for entry in fs::read_dir(self.path().join("trash"))
            .into_iter()
            .flatten()
            .flatten()
        {
            // Somebody else may be at it just now.
            let _ = remove_tree(&entry.path());
        }
    }

    /// Returns the highest number of a run of this workflow that was removed.
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

/// Removes a file or tree, also below directories that a job made unwritable. What is gone already
/// is fine.
///
/// # Errors
/// Fails with the system's reason for what could not be removed.
pub fn remove_tree(directory: &Path) -> io::Result<()> {
    let absent = |result: io::Result<()>| {
        if matches!(&result, Err(error) if error.kind() == ErrorKind::NotFound) {
            Ok(())
        } else {
            result
        }
    };
    if absent(fs::remove_dir_all(directory)).is_ok() || fs::remove_file(directory).is_ok() {
        return Ok(());
    }
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o700));
        let entries = fs::read_dir(&path).into_iter().flatten().flatten();
        pending.extend(
            entries
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    absent(fs::remove_dir_all(directory))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::Event, record::Conclusion};

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
            .expired(Retention { keep, before })
            .unwrap()
            .iter()
            .map(|run| run.id().to_string())
            .collect()
    }

    #[test]
    fn the_newest_of_each_workflow_and_what_goes_on_are_kept() {
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
            ["ci-1", "ci-3", "ci-4", "docs-1"]
        );
        assert_eq!(ids(&state, None, Some(35)), ["ci-1", "ci-3", "docs-1"]);
        assert_eq!(ids(&state, Some(2), Some(35)), ["ci-1"]);
    }

    #[test]
    fn a_removed_run_is_gone_with_all_that_jobs_made_and_its_number_stays_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(dir.path()).unwrap();
        let run = run(&state, "ci", Some(1));
        let unwritable = run.path().join("jobs/a/b");
        fs::create_dir_all(&unwritable).unwrap();
        fs::write(unwritable.join("file"), "").unwrap();
        fs::set_permissions(&unwritable, fs::Permissions::from_mode(0o500)).unwrap();
        assert!(state.remove(&run).unwrap());
        assert!(!state.remove(&run).unwrap(), "twice");
        assert_eq!(fs::read_dir(dir.path().join("trash")).unwrap().count(), 0);
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
        assert!(!state.remove(&ending).unwrap());
        assert!(!state.remove(&going_on).unwrap());
        assert_eq!(state.runs().unwrap().len(), 2);
    }

    #[test]
    fn what_a_removal_that_was_killed_has_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(dir.path()).unwrap();
        fs::create_dir_all(dir.path().join("trash/ci-1.77/jobs")).unwrap();
        state.empty_trash();
        assert_eq!(fs::read_dir(dir.path().join("trash")).unwrap().count(), 0);
    }
}
