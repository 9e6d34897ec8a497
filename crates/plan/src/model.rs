//! The serde model of a plan: the shape of its JSON, field by field.
//!
//! schemars generates the JSON Schema from these types. `validate` checks the fields against each
//! other (cycles, duplicate artifacts, unknown executors).

mod executor;
mod script;
mod service;

use std::{borrow::Cow, collections::BTreeMap, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

pub use executor::*;
pub use nixactions_core::settings::*;
use nixactions_core::{
    claims::Attempts,
    ids::{JobName, StepId, WorkflowName},
    record::{MatrixRecord, Versioned},
};
pub use script::*;
pub use service::*;

/// The version of the plan that this program reads.
pub const PLAN_VERSION: u32 = 1;
/// The executor of a job that names none.
pub const DEFAULT_EXECUTOR: &str = "default";

impl Versioned for Plan {
    const VERSION: u32 = PLAN_VERSION;

    fn version(&self) -> u32 {
        self.version
    }
}

/// A workflow as Nix compiled it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// The version of the plan's format.
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// The workflow's name: letters, digits, `_` and `-`.
    pub name: WorkflowName,
    /// Variables of every step.
    #[serde(default)]
    pub env: Env,
    /// Providers of variables of every step, in order.
    #[serde(default)]
    pub env_from: Vec<Argv>,
    /// Variables that a run takes from its caller, besides the keys of any `env`.
    #[serde(default)]
    pub pass_env: Vec<String>,
    /// The values that `--input` sets.
    #[serde(default)]
    pub inputs: BTreeMap<String, Input>,
    /// The retry of every step and job without a `retry` of its own. `null` means none.
    #[serde(default, skip_serializing_if = "Setting::is_inherit")]
    pub retry: Setting<Retry>,
    /// The time limit of the whole run, in seconds. `null` removes it.
    #[serde(default, skip_serializing_if = "Setting::is_inherit")]
    pub timeout: Setting<Seconds>,
    /// The most jobs that may run at once. The default is the number of CPUs.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub max_parallel: Option<u32>,
    /// At most one run of a group at a time on the host.
    #[serde(default)]
    pub concurrency: Option<Concurrency>,
    /// The shell and the directory of steps that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<Defaults>,
    /// The executors by name.
    #[serde(default)]
    pub executors: BTreeMap<String, Executor>,
    /// The jobs by name.
    pub jobs: BTreeMap<JobName, Job>,
}

/// The type of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum InputType {
    /// Any text.
    String,
    /// A JSON number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// One of `options`.
    Choice,
}

/// An input of the workflow. `--input K=V` sets it, and steps see it as `INPUT_<K>`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Input {
    /// The type of the value.
    #[serde(rename = "type")]
    pub kind: InputType,
    /// The value of a run without this `--input`: a string, number or boolean, as `type` demands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<serde_json::Value>,
    /// A text that explains the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The values that a `choice` allows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// Whether a run without this `--input` is refused.
    #[serde(default)]
    pub required: bool,
}

/// A concurrency group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Concurrency {
    /// The group's name.
    pub group: String,
    /// Whether a newer run cancels the run that goes on, before it starts.
    #[serde(default)]
    pub cancel_in_progress: bool,
}

/// A job: one transient unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Job {
    /// A key of `executors`. The default is `{ "type": "systemd" }`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executor: Option<String>,
    /// Jobs that must be finished before this job starts.
    #[serde(default)]
    pub needs: Vec<JobName>,
    /// `success()`, `failure()`, `always()`, `cancelled()`, an expression or bash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Whether a failure counts as success.
    #[serde(default)]
    pub continue_on_error: bool,
    /// Variables of the job's steps.
    #[serde(default)]
    pub env: Env,
    /// Providers of variables of the job's steps, in order.
    #[serde(default)]
    pub env_from: Vec<Argv>,
    /// Files of the host that the job's steps find in `$CREDENTIALS_DIRECTORY`, by name
    /// (`LoadCredential=`, systemd.exec(5)).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub credentials: BTreeMap<String, String>,
    /// As `credentials`, but for files that systemd-creds(1) has encrypted
    /// (`LoadCredentialEncrypted=`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub credentials_encrypted: BTreeMap<String, String>,
    /// Artifacts restored before the first step.
    #[serde(default)]
    pub inputs: Vec<ArtifactInput>,
    /// Artifacts saved after the last step: name to path in the workspace.
    #[serde(default)]
    pub outputs: BTreeMap<String, String>,
    /// The outputs of the job by name: texts with expressions. The default is all that its steps
    /// wrote to `$NIXACTIONS_OUTPUT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs_from: Option<Env>,
    /// The retry of the job. `null` means none.
    #[serde(default, skip_serializing_if = "Setting::is_inherit")]
    pub retry: Setting<Retry>,
    /// The time limit of the job, in seconds. `null` removes it. The default is 6 hours.
    #[serde(default, skip_serializing_if = "Setting::is_inherit")]
    pub timeout: Setting<Seconds>,
    /// Unit properties of the job. They come after those of the executor.
    #[serde(default)]
    pub properties: Env,
    /// The shell and the directory of steps that name none. They are stronger than those of the
    /// workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<Defaults>,
    /// The job's place in a matrix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix: Option<Matrix>,
    /// Programs that run beside the job's steps, by name. The name is that of a host, such as
    /// `db`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<String, Service>,
    /// The steps in their order.
    #[schemars(length(min = 1))]
    pub steps: Vec<Step>,
}

