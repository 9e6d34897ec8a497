//! The environment of a step, built from levels; later levels win.
//!
//! The order: the variables of the executor, the output of the workflow's providers, the
//! workflow's `env`, the same two of the job, the values that earlier steps wrote to
//! `$NIXACTIONS_ENV`, the same two of the step, then the caller's overrides. The engine's own
//! variables come last, so no name that a user chooses can replace one: inputs, matrix values,
//! needs, and the variables that tell a step its place.

use std::{collections::BTreeMap, path::Path};

use nixactions_expression::template::is_template;

use super::{
    files::{self, StepFiles},
    gate::NeedResult,
    port::Port,
    variables::{self, StepResult, Variables},
};
use crate::{programs, settings::Env, spec::JobSpec};

/// The variable with the directory of credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// The owner of an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The providers of the workflow.
    Workflow,
    /// The job: its providers and its condition.
    Job,
    /// The step at this position.
    Step(usize),
}

/// The environment of a job's steps, as it grows.
#[derive(Debug, Default)]
pub struct Environment {
    /// The output of providers: of the workflow, of the job, and of each step.
    workflow_from: Env,
    job_from: Env,
    steps_from: BTreeMap<usize, Env>,
    /// The values that earlier steps wrote to `$NIXACTIONS_ENV`.
    written: BTreeMap<String, String>,
    /// The directories that earlier steps wrote to `$NIXACTIONS_PATH`, the latest first.
    path: Vec<String>,
    /// The conclusions of the needs, and `$NIXACTIONS_NEEDS`.
    results: Env,
    /// The outputs of the needs.
    outputs: Env,
    /// The variables of steps whose values have expressions, with their values.
    filled: BTreeMap<usize, Env>,
    /// The steps with an id that are over, and what later steps see of them.
    steps: Vec<StepResult>,
    step_results: Env,
    step_outputs: Env,
}

/// Names of variables that a user gave although the engine sets them. Their values are dropped.
pub type Dropped = Vec<String>;

impl Environment {
    /// Returns the environment from the results of the job's needs. Also returns a warning for each
    /// output whose name cannot be a variable.
    pub fn new(needs: &[NeedResult], needs_file: &Path) -> (Self, Vec<String>) {
        let Variables {
            mut results,
            outputs,
            warnings,
        } = variables::of_needs(needs);
        results.insert(
            "NIXACTIONS_NEEDS".to_owned(),
            needs_file.display().to_string(),
        );
        let environment = Self {
            results,
            outputs,
            ..Self::default()
        };
        (environment, warnings)
    }

    /// Takes in the variables of a step, whose values are known now.
    pub fn fill(&mut self, index: usize, env: Env) {
        self.filled.insert(index, env);
    }

    /// Returns the steps with an id that are over.
    pub fn steps(&self) -> &[StepResult] {
        &self.steps
    }

    /// Takes in how a step with an id ended, for later steps. Returns a warning for each name of an
    /// output that cannot be a variable.
    pub fn remember(&mut self, step: StepResult) -> Vec<String> {
        self.steps.push(step);
        let Variables {
            results,
            outputs,
            warnings,
        } = variables::of_steps(&self.steps);
        (self.step_results, self.step_outputs) = (results, outputs);
        warnings
    }

    /// Adds the output of a provider of this level. A later value replaces an earlier one.
    pub fn provide(&mut self, spec: &JobSpec, level: Level, env: Vec<(String, String)>) -> Dropped {
        let (dropped, env) = self.apart(spec, env);
        let from = match level {
            Level::Workflow => &mut self.workflow_from,
            Level::Job => &mut self.job_from,
            Level::Step(index) => self.steps_from.entry(index).or_default(),
        };
        from.extend(env);
        dropped
    }

    /// Adds the values that a step wrote for later ones. As on GitHub, a step cannot change the
    /// variables that tell later steps their place.
    pub fn extend(
        &mut self,
        spec: &JobSpec,
        env: Vec<(String, String)>,
        path: Vec<String>,
    ) -> Dropped {
        let (mut dropped, env) = self.apart(spec, env);
        let (github, env): (Vec<_>, Vec<_>) = env
            .into_iter()
            .partition(|(key, _)| key.starts_with("GITHUB_"));
        dropped.extend(github.into_iter().map(|(key, _)| key));
        self.written.extend(env);
        path.into_iter()
            .for_each(|directory| self.path.insert(0, directory));
        dropped
    }

