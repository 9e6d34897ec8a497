//! Checks jobs: their needs, their settings and their matrix groups.

use std::collections::{BTreeMap, HashMap};

use super::{expressions::Scope, names::Names};
use crate::{
    fault::{At, Refusal, Sink, Step, quoted},
    ids::JobName,
    model::{DEFAULT_EXECUTOR, Job, Matrix, Plan},
    order, rules,
    structure::{NAME_FORM, fields, meant},
};

pub(super) fn check(plan: &Plan, names: &Names<'_>, at: &At<'_>, sink: &mut Sink) {
    if plan.jobs.is_empty() {
        sink.add(at, || Refusal::new("an empty object", "at least one job"));
    }
    // The executors may have a wrong type, or their key may be misspelt.
    let executors_are_known = !plan.executors.is_empty()
        || !sink.any_broken(|place| matches!(place, [Step::Key(field)] if meant(field, fields(&[])) == Some("executors")));
    for ((name, job), needs) in plan.jobs.iter().zip(&names.needs) {
        let at = at.key(name.as_str());
        super::unit_name(plan, name.as_str(), &at, sink);
        if executors_are_known && let Some(executor) = &job.executor {
            check_executor(plan, executor, &at.key("executor"), sink);
        }
        if needs.len() != job.needs.len() {
            check_needs(plan, name, job, &at.key("needs"), sink);
        }
        if names.share_variables() {
            check_needs_variables(job, &at.key("needs"), sink);
        }
        let scope = Scope::new(plan, job, names, &at, sink);
        if let Some(condition) = &job.condition {
            let at = at.key("condition");
            sink.check(&at, rules::condition(condition));
            scope.check_job_condition(condition, &at, sink);
        }
        super::env(&job.env, &at.key("env"), names, sink);
        super::env_from(&job.env_from, &at.key("envFrom"), sink);
        check_credentials(job, &at, sink);
        super::retry(job.retry, &at.key("retry"), sink);
        super::properties(&job.properties, &at.key("properties"), sink);
        super::services::check(plan, name.as_str(), &job.services, names, &at, sink);
        let at_defaults = at.key("defaults");
        super::scripts::check_defaults(job.defaults.as_ref(), &scope, &at_defaults, sink);
        super::steps::check(plan, job, names, scope, &at, sink);
    }
    check_cycles(plan, names, at, sink);
    check_matrix_groups(plan, at, sink);
}

fn check_credentials(job: &Job, at: &At<'_>, sink: &mut Sink) {
    for (field, named) in [
        ("credentials", &job.credentials),
        ("credentialsEncrypted", &job.credentials_encrypted),
    ] {
        let at = at.key(field);
        for (name, path) in named {
            let at = at.key(name);
            sink.check(&at, rules::credential_name(name));
            sink.check(&at, rules::credential_path(path));
            if field == "credentialsEncrypted" && job.credentials.contains_key(name) {
                sink.add(&at, || {
                    Refusal::new(
                        format!("`{name}` again (it is in `credentials` already)"),
                        "each name once",
                    )
                });
            }
        }
    }
}

fn check_executor(plan: &Plan, executor: &str, at: &At<'_>, sink: &mut Sink) {
    if !plan.executors.contains_key(executor) {
        sink.add(at, || {
            let refusal = super::unknown(
                executor,
                "a key of `executors`",
                "an executor of this plan",
                plan.executors.keys().map(String::as_str),
            );
            if executor == DEFAULT_EXECUTOR {
                refusal.hint("leave `executor` out for the default one")
            } else {
                refusal
            }
        });
    }
}

/// Reports each need that is not another job of the plan, and each repeated need.
fn check_needs(plan: &Plan, name: &JobName, job: &Job, at: &At<'_>, sink: &mut Sink) {
    let mut seen: BTreeMap<&JobName, usize> = BTreeMap::new();
    for (i, need) in job.needs.iter().enumerate() {
        let at = at.index(i);
        if need == name {
            sink.add(&at, || Refusal::new("the job itself", "another job"));
        } else if let Some(first) = seen.get(need) {
            sink.add(&at, || {
                Refusal::new(
                    format!("`{need}` again (it is needs[{first}] already)"),
                    "each need once",
                )
            });
        } else {
            seen.insert(need, i);
            if !plan.jobs.contains_key(need) {
                sink.add(&at, || {
                    let others = plan
                        .jobs
                        .keys()
                        .filter(|other| *other != name)
                        .map(JobName::as_str);
                    super::unknown(
                        need.as_str(),
                        "the name of a job",
                        "a job of this plan",
                        others,
                    )
                });
            }
        }
    }
}

