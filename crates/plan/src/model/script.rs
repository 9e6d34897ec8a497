//! Scripts: their shells, the defaults for them, and the clean-up of a step.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeSeq};

use super::{Argv, Env, Job, Plan, Seconds, Setting, Step};

/// The place of the script's file in the arguments of a shell.
pub const SCRIPT_FILE: &str = "{0}";

/// The program that runs a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shell {
    /// `bash --noprofile --norc -eo pipefail`.
    Bash,
    /// `sh -e`.
    Sh,
    /// `python3`.
    Python,
    /// An executable and its arguments. `{0}` in them stands for the script's file.
    Argv(Argv),
}

impl Shell {
    const NAMES: [(&str, Self); 3] = [
        ("bash", Self::Bash),
        ("sh", Self::Sh),
        ("python", Self::Python),
    ];

    /// Returns its executable and arguments, in which `{0}` stands for the script's file. Returns
    /// `None` for bash, which the runner finds by rules of its own.
    pub fn argv(&self) -> Option<Argv> {
        let argv = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        match self {
            Self::Bash => None,
            Self::Sh => Some(argv(&["sh", "-e", SCRIPT_FILE])),
            Self::Python => Some(argv(&["python3", SCRIPT_FILE])),
            Self::Argv(argv) => Some(argv.clone()),
        }
    }
}

impl Serialize for Shell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Self::Argv(argv) = self {
            let mut list = serializer.serialize_seq(Some(argv.len()))?;
            argv.iter()
                .try_for_each(|argument| list.serialize_element(argument))?;
            return list.end();
        }
        let name = Self::NAMES.iter().find(|(_, shell)| shell == self);
        serializer.serialize_str(name.map_or("bash", |(name, _)| name))
    }
}

impl<'de> Deserialize<'de> for Shell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Shell;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`bash`, `sh`, `python`, or a list of an executable and its arguments")
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<Shell, E> {
                let shell = Shell::NAMES.into_iter().find(|(known, _)| *known == name);
                let unknown = || E::invalid_value(de::Unexpected::Str(name), &self);
                shell.map(|(_, shell)| shell).ok_or_else(unknown)
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Shell, A::Error> {
                Argv::deserialize(de::value::SeqAccessDeserializer::new(list)).map(Shell::Argv)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Shell {
    fn schema_name() -> Cow<'static, str> {
        "Shell".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The program that runs a script: `bash` (`bash --noprofile --norc -eo \
                            pipefail`), `sh` (`sh -e`), `python` (`python3`), or an executable and \
                            its arguments, in which `{0}` stands for the script's file.",
            "anyOf": [
                { "type": "string", "enum": Self::NAMES.map(|(name, _)| name) },
                { "type": "array", "items": { "type": "string" }, "minItems": 1 },
            ],
        })
    }
}

/// The shell and the directory of steps that name none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Defaults {
    /// The shell of scripts. The default is `bash`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Shell>,
    /// The directory in the workspace in which steps run. It may have expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
}

/// The clean-up of a step. It runs after all steps of the job if its own step has started, in
/// reverse order of the steps, whatever happened. It has its step's variables, shell and directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Post {
    /// The name in logs and records. The default is `post` and the name of the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// An executable and its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub run: Option<Argv>,
    /// A script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bash: Option<String>,
    /// Another name for `bash`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// The program that runs the script. The default is that of the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Shell>,
    /// Variables that are stronger than those of the step. They may have expressions.
    #[serde(default)]
    pub env: Env,
    /// The directory in the workspace in which it runs. The default is that of the step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// Whether a failure counts as success.
    #[serde(default)]
    pub continue_on_error: bool,
    /// The time limit, in seconds. `null` removes it.
    #[serde(default, skip_serializing_if = "Setting::is_inherit")]
    pub timeout: Setting<Seconds>,
}

impl Step {
    /// Returns the text of its script.
    pub fn script(&self) -> Option<&str> {
        self.bash.as_deref().or(self.script.as_deref())
    }
}

impl Post {
    /// Returns the text of its script.
    pub fn script(&self) -> Option<&str> {
        self.bash.as_deref().or(self.script.as_deref())
    }
}

impl Plan {
    /// Returns the shell and the directory of those steps of a job that name none.
    pub fn defaults_of(&self, job: &Job) -> Defaults {
        let levels = || [job.defaults.as_ref(), self.defaults.as_ref()];
        Defaults {
            shell: levels().into_iter().find_map(|level| level?.shell.clone()),
            workdir: levels()
                .into_iter()
                .find_map(|level| level?.workdir.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_is_written_as_it_is_read() {
        for text in ["\"bash\"", "\"sh\"", "\"python\"", "[\"perl\",\"{0}\"]"] {
            let shell: Shell = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&shell).unwrap(), text);
        }
        serde_json::from_str::<Shell>("\"zsh\"").unwrap_err();
        serde_json::from_str::<Shell>("3").unwrap_err();
    }
}
