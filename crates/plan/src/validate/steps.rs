//! Checks steps: their commands, directories, conditions, variables and clean-ups.

use std::collections::BTreeMap;

use super::{
    expressions::Scope,
    names::Names,
    scripts::{Work, check_workdir},
};
use crate::{
    fault::{At, Refusal, Sink, quoted},
    ids::StepId,
    model::{Executor, Job, Plan, Post},
    rules,
    structure::NAME_FORM,
};

pub(super) fn check(
    plan: &Plan,
    job: &Job,
    names: &Names<'_>,
    mut scope: Scope,
    at: &At<'_>,
    sink: &mut Sink,
) {
    let executor = job.executor.as_ref();
    let executor = executor.and_then(|executor| plan.executors.get(executor));
    let is_hooked = matches!(executor, Some(Executor::Hooks { .. }));
    let at_steps = at.key("steps");
    let mut ids = BTreeMap::new();
    for (i, step) in job.steps.iter().enumerate() {
        let at = at_steps.index(i);
        Work::from(step).check(&at, sink);
        if let Some(id) = &step.id {
            check_id(&mut ids, i, id, &at.key("id"), sink);
        }
        if let Some(name) = &step.name {
            sink.check(&at.key("name"), rules::step_name(name));
        }
        check_workdir(step.workdir.as_deref(), &scope, &at.key("workdir"), sink);
        if let Some(condition) = &step.condition {
            let at = at.key("condition");
            sink.check(&at, rules::condition(condition));
            scope.check_step_condition(condition, &at, sink);
        }
        super::env(&step.env, &at.key("env"), names, sink);
        scope.check_texts(&step.env, &at.key("env"), sink);
        super::env_from(&step.env_from, &at.key("envFrom"), sink);
        super::retry(step.retry, &at.key("retry"), sink);
        if step.id.is_some() {
            let is_broken = sink.is_broken(&at.key("id"));
            scope.add_step(step.id.as_ref().filter(|_| !is_broken));
        }
    }
    // They run after all steps, which they see.
    for (i, step) in job.steps.iter().enumerate() {
        if let Some(post) = &step.post {
            check_post(post, names, &scope, &at_steps.index(i).key("post"), sink);
        }
    }
    if let Some(outputs) = &job.outputs_from {
        let at = at.key("outputsFrom");
        for name in outputs.keys() {
            if let Err(error) = StepId::try_from(name.clone()) {
                sink.add(&at.key(name), || {
                    Refusal::new(quoted(name), NAME_FORM).hint(error.to_string())
                });
            }
        }
        if is_hooked {
            scope.forget_steps();
        }
        scope.check_texts(outputs, &at, sink);
    }
}

fn check_post(post: &Post, names: &Names<'_>, scope: &Scope, at: &At<'_>, sink: &mut Sink) {
    Work::from(post).check(at, sink);
    if let Some(name) = &post.name {
        sink.check(&at.key("name"), rules::step_name(name));
    }
    check_workdir(post.workdir.as_deref(), scope, &at.key("workdir"), sink);
    super::env(&post.env, &at.key("env"), names, sink);
    scope.check_texts(&post.env, &at.key("env"), sink);
}

/// Checks that steps can be told apart, also in variables: `a-b` and `a_b` would both be
/// `STEPS_A_B_OUTCOME`.
fn check_id<'a>(
    ids: &mut BTreeMap<String, (usize, &'a StepId)>,
    index: usize,
    id: &'a StepId,
    at: &At<'_>,
    sink: &mut Sink,
) {
    let variable = format!("STEPS_{}_OUTCOME", rules::upper(id.as_str()));
    match ids.get(&variable) {
        Some((first, other)) if *other == id => sink.add(at, || {
            Refusal::new(
                format!("`{id}` again (it is the id of steps[{first}] already)"),
                "an id of its own for each step of a job",
            )
        }),
        Some((_, other)) => sink.add(at, || {
            Refusal::new(
                format!("`{id}`, whose outcome is seen as `{variable}`, as that of `{other}` is"),
                "ids with variables of their own",
            )
            .hint(format!("give `{id}` or `{other}` another id"))
        }),
        None => drop(ids.insert(variable, (index, id))),
    }
}
