//! The steps of a job, as its runner gets them, and their names.

use super::{Command, StepSpec};
use crate::{
    bounds::cut_text,
    plan::{Argv, Defaults, Job, Plan, Post, Seconds, Setting, Shell, Step},
};

/// The length of a nameless step's name, in characters of its script.
const STEP_NAME_CHARS: usize = 40;
/// The most bytes of a name: as many as a plan may give.
const STEP_NAME_BYTES: usize = 200;

/// Returns the steps of a job and, in reverse order, those that clean up after them.
pub(super) fn steps(job: &Job, defaults: &Defaults) -> Vec<StepSpec> {
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

/// Returns a step's timeout. There is none to inherit, since its job bounds it anyway.
fn step_timeout(step: Setting<Seconds>) -> Option<Seconds> {
    step.over(None)
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
