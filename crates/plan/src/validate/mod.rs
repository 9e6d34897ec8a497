//! Checks the fields of a plan against each other and reports all faults at once.
//!
//! Checks a model that the structural check has passed. Placeholders stand for broken parts, and
//! checks that would only report a placeholder are left out.

mod artifacts;
mod containers;
mod executors;
mod expressions;
mod inputs;
mod jobs;
mod names;
mod scripts;
mod services;
mod steps;

pub use inputs::{InputError, input_values, resolve_inputs};

use names::Names;

use super::{
    fault::{At, Refusal, Sink, quoted},
    model::{Argv, Env, Plan, Retry, Setting},
    rules,
};
use crate::ids::NAMES_MAX;

/// Reports all faults in the meaning of a plan.
pub(super) fn check(plan: &Plan, sink: &mut Sink) {
    let root = At::ROOT;
    let names = Names::new(plan);
    env(&plan.env, &root.key("env"), &names, sink);
    env_from(&plan.env_from, &root.key("envFrom"), sink);
    let at = root.key("passEnv");
    for (i, name) in plan.pass_env.iter().enumerate() {
        sink.check(&at.index(i), rules::passed_variable(name));
    }
    inputs::check(plan, &root.key("inputs"), sink);
    retry(plan.retry, &root.key("retry"), sink);
    if let Some(concurrency) = &plan.concurrency {
        sink.check(
            &root.key("concurrency").key("group"),
            rules::file_name(&concurrency.group),
        );
    }
    let scope = expressions::Scope::of_workflow(plan, sink);
    let at = root.key("defaults");
    scripts::check_defaults(plan.defaults.as_ref(), &scope, &at, sink);
    executors::check(plan, &names, &root.key("executors"), sink);
    jobs::check(plan, &names, &root.key("jobs"), sink);
    artifacts::check(plan, &names, &root.key("jobs"), sink);
}

/// Returns the variables among these that the engine sets in the jobs of a plan, each with the
/// reason.
pub fn set_by_engine<'a>(
    plan: &Plan,
    variables: impl IntoIterator<Item = &'a str>,
) -> Vec<(&'a str, &'static str)> {
    let names = Names::new(plan);
    let reason = |name: &str| match rules::own_variable(name) {
        Err(_) => Some("in every step"),
        Ok(()) => names.source_of(name),
    };
    variables
        .into_iter()
        .filter_map(|name| Some((name, reason(name)?)))
        .collect()
}

/// Checks variables that the plan sets.
fn env(env: &Env, at: &At<'_>, names: &Names<'_>, sink: &mut Sink) {
    for (name, value) in env {
        let at = at.key(name);
        sink.check(
            &at,
            rules::variable_name(name)
                .and_then(|()| rules::own_variable(name))
                .and_then(|()| names.free_variable(name)),
        );
        sink.check(&at, rules::variable_value(name, value));
    }
}

/// Checks providers of variables.
fn env_from(providers: &[Argv], at: &At<'_>, sink: &mut Sink) {
    for (i, provider) in providers.iter().enumerate() {
        argv(provider, &at.index(i), sink);
    }
}

/// Checks the properties of a unit.
fn properties(properties: &Env, at: &At<'_>, sink: &mut Sink) {
    for (name, value) in properties {
        if let Err(error) = super::properties::parse(name, value) {
            sink.add(&at.key(name), || error.refusal(name, value));
        }
    }
}

/// Checks the length of a job's or executor's name. A unit's name holds it and the workflow's name.
fn unit_name(plan: &Plan, name: &str, at: &At<'_>, sink: &mut Sink) {
    let workflow = plan.name.as_str();
    let both = workflow.len() + name.len();
    if both > NAMES_MAX {
        sink.add(at, || {
            let found = format!(
                "a name that has {both} bytes together with the workflow's, {}",
                quoted(workflow)
            );
            Refusal::new(
                found,
                format!("at most {NAMES_MAX} bytes (a unit's name holds both)"),
            )
        });
    }
}

/// Checks an executable and its arguments.
fn argv(argv: &[String], at: &At<'_>, sink: &mut Sink) {
    if argv.is_empty() {
        sink.add(at, || {
            Refusal::new("an empty list", "an executable and its arguments")
        });
    }
    for (i, text) in argv.iter().enumerate() {
        sink.check(
            &at.index(i),
            if i == 0 {
                rules::executable(text)
            } else {
                rules::argument(text)
            },
        );
    }
}

fn retry(retry: Setting<Retry>, at: &At<'_>, sink: &mut Sink) {
    if let Setting::Value(retry) = retry
        && retry.max_time < retry.min_time
    {
        let (min, max) = (f64::from(retry.min_time), f64::from(retry.max_time));
        sink.add(&at.key("maxTime"), || {
            let refusal = Refusal::new(
                format!("{max}, less than `minTime` ({min})"),
                "a `maxTime` that is not less than `minTime`",
            );
            if max == 60.0 {
                refusal.hint("`maxTime` defaults to 60")
            } else {
                refusal
            }
        });
    }
}

/// Returns the refusal of a name that is not defined.
fn unknown<'a>(
    name: &str,
    expected: &str,
    what_not: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> Refusal {
    let hint = if known.clone().into_iter().next().is_none() {
        Some("the plan has none".to_owned())
    } else {
        super::fault::suggest(name, known)
    };
    Refusal::new(
        format!("{}, which is not {what_not}", quoted(name)),
        expected,
    )
    .maybe_hint(hint)
}