/// Checks that the variables of the needs differ. `a-b` and `a_b` would both get
/// `NEEDS_A_B_RESULT`.
fn check_needs_variables(job: &Job, at: &At<'_>, sink: &mut Sink) {
    let mut seen: HashMap<String, &JobName> = HashMap::new();
    for (i, need) in job.needs.iter().enumerate() {
        let variable = format!("NEEDS_{}_RESULT", rules::upper(need.as_str()));
        match seen.get(&variable) {
            Some(other) if *other != need => sink.add(&at.index(i), || {
                let found = format!(
                    "`{need}`, whose result has the variable `{variable}`, like the result of `{other}`"
                );
                Refusal::new(found, "needs with variables of their own")
                    .hint(format!("give `{need}` or `{other}` another name"))
            }),
            Some(_) => {}
            None => drop(seen.insert(variable, need)),
        }
    }
}

fn check_cycles(plan: &Plan, names: &Names<'_>, at: &At<'_>, sink: &mut Sink) {
    for cycle in order::cycles(&names.needs) {
        let own = names.name(cycle[0]);
        let next = names.name(*cycle.get(1).unwrap_or(&cycle[0]));
        let index = plan.jobs[own]
            .needs
            .iter()
            .position(|need| need == next)
            .unwrap_or(0);
        sink.add(&at.key(own.as_str()).key("needs").index(index), || {
            let whole = cycle
                .iter()
                .chain(cycle.first())
                .map(|rank| names.name(*rank).as_str())
                .collect::<Vec<_>>()
                .join(" -> ");
            Refusal::new(format!("a cycle: {whole}"), "needs without a cycle")
        });
    }
}

/// Checks that all jobs of a matrix group have the same settings of the group.
fn check_matrix_groups(plan: &Plan, at: &At<'_>, sink: &mut Sink) {
    let mut groups: BTreeMap<&str, (&JobName, &Matrix)> = BTreeMap::new();
    for (name, job) in &plan.jobs {
        let Some(matrix) = &job.matrix else { continue };
        let at = at.key(name.as_str());
        let at = at.key("matrix");
        sink.check(&at.key("group"), rules::file_name(&matrix.group));
        check_matrix_values(matrix, &at.key("values"), sink);
        let Some((first, agreed)) = groups.get(matrix.group.as_str()) else {
            if !sink.is_broken(&at) {
                groups.insert(&matrix.group, (name, matrix));
            }
            continue;
        };
        let expected = |what: &str| {
            format!(
                "the {what} that `{first}` has in the group {}",
                quoted(&matrix.group)
            )
        };
        if matrix.fail_fast != agreed.fail_fast {
            sink.add(&at.key("failFast"), || {
                Refusal::new(matrix.fail_fast.to_string(), expected("failFast"))
            });
        }
        if matrix.max_parallel != agreed.max_parallel {
            let found = matrix
                .max_parallel
                .map_or("nothing".to_owned(), |most| most.to_string());
            sink.add(&at.key("maxParallel"), || {
                Refusal::new(found, expected("maxParallel"))
            });
        }
    }
}

/// Checks the values of a matrix. Each becomes a variable of the job's steps.
fn check_matrix_values(matrix: &Matrix, at: &At<'_>, sink: &mut Sink) {
    let mut variables: BTreeMap<String, &str> = BTreeMap::new();
    for (key, value) in &matrix.values {
        let at = at.key(key);
        let variable = rules::matrix_variable(key);
        if let Err(error) = JobName::try_from(key.clone()) {
            sink.add(&at, || {
                Refusal::new(quoted(key), NAME_FORM).hint(error.to_string())
            });
        }
        sink.check(&at, rules::variable_value(&variable, &value.to_string()));
        if let Some(other) = variables.get(&variable) {
            sink.add(&at, || {
                Refusal::new(
                    format!("a value with the variable `{variable}`, which `{other}` has, too"),
                    "a value with a variable of its own",
                )
            });
        }
        variables.insert(variable, key);
    }
}