    /// Separates the variables that the engine sets itself from the others.
    fn apart(&self, spec: &JobSpec, env: Vec<(String, String)>) -> (Dropped, Env) {
        let is_ours = |key: &str| {
            key == "NIXACTIONS"
                || key.starts_with("NIXACTIONS_")
                || files::is_file_variable(key)
                || self.results.contains_key(key)
                || self.outputs.contains_key(key)
                || self.step_results.contains_key(key)
                || self.step_outputs.contains_key(key)
                || spec.inputs_env.contains_key(key)
                || key == CREDENTIALS && std::env::var_os(CREDENTIALS).is_some()
        };
        let (ours, others): (Vec<_>, Vec<_>) = env.into_iter().partition(|(key, _)| is_ours(key));
        let ours = ours.into_iter().map(|(key, _)| key).collect();
        (ours, others.into_iter().collect())
    }

    /// Returns whether a variable is the output of a need or of a step.
    pub fn is_output(&self, name: &str) -> bool {
        self.outputs.contains_key(name) || self.step_outputs.contains_key(name)
    }

    /// Returns whether a variable is the output of a need, whose value is in `$NIXACTIONS_NEEDS`.
    pub fn is_output_of_need(&self, name: &str) -> bool {
        self.outputs.contains_key(name)
    }

    /// Returns whether every step is guaranteed this variable.
    pub fn is_promised(&self, name: &str) -> bool {
        matches!(name, "PATH" | "HOME" | "CI" | "NIXACTIONS" | CREDENTIALS)
            || name.starts_with("NIXACTIONS_")
            || files::is_file_variable(name)
            || self.results.contains_key(name)
            || self.step_results.contains_key(name)
    }

    /// Returns the variables that expressions see: those that plan, providers, steps and caller
    /// set.
    pub fn of_expression(&self, spec: &JobSpec, level: Level) -> Env {
        self.set_by_users(spec, level)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// Returns the variables of a level that the engine did not set, weakest first.
    fn set_by_users<'a>(
        &'a self,
        spec: &'a JobSpec,
        level: Level,
    ) -> impl Iterator<Item = (&'a String, &'a String)> {
        let mut levels = vec![&self.workflow_from, &spec.workflow_env];
        if level != Level::Workflow {
            levels.extend([&self.job_from, &spec.job_env, &self.written]);
        }
        // Providers of a step run before the values of its expressions are known.
        let mut unknown = None;
        if let Level::Step(index) = level
            && let Some(step) = spec.steps.get(index)
        {
            // A step that cleans up after another one has that one's variables as well.
            for index in step.post_of.into_iter().chain([index]) {
                levels.extend(self.steps_from.get(&index));
                let filled = self.filled.get(&index);
                let Some(step) = spec.steps.get(index) else {
                    continue;
                };
                if filled.is_none() && spec.hooks.is_none() {
                    unknown = Some(&step.env);
                }
                levels.push(filled.unwrap_or(&step.env));
            }
        }
        levels.push(&spec.overrides);
        let is_known = move |level: &Env, value: &str| {
            !(unknown.is_some_and(|unknown| std::ptr::eq(unknown, level)) && is_template(value))
        };
        levels.into_iter().flat_map(move |level| {
            level
                .iter()
                .filter(move |(_, value)| is_known(level, value))
        })
    }

    /// Returns the environment of the job itself, for its condition.
    pub fn of_job(&self, spec: &JobSpec, port: &Port) -> BTreeMap<String, String> {
        self.build(spec, port, Level::Job, [])
    }

    /// Returns the environment of a provider: that of its level, as far as it is known by then.
    pub fn of_provider(
        &self,
        spec: &JobSpec,
        port: &Port,
        level: Level,
    ) -> BTreeMap<String, String> {
        self.build(spec, port, level, [])
    }

    /// Returns the environment of a step's condition: that of the step, without the files to write
    /// to.
    pub fn of_condition(
        &self,
        spec: &JobSpec,
        port: &Port,
        index: usize,
    ) -> BTreeMap<String, String> {
        self.build(spec, port, Level::Step(index), [])
    }

