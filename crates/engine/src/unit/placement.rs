//! The place of a job's runner, computed from the job's executor.
//!
//! A runner runs a job in the same way in each place. Its place decides which properties the
//! job's unit has, which paths the job sees, and who mounts its files. The rest of the engine asks
//! for the place, and not for the type of an executor.

use std::sync::LazyLock;

use super::{Context, ImageSpec, JobSpec, ManagerKind, RunSpec, WorkspaceHook};
use crate::plan::{Argv, Container, ContainerMode, Env, Executor, Job, Plan, Sandbox};

/// The executor of a job that names none.
static DEFAULT: LazyLock<Executor> = LazyLock::new(Executor::default);
/// The first systemd with `PrivatePIDs=`.
const PRIVATE_PIDS: u32 = 257;
/// The `PATH` of jobs with a root file system of their own.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The place of a job's runner.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Placement<'a> {
    /// On the host, in the sandbox of this level.
    Host(Host<'a>),
    /// In a root file system of its own.
    Root(Root<'a>),
    /// On the host without a sandbox. Executables of the user's own run the steps.
    Hooks(Hooks<'a>),
    /// In a container of systemd-nspawn.
    Nspawn(Nspawn<'a>),
}

/// A place on the host.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Host<'a> {
    /// The isolation of the job from the host.
    pub sandbox: Sandbox,
    /// The executor's unit properties.
    pub properties: &'a Env,
    /// Whether the job can build with the host's Nix daemon.
    pub nix: bool,
    copies_source: bool,
}

/// A root file system of the job's own: a writable layer over an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Root<'a> {
    /// The settings of the root file system.
    pub container: Container<'a>,
    /// The isolation of the job from the host.
    pub sandbox: Sandbox,
    /// The executor's unit properties.
    pub properties: &'a Env,
    copies_source: bool,
}

/// A container of systemd-nspawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nspawn<'a> {
    /// The settings of the container.
    pub container: Container<'a>,
    /// The executor's unit properties.
    pub properties: &'a Env,
    copies_source: bool,
}

/// The hooks of an executor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hooks<'a> {
    setup_workspace: Option<&'a Argv>,
    cleanup_workspace: Option<&'a Argv>,
    pub(super) setup_job: Option<&'a Argv>,
    pub(super) execute_job: Option<&'a Argv>,
    pub(super) cleanup_job: Option<&'a Argv>,
    pub(super) save_artifact: Option<&'a Argv>,
    pub(super) restore_artifact: Option<&'a Argv>,
    copies_source: bool,
}

impl<'a> Hooks<'a> {
    /// Returns the commands of all hooks that the executor has.
    fn all(&self) -> impl Iterator<Item = &'a Argv> + use<'a> {
        let all = [
            self.setup_workspace,
            self.cleanup_workspace,
            self.setup_job,
            self.execute_job,
            self.cleanup_job,
            self.save_artifact,
            self.restore_artifact,
        ];
        all.into_iter().flatten()
    }

    /// Returns the command of a workspace hook, if the executor has it.
    pub(super) fn of_workspace(&self, hook: WorkspaceHook) -> Option<&'a Argv> {
        match hook {
            WorkspaceHook::Setup => self.setup_workspace,
            WorkspaceHook::Cleanup => self.cleanup_workspace,
        }
    }
}

impl<'a> Placement<'a> {
    /// Returns the place of a job.
    pub fn of(plan: &'a Plan, job: &Job) -> Self {
        let named = job
            .executor
            .as_ref()
            .and_then(|name| plan.executors.get(name));
        Self::by(named.unwrap_or(&DEFAULT))
    }

    /// Returns the place of an executor's jobs.
    pub fn by(executor: &'a Executor) -> Self {
        match executor {
            Executor::Systemd {
                copy_repo,
                sandbox,
                properties,
                nix,
                ..
            } => match executor.container() {
                None => Self::Host(Host {
                    sandbox: *sandbox,
                    properties,
                    nix: *nix,
                    copies_source: *copy_repo,
                }),
                Some(container) => Self::Root(Root {
                    container,
                    sandbox: *sandbox,
                    properties,
                    copies_source: *copy_repo,
                }),
            },
            Executor::Nspawn {
                copy_repo,
                properties,
                ..
            } => Self::Nspawn(Nspawn {
                container: executor
                    .container_settings()
                    .expect("invariant: executors of this type have them"),
                properties,
                copies_source: *copy_repo,
            }),
            Executor::Hooks {
                copy_repo,
                setup_workspace,
                cleanup_workspace,
                setup_job,
                execute_job,
                cleanup_job,
                save_artifact,
                restore_artifact,
            } => Self::Hooks(Hooks {
                setup_workspace: setup_workspace.as_ref(),
                cleanup_workspace: cleanup_workspace.as_ref(),
                setup_job: setup_job.as_ref(),
                execute_job: execute_job.as_ref(),
                cleanup_job: cleanup_job.as_ref(),
                save_artifact: save_artifact.as_ref(),
                restore_artifact: restore_artifact.as_ref(),
                copies_source: *copy_repo,
            }),
        }
    }

