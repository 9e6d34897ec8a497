//! The requests of a run to end a job.

use std::path::PathBuf;

use crate::{paths::MatrixPaths, reason::Reason, spec::JobSpec, store};

/// The requests to end a job. Each is a file, a flag: the supervisor makes it before it sends
/// signals.
#[derive(Debug, Clone)]
pub(crate) struct Cancellation {
    killed: PathBuf,
    of_run: PathBuf,
    of_matrix: Option<PathBuf>,
}

impl Cancellation {
    pub(super) fn of(spec: &JobSpec) -> Self {
        let shared = &spec.shared_directory;
        let matrix = spec.matrix.as_ref();
        Self {
            killed: shared.join("killed"),
            of_run: shared.join("cancelled"),
            of_matrix: matrix.map(|matrix| MatrixPaths::at(matrix.directory.clone()).cancelled()),
        }
    }

    /// Returns whether the run is killed. No further process is started then.
    pub(crate) fn is_killed(&self) -> bool {
        self.killed.exists()
    }

    /// Returns why the run is being cancelled, if it is. The flag holds the reason, unless a user
    /// asked for the cancellation.
    pub(crate) fn of_run(&self) -> Option<Reason> {
        store::read_reason(&self.of_run).map(|reason| reason.unwrap_or(Reason::RunCancelled))
    }

    /// Returns why the job's matrix group is being cancelled, if it is.
    pub(crate) fn of_matrix(&self) -> Option<Reason> {
        // The flag is empty if the disk had no room for the name of the failed job.
        store::read_reason(self.of_matrix.as_ref()?)
            .map(|reason| reason.unwrap_or(Reason::MatrixFailed { job: None }))
    }
}
