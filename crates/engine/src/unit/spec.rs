//! Compiles a plan into the instructions for each runner (`nixactions_core::spec`).
//!
//! A runner reads only its own spec, so the spec holds everything that the runner needs of the
//! plan.

use super::{
    Command, Context, InputSpec, JobSpec, MatrixSpec, OutputSpec, RunPaths, SPEC_VERSION, StepSpec,
    UnitName, Values,
    compile::{step_timeout, view},
    hooks, inputs, matrix, memory, services, shared,
};
use crate::{
    bounds::cut_text,
    graph::JobIx,
    plan::{Argv, Defaults, Env, Job, Plan, Post, Seconds, Setting, Shell, Step},
};

/// The length of a nameless step's name, in characters of its script.
const STEP_NAME_CHARS: usize = 40;
/// The most bytes of a name: as many as a plan may give.
const STEP_NAME_BYTES: usize = 200;

/// Returns the instructions for the runner of a job.
pub fn job_spec(context: &Context<'_>, ix: JobIx) -> JobSpec {
    let run = context.run;
    let (name, job) = context.job(ix);
    let place = context.placement(job);
    let view = view(context, ix);
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
            .filter(|need| shared::setup_of(context, **need).is_some())
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

/// Returns the steps of a job and, in reverse order, those that clean up after them.
fn steps(job: &Job, defaults: &Defaults) -> Vec<StepSpec> {
    let steps = job.steps.iter().enumerate();
    let posts = steps.clone().rev().filter_map(|(index, step)| {
        let post = step.post.as_ref()?;
        Some(post_spec(index, step, post, defaults))
    });
    steps
        .map(|(index, step)| step_spec(index, step, defaults))
        .chain(posts)
        .collect()
}

fn step_spec(index: usize, step: &Step, defaults: &Defaults) -> StepSpec {
    StepSpec {
        id: step.id.clone(),
        name: step_name(index, step),
        command: command(
            step.run.as_ref(),
            step.script(),
            step.shell.as_ref().or(defaults.shell.as_ref()),
        ),
        env: step.env.clone(),
        env_from: step.env_from.clone(),
        workdir: step.workdir.as_ref().or(defaults.workdir.as_ref()).cloned(),
        condition: step.condition.clone(),
        continue_on_error: step.continue_on_error,
        timeout: step_timeout(step.timeout),
        retry: step.retry,
        post_of: None,
    }
}

/// Returns the command that cleans up after the step at this position.
fn post_spec(index: usize, step: &Step, post: &Post, defaults: &Defaults) -> StepSpec {
    let shell = post.shell.as_ref().or(step.shell.as_ref());
    let workdir = post.workdir.as_ref().or(step.workdir.as_ref());
    StepSpec {
        id: None,
        name: post.name.clone().unwrap_or_else(|| {
            let mut name = format!("post {}", step_name(index, step));
            cut_text(&mut name, STEP_NAME_BYTES);
            name
        }),
        command: command(
            post.run.as_ref(),
            post.script(),
            shell.or(defaults.shell.as_ref()),
        ),
        env: post.env.clone(),
        env_from: Vec::new(),
        workdir: workdir.or(defaults.workdir.as_ref()).cloned(),
        condition: Some("always()".to_owned()),
        continue_on_error: post.continue_on_error,
        timeout: step_timeout(post.timeout),
        retry: Setting::Inherit,
        post_of: Some(index),
    }
}

fn command(run: Option<&Argv>, script: Option<&str>, shell: Option<&Shell>) -> Command {
    let text = script.unwrap_or_default().to_owned();
    match (run, shell.and_then(Shell::argv)) {
        (Some(argv), _) => Command::Run(argv.clone()),
        (None, Some(shell)) => Command::Script { shell, text },
        (None, None) => Command::Bash(text),
    }
}

/// Returns the steps of a job as in the plan, each with its name and what the defaults say, for
/// the hooks of an executor.
pub(super) fn described(plan: &Plan, job: &Job) -> serde_json::Value {
    let defaults = plan.defaults_of(job);
    let steps = job.steps.iter().enumerate().map(|(index, step)| {
        let mut step = step.clone();
        step.name = Some(step_name(index, &step));
        step.workdir = step.workdir.or_else(|| defaults.workdir.clone());
        if step.run.is_none() {
            step.shell = step.shell.or_else(|| defaults.shell.clone());
        }
        serde_json::json!(step)
    });
    steps.collect()
}

/// Returns a step's name: the plan's, or else its executable or the beginning of its script.
pub fn step_name(index: usize, step: &Step) -> String {
    if let Some(name) = &step.name {
        return name.clone();
    }
    let text = match (&step.run, step.script()) {
        (Some(argv), _) => argv
            .first()
            .and_then(|program| program.rsplit('/').next())
            .unwrap_or_default(),
        (None, script) => script
            .iter()
            .flat_map(|script| script.lines())
            .map(str::trim)
            .find(|line| !line.is_empty())
            .unwrap_or_default(),
    };
    let mut shown: String = text.chars().filter(|c| !c.is_control()).collect();
    if let Some((cut, _)) = shown.char_indices().nth(STEP_NAME_CHARS) {
        shown.truncate(cut);
        shown.push('…');
    }
    if shown.is_empty() {
        (index + 1).to_string()
    } else {
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nameless_step_is_named_after_its_script_and_a_cut_name_is_marked() {
        let name = |json: serde_json::Value| step_name(1, &serde_json::from_value(json).unwrap());
        assert_eq!(
            name(serde_json::json!({ "run": ["/nix/store/x/bin/compile", "-v"] })),
            "compile"
        );
        assert_eq!(
            name(serde_json::json!({ "bash": "\n  make all\nmake more" })),
            "make all"
        );
        assert_eq!(
            name(serde_json::json!({ "bash": "ä".repeat(40) })),
            "ä".repeat(40)
        );
        assert_eq!(
            name(serde_json::json!({ "bash": "ä".repeat(41) })),
            "ä".repeat(40) + "…"
        );
        assert_eq!(name(serde_json::json!({ "bash": "\n" })), "2");
    }
}