    /// Returns this place for jobs, or a service, with an unpacked image. If they have the image's
    /// user and that is root, their programs may become other users of the image, each with files
    /// of its own. So they need a range of user ids, which a container of systemd-nspawn has.
    #[must_use]
    pub fn with_image(self, image: Option<&ImageSpec>) -> Self {
        let begins_as_root = image.is_some_and(ImageSpec::begins_as_root);
        match self {
            Self::Root(Root {
                container,
                sandbox: _,
                properties,
                copies_source,
            }) if begins_as_root && container.image_user && container.private_users => {
                Self::Nspawn(Nspawn {
                    container,
                    properties,
                    copies_source,
                })
            }
            other => other,
        }
    }

    /// Returns the isolation of the job from the host. Hooks have all rights of the manager, and a
    /// container has its own means.
    pub fn sandbox(&self) -> Sandbox {
        match self {
            Self::Host(host) => host.sandbox,
            Self::Root(root) => root.sandbox,
            Self::Nspawn(_) => Sandbox::Strict,
            Self::Hooks(_) => Sandbox::None,
        }
    }

    /// Returns whether the job is isolated from the host and from other jobs.
    pub fn is_sandboxed(&self) -> bool {
        self.sandbox() != Sandbox::None
    }

    /// Returns the executor's unit properties. Hooks have none.
    pub fn properties(&self) -> Option<&'a Env> {
        match self {
            Self::Host(host) => Some(host.properties),
            Self::Root(root) => Some(root.properties),
            Self::Nspawn(container) => Some(container.properties),
            Self::Hooks(_) => None,
        }
    }

    /// Returns whether the job's steps see the programs in the host's Nix store.
    pub fn has_host_store(&self) -> bool {
        match self {
            Self::Host(_) | Self::Root(_) | Self::Nspawn(_) => true,
            Self::Hooks(_) => false,
        }
    }

    /// Returns the executables of the user's own that run the steps.
    pub fn hooks(&self) -> impl Iterator<Item = &'a Argv> + use<'a> {
        let hooks = match self {
            Self::Hooks(hooks) => Some(*hooks),
            Self::Host(_) | Self::Root(_) | Self::Nspawn(_) => None,
        };
        hooks.into_iter().flat_map(|hooks| hooks.all())
    }

    /// Returns whether the job can build with the host's Nix daemon.
    pub fn uses_nix(&self) -> bool {
        matches!(self, Self::Host(Host { nix: true, .. }))
    }

    /// Returns the settings of a root file system of the job's own, if it has one.
    pub fn container(&self) -> Option<Container<'a>> {
        match self {
            Self::Root(root) => Some(root.container),
            Self::Nspawn(nspawn) => Some(nspawn.container),
            Self::Host(_) | Self::Hooks(_) => None,
        }
    }

    /// Returns the container of systemd-nspawn, if the job runs in one.
    pub fn nspawn(&self) -> Option<&Nspawn<'a>> {
        match self {
            Self::Nspawn(nspawn) => Some(nspawn),
            Self::Host(_) | Self::Hooks(_) | Self::Root(_) => None,
        }
    }

    /// Returns the root file system of the job's own under a plain unit, if it has one.
    pub fn root(&self) -> Option<&Root<'a>> {
        match self {
            Self::Root(root) => Some(root),
            Self::Host(_) | Self::Hooks(_) | Self::Nspawn(_) => None,
        }
    }

    /// Returns whether the job shares its container with the executor's other jobs.
    pub fn is_shared(&self) -> bool {
        let container = self.container();
        container.is_some_and(|container| container.mode == ContainerMode::Shared)
    }

    /// Returns whether the job has a PID namespace of its own (`PrivatePIDs=`), as with a root file
    /// system of its own. Its runner's standard input is then /proc. Other jobs have none: a
    /// systemd that re-executes itself may kill a job with such a namespace that it has just
    /// started.
    pub(super) fn has_own_pids(&self, context: &Context<'_>) -> bool {
        self.root().is_some() && context.features.version >= PRIVATE_PIDS
    }

    /// Returns whether the job is isolated, but has the user of other jobs, or of the manager.
    fn shares_user(&self, context: &Context<'_>) -> bool {
        self.is_sandboxed() && (context.run.manager == ManagerKind::User || self.is_shared())
    }

    /// Fits the instructions of a job's runner to its place.
    pub(super) fn fit(&self, context: &Context<'_>, job: &Job, spec: &mut JobSpec) {
        spec.own_pids = self.has_own_pids(context);
        spec.own_user = self.wants_user(context.run, &job.properties);
        spec.guard_limits = self.shares_user(context);
        spec.in_container = self.nspawn().is_some();
        spec.guard_calls = spec.in_container && self.is_shared();
        if let Some(container) = self.container() {
            spec.own_root = true;
            spec.path = PATH.to_owned();
            let executor = job.executor.as_deref().unwrap_or_default();
            if let Some(image) = context.run.images.get(executor) {
                spec.executor_env = image.env.clone();
                spec.working_dir = image.working_dir.clone();
            }
            spec.executor_env.extend(container.env.clone());
        }
    }

    /// Returns whether the job's workspace starts with the source tree.
    pub fn copies_source(&self) -> bool {
        match self {
            Self::Host(host) => host.copies_source,
            Self::Root(root) => root.copies_source,
            Self::Hooks(hooks) => hooks.copies_source,
            Self::Nspawn(container) => container.copies_source,
        }
    }

    /// Returns whether the job's workspace is mounted over the run's copy of the source tree.
    pub(super) fn mounts_source(&self, run: &RunSpec) -> bool {
        run.has_source && run.mounts_source && self.copies_source()
    }

    /// Returns whether a job, or a service, with these properties needs a user made for it: it is
    /// sandboxed, and its plan names no user. A user's own manager can use no other user. Jobs in
    /// one container have the container's.
    pub(super) fn wants_user(&self, run: &RunSpec, properties: &Env) -> bool {
        self.is_sandboxed()
            && !self.is_shared()
            && !self.wants_range()
            && run.manager != ManagerKind::User
            && !self.properties().is_some_and(names_user)
            && !names_user(properties)
    }

    /// Returns whether the properties of the unit decide on the network of the container, which
    /// stays in that of the unit.
    pub(super) fn has_network_of_unit(&self) -> bool {
        self.nspawn().is_some()
    }

    /// Returns whether a container of these jobs needs a range of user ids.
    pub fn wants_range(&self) -> bool {
        self.nspawn()
            .is_some_and(|nspawn| nspawn.container.private_users)
    }
}

