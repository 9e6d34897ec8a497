//! Compiles how the root file systems of jobs are mounted ([`RootSpec`]).

use std::path::PathBuf;

use super::{
    Context, ImageSpec, JobSpec, NIX_STORE, Placement, RootSpec, RunPaths, job_spec, nspawn,
    view::home_inside,
};
use crate::graph::JobIx;

/// Returns how to mount the root file system of a job, if it has one of its own.
pub fn root_spec(context: &Context<'_>, ix: JobIx) -> Option<RootSpec> {
    let (name, job) = context.job(ix);
    let place = context.placement(job);
    if place.is_shared() {
        return None;
    }
    let executor = job.executor.as_deref().unwrap_or_default();
    let mut spec = root_of_image(context, executor, &place, std::iter::once(ix))?;
    let own = RunPaths::new(context.run.directory.clone()).job(name);
    spec.job = own.path().to_owned();
    spec.mounts_workspace = place.mounts_source(context.run);
    spec.hosts = context.job(ix).1.services.keys().cloned().collect();
    spec.nspawn = place
        .nspawn()
        .map(|settings| nspawn::spec(context, ix, settings));
    Some(spec)
}

/// Returns how to mount the root file system of these jobs of an executor, without what depends on
/// a single job.
pub(super) fn root_of_image(
    context: &Context<'_>,
    executor: &str,
    place: &Placement<'_>,
    mut jobs: impl Iterator<Item = JobIx>,
) -> Option<RootSpec> {
    let container = place.container()?;
    let run = context.run;
    let image = run.roots.get(executor).map(PathBuf::as_path);
    let image = image.or(container.root)?;
    let needs_store =
        image.starts_with(NIX_STORE) || jobs.any(|ix| names_store(&job_spec(context, ix)));
    Some(RootSpec {
        image: image.to_owned(),
        file_system: run.disks.get(executor).cloned(),
        user: run.images.get(executor).and_then(ImageSpec::other_user),
        job: PathBuf::new(),
        home: home_inside(),
        binds: container.bind.to_vec(),
        needs_store,
        uses_network: container.network.is_host(),
        mounts_workspace: false,
        hosts: Vec::new(),
        nspawn: None,
    })
}

/// Returns whether a job's instructions name a file of the Nix store.
fn names_store(spec: &JobSpec) -> bool {
    // Each text of the plan may be a command, an argument or a variable of a step.
    let text = serde_json::to_string(spec).unwrap_or_default();
    text.contains(&format!("{NIX_STORE}/"))
}
