//! The user's own executors: compiles their hooks.
//!
//! A job's hooks become the steps of that job, so they are timed, cancelled, retried, logged and
//! recorded like any steps. A file gives them the plan's own steps. Each workspace hook is a
//! service with one step, which the same runner runs.

use std::time::Duration;

use super::{
    CLEANUP_GRACE, Command, Context, HooksSpec, InputSpec, JobPaths, JobSpec, Placement,
    ROOT_SLICE, RunPaths, SPEC_VERSION, StepSpec, TransientUnit, UnitName, Value, Values,
    WorkspaceHook,
    context::DEFAULT_JOB_TIMEOUT,
    properties::{log_fields, secrets, service},
    start_timeout,
    steps::described,
};
use crate::{
    graph::JobIx,
    ids::JobName,
    plan::{Argv, Env, Executor, Job, Seconds, Setting},
};

fn timeout_of(hook: WorkspaceHook) -> Duration {
    match hook {
        WorkspaceHook::Setup => DEFAULT_JOB_TIMEOUT,
        WorkspaceHook::Cleanup => CLEANUP_GRACE,
    }
}

fn argv_of(hook: WorkspaceHook, executor: &Executor) -> Option<&Argv> {
    match Placement::by(executor) {
        Placement::Hooks(hooks) => hooks.of_workspace(hook),
        Placement::Host(_) | Placement::Root(_) | Placement::Nspawn(_) => None,
    }
}

/// Returns the executors that have this hook and at least one job.
pub fn executors_with<'a>(
    context: &Context<'a>,
    hook: WorkspaceHook,
) -> impl Iterator<Item = &'a str> {
    let plan = context.plan;
    let is_used = move |name: &str| {
        plan.jobs
            .values()
            .any(|job| job.executor.as_deref() == Some(name))
    };
    let with_hook = plan
        .executors
        .iter()
        .filter(move |(_, executor)| argv_of(hook, executor).is_some());
    with_hook
        .map(|(name, _)| name.as_str())
        .filter(move |name| is_used(name))
}

/// Returns whether an executor uses hooks.
pub fn has_hooks(context: &Context<'_>, executor: &str) -> bool {
    let named = context.plan.executors.get(executor);
    matches!(named.map(Placement::by), Some(Placement::Hooks(_)))
}

/// Returns the executor of a job, if a hook sets up its workspace.
pub fn executor_of<'a>(context: &Context<'a>, ix: JobIx) -> Option<&'a str> {
    let name = context.job(ix).1.executor.as_deref()?;
    context
        .plan
        .executors
        .get(name)
        .and_then(|executor| argv_of(WorkspaceHook::Setup, executor))
        .map(|_| name)
}

/// Compiles the service of a workspace hook.
pub fn hook_unit(context: &Context<'_>, executor: &str, hook: WorkspaceHook) -> TransientUnit {
    let run = context.run;
    let directory = RunPaths::new(run.directory.clone()).hook(executor, hook);
    let argv = vec![
        run.runner().display().to_string(),
        directory.path().display().to_string(),
    ];
    let description = format!(
        "NixActions run {}: {} of executor {executor}",
        run.run,
        hook.name()
    );
    // The service lies beside the run's slice, not in it: the slice counts its active units.
    let mut properties = service(
        description,
        ROOT_SLICE.to_owned(),
        argv,
        Some(start_timeout(timeout_of(hook))),
        log_fields(run, executor.parse().ok().as_ref()),
        &directory,
    );
    properties.extend(secrets(context, None));
    // The setup stays active, so that the jobs of later waves find it active.
    properties.push(("RemainAfterExit", Value::Bool(hook == WorkspaceHook::Setup)));
    TransientUnit {
        name: UnitName::hook(&run.run, executor, hook),
        properties,
    }
}

