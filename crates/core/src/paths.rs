//! The paths of all files of a run. Pure path arithmetic, for the units that bind directories and
//! for the code that reads and writes them (`store`, whose module docs draw the whole tree).

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

    /// Returns the path of the plan.
    pub fn plan(&self) -> PathBuf {
        self.0.join("plan.json")
    }

    /// Returns the path of the run's spec.
    pub fn spec(&self) -> PathBuf {
        self.0.join("run.json")
    }

    /// Returns the path of the link to the plan in the Nix store. It exists only if Nix built the
    /// plan.
    pub fn workflow(&self) -> PathBuf {
        self.0.join("workflow")
    }

    /// Returns the path of the link to the package in the Nix store whose program runs the jobs. It
    /// exists only while the run goes on.
    pub fn package(&self) -> PathBuf {
        self.0.join("package")
    }

    /// Returns the path of the run's events.
    pub fn events(&self) -> PathBuf {
        self.0.join("events.jsonl")
    }

    /// Returns the path of the final record.
    pub fn record(&self) -> PathBuf {
        self.0.join("record.json")
    }

    /// Returns the directory for requests to the supervisor.
    pub fn control(&self) -> PathBuf {
        self.0.join("control")
    }

    /// Returns the directory that every job of the run may read.
    pub fn shared(&self) -> PathBuf {
        self.0.join("shared")
    }

    /// Returns the flag file that tells the runners of the run's cancellation.
    pub fn cancelled(&self) -> PathBuf {
        self.0.join("shared/cancelled")
    }

    /// Returns the flag file that tells the runners to start nothing more.
    pub fn killed(&self) -> PathBuf {
        self.0.join("shared/killed")
    }

    /// Returns the directory of the copied source tree.
    pub fn source(&self) -> PathBuf {
        self.0.join("shared/source")
    }

    /// Returns the tree itself inside [`Self::source`].
    pub fn source_tree(&self) -> PathBuf {
        self.0.join("shared/source/tree")
    }

    /// Returns the paths of the locks that limit the number of running jobs. Runs use them if the
    /// manager cannot limit the number itself. systemd opens the directory for the runners; no
    /// sandboxed job sees it by its path.
    pub fn slots(&self) -> SlotPaths {
        SlotPaths(self.0.join("slots"))
    }

    /// Returns the paths that the jobs of a matrix group share.
    pub fn matrix(&self, group: &str) -> MatrixPaths {
        MatrixPaths(self.0.join("shared/matrix").join(group))
    }

    /// Returns the directory that holds the jobs' directories.
    pub fn jobs(&self) -> PathBuf {
        self.0.join("jobs")
    }

    /// Returns the directory that all hooks of an executor share.
    pub fn executor(&self, executor: &str) -> PathBuf {
        self.0.join("executors").join(executor).join("shared")
    }

    /// Returns the paths of an executor's workspace hook. They are laid out like those of a job.
    pub fn hook(&self, executor: &str, hook: WorkspaceHook) -> JobPaths {
        JobPaths::at(self.0.join("executors").join(executor).join(hook.word()))
    }

    /// Returns the directory of the jobs' root file systems.
    pub fn roots(&self) -> PathBuf {
        self.0.join("roots")
    }

    /// Returns the paths of a job's root file system. No job sees this directory.
    pub fn root(&self, job: &JobName) -> RootPaths {
        RootPaths(self.roots().join(job.as_str()))
    }

    /// Returns the paths of the root file system that all jobs of an executor share. No job has
    /// this name, as it contains a dot.
    pub fn shared_root(&self, executor: &str) -> RootPaths {
        RootPaths(self.roots().join(format!("{executor}.shared")))
    }

    /// Returns the paths of a service of a job. They are laid out like those of a job.
    pub fn service(&self, job: &JobName, service: &str) -> JobPaths {
        JobPaths::at(self.services(job).join(service))
    }

    /// Returns the paths of the process that holds the ports of a job's services.
    pub fn service_ports(&self, job: &JobName) -> JobPaths {
        // No service has a name with an underscore.
        self.service(job, "_ports")
    }

    /// Returns the directory of the services of a job.
    pub fn services(&self, job: &JobName) -> PathBuf {
        self.0.join("services").join(job.as_str())
    }

    /// Returns the file with the names of hosts for a job with services (hosts(5)), by which its
    /// steps find them.
    pub fn hosts(&self, job: &JobName) -> PathBuf {
        // No service has a name with an underscore.
        self.services(job).join("_hosts")
    }

    /// Returns the paths of a service's root file system.
    pub fn service_root(&self, job: &JobName, service: &str) -> RootPaths {
        // No job has a name with a plus.
        RootPaths(self.roots().join(format!("{job}+{service}")))
    }

    /// Returns the path of an embedded manager's journal.
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
    /// Returns the paths of the group with this directory.
    pub fn at(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Returns the group's directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the flag file that tells the group's runners of its cancellation. It holds the
    /// reason.
    pub fn cancelled(&self) -> PathBuf {
        self.0.join("cancelled")
    }
}

/// The paths of the locks that bound how many jobs run at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotPaths(PathBuf);

