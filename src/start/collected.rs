//! The programs that a run needs, and that Nix may have collected since its build.

use std::path::PathBuf;

use crate::{
    plan::{Job, Plan, Service, Shell},
    unit::Placement,
};

/// Returns the programs of this machine that the jobs of a plan execute: those of their steps, the
/// shells of their scripts, their providers, their services, and hooks. The programs that a hook
/// executes cannot be checked from here. A root file system has the machine's store.
pub(super) fn programs_of(plan: &Plan) -> Vec<PathBuf> {
    let here = |job: &&Job| Placement::of(plan, job).has_host_store();
    let jobs = plan.jobs.values().filter(here);
    let of_job = |job: &Job| {
        let defaults = plan.defaults_of(job);
        let shell = |own: Option<&Shell>, script: Option<&str>| {
            let shell = own.or(defaults.shell.as_ref()).filter(|_| script.is_some());
            shell.and_then(Shell::argv)
        };
        let of_steps = job.steps.iter().flat_map(|step| {
            let post = step.post.as_ref();
            let of_post = post.and_then(|post| {
                let own = post.shell.as_ref().or(step.shell.as_ref());
                post.run.clone().or_else(|| shell(own, post.script()))
            });
            let own = shell(step.shell.as_ref(), step.script());
            let mut all = step.env_from.clone();
            all.extend(step.run.clone().or(own));
            all.extend(of_post);
            all
        });
        let providers = plan.env_from.iter().chain(&job.env_from);
        providers.cloned().chain(of_steps).collect::<Vec<_>>()
    };
    let first = |argv: Vec<String>| argv.into_iter().next().map(PathBuf::from);
    let executors = plan.jobs.values().filter_map(|job| job.executor.as_ref());
    let hooks = executors
        .filter_map(|name| plan.executors.get(name))
        .flat_map(|executor| Placement::by(executor).hooks().cloned());
    let of_service = |service: &Service| {
        let health = service.health.iter().map(|health| health.run.clone());
        health.chain([service.run.clone()]).collect::<Vec<_>>()
    };
    let services = plan.jobs.values().flat_map(|job| job.services.values());
    jobs.flat_map(of_job)
        .chain(services.flat_map(of_service))
        .chain(hooks)
        .filter_map(first)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_programs_of_a_plan_are_those_of_steps_shells_and_providers() {
        let plan = serde_json::json!({ "version": 1, "name": "a", "envFrom": [["/1"]],
            "defaults": { "shell": ["/2", "{0}"] },
            "executors": { "hooks": { "type": "hooks", "executeJob": ["/9", "x"], "saveArtifact": ["/10"] },
                "root": { "type": "systemd", "root": "/r" } },
            "jobs": {
                "a": { "services": { "s": { "run": ["/11"], "health": { "run": ["/12"] } } }, "envFrom": [["/3", "x"]], "executor": "root", "steps": [
                    { "run": ["/4", "x"], "envFrom": [["/5"]], "post": { "bash": "x", "shell": ["/6"] } },
                    { "bash": "x", "shell": ["/7", "{0}"], "post": { "run": ["/8"] } },
                    { "script": "x" } ] },
                "b": { "executor": "hooks", "steps": [{ "run": ["/no"] }] } } });
        let plan: Plan = serde_json::from_value(plan).unwrap();
        let mut found = programs_of(&plan);
        found.sort();
        let expected = [
            "1", "10", "11", "12", "2", "3", "4", "5", "6", "7", "8", "9",
        ];
        assert_eq!(found, expected.map(|name| Path::new("/").join(name)));
    }
}
