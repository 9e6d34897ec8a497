//! Compiles a plan into the instructions for each runner (`nixactions_core::spec`).
//!
//! A runner reads only its own spec, so the spec holds everything that the runner needs of the
//! plan.

use super::{
    Context, InputSpec, JobSpec, MatrixSpec, OutputSpec, RunPaths, SPEC_VERSION, UnitName, Values,
    hooks, inputs, matrix, memory, services, setup::setup_of, steps::steps, view,
};
use crate::{
    graph::JobIx,
    plan::{Env, Seconds},
};

/// Returns the instructions for the runner of a job.
pub fn job_spec(context: &Context<'_>, ix: JobIx) -> JobSpec {
    let run = context.run;
    let (name, job) = context.job(ix);
    let place = context.placement(job);
    let view = view::of_job(context, ix);
    let paths = RunPaths::new(view.directory);
    let inputs = job.inputs.iter().zip(inputs(context, ix));
    let needs = || {
        context
            .graph
            .needs(ix)
            .iter()
            .map(|need| context.job(*need))
    };
    let mut spec = JobSpec {
        version: SPEC_VERSION,
        run: run.run.clone(),
        workflow: run.workflow.clone(),
        job: name.clone(),
        unit: UnitName::job(&run.run, name).to_string(),
        jobs_directory: paths.jobs(),
        shared_directory: paths.shared(),
        files_directory: view.files,
        needs: needs().map(|(need, _)| need.clone()).collect(),
        tolerated_needs: needs()
            .filter(|(_, need)| need.continue_on_error)
            .map(|(need, _)| need.clone())
            .collect(),
        hooked_needs: context
            .graph
            .needs(ix)
            .iter()
            .filter(|need| setup_of(context, **need).is_some())
            .map(|need| context.graph.name(*need).clone())
            .collect(),
        condition: job.condition.clone(),
        continue_on_error: job.continue_on_error,
        copy_source: run.has_source && place.copies_source(),
        mount_source: place.mounts_source(run),
        confine: place.is_sandboxed(),
        own_root: false,
        uses_nix: place.uses_nix(),
        own_pids: false,
        in_container: false,
        guard_calls: false,
        guard_limits: false,
        goes_on_out_of_memory: memory::job_goes_on(context, job),
        own_user: false,
        slots: context.bound().filter(|_| !context.features.concurrency),
        shared_slots: run.max_jobs,
        matrix: job.matrix.as_ref().map(|matrix| MatrixSpec {
            group: matrix.group.clone(),
            directory: paths.matrix(&matrix.group).path().to_owned(),
            slots: matrix
                .max_parallel
                .filter(|_| !context.features.concurrency),
        }),
        path: run.path.clone(),
        working_dir: None,
        executor_env: Env::new(),
        workflow_env: context.plan.env.clone(),
        job_env: job.env.clone(),
        workflow_env_from: context.plan.env_from.clone(),
        job_env_from: job.env_from.clone(),
        inputs_env: run
            .inputs
            .clone()
            .into_iter()
            .chain(job.matrix.iter().flat_map(matrix::variables))
            .collect(),
        values: Values {
            inputs: crate::plan::input_values(context.plan, &run.inputs),
            matrix: job
                .matrix
                .iter()
                .flat_map(|matrix| &matrix.values)
                .map(|(key, value)| (key.clone(), value.clone().into()))
                .collect(),
        },
        outputs_from: job.outputs_from.clone(),
        overrides: run.overrides.clone(),
        has_secrets: run.secrets.is_some(),
        timeout: context
            .job_timeout(job)
            .and_then(|timeout| Seconds::try_from(timeout.as_secs_f64()).ok()),
        retry: job.retry.over(context.plan.retry.over(None)),
        keep_failed: run.keep_failed,
        inputs: inputs
            .map(|(input, (_, from))| InputSpec {
                name: input.name.clone(),
                from: from.clone(),
                path: input.path.clone(),
            })
            .collect(),
        outputs: job
            .outputs
            .iter()
            .map(|(name, path)| OutputSpec {
                name: name.clone(),
                path: path.clone(),
            })
            .collect(),
        steps: steps(job, &context.plan.defaults_of(job)),
        services: services::watched(context, ix),
        origin: run.origin.clone(),
        hooks: None,
    };
    place.fit(context, job, &mut spec);
    hooks::apply(context, name, job, &mut spec);
    spec
}
