//! Expressions in a job: what their contexts hold, and what becomes of their values.

use std::{collections::BTreeMap, rc::Rc};

use nixactions_expression::{
    Contexts, Failure, Status, TEXT_MAX, Value, evaluate, parse,
    template::{self, Segment},
};

use super::{
    env::{Environment, Level},
    gate::NeedResult,
    hash,
    job::Job,
};
use crate::{
    reason::Reason,
    record::Conclusion,
    settings::Env,
    spec::{JobSpec, StepSpec},
    status::Expression,
};

/// The sources of an expression's contexts.
pub(super) struct Known<'a> {
    job: &'a Job<'a>,
    environment: &'a Environment,
    level: Level,
}

impl Contexts for Known<'_> {
    fn context(&self, name: &str) -> Value {
        let spec = self.job.spec;
        match name {
            "needs" => needs(&self.job.needs),
            "steps" => Value::object(self.environment.steps().iter().map(|step| {
                let value = Value::object([
                    ("outputs", texts(&step.outputs)),
                    ("outcome", Value::text(step.outcome.as_str())),
                    ("conclusion", Value::text(step.conclusion.as_str())),
                ]);
                (step.id.clone(), value)
            })),
            "env" => texts(&self.environment.of_expression(spec, self.level)),
            "inputs" => json(&spec.values.inputs),
            "matrix" => json(&spec.values.matrix),
            "job" => Value::object([("status", Value::text(self.job.state.as_str()))]),
            "nixactions" => nixactions(
                spec,
                self.job.record.attempts,
                &self.job.port.workspace().to_string_lossy(),
            ),
            _ => Value::Null,
        }
    }

    fn hash_files(&self, patterns: &[Rc<str>]) -> Result<String, String> {
        hash::files(&self.job.port.workspace(), patterns)
    }
}

fn needs(needs: &[NeedResult]) -> Value {
    Value::object(needs.iter().map(|need| {
        let value = Value::object([
            ("result", Value::text(need.need.conclusion.as_str())),
            ("outputs", texts(&need.outputs)),
        ]);
        (need.need.job.to_string(), value)
    }))
}

fn nixactions(spec: &JobSpec, attempts: u32, workspace: &str) -> Value {
    let origin = spec.origin.as_ref();
    let text = |text: Option<&str>| text.map_or(Value::Null, Value::text);
    Value::object([
        ("run", Value::text(spec.run.as_str())),
        ("workflow", Value::text(spec.workflow.as_str())),
        ("job", Value::text(spec.job.as_str())),
        ("attempt", Value::Number(f64::from(attempts.max(1)))),
        ("event", text(origin.map(|origin| origin.trigger.as_str()))),
        (
            "ref",
            text(origin.and_then(|origin| origin.git_ref.as_deref())),
        ),
        (
            "sha",
            text(origin.and_then(|origin| origin.commit.as_deref())),
        ),
        (
            "repository",
            text(origin.and_then(|origin| origin.repository.as_deref())),
        ),
        (
            "actor",
            text(origin.and_then(|origin| origin.actor.as_deref())),
        ),
        ("workspace", Value::text(workspace)),
    ])
}

fn texts(texts: &Env) -> Value {
    let texts = texts.iter();
    Value::object(texts.map(|(name, text)| (name.clone(), Value::text(text))))
}

fn json(values: &BTreeMap<String, serde_json::Value>) -> Value {
    let values = values.iter();
    Value::object(values.map(|(name, value)| (name.clone(), Value::from(value))))
}

impl Job<'_> {
    /// Tells whether a condition is true.
    pub(super) fn is_true(
        &self,
        expression: &Expression,
        status: Status,
        environment: &Environment,
        level: Level,
    ) -> Result<bool, String> {
        self.value(&expression.text, status, environment, level)
            .map(|value| value.is_true())
            .map_err(|why| why.to_string())
    }

    /// Puts the values of its expressions into a text.
    pub(super) fn filled(
        &self,
        text: &str,
        environment: &Environment,
        level: Level,
    ) -> Result<String, Failure> {
        let status = Status {
            success: self.state == Conclusion::Success,
            failure: self.state == Conclusion::Failure,
            cancelled: self.state == Conclusion::Cancelled,
        };
        let mut filled = String::new();
        for segment in template::segments(text).map_err(|error| error.to_string())? {
            match segment {
                Segment::Text(text) => filled.push_str(text),
                Segment::Expression(text, _) => {
                    filled.push_str(&self.value(text, status, environment, level)?.to_text());
                }
            }
            if filled.len() > TEXT_MAX {
                return Err(Failure::TooLong("the value".to_owned()));
            }
        }
        Ok(filled)
    }

    fn value(
        &self,
        text: &str,
        status: Status,
        environment: &Environment,
        level: Level,
    ) -> Result<Value, Failure> {
        // The plan was checked; a spec of another hand may hold anything.
        let expression = parse(text).map_err(|error| error.to_string())?;
        let known = Known {
            job: self,
            environment,
            level,
        };
        evaluate(&expression, &known, status)
    }

    /// Puts the values of its expressions into the variables of a step. A variable that is too long
    /// is left out, like others that no process takes: an output of another job must not fail the
    /// step.
    pub(super) fn fill_env(
        &mut self,
        index: usize,
        step: &StepSpec,
        environment: &mut Environment,
    ) -> Result<(), String> {
        // Those of hooks are the engine's own.
        let has_expressions = step.env.values().any(|value| template::is_template(value));
        if self.spec.hooks.is_some() || !has_expressions {
            return Ok(());
        }
        // As on GitHub, variables of a step do not see each other. Those of a clean-up see those of
        // its step.
        let level = step.post_of.map_or(Level::Job, Level::Step);
        let mut filled = Env::new();
        for (name, value) in &step.env {
            let value = if template::is_template(value) {
                match self.filled(value, environment, level) {
                    Ok(value) => value,
                    Err(why @ Failure::TooLong(_)) => {
                        self.warn_once(format!(
                            "variable `{name}` is left out of the environment: {why}"
                        ));
                        continue;
                    }
                    Err(Failure::Other(why)) => return Err(format!("variable `{name}`: {why}")),
                }
            } else {
                value.clone()
            };
            if value.contains('\0') {
                return Err(format!("variable `{name}`: its value has a NUL"));
            }
            filled.insert(name.clone(), value);
        }
        environment.fill(index, filled);
        Ok(())
    }

    /// Makes the job's outputs those that its plan names, where it names any.
    pub(super) fn publish(&mut self, environment: &Environment) {
        let Some(outputs) = &self.spec.outputs_from else {
            return;
        };
        self.record.outputs.clear();
        for (name, text) in outputs {
            match self.filled(text, environment, Level::Job) {
                Ok(value) => drop(self.record.outputs.insert(name.clone(), value)),
                Err(why) => self.fail(&Reason::Output {
                    output: name.clone(),
                    why: why.to_string(),
                }),
            }
        }
    }
}