/// Returns the instructions for the runner of a workspace hook.
pub fn hook_spec(context: &Context<'_>, executor: &str, hook: WorkspaceHook) -> Option<JobSpec> {
    let (run, plan) = (context.run, context.plan);
    let argv = argv_of(hook, plan.executors.get(executor)?)?;
    let paths = RunPaths::new(run.directory.clone());
    let of_executor = plan
        .jobs
        .iter()
        .filter(|(_, job)| job.executor.as_deref() == Some(executor));
    Some(JobSpec {
        version: SPEC_VERSION,
        run: run.run.clone(),
        workflow: run.workflow.clone(),
        // The executor's name, which is a valid job name, tells the hook's output apart.
        job: executor.parse().ok()?,
        unit: UnitName::hook(&run.run, executor, hook).to_string(),
        jobs_directory: paths.jobs(),
        shared_directory: paths.shared(),
        files_directory: paths.hook(executor, hook).work().join("files"),
        needs: Vec::new(),
        tolerated_needs: Vec::new(),
        hooked_needs: Vec::new(),
        condition: (hook == WorkspaceHook::Cleanup).then(|| "always()".to_owned()),
        continue_on_error: false,
        copy_source: false,
        slots: None,
        shared_slots: None,
        matrix: None,
        path: run.path.clone(),
        working_dir: None,
        executor_env: Env::new(),
        workflow_env: plan.env.clone(),
        workflow_env_from: plan.env_from.clone(),
        job_env_from: Vec::new(),
        has_secrets: run.secrets.is_some(),
        mount_source: false,
        confine: false,
        own_root: false,
        uses_nix: false,
        own_pids: false,
        in_container: false,
        guard_calls: false,
        guard_limits: false,
        goes_on_out_of_memory: false,
        own_user: false,
        job_env: Env::new(),
        inputs_env: run.inputs.clone(),
        values: Values::default(),
        outputs_from: None,
        overrides: run.overrides.clone(),
        timeout: Seconds::try_from(timeout_of(hook).as_secs_f64()).ok(),
        retry: None,
        keep_failed: None,
        inputs: Vec::new(),
        outputs: Vec::new(),
        steps: vec![step(hook.name(), argv, None, Env::new())],
        services: None,
        origin: run.origin.clone(),
        hooks: Some(HooksSpec {
            executor: executor.to_owned(),
            directory: paths.executor(executor),
            of_workspace: true,
            steps: of_executor
                .map(|(name, job)| (name.clone(), described(plan, job)))
                .collect(),
        }),
    })
}

/// Replaces a job's steps with its executor's hooks, if the executor has hooks.
pub(super) fn apply(context: &Context<'_>, name: &JobName, job: &Job, spec: &mut JobSpec) {
    let Placement::Hooks(hooks) = context.placement(job) else {
        return;
    };
    let executor = job.executor.clone().unwrap_or_default();
    let artifact = |name: &str, path: &str, from: &JobName| -> Env {
        let directory = JobPaths::new(&spec.jobs_directory, from).artifact(name);
        let pairs = [
            ("NIXACTIONS_ARTIFACT", name.to_owned()),
            ("NIXACTIONS_ARTIFACT_PATH", path.to_owned()),
            ("NIXACTIONS_ARTIFACT_JOB", from.to_string()),
            (
                "NIXACTIONS_ARTIFACT_DIRECTORY",
                directory.display().to_string(),
            ),
        ];
        pairs.map(|(key, value)| (key.to_owned(), value)).into()
    };
    let mut steps = Vec::new();
    steps.extend(
        hooks
            .setup_job
            .map(|argv| step("setupJob", argv, None, Env::new())),
    );
    if let Some(argv) = hooks.restore_artifact {
        for InputSpec { name, from, path } in std::mem::take(&mut spec.inputs) {
            steps.push(step(
                &format!("restoreArtifact {name}"),
                argv,
                None,
                artifact(&name, &path, &from),
            ));
        }
    }
    steps.extend(
        hooks
            .execute_job
            .map(|argv| step("executeJob", argv, None, Env::new())),
    );
    if let Some(argv) = hooks.save_artifact {
        for output in std::mem::take(&mut spec.outputs) {
            let env = artifact(&output.name, &output.path, name);
            steps.push(step(
                &format!("saveArtifact {}", output.name),
                argv,
                Some("always()"),
                env,
            ));
        }
    }
    steps.extend(
        hooks
            .cleanup_job
            .map(|argv| step("cleanupJob", argv, Some("always()"), Env::new())),
    );
    spec.steps = steps;
    let directory = RunPaths::new(context.run.directory.clone()).executor(&executor);
    spec.hooks = Some(HooksSpec {
        executor,
        directory,
        of_workspace: false,
        steps: [(name.clone(), described(context.plan, job))].into(),
    });
}

fn step(name: &str, argv: &Argv, condition: Option<&str>, env: Env) -> StepSpec {
    StepSpec {
        id: None,
        name: name.to_owned(),
        command: Command::Run(argv.clone()),
        env,
        env_from: Vec::new(),
        workdir: None,
        condition: condition.map(str::to_owned),
        continue_on_error: false,
        timeout: None,
        retry: Setting::Inherit,
        post_of: None,
    }
}
