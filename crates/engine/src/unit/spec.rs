//! Compiles a plan into the instructions for each runner (`nixactions_core::spec`).
//!
//! A runner reads only its own spec, so the spec holds everything that the runner needs of the
//! plan.

use super::{
    Command, Context, InputSpec, JobSpec, MatrixSpec, OutputSpec, RunPaths, SPEC_VERSION, StepSpec,
    UnitName, Values,
    compile::{step_timeout, view},
    hooks, inputs, matrix,
};
use crate::{
    graph::JobIx,
    plan::{Env, Seconds, Step},
};

/// The length of a nameless step's name, in characters of its script.
const STEP_NAME_CHARS: usize = 40;

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
            .filter(|need| hooks::executor_of(context, **need).is_some())
            .map(|need| context.graph.name(*need).clone())
            .collect(),
        condition: job.condition.clone(),
        continue_on_error: job.continue_on_error,
        copy_source: run.has_source && place.copies_source(),
        mount_source: place.mounts_source(run),
        confine: place.is_sandboxed(),
        own_root: false,
        own_pids: false,
        guard_limits: false,
        own_user: false,
        slots: context.bound().filter(|_| !context.features.concurrency),
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
        steps: job
            .steps
            .iter()
            .enumerate()
            .map(|(index, step)| step_spec(index, step))
            .collect(),
        origin: run.origin.clone(),
        hooks: None,
    };
    place.fit(context, job, &mut spec);
    hooks::apply(context, name, job, &mut spec);
    spec
}

pub(super) fn step_spec(index: usize, step: &Step) -> StepSpec {
    StepSpec {
        id: step.id.clone(),
        name: step_name(index, step),
        command: match (&step.run, &step.bash) {
            (Some(argv), _) => Command::Run(argv.clone()),
            (None, script) => Command::Bash(script.clone().unwrap_or_default()),
        },
        env: step.env.clone(),
        env_from: step.env_from.clone(),
        workdir: step.workdir.clone(),
        condition: step.condition.clone(),
        continue_on_error: step.continue_on_error,
        timeout: step_timeout(step.timeout),
        retry: step.retry,
    }
}

/// Returns a step's name: the plan's, or else its executable or the beginning of its script.
pub fn step_name(index: usize, step: &Step) -> String {
    if let Some(name) = &step.name {
        return name.clone();
    }
    let text = match (&step.run, &step.bash) {
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
