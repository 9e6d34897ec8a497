//! The parts of a job's unit that its place decides: its main process, the command that mounts file
//! systems before that, and its isolation. Services (`services`) and containers that jobs share
//! (`shared`) have units of their own, and these files look at the place as well.

use super::{
    Context, JOIN_COMMAND, MOUNT_COMMAND, MOUNT_ROOT_COMMAND, Placement, RunPaths, UnitName, Value,
    disk::has_disk,
    nspawn,
    placement::shared_executor,
    sandbox::{self, OWN_CGROUPS},
    shared,
    view::{self, readable},
};
use crate::graph::JobIx;

/// The parts of a job's unit that its place decides.
#[derive(Debug)]
pub(super) struct Parts {
    /// The command of the main process.
    pub command: Vec<String>,
    /// The command that runs before it, with full privileges.
    pub mounts: Option<Vec<String>>,
    /// The properties of the place, then those of the plan.
    pub properties: Vec<(&'static str, Value)>,
}

/// Returns these parts for a job. `user` is the user that was made for it, or the user that claims
/// the range of ids of its container.
pub(super) fn parts(context: &Context<'_>, ix: JobIx, user: Option<&str>) -> Parts {
    let run = context.run;
    let (name, job) = context.job(ix);
    let paths = RunPaths::new(run.directory.clone());
    let (own, root) = (paths.job(name), paths.root(name));
    let view = view::of_job(context, ix);
    let place = context.placement(job);
    let shared = shared_executor(context, job);
    let tree = shared
        .map_or_else(|| root.clone(), |name| shared::shared_root(context, name))
        .tree();
    let runner = || {
        vec![
            view.runner.display().to_string(),
            view.own.display().to_string(),
        ]
    };
    // The command sees the job's file system until it enters systemd's mount namespace. There the
    // job's directory has its path on the host.
    let mounting = |command: &str, directory: &std::path::Path| {
        let program = view.program.display().to_string();
        vec![program, command.to_owned(), directory.display().to_string()]
    };
    let (command, mounts) = match &place {
        Placement::Host(_) | Placement::Hooks(_) => {
            let mounts = place
                .mounts_source(run)
                .then(|| mounting(MOUNT_COMMAND, own.path()));
            (runner(), mounts)
        }
        // The unit of the container mounts the root file system.
        Placement::Root(_) if place.is_shared() => {
            let mounts = place
                .mounts_source(run)
                .then(|| mounting(MOUNT_COMMAND, own.path()));
            (runner(), mounts)
        }
        Placement::Nspawn(_) if place.is_shared() => {
            let program = run.program.display().to_string();
            let root = root.path().display().to_string();
            let command = vec![program, JOIN_COMMAND.to_owned(), root];
            (command, None)
        }
        Placement::Root(_) => {
            let mounts = mounting(MOUNT_ROOT_COMMAND, root.path());
            (runner(), Some(mounts))
        }
        // The command that runs the container mounts for it.
        Placement::Nspawn(_) => {
            let command = nspawn::command(run, root.path(), user);
            (command, None)
        }
    };
    let needs = || sandbox::Needs {
        user,
        program: mounts.is_some(),
        root: place.root().map(|settings| (settings, tree.clone())),
        own_pids: place.has_own_pids(context),
        own_cgroups: context.features.version >= OWN_CGROUPS,
        writable: {
            let artifacts = job.outputs.keys().map(|name| own.artifact(name));
            let masks = (!job.services.is_empty()).then(|| own.masks());
            artifacts.chain(masks).collect()
        },
        is_disk: has_disk(context, ix),
        uses_nix: place.uses_nix(),
    };
    let of_plan = place.properties().map(|extra| [extra, &job.properties]);
    let properties = match (&place, of_plan) {
        (_, None) => Vec::new(),
        // Limits of the unit reach the processes, which join the container.
        (Placement::Nspawn(_), Some(of_plan)) if shared.is_some() => {
            let mut properties = nspawn::properties();
            for extra in of_plan {
                sandbox::extend(&mut properties, extra, context.features.version);
            }
            properties
        }
        (Placement::Nspawn(_), Some(of_plan)) => {
            let mut properties = nspawn::properties();
            for extra in of_plan {
                let extra = nspawn::of_unit(extra);
                sandbox::extend(&mut properties, &extra, context.features.version);
            }
            let is_disk = has_disk(context, ix);
            properties.extend(is_disk.then(|| nspawn::loop_devices(&of_plan)).flatten());
            properties
        }
        (_, Some(of_plan)) => {
            let (level, readable) = (place.sandbox(), readable(context, ix));
            let mut properties = sandbox::properties(run, level, (name, &own), &readable, &needs());
            for extra in of_plan {
                sandbox::extend(&mut properties, extra, context.features.version);
            }
            properties.extend(shared.map(|name| {
                let container = UnitName::container(&run.run, name).to_string();
                ("JoinsNamespaceOf", Value::StrList(vec![container]))
            }));
            properties
        }
    };
    Parts {
        command,
        mounts,
        properties,
    }
}
