//! The state directory and the run directories in it.

use std::{
    io,
    ops::Deref,
    path::{Path, PathBuf},
};

use super::{EventTail, RunLock, StoreError, files, make_dir, remove_tree};
use crate::{
    event::{Event, EventKind},
    ids::{JobName, RunId, WorkflowName},
    paths::RunPaths,
    plan::nearest,
    reason::Reason,
    record::RunRecord,
};

/// The version of the layout.
const LAYOUT_VERSION: u32 = 1;
/// The file in a run directory that says that others were told of the run's end.
const TOLD: &str = "notified";

/// The directory in which runs are kept.
#[derive(Debug, Clone)]
pub struct StateDir(PathBuf);

impl StateDir {
    /// Opens a state directory to make runs in it. Creates the directory if it is absent.
    ///
    /// # Errors
    /// The directory cannot be created or written, or it has a newer version.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        let state =
            Self(std::path::absolute(path).map_err(|source| StoreError::io("find", path, source))?);
        if state.0.starts_with("/dev/shm") {
            // `RemoveIPC=` (systemd.exec(5)), which `DynamicUser=` implies.
            return Err(StoreError::Swept { path: state.0 });
        }
        std::fs::create_dir_all(path).map_err(|source| StoreError::io("create", path, source))?;
        if !state.check_version()? {
            files::write_json(&state.version_file(), &LAYOUT_VERSION, 0o644, false)?;
        }
        make_dir(&state.runs_dir(), 0o700)?;
        Ok(state)
    }

    /// Opens a state directory for reading. An absent directory counts as empty.
    ///
    /// # Errors
    /// The directory cannot be read, or it has a newer version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let state =
            Self(std::path::absolute(path).map_err(|source| StoreError::io("find", path, source))?);
        state.check_version()?;
        Ok(state)
    }

    /// Returns the absolute path of the directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the directory of a new run in a state directory that no other process uses.
    ///
    /// # Errors
    /// Fails with the path and the system's error.
    pub fn create_run(&self, workflow: &WorkflowName) -> Result<RunDir, StoreError> {
        self.begin_run(workflow, 0).map(|(run, _)| run)
    }

    /// Makes the directory of a new run with a number above `number`. Also returns the lock to hold
    /// until the run goes on. Two calls at the same time get two runs.
    ///
    /// # Errors
    /// Fails with the path and the system's error.
    pub fn begin_run(
        &self,
        workflow: &WorkflowName,
        number: u64,
    ) -> Result<(RunDir, RunLock), StoreError> {
        let last = self
            .runs()?
            .iter()
            .map(RunId::split)
            .filter(|(name, _)| *name == workflow.as_str())
            .map(|(_, n)| n)
            .max();
        let mut number = last
            .unwrap_or(0)
            .max(self.last_removed(workflow))
            .max(number)
            + 1;
        loop {
            let id = RunId::new(workflow, number);
            let path = self.runs_dir().join(id.as_str());
            match std::fs::create_dir(&path) {
                Ok(()) => {
                    let run = RunDir {
                        id,
                        paths: RunPaths::new(path),
                    };
                    match run.begin() {
                        Ok(Some(lock)) => return Ok((run, lock)),
                        // Another process removed the new directory as an unfinished run.
                        Ok(None) => number += 1,
                        Err(_) if !run.path().exists() => number += 1,
                        Err(error) => {
                            let _ = remove_tree(run.path());
                            return Err(error);
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(StoreError::io("create", &path, error)),
            }
        }
    }

    /// Returns the ids of all runs, by workflow and number.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn runs(&self) -> Result<Vec<RunId>, StoreError> {
        let path = self.runs_dir();
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(StoreError::io("read", &path, error)),
        };
        let mut runs = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|source| StoreError::io("read", &path, source))?;
            runs.extend(
                entry
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse::<RunId>().ok()),
            );
        }
        runs.sort_by(|a, b| a.split().cmp(&b.split()));
        Ok(runs)
    }

    /// Returns the run with this id.
    ///
    /// # Errors
    /// The text is not a run id, or the run does not exist. The second error names the nearest
    /// existing run.
    pub fn run(&self, text: &str) -> Result<RunDir, StoreError> {
        let id: RunId = text.parse().map_err(|source| StoreError::BadRunId {
            text: text.to_owned(),
            source,
        })?;
        let path = self.runs_dir().join(id.as_str());
        match std::fs::metadata(&path) {
            Ok(_) => Ok(RunDir {
                id,
                paths: RunPaths::new(path),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let known = self.runs()?;
                let nearest = nearest(text, known.iter().map(RunId::as_str));
                Err(StoreError::NoRun {
                    run: text.to_owned(),
                    state: self.0.clone(),
                    nearest: nearest.map(str::to_owned),
                })
            }
            Err(error) => Err(StoreError::io("read", &path, error)),
        }
    }

    /// Returns the directory of all runs. Often it is a file system of its own. Files that are
    /// linked or renamed between runs lie in it, too. Their names begin with a dot.
    pub(super) fn runs_dir(&self) -> PathBuf {
        runs_in(&self.0)
    }

    fn version_file(&self) -> PathBuf {
        self.0.join("version")
    }

    /// Returns whether the version file exists. Fails if its version is newer.
    fn check_version(&self) -> Result<bool, StoreError> {
        let path = self.version_file();
        match std::fs::read_to_string(&path) {
            Ok(text) if text.trim().parse() == Ok(LAYOUT_VERSION) => Ok(true),
            Ok(text) => Err(StoreError::Newer {
                path: self.0.clone(),
                found: text.trim().chars().take(20).collect(),
                known: LAYOUT_VERSION,
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("read", &path, error)),
        }
    }
}

/// Returns the directory of all runs of a state directory.
pub(super) fn runs_in(state: &Path) -> PathBuf {
    state.join("runs")
}

/// The directory of one run.
#[derive(Debug, Clone)]
pub struct RunDir {
    id: RunId,
    paths: RunPaths,
}

impl Deref for RunDir {
    type Target = RunPaths;
    fn deref(&self) -> &RunPaths {
        &self.paths
    }
}

impl RunDir {
    /// Locks a new run directory and fills it. Returns `None` if another process has locked the
    /// directory to remove it.
    fn begin(&self) -> Result<Option<RunLock>, StoreError> {
        let Some(lock) = self.lock_start()? else {
            return Ok(None);
        };
        make_dir(&self.control(), 0o700)?;
        make_dir(&self.shared(), 0o755)?;
        make_dir(&self.jobs(), 0o755)?;
        Ok(Some(lock))
    }

    /// Returns the run directory at a path. The last component of the path is the run's id.
    ///
    /// # Errors
    /// The last component is not a run id.
    pub fn at(path: &Path) -> Result<Self, StoreError> {
        let text = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let id = text
            .parse()
            .map_err(|source| StoreError::BadRunId { text, source })?;
        Ok(Self {
            id,
            paths: RunPaths::new(path.to_owned()),
        })
    }

    /// Returns the run's id.
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// Lets Nix's garbage collector have the run's package, which no job needs any more.
    pub fn release_package(&self) {
        // Most runs have no package in Nix's store.
        let _ = std::fs::remove_file(self.package());
    }

    /// Returns whether others were told of the run's end.
    pub fn is_told(&self) -> bool {
        self.path().join(TOLD).exists()
    }

    /// Notes that others were told of the run's end. On a full disk they may be told again.
    pub fn note_told(&self) {
        let _ = std::fs::File::create(self.path().join(TOLD));
    }

    /// Asks the supervisor to cancel the run, or with `kill` to kill a run that is being cancelled.
    ///
    /// # Errors
    /// Fails with the path and the system's error.
    pub fn request_cancel(&self, by: &str, kill: bool) -> Result<(), StoreError> {
        let name = if kill { "kill" } else { "cancel" };
        files::raise_flag(&self.control().join(name), by, 0o600)
    }

    /// Asks the supervisor to cancel the run. If an earlier request did so, asks to kill the run.
    /// Returns whether the run is to be killed. Of several requests at the same time, one comes
    /// first.
    ///
    /// # Errors
    /// Fails with the path and the system's error.
    pub fn request_next(&self, by: &str) -> Result<bool, StoreError> {
        if files::raise_first(&self.control().join("cancel"), by, 0o600)? {
            return Ok(false);
        }
        self.request_cancel(by, true).map(|()| true)
    }

    /// Returns the origin of the request to cancel the run (with `kill`: to kill it), if there is
    /// one.
    pub fn cancel_requested(&self, kill: bool) -> Option<String> {
        let request = self.control().join(if kill { "kill" } else { "cancel" });
        let by = std::fs::read_to_string(request).ok()?;
        // The disk had no room for the name.
        Some(if by.is_empty() {
            "an unknown client".to_owned()
        } else {
            by
        })
    }

    /// Tells the supervisor to end the run in favour of another run, for this reason.
    ///
    /// # Errors
    /// Fails with the path and the system's error.
    pub fn supersede(&self, reason: &Reason) -> Result<(), StoreError> {
        files::raise_reason(&self.control().join("superseded"), Some(reason), 0o600)
    }

    /// Returns the reason for ending the run in favour of another run, if there is one.
    pub fn superseded(&self) -> Option<Reason> {
        let reason = files::read_reason(&self.control().join("superseded"))?;
        // The disk had no room for the reason.
        Some(reason.unwrap_or(Reason::CancelledBy { run: None }))
    }

    /// Returns the names of the run's jobs: those of the plan, or without a plan those in the
    /// record and the run's directory.
    ///
    /// # Errors
    /// Neither the plan nor the record can be read.
    pub fn job_names(&self) -> Result<Vec<JobName>, StoreError> {
        #[derive(serde::Deserialize)]
        struct Names {
            jobs: std::collections::BTreeMap<JobName, serde::de::IgnoredAny>,
        }
        if let Ok(names) = files::read_json::<Names>(&self.plan()) {
            return Ok(names.jobs.into_keys().collect());
        }
        let mut names: Vec<JobName> = self.load_record()?.jobs.into_keys().collect();
        if let Ok(entries) = std::fs::read_dir(self.jobs()) {
            names.extend(
                entries
                    .flatten()
                    .filter_map(|entry| entry.file_name().to_str()?.parse().ok()),
            );
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Returns the run's events so far.
    /// Returns the run's events so far.
    /// # Errors
    /// Fails when they cannot be read.
    pub fn load_events(&self) -> Result<Vec<Event>, StoreError> {
        EventTail::new(self.events()).read_own()
    }

    /// Returns the run's record: the final one, or what the events tell so far.
    ///
    /// # Errors
    /// Fails when neither can be read.
    pub fn load_record(&self) -> Result<RunRecord, StoreError> {
        match files::read_document(&self.record()) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.record_so_far()
            }
            other => other,
        }
    }

    /// Returns the record that the events tell so far.
    ///
    /// # Errors
    /// Fails when the events cannot be read.
    pub fn record_so_far(&self) -> Result<RunRecord, StoreError> {
        let events = self.load_events()?;
        let (workflow, _) = self.id.split();
        let workflow = workflow.parse().map_err(|source| StoreError::BadRunId {
            text: self.id.to_string(),
            source,
        })?;
        let started = events
            .iter()
            .find(|event| matches!(event.event, EventKind::RunCreated { .. }))
            .map(|event| event.at);
        let mut record =
            Event::empty_record(self.id.clone(), workflow, started.unwrap_or_default());
        events.iter().for_each(|event| event.apply(&mut record));
        Ok(record)
    }
}
