//! The paths of the run's files and programs, as a job sees them, and those that it may read.

use std::path::{Path, PathBuf};

use super::{Context, JobPaths, RUNNER, RunPaths, RunSpec, inputs};
use crate::{graph::JobIx, ids::JobName, plan::Sandbox};

/// The path of its run in a sandboxed job. It does not depend on the run, the state directory or
/// the programs, so that paths which a build records stay valid in the next run. It is short, since
/// the path of a socket has 108 bytes (unix(7)).
pub(super) const INSIDE: &str = "/run/nixactions";

/// The name of the job's own directory there.
pub(super) const OWN: &str = "job";

/// The paths of the run's files and programs, as a job sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    /// The job's own directory, as the job sees it.
    pub own: PathBuf,
    /// The run's directory, as the job sees it: shared files, and results of its needs.
    pub directory: PathBuf,
    /// The runner's program, as the job sees it.
    pub runner: PathBuf,
    /// The program `nixactions`, as commands of the job's unit see it.
    pub program: PathBuf,
    /// The directory for files with which the runner and the steps exchange values. It is on a
    /// tmpfs, since the values may be secrets.
    pub files: PathBuf,
}

impl View {
    /// Returns a path of the run, as the job sees it.
    pub(super) fn inside(&self, run: &RunSpec, path: &Path) -> PathBuf {
        path.strip_prefix(&run.directory)
            .map_or(path.to_owned(), |rest| self.directory.join(rest))
    }
}

/// Returns the paths of a job at this level. Without a sandbox, a job sees the host's file system
/// and the host's paths. With `uses_nix`, the job's own directory also keeps its host path, where
/// Nix's daemon looks for the links to its results.
pub(super) fn view(run: &RunSpec, level: Sandbox, job: &JobName, uses_nix: bool) -> View {
    let on_host = || {
        let run = RunPaths::new(run.directory.clone());
        run.job(job).path().to_owned()
    };
    if level == Sandbox::None {
        return View {
            own: on_host(),
            directory: run.directory.clone(),
            runner: run.runner(),
            program: run.program.clone(),
            files: run.runtime_directory.join(job.as_str()),
        };
    }
    let inside = Path::new(INSIDE);
    View {
        own: if uses_nix {
            on_host()
        } else {
            inside.join(OWN)
        },
        directory: inside.to_owned(),
        runner: inside.join("bin").join(RUNNER),
        program: inside.join("bin/nixactions"),
        // A private tmpfs that goes with the job.
        files: inside.join("files"),
    }
}

/// Returns the paths of a job, as the job sees them.
pub(super) fn of_job(context: &Context<'_>, ix: JobIx) -> View {
    let (name, job) = context.job(ix);
    let place = context.placement(job);
    view(context.run, place.sandbox(), name, place.uses_nix())
}

/// Returns the paths of the run that a job may read.
pub(super) fn readable(context: &Context<'_>, ix: JobIx) -> Vec<PathBuf> {
    let (name, job) = context.job(ix);
    let paths = RunPaths::new(context.run.directory.clone());
    let mut readable = vec![paths.shared()];
    readable.extend(
        context
            .graph
            .needs(ix)
            .iter()
            .map(|need| paths.job(context.graph.name(*need)).out()),
    );
    let services = job.services.keys();
    readable.extend(services.map(|service| paths.service(name, service).out()));
    readable.extend((!job.services.is_empty()).then(|| paths.service_ports(name).out()));
    readable.extend(inputs(context, ix).map(|(artifact, from)| paths.job(from).artifact(artifact)));
    readable
}

/// Returns the path of the runner's program in sandboxed jobs.
pub(super) fn runner_inside() -> PathBuf {
    Path::new(INSIDE).join("bin").join(RUNNER)
}

/// Returns the `$HOME` of sandboxed jobs, as they see it.
pub fn home_inside() -> PathBuf {
    JobPaths::at(Path::new(INSIDE).join(OWN)).home()
}
