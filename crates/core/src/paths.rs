//! Where everything of a run lies: pure path arithmetic, shared by the units that bind directories
//! and the code that reads and writes them (`store`, whose head draws the whole tree).

use std::path::{Path, PathBuf};

use crate::ids::JobName;
use crate::spec::WorkspaceHook;

/// The paths of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunPaths(PathBuf);

impl RunPaths {
    /// Returns the paths below a run's directory.
    pub fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Returns the directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Returns where the plan lies.
    pub fn plan(&self) -> PathBuf {
        self.0.join("plan.json")
    }

    /// Returns where the run's spec lies.
    pub fn spec(&self) -> PathBuf {
        self.0.join("run.json")
    }

    /// Returns the link to what Nix has built the plan as, where it has.
    pub fn workflow(&self) -> PathBuf {
        self.0.join("workflow")
    }

    /// Returns where events are appended.
    pub fn events(&self) -> PathBuf {
        self.0.join("events.jsonl")
    }

    /// Returns where the final record is written.
    pub fn record(&self) -> PathBuf {
        self.0.join("record.json")
    }

    /// Returns the directory of requests to the supervisor.
    pub fn control(&self) -> PathBuf {
        self.0.join("control")
    }

    /// Returns what every job of the run may read.
    pub fn shared(&self) -> PathBuf {
        self.0.join("shared")
    }

    /// Returns the flag whose presence tells runners that the run is being cancelled.
    pub fn cancelled(&self) -> PathBuf {
        self.0.join("shared/cancelled")
    }

    /// Returns the flag whose presence tells runners to start nothing any more.
    pub fn killed(&self) -> PathBuf {
        self.0.join("shared/killed")
    }

    /// Returns the copy of the source tree.
    pub fn source(&self) -> PathBuf {
        self.0.join("shared/source")
    }

    /// Returns the tree in the copy of the source tree.
    pub fn source_tree(&self) -> PathBuf {
        self.0.join("shared/source/tree")
    }

    /// Returns the locks of which each running job holds one, where the manager does not count
    /// itself.
    pub fn slots(&self) -> PathBuf {
        self.0.join("shared/slots")
    }

    /// Returns what the jobs of a matrix group share.
    pub fn matrix(&self, group: &str) -> MatrixPaths {
        MatrixPaths(self.0.join("shared/matrix").join(group))
    }

    /// Returns the directory of all jobs.
    pub fn jobs(&self) -> PathBuf {
        self.0.join("jobs")
    }

    /// Returns the directory that all hooks of an executor share.
    pub fn executor(&self, executor: &str) -> PathBuf {
        self.0.join("executors").join(executor).join("shared")
    }

    /// Returns the paths of the hook that makes an executor's workspace, or of the one that cleans
    /// it up: those of a job.
    pub fn hook(&self, executor: &str, hook: WorkspaceHook) -> JobPaths {
        JobPaths::at(self.0.join("executors").join(executor).join(hook.word()))
    }

    /// Returns where the journal of an embedded manager lies.
    pub fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }

    /// Returns the paths of a job.
    pub fn job(&self, job: &JobName) -> JobPaths {
        JobPaths::new(&self.jobs(), job)
    }
}

/// The paths of one matrix group of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatrixPaths(PathBuf);

impl MatrixPaths {
    /// Returns the paths of the group whose directory this is.
    pub fn at(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Returns the group's directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the flag whose presence tells the group's runners that it is being cancelled; it
    /// holds the reason.
    pub fn cancelled(&self) -> PathBuf {
        self.0.join("cancelled")
    }

    /// Returns the locks of which each running job of the group holds one, where the manager does
    /// not count itself.
    pub fn slots(&self) -> PathBuf {
        self.0.join("slots")
    }
}

/// The paths of one job of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobPaths(PathBuf);

impl JobPaths {
    /// Returns the paths of a job in a run's `jobs` directory.
    pub fn new(jobs: &Path, job: &JobName) -> Self {
        Self(jobs.join(job.as_str()))
    }

    /// Returns the paths of the job whose directory this is.
    pub fn at(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Returns the job's directory, which only its owner can change.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Returns where the job's spec lies.
    pub fn spec(&self) -> PathBuf {
        self.0.join("spec.json")
    }

    /// Returns what the job's dependents may read, and the job itself cannot change.
    pub fn out(&self) -> PathBuf {
        self.0.join("out")
    }

    /// Returns where the runner keeps what the step at this position wrote to its summary. Steps
    /// can write there, too: all that it says is a step's word.
    pub fn summary(&self, index: usize) -> PathBuf {
        self.0.join(format!("work/summary-{index}.md"))
    }

    /// Returns where the runner's events go, the last of which is how the job ended. systemd opens
    /// the file for the runner; nothing else in a sandboxed job can write to it.
    pub fn events(&self) -> PathBuf {
        self.0.join("out/events.jsonl")
    }

    /// Returns the directory of its artifacts.
    pub fn artifacts(&self) -> PathBuf {
        self.0.join("artifacts")
    }

    /// Returns where one of its artifacts is saved.
    pub fn artifact(&self, name: &str) -> PathBuf {
        self.0.join("artifacts").join(name)
    }

    /// Returns the directory of the job's own.
    pub fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    /// Returns the workspace its steps run in.
    pub fn workspace(&self) -> PathBuf {
        self.0.join("work/workspace")
    }

    /// Returns what the job has changed of the source tree, where its workspace is mounted over
    /// that.
    pub fn changes(&self) -> PathBuf {
        self.0.join("work/changes")
    }

    /// Returns the directory of what is mounted, which the job cannot change; it is there as long
    /// as the workspace is mounted.
    pub fn overlay(&self) -> PathBuf {
        self.0.join("overlay")
    }

    /// Returns where the run's source tree is mounted with the job's user as its owner.
    pub fn overlay_source(&self) -> PathBuf {
        self.0.join("overlay/source")
    }

    /// Returns the kernel's own directory of the mount.
    pub fn overlay_work(&self) -> PathBuf {
        self.0.join("overlay/work")
    }

    /// Returns where the reason lies why the workspace could not be mounted.
    pub fn overlay_error(&self) -> PathBuf {
        self.0.join("overlay/error")
    }

    /// Returns where the reason lies why the workspace is filled with a copy, and not mounted.
    pub fn overlay_copied(&self) -> PathBuf {
        self.0.join("overlay/copied")
    }

    /// Returns its `$HOME`.
    pub fn home(&self) -> PathBuf {
        self.0.join("work/home")
    }
}