    /// Returns the whole environment of a step.
    pub fn of_step(
        &self,
        spec: &JobSpec,
        port: &Port,
        index: usize,
        attempt: u32,
        files: &StepFiles,
    ) -> BTreeMap<String, String> {
        let files = files
            .variables()
            .map(|(key, path)| (key, path.display().to_string()));
        self.build(
            spec,
            port,
            Level::Step(index),
            [("NIXACTIONS_ATTEMPT", attempt.to_string())]
                .into_iter()
                .chain(files),
        )
    }

    /// Puts the levels on top of each other. `place` holds further variables about the step's
    /// place.
    fn build<'a>(
        &self,
        spec: &JobSpec,
        port: &Port,
        level: Level,
        place: impl IntoIterator<Item = (&'a str, String)>,
    ) -> BTreeMap<String, String> {
        let step = if let Level::Step(index) = level {
            spec.steps.get(index)
        } else {
            None
        };
        let mut env = BTreeMap::new();
        let mut set = |key: &str, value: String| {
            env.insert(key.to_owned(), value);
        };
        set("PATH", spec.path.clone());
        set("LANG", "C.UTF-8".to_owned());
        // If systemd sets no shell, bash would take the one of the user database, which may forbid
        // logins.
        set("SHELL", programs::shell(&spec.path).display().to_string());
        for key in [
            "USER",
            "LOGNAME",
            "SHELL",
            "XDG_RUNTIME_DIR",
            "DBUS_SESSION_BUS_ADDRESS",
        ] {
            // The host's shell and sockets are not in the job's root file system.
            if spec.own_root && !matches!(key, "USER" | "LOGNAME") {
                continue;
            }
            if let Ok(value) = std::env::var(key) {
                set(key, value);
            }
        }
        set("CI", "true".to_owned());
        spec.executor_env
            .iter()
            .for_each(|(key, value)| set(key, value.clone()));
        set("HOME", port.home().display().to_string());
        self.set_by_users(spec, level)
            .for_each(|(key, value)| set(key, value.clone()));
        for ours in [
            &spec.inputs_env,
            &self.outputs,
            &self.results,
            &self.step_outputs,
            &self.step_results,
        ] {
            ours.iter().for_each(|(key, value)| set(key, value.clone()));
        }
        if let Ok(directory) = std::env::var(CREDENTIALS) {
            set(CREDENTIALS, directory);
        }
        set("NIXACTIONS", "true".to_owned());
        set("NIXACTIONS_RUN", spec.run.to_string());
        set("NIXACTIONS_WORKFLOW", spec.workflow.to_string());
        set("NIXACTIONS_JOB", spec.job.to_string());
        if let Some(origin) = &spec.origin {
            set("NIXACTIONS_EVENT", origin.trigger.as_str().to_owned());
            for (name, value) in [
                ("NIXACTIONS_REF", &origin.git_ref),
                ("NIXACTIONS_SHA", &origin.commit),
                ("NIXACTIONS_REPOSITORY", &origin.repository),
                ("NIXACTIONS_ACTOR", &origin.actor),
            ] {
                value.iter().for_each(|value| set(name, value.clone()));
            }
        }
        set(
            "NIXACTIONS_WORKSPACE",
            port.workspace().display().to_string(),
        );
        if let Some(step) = step {
            set("NIXACTIONS_STEP", step.name.clone());
        }
        if let Some(hooks) = &spec.hooks {
            set("NIXACTIONS_EXECUTOR", hooks.executor.clone());
            set(
                "NIXACTIONS_EXECUTOR_DIRECTORY",
                hooks.directory.display().to_string(),
            );
            set(
                "NIXACTIONS_STEPS",
                spec.files_directory
                    .join("steps.json")
                    .display()
                    .to_string(),
            );
        }
        place.into_iter().for_each(|(key, value)| set(key, value));
        if spec.hooks.as_ref().is_some_and(|hooks| hooks.of_workspace) {
            env.remove("NIXACTIONS_JOB");
        }
        if !self.path.is_empty() {
            let base = env.get("PATH").cloned().unwrap_or_default();
            env.insert(
                "PATH".to_owned(),
                self.path
                    .iter()
                    .map(String::as_str)
                    .chain([base.as_str()])
                    .collect::<Vec<_>>()
                    .join(":"),
            );
        }
        env
    }
}
