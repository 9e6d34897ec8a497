//! Containers that all jobs of an executor share (`mode` `shared`): their units, and what a job
//! needs to join one.
//!
//! The container has a unit of its own, which starts with the first wave. Its jobs are ordered
//! after it and need it. Each job is still a unit of its own. The supervisor stops the container
//! after its last job. systemd stops it with the run's slice (`PartOf=`), so it never outlives it.
//!
//! With the type `systemd`, the container's unit has no process. It holds the mount of the shared
//! root file system, and the namespaces that systemd lets other units join (`JoinsNamespaceOf=`).
//! With `nspawn`, it runs systemd-nspawn, and the job's unit runs a command that joins the
//! container ([`crate::overlay`]).

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    Bind, Context, ImageSpec, MOUNT_ROOT_COMMAND, Placement, ROOT_SLICE, RootPaths, RootSpec,
    RunPaths, SHARED_COMMAND, TransientUnit, UnitName, Value,
    disk::{LOOP_MODULE, loop_devices},
    memory,
    mounting::root_of_image,
    nspawn,
    placement::shared_executor,
    properties::{documentation, log_fields, micros},
    view::{self, readable},
};
use crate::graph::JobIx;

/// The time that a container may take to start: its image is unpacked already.
const START: std::time::Duration = std::time::Duration::from_secs(300);
/// The time that the first process of a container may take to end.
const STOP: std::time::Duration = std::time::Duration::from_secs(10);

/// How a job joins the container of its executor: the content of [`super::RootPaths::spec`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JoinSpec {
    /// The directory of the container's root file system.
    pub container: PathBuf,
    /// The job's directory.
    pub job: PathBuf,
    /// The directory of the run's files, as the job sees it.
    pub inside: PathBuf,
    /// The files and directories that the job sees in it.
    pub binds: Vec<JoinBind>,
    /// The directory for files with which the runner and the steps exchange values.
    pub files: PathBuf,
    /// Whether the job's workspace is mounted over the run's source tree.
    pub mounts_workspace: bool,
    /// The user of the image, and the group after a colon, where the jobs are to have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The command in the container.
    pub command: Vec<String>,
    /// The variables of that command.
    pub path: String,
}

/// A file or directory of the run, and its path in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JoinBind {
    /// Its path on the host.
    pub source: PathBuf,
    /// Its path in the container.
    pub target: PathBuf,
    /// Whether the job cannot write there.
    pub read_only: bool,
}

/// Returns the paths of the container that a job shares with others.
pub(super) fn shared_root(context: &Context<'_>, executor: &str) -> RootPaths {
    RunPaths::new(context.run.directory.clone()).shared_root(executor)
}

/// Returns the jobs of an executor.
fn jobs_of<'a>(context: &'a Context<'_>, executor: &'a str) -> impl Iterator<Item = JobIx> + 'a {
    let is_of = move |ix: &JobIx| context.job(*ix).1.executor.as_deref() == Some(executor);
    context.graph.jobs().filter(is_of)
}

