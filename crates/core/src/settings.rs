//! Settings that plans and job specs have in common: variables, times, retries.
//!
//! Knows nothing of plans and specs.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Deserializer, Serialize};

/// Environment variables by name.
pub type Env = BTreeMap<String, String>;
/// An executable and its arguments.
pub type Argv = Vec<String>;

/// The most bytes of one argument or of one `K=V` in an environment, with its final NUL:
/// MAX_ARG_STRLEN of Linux (execve(2)).
pub const ARG_BYTES_MAX: usize = 128 << 10;

/// Returns whether a process can take a variable.
pub fn fits_process(name: &str, value: &str) -> bool {
    // Beside them, an equals sign and the final NUL.
    name.len() + value.len() + 2 <= ARG_BYTES_MAX
}

/// Returns whether a text is the name of a variable, as shells take it.
pub fn is_variable_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Returns a name in the form for variables: in upper case, with `_` for `-`.
pub fn upper(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

/// A number of seconds, greater than 0.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Seconds(f64);

impl Seconds {
    /// The most seconds a plan may state: 100 years.
    pub const MAX: f64 = 3_155_760_000.0;

    /// Returns the time as a duration.
    pub fn duration(self) -> Duration {
        Duration::from_secs_f64(self.0)
    }
}

impl TryFrom<f64> for Seconds {
    type Error = String;
    fn try_from(seconds: f64) -> Result<Self, String> {
        if seconds > 0.0 && seconds <= Self::MAX {
            Ok(Self(seconds))
        } else {
            Err(format!(
                "{seconds} is not a number of seconds greater than 0"
            ))
        }
    }
}

impl From<Seconds> for f64 {
    fn from(seconds: Seconds) -> f64 {
        seconds.0
    }
}

/// A number of seconds to wait. 0 means no wait.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Wait(f64);

impl TryFrom<f64> for Wait {
    type Error = String;
    fn try_from(seconds: f64) -> Result<Self, String> {
        if (0.0..=Seconds::MAX).contains(&seconds) {
            Ok(Self(seconds))
        } else {
            Err(format!("{seconds} is not a number of seconds from 0 on"))
        }
    }
}

impl From<Wait> for f64 {
    fn from(wait: Wait) -> f64 {
        wait.0
    }
}

/// A setting that a level inherits, overrides or switches off (`null`).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Setting<T> {
    /// The field is absent: the value of the outer level holds.
    #[default]
    Inherit,
    /// The field is `null`: no value holds.
    Off,
    /// The field has a value, which holds.
    Value(T),
}

impl<T> Setting<T> {
    /// Returns whether the field is absent.
    pub fn is_inherit(&self) -> bool {
        matches!(self, Self::Inherit)
    }

    /// Returns the value at this level, given the value of the outer level.
    pub fn over(self, outer: Option<T>) -> Option<T> {
        match self {
            Self::Inherit => outer,
            Self::Off => None,
            Self::Value(value) => Some(value),
        }
    }
}

impl<T: Serialize> Serialize for Setting<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Inherit | Self::Off => serializer.serialize_none(),
            Self::Value(value) => value.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Setting<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Off, Self::Value))
    }
}

/// The growth of the wait between attempts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Backoff {
    /// `minTime * 2^(n-1)`.
    #[default]
    Exponential,
    /// `minTime * n`.
    Linear,
    /// `minTime`.
    Constant,
}

/// The number of attempts, and the waits between them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retry {
    /// The number of attempts in all.
    #[cfg_attr(feature = "schema", schemars(range(min = 1)))]
    pub max_attempts: u32,
    /// The growth of the wait.
    #[serde(default)]
    pub backoff: Backoff,
    /// The first wait, in seconds. 0 means no wait.
    #[serde(default = "one_second")]
    pub min_time: Wait,
    /// The longest wait, in seconds.
    #[serde(default = "one_minute")]
    pub max_time: Wait,
}

impl Retry {
    /// A single attempt.
    pub const ONCE: Self = Self {
        max_attempts: 1,
        backoff: Backoff::Exponential,
        min_time: Wait(0.0),
        max_time: Wait(0.0),
    };

    /// Returns the wait after the failure of attempt `attempt` (from 1).
    pub fn wait_after(&self, attempt: u32) -> Duration {
        let (min, max) = (f64::from(self.min_time), f64::from(self.max_time));
        let factor = match self.backoff {
            Backoff::Exponential => 2f64.powi(i32::try_from(attempt).unwrap_or(i32::MAX) - 1),
            Backoff::Linear => f64::from(attempt),
            Backoff::Constant => 1.0,
        };
        if min == 0.0 {
            // The factor may have become infinite.
            return Duration::ZERO;
        }
        Duration::from_secs_f64((min * factor).min(max))
    }
}

fn one_second() -> Wait {
    Wait(1.0)
}

fn one_minute() -> Wait {
    Wait(60.0)
}

#[cfg(feature = "schema")]
mod schema {
    //! The parts of the plan's JSON Schema that serde's attributes cannot express.

    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    use super::{Seconds, Setting, Wait};

    impl JsonSchema for Seconds {
        fn schema_name() -> Cow<'static, str> {
            "Seconds".into()
        }
        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({ "type": "number", "exclusiveMinimum": 0, "maximum": Self::MAX, "description": "A number of seconds, greater than 0." })
        }
    }

    impl JsonSchema for Wait {
        fn schema_name() -> Cow<'static, str> {
            "Wait".into()
        }
        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({ "type": "number", "minimum": 0, "maximum": Seconds::MAX, "description": "A number of seconds to wait. 0 means no wait." })
        }
    }

    impl<T: JsonSchema> JsonSchema for Setting<T> {
        fn schema_name() -> Cow<'static, str> {
            format!("Setting_of_{}", T::schema_name()).into()
        }
        fn json_schema(generator: &mut SchemaGenerator) -> Schema {
            Option::<T>::json_schema(generator)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_between_attempts_follow_the_backoff_up_to_max_time() {
        let waits = |backoff: &str| -> Vec<f64> {
            let json = format!(
                r#"{{ "maxAttempts": 9, "backoff": "{backoff}", "minTime": 1.5, "maxTime": 10 }}"#
            );
            let retry: Retry = serde_json::from_str(&json).unwrap();
            [1, 2, 3, 4, u32::MAX]
                .map(|attempt| retry.wait_after(attempt).as_secs_f64())
                .into()
        };
        assert_eq!(waits("exponential"), [1.5, 3.0, 6.0, 10.0, 10.0]);
        assert_eq!(waits("linear"), [1.5, 3.0, 4.5, 6.0, 10.0]);
        assert_eq!(waits("constant"), [1.5; 5]);
    }

    #[test]
    fn a_wait_of_0_stays_0_after_any_number_of_attempts() {
        let retry: Retry =
            serde_json::from_value(serde_json::json!({ "maxAttempts": 9999, "minTime": 0 }))
                .unwrap();
        assert_eq!(retry.wait_after(2000), Duration::ZERO);
    }
}