impl<'a> Context<'a> {
    /// Returns the place of a job.
    pub fn placement(&self, job: &Job) -> Placement<'a> {
        let executor = job.executor.as_deref().unwrap_or_default();
        Placement::of(self.plan, job).with_image(self.run.images.get(executor))
    }

    /// Returns the place of an executor's jobs, if the plan has the executor.
    pub(super) fn place_of(&self, executor: &str) -> Option<Placement<'a>> {
        let place = self.plan.executors.get(executor).map(Placement::by)?;
        Some(place.with_image(self.run.images.get(executor)))
    }
}

/// Returns whether properties set a job's user.
fn names_user(extra: &Env) -> bool {
    ["User", "Group", "DynamicUser"]
        .iter()
        .any(|name| extra.contains_key(*name))
}

/// Returns the executors whose jobs share a container, and that have at least one job.
pub fn shared_executors<'a>(
    context: &Context<'a>,
) -> impl Iterator<Item = (&'a str, Placement<'a>)> + use<'a> {
    let plan = context.plan;
    let is_used = move |name: &str| {
        let mut jobs = plan.jobs.values();
        jobs.any(|job| job.executor.as_deref() == Some(name))
    };
    let context = *context;
    let by = move |name: &'a String| {
        let place = context.place_of(name)?;
        (place.is_shared() && is_used(name)).then_some((name.as_str(), place))
    };
    plan.executors.keys().filter_map(by)
}

/// Returns the executor of a job whose container other jobs share.
pub fn shared_executor<'a>(context: &Context<'a>, job: &'a Job) -> Option<&'a str> {
    let name = job.executor.as_deref()?;
    context.placement(job).is_shared().then_some(name)
}