impl Job {
    /// Returns the most steps that the record of this job may have. These are the job's own steps
    /// and their clean-ups, or an executor's hooks: one for each artifact and three more.
    pub fn steps_max(&self) -> usize {
        let posts = self.steps.iter().filter(|step| step.post.is_some()).count();
        (self.steps.len() + posts).max(3 + self.inputs.len() + self.outputs.len())
    }

    /// Returns the job's place in a matrix, as its record has it.
    pub fn matrix_record(&self) -> Option<MatrixRecord> {
        let matrix = self.matrix.as_ref()?;
        let values = matrix.values.iter();
        Some(MatrixRecord {
            group: matrix.group.clone(),
            values: values
                .map(|(key, value)| (key.clone(), value.to_string()))
                .collect(),
        })
    }
}

impl Plan {
    /// Returns the most attempts at a job of this plan and at each of its steps. A step without a
    /// retry of its own counts the attempts of its job.
    pub fn attempts_max(&self, job: &Job) -> Attempts {
        let most = |retry: Option<Retry>| retry.map_or(1, |retry| retry.max_attempts.max(1));
        let of_job = most(job.retry.over(self.retry.over(None)));
        let of_steps = job.steps.iter().map(|step| most(step.retry.over(None)));
        Attempts {
            job: of_job,
            step: of_steps.fold(of_job, u32::max),
        }
    }
}

/// An artifact that a job restores: its name, or its name and its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ArtifactInput {
    /// The artifact's name.
    pub name: String,
    /// The directory in the workspace below which it is restored.
    pub path: String,
}

/// An artifact that a job restores, and its place.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "ArtifactInputObject")]
struct ArtifactInputObject {
    /// The artifact's name.
    name: String,
    /// The directory in the workspace below which it is restored. The default is the workspace
    /// itself.
    #[serde(default = "here")]
    path: String,
}

fn here() -> String {
    ".".to_owned()
}

impl<'de> Deserialize<'de> for ArtifactInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = ArtifactInput;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an artifact's name or { \"name\": …, \"path\": … }")
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<ArtifactInput, E> {
                Ok(ArtifactInput {
                    name: name.to_owned(),
                    path: here(),
                })
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<ArtifactInput, A::Error> {
                let object =
                    ArtifactInputObject::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(ArtifactInput {
                    name: object.name,
                    path: object.path,
                })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for ArtifactInput {
    fn schema_name() -> Cow<'static, str> {
        "ArtifactInput".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let object = generator.subschema_for::<ArtifactInputObject>();
        json_schema!({ "description": "An artifact that a job restores: its name, or its name and its place.", "anyOf": [{ "type": "string" }, object] })
    }
}

fn yes() -> bool {
    true
}

/// A job's place in a matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Matrix {
    /// The group's name.
    pub group: String,
    /// The values of this job.
    #[serde(default)]
    pub values: BTreeMap<String, MatrixValue>,
    /// Whether a failed job cancels the other jobs of the matrix.
    #[serde(default = "yes")]
    pub fail_fast: bool,
    /// The most jobs of the group that may run at once.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub max_parallel: Option<u32>,
}

/// A value of a matrix: a text, a number or a boolean. Steps see its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "serde_json::Value", into = "serde_json::Value")]
pub struct MatrixValue(serde_json::Value);

impl TryFrom<serde_json::Value> for MatrixValue {
    type Error = String;
    fn try_from(value: serde_json::Value) -> Result<Self, String> {
        if value.is_string() || value.is_number() || value.is_boolean() {
            Ok(Self(value))
        } else {
            Err("a matrix value is a text, a number or a boolean".to_owned())
        }
    }
}

impl From<MatrixValue> for serde_json::Value {
    fn from(value: MatrixValue) -> Self {
        value.0
    }
}

impl fmt::Display for MatrixValue {
    /// Writes a text as it stands and any other value as JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            serde_json::Value::String(text) => f.write_str(text),
            other => other.fmt(f),
        }
    }
}

impl JsonSchema for MatrixValue {
    fn schema_name() -> Cow<'static, str> {
        "MatrixValue".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"], "description": "A text, a number or a boolean. Steps see it as text, as JSON writes it." })
    }
}

/// A step: `run`, or a script.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// The step's id: later steps of the job see its outputs as `STEPS_<ID>_<KEY>`, and how it
    /// ended as `STEPS_<ID>_OUTCOME` and `STEPS_<ID>_CONCLUSION`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<StepId>,
    /// The step's name in logs and records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// An executable and its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub run: Option<Argv>,
    /// A script for `shell`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bash: Option<String>,
    /// Another name for `bash`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// The program that runs the script. The default is that of the job or of the workflow, else
    /// `bash`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Shell>,
    /// Variables of the step. Their values may have expressions: `${{ … }}`.
    #[serde(default)]
    pub env: Env,
    /// Providers of variables of the step, in order.
    #[serde(default)]
    pub env_from: Vec<Argv>,
    /// The directory in the workspace in which the step runs. It may have expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// `success()`, `failure()`, `always()`, `cancelled()`, an expression or bash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Whether a failure counts as success.
    #[serde(default)]
    pub continue_on_error: bool,
    /// The time limit of the step, in seconds. `null` removes it.
    #[serde(default, skip_serializing_if = "Setting::is_inherit")]
    pub timeout: Setting<Seconds>,
    /// The retry of the step. `null` means none.
    #[serde(default, skip_serializing_if = "Setting::is_inherit")]
    pub retry: Setting<Retry>,
    /// The clean-up of the step, which runs when the job's steps are over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post: Option<Post>,
}
