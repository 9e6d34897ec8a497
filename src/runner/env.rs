//! The environment of a step: which level sets what, strongest last.
//!
//! PLAN's order: what the workflow's providers print, workflow env, the same of the job, what
//! earlier steps wrote to `$NIXACTIONS_ENV`, the same of the step, then the caller's overrides;
//! above all of them the variables that tell a step where it is.

use std::{collections::BTreeMap, path::Path};

use super::{files::StepFiles, gate::NeedResult};
use crate::{
    plan::Env,
    unit::{JobPaths, JobSpec},
};

/// Whose environment it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// That of the workflow's providers.
    Workflow,
    /// That of the job: of its providers and its condition.
    Job,
    /// That of the step at this position.
    Step(usize),
}

/// The environment of a job's steps as it grows.
#[derive(Debug, Default)]
pub struct Environment {
    /// What providers printed: those of the workflow, of the job, and of each step.
    workflow_from: Env,
    job_from: Env,
    steps_from: BTreeMap<usize, Env>,
    /// What earlier steps wrote to `$NIXACTIONS_ENV`.
    written: BTreeMap<String, String>,
    /// What earlier steps wrote to `$NIXACTIONS_PATH`, the latest first.
    path: Vec<String>,
    /// `NEEDS_*`.
    needs: Vec<(String, String)>,
}

impl Environment {
    /// Starts from what the job's needs left.
    pub fn new(needs: &[NeedResult], needs_file: &Path) -> Self {
        let mut variables = vec![(
            "NIXACTIONS_NEEDS".to_owned(),
            needs_file.display().to_string(),
        )];
        for need in needs {
            let prefix = format!("NEEDS_{}", shout(need.need.job.as_str()));
            variables.push((format!("{prefix}_RESULT"), need.need.conclusion.to_string()));
            variables.extend(
                need.outputs
                    .iter()
                    .map(|(key, value)| (format!("{prefix}_{}", shout(key)), value.clone())),
            );
        }
        Self {
            needs: variables,
            ..Self::default()
        }
    }

    /// Takes in what a provider of this level printed; a later one's value replaces an earlier
    /// one's.
    pub fn provide(&mut self, level: Level, env: Vec<(String, String)>) {
        let from = match level {
            Level::Workflow => &mut self.workflow_from,
            Level::Job => &mut self.job_from,
            Level::Step(index) => self.steps_from.entry(index).or_default(),
        };
        from.extend(env);
    }

    /// Takes in what a step wrote for later ones.
    pub fn extend(&mut self, env: Vec<(String, String)>, path: Vec<String>) {
        // As on GitHub, a step cannot change what tells later ones where they are.
        self.written.extend(
            env.into_iter()
                .filter(|(key, _)| !key.starts_with("NIXACTIONS_") && !key.starts_with("GITHUB_")),
        );
        path.into_iter()
            .for_each(|directory| self.path.insert(0, directory));
    }

    /// Returns the environment of the job as such: what its condition sees.
    pub fn of_job(&self, spec: &JobSpec, paths: &JobPaths) -> BTreeMap<String, String> {
        self.build(spec, paths, Level::Job, [])
    }

    /// Returns the environment of a provider: that of its level, as far as it is known by then.
    pub fn of_provider(
        &self,
        spec: &JobSpec,
        paths: &JobPaths,
        level: Level,
    ) -> BTreeMap<String, String> {
        self.build(spec, paths, level, [])
    }

    /// Returns the environment of a step before it has files to write to: what its condition sees.
    pub fn of_condition(
        &self,
        spec: &JobSpec,
        paths: &JobPaths,
        index: usize,
    ) -> BTreeMap<String, String> {
        self.build(spec, paths, Level::Step(index), [])
    }

    /// Returns the whole environment of a step.
    pub fn of_step(
        &self,
        spec: &JobSpec,
        paths: &JobPaths,
        index: usize,
        attempt: u32,
        files: &StepFiles,
    ) -> BTreeMap<String, String> {
        let files = files
            .variables()
            .map(|(key, path)| (key, path.display().to_string()));
        self.build(
            spec,
            paths,
            Level::Step(index),
            [("NIXACTIONS_ATTEMPT", attempt.to_string())]
                .into_iter()
                .chain(files),
        )
    }

    /// Puts the levels on top of each other; `place` is what else tells a step where it is.
    fn build<'a>(
        &self,
        spec: &JobSpec,
        paths: &JobPaths,
        level: Level,
        place: impl IntoIterator<Item = (&'a str, String)>,
    ) -> BTreeMap<String, String> {
        let step = if let Level::Step(index) = level {
            spec.steps
                .get(index)
                .map(|step| (step, self.steps_from.get(&index)))
        } else {
            None
        };
        let mut levels = vec![&spec.inputs_env, &self.workflow_from, &spec.workflow_env];
        if level != Level::Workflow {
            levels.extend([&self.job_from, &spec.job_env]);
        }
        if let Some((step, from)) = step {
            levels.push(&self.written);
            levels.extend(from);
            levels.push(&step.env);
        }
        levels.push(&spec.overrides);
        let mut env = BTreeMap::new();
        let mut set = |key: &str, value: String| {
            env.insert(key.to_owned(), value);
        };
        set("PATH", spec.path.clone());
        set("LANG", "C.UTF-8".to_owned());
        for key in [
            "USER",
            "LOGNAME",
            "SHELL",
            "CREDENTIALS_DIRECTORY",
            "XDG_RUNTIME_DIR",
            "DBUS_SESSION_BUS_ADDRESS",
        ] {
            if let Ok(value) = std::env::var(key) {
                set(key, value);
            }
        }
        set("CI", "true".to_owned());
        set("HOME", paths.home().display().to_string());
        for level in levels {
            level
                .iter()
                .for_each(|(key, value)| set(key, value.clone()));
        }
        self.needs
            .iter()
            .for_each(|(key, value)| set(key, value.clone()));
        set("NIXACTIONS", "true".to_owned());
        set("NIXACTIONS_RUN", spec.run.to_string());
        set("NIXACTIONS_WORKFLOW", spec.workflow.to_string());
        set("NIXACTIONS_JOB", spec.job.to_string());
        set(
            "NIXACTIONS_WORKSPACE",
            paths.workspace().display().to_string(),
        );
        if let Some((step, _)) = step {
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

/// Returns a name as it stands in a variable: upper case, `-` to `_`.
fn shout(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}