/// Returns the service that holds the container of an executor. `user` was made for the container,
/// or claims its range of ids.
pub fn container_unit(context: &Context<'_>, executor: &str, user: Option<&str>) -> TransientUnit {
    let run = context.run;
    let root = shared_root(context, executor);
    let place = context.place_of(executor);
    let slice = UnitName::run_slice(&run.run).to_string();
    let mut after = vec![slice.clone()];
    let is_disk = run.disks.contains_key(executor);
    after.extend(is_disk.then(|| LOOP_MODULE.to_owned()));
    let mut properties = vec![
        (
            "Description",
            Value::Str(format!(
                "NixActions run {}: container of executor {executor}",
                run.run
            )),
        ),
        documentation(),
        ("CollectMode", Value::Str("inactive-or-failed".into())),
        // Beside the run's slice, not in it: the slice counts its active units.
        ("Slice", Value::Str(ROOT_SLICE.to_owned())),
        ("PartOf", Value::StrList(vec![slice])),
        ("After", Value::StrList(after)),
        ("StandardError", Value::Str("journal".into())),
        ("TimeoutStartUSec", micros(Some(START))),
        ("TimeoutStopUSec", micros(Some(STOP))),
        ("LogExtraFields", log_fields(run, None)),
    ];
    let directory = root.path().display().to_string();
    // Without a user, its command tells the reason.
    if user.is_none() || place.as_ref().is_some_and(|place| place.nspawn().is_some()) {
        let mut command = vec![
            run.program.display().to_string(),
            SHARED_COMMAND.to_owned(),
            directory,
        ];
        command.extend(user.map(str::to_owned));
        properties.extend([
            ("Type", Value::Str("notify".into())),
            ("NotifyAccess", Value::Str("main".into())),
            ("ExecStart", Value::Exec(command)),
            ("KillMode", Value::Str("mixed".into())),
            memory::stops(),
        ]);
        properties.extend(nspawn::properties());
    } else {
        let program = Path::new(INSIDE_PROGRAM);
        let command = vec![
            program.display().to_string(),
            MOUNT_ROOT_COMMAND.to_owned(),
            directory,
        ];
        let hidden = ("/run".to_owned(), "ro,mode=0755,nosuid,nodev".to_owned());
        properties.extend([
            ("Type", Value::Str("oneshot".into())),
            ("RemainAfterExit", Value::Bool(true)),
            ("ExecStartEx", Value::ExecPrivileged(command)),
            // The command looks like one in a job of its own: the program may lie in /tmp.
            ("TemporaryFileSystem", Value::Pairs(vec![hidden])),
            (
                "BindReadOnlyPaths",
                Value::Binds(vec![Bind::new(&run.program, program)]),
            ),
        ]);
        properties.extend(user.map(|user| ("User", Value::Str(user.to_owned()))));
        properties.extend(namespaces(place.as_ref()));
        properties.extend(is_disk.then(loop_devices));
    }
    TransientUnit {
        name: UnitName::container(&run.run, executor),
        properties,
    }
}

/// The program `nixactions`, as the command of a container's unit sees it.
const INSIDE_PROGRAM: &str = "/run/nixactions/bin/nixactions";

/// Returns the namespaces that the jobs of an executor of the type `systemd` share. A unit joins
/// those of another one that both have.
fn namespaces(place: Option<&Placement<'_>>) -> Vec<(&'static str, Value)> {
    let has_own_network = place
        .and_then(Placement::container)
        .is_some_and(|container| !container.network.is_host());
    let mut names = vec!["PrivateTmp", "PrivateIPC"];
    names.extend(has_own_network.then_some("PrivateNetwork"));
    names
        .into_iter()
        .map(|name| (name, Value::Bool(true)))
        .collect()
}

/// Returns how to mount the root file system that the jobs of an executor share, and how to run its
/// container.
pub fn container_spec(context: &Context<'_>, executor: &str) -> Option<RootSpec> {
    let place = context.place_of(executor)?;
    let paths = shared_root(context, executor);
    let mut spec = root_of_image(context, executor, &place, jobs_of(context, executor))?;
    // Containers have no workspace. The path leads to the run's directory.
    spec.job = paths.path().to_owned();
    spec.nspawn = place
        .nspawn()
        .map(|settings| nspawn::shared_spec(context, executor, settings, &paths));
    Some(spec)
}

/// Returns how a job joins the container of systemd-nspawn that it shares with others.
pub fn join_spec(context: &Context<'_>, ix: JobIx) -> Option<JoinSpec> {
    let (name, job) = context.job(ix);
    let executor = shared_executor(context, job)?;
    let place = context.placement(job);
    place.nspawn()?;
    let run = context.run;
    let own = RunPaths::new(run.directory.clone()).job(name);
    let view = view::of_job(context, ix);
    let bind = |source: PathBuf, target: PathBuf, read_only| JoinBind {
        source,
        target,
        read_only,
    };
    let mut binds = vec![bind(own.path().to_owned(), view.own.clone(), false)];
    let readable = readable(context, ix).into_iter();
    binds.extend(readable.map(|path| {
        let target = view.inside(run, &path);
        bind(path, target, true)
    }));
    binds.push(bind(run.runner(), view.runner.clone(), true));
    let image = run.images.get(executor);
    Some(JoinSpec {
        container: shared_root(context, executor).path().to_owned(),
        job: own.path().to_owned(),
        inside: view.directory,
        binds,
        files: view.files,
        mounts_workspace: place.mounts_source(run),
        user: image.and_then(ImageSpec::other_user),
        command: [view.runner, view.own]
            .map(|path| path.display().to_string())
            .to_vec(),
        path: nspawn::PATH.to_owned(),
    })
}