impl SlotPaths {
    /// Returns the paths in the directory that this is.
    pub fn at(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Returns the directory of all of a run's locks.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the directory of the run's locks. Each running job holds one lock.
    pub fn run(&self) -> PathBuf {
        self.0.join("run")
    }

    /// Returns the directory of the locks that all runs of the state directory share. Each running
    /// job holds one lock. The files are links of those in the state directory.
    pub fn shared(&self) -> PathBuf {
        self.0.join("shared")
    }

    /// Returns the directory of a matrix group's locks. Each running job of it holds one lock.
    pub fn matrix(&self, group: &str) -> PathBuf {
        self.0.join("matrix").join(group)
    }
}

/// The paths of a job's root file system: a writable layer over an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootPaths(PathBuf);

impl RootPaths {
    /// Returns the paths of the root file system with this directory.
    pub fn at(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Returns the directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the file that says how to mount it.
    pub fn spec(&self) -> PathBuf {
        self.0.join("spec.json")
    }

    /// Returns the file with the user that was made for all jobs that share it.
    pub fn user(&self) -> PathBuf {
        self.0.join("user")
    }

    /// Returns the file that names the first process of a container that jobs share.
    pub fn leader(&self) -> PathBuf {
        self.0.join("leader.json")
    }

    /// Returns the directory in which a job's view of its run is put together.
    pub fn view(&self) -> PathBuf {
        self.0.join("view")
    }

    /// Returns the mount point of the image, with the job's user as its owner.
    pub fn image(&self) -> PathBuf {
        self.0.join("image")
    }

    /// Returns the directory of the writable layer. A tmpfs is mounted here if the disk's file
    /// system cannot hold such a layer.
    pub fn layer(&self) -> PathBuf {
        self.0.join("layer")
    }

    /// Returns the directory of the job's changes to the image.
    pub fn changes(&self) -> PathBuf {
        self.0.join("layer/changes")
    }

    /// Returns the work directory of the overlay, which only the kernel uses.
    pub fn work(&self) -> PathBuf {
        self.0.join("layer/work")
    }

    /// Returns the mount point of the whole, which is the job's root directory.
    pub fn tree(&self) -> PathBuf {
        self.0.join("tree")
    }

    /// Returns the file with the reason why the job has no root file system.
    pub fn error(&self) -> PathBuf {
        self.0.join("error")
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

    /// Returns the paths of the job with this directory.
    pub fn at(directory: PathBuf) -> Self {
        Self(directory)
    }

    /// Returns the job's directory. Only its owner can change it.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the path of the job's spec.
    pub fn spec(&self) -> PathBuf {
        self.0.join("spec.json")
    }

    /// Returns the directory that the job's dependents may read. The job itself cannot change it.
    pub fn out(&self) -> PathBuf {
        self.0.join("out")
    }

    /// Returns the file in which the runner keeps the summary of the step with this index. Steps
    /// can write there, too, so the content is as trustworthy as a step.
    pub fn summary(&self, index: usize) -> PathBuf {
        self.0.join(format!("work/summary-{index}.md"))
    }

    /// Returns the file for the runner's events. The last event holds the job's result. systemd
    /// opens the file for the runner, and no other process of a sandboxed job can write to it.
    pub fn events(&self) -> PathBuf {
        self.0.join("out/events.jsonl")
    }

    /// Returns the FIFO into which the runner writes when it wants the job's services. systemd
    /// makes it, and starts them.
    pub fn wants_services(&self) -> PathBuf {
        self.0.join("wants-services")
    }

    /// Returns the directory for the socket by which the job's runner tells the runners of its
    /// services what to hide in their lines. The job cannot replace the directory, which systemd
    /// opens. No service sees it by a path.
    pub fn masks(&self) -> PathBuf {
        self.0.join("masks")
    }

    /// Returns the directory of the job's artifacts.
    pub fn artifacts(&self) -> PathBuf {
        self.0.join("artifacts")
    }

    /// Returns the place of one saved artifact.
    pub fn artifact(&self, name: &str) -> PathBuf {
        self.0.join("artifacts").join(name)
    }

    /// Returns the directory that belongs to the job.
    pub fn work(&self) -> PathBuf {
        self.0.join("work")
    }

    /// Returns the workspace, in which the job's steps run.
    pub fn workspace(&self) -> PathBuf {
        self.0.join("work/workspace")
    }

    /// Returns the directory of the job's changes to the source tree. It is used if the workspace
    /// is mounted over that tree.
    pub fn changes(&self) -> PathBuf {
        self.0.join("work/changes")
    }

    /// Returns the directory of the mounts. The job cannot change it. It exists as long as the
    /// workspace is mounted.
    pub fn overlay(&self) -> PathBuf {
        self.0.join("overlay")
    }

    /// Returns the mount point of the run's source tree with the job's user as its owner.
    pub fn overlay_source(&self) -> PathBuf {
        self.0.join("overlay/source")
    }

    /// Returns the work directory of the overlay, which only the kernel uses.
    pub fn overlay_work(&self) -> PathBuf {
        self.0.join("overlay/work")
    }

    /// Returns the file with the reason why the workspace could not be mounted.
    pub fn overlay_error(&self) -> PathBuf {
        self.0.join("overlay/error")
    }

    /// Returns the file with the reason why the workspace is a copy instead of a mount.
    pub fn overlay_copied(&self) -> PathBuf {
        self.0.join("overlay/copied")
    }

    /// Returns the job's `$HOME`.
    pub fn home(&self) -> PathBuf {
        self.0.join("work/home")
    }
}
