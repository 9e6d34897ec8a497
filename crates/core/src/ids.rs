//! The identifiers of the domain. Each has a type of its own and is checked once, at the boundary.
//!
//! Knows nothing of units, files or plans: `names` escapes names for systemd, and `store` knows
//! their places on disk.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The form of the name of a job or workflow, as a regular expression for the JSON Schema.
pub const NAME_PATTERN: &str = "^[A-Za-z_][A-Za-z0-9_-]*$";
/// The form of a run's id, as a regular expression.
pub const RUN_PATTERN: &str = "^[A-Za-z_][A-Za-z0-9_-]*-[1-9][0-9]*$";

/// The longest name of a job or workflow, in bytes. systemd limits a unit's name to 255 bytes
/// (systemd.unit(5)), and `nixactions-<workflow>-<n>-<job>.service` holds two names.
pub const NAME_MAX: usize = 100;
/// The most bytes that the names of a workflow and of one of its jobs or executors may have
/// together. systemd derives the name of a private `/tmp` from the unit's name. It adds 56 bytes,
/// and a file name has at most 255. `nixactions-<workflow>-<n>-<executor>.cleanup.service` takes 29
/// more and ten digits. A unit with a longer name does not start (seen on 252).
pub const NAMES_MAX: usize = 160;

/// The error of a name that does not have the form of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is the empty string.
    #[error("name is empty")]
    Empty,
    /// The name is longer than [`NAME_MAX`].
    #[error("name has {0} bytes, at most {NAME_MAX} are allowed")]
    TooLong(usize),
    /// The first character is not a letter or underscore.
    #[error("name starts with `{0}`, it must start with a letter or `_`")]
    Start(char),
    /// A later character is not allowed.
    #[error("name has the character `{0}`, only letters, digits, `_` and `-` are allowed")]
    Character(char),
    /// The run id does not end in `-<number>`.
    #[error("run id does not end in `-<number>`, as in `ci-42`")]
    RunNumber,
}

/// Checks `[A-Za-z_][A-Za-z0-9_-]*` of at most [`NAME_MAX`] bytes.
pub fn check_name(text: &str) -> Result<(), NameError> {
    let first = text.chars().next().ok_or(NameError::Empty)?;
    if !(first.is_ascii_alphabetic() || first == '_') {
        return Err(NameError::Start(first));
    }
    if let Some(c) = text
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-')))
    {
        return Err(NameError::Character(c));
    }
    if text.len() > NAME_MAX {
        return Err(NameError::TooLong(text.len()));
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $pattern:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(try_from = "String", into = "String")]
        #[cfg_attr(feature = "schema", schemars(with = "String", extend("pattern" = $pattern, "maxLength" = $max)))]
        pub struct $name(String);

        impl $name {
            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name_type! {
    /// The name of a job, unique in its plan: `[A-Za-z_][A-Za-z0-9_-]*`.
    JobName, NAME_PATTERN, NAME_MAX
}
name_type! {
    /// The name of a workflow (the plan's `name`). It has the form of a job's name.
    WorkflowName, NAME_PATTERN, NAME_MAX
}
name_type! {
    /// The id of a step, unique in its job, of the same form as a job's name.
    StepId, NAME_PATTERN, NAME_MAX
}
name_type! {
    /// The id of a run, `<workflow>-<n>`, unique in its state directory.
    RunId, RUN_PATTERN, NAME_MAX + 19
}

impl TryFrom<String> for JobName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        check_name(&text).map(|()| Self(text))
    }
}

impl TryFrom<String> for WorkflowName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        check_name(&text).map(|()| Self(text))
    }
}

impl TryFrom<String> for StepId {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        check_name(&text).map(|()| Self(text))
    }
}

impl TryFrom<String> for RunId {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        let (workflow, number) = text.rsplit_once('-').ok_or(NameError::RunNumber)?;
        check_name(workflow)?;
        if number.is_empty()
            || number.starts_with('0')
            || number.len() > 18
            || !number.bytes().all(|b| b.is_ascii_digit())
        {
            return Err(NameError::RunNumber);
        }
        Ok(Self(text))
    }
}

impl RunId {
    /// Returns the id of the `number`th run of a workflow. The first run has number 1.
    pub fn new(workflow: &WorkflowName, number: u64) -> Self {
        Self(format!("{workflow}-{number}"))
    }

    /// Returns the workflow's part of the id and the run's number.
    pub fn split(&self) -> (&str, u64) {
        let (workflow, number) = self
            .0
            .rsplit_once('-')
            .expect("invariant: a run id was checked when it was made");
        (
            workflow,
            number
                .parse()
                .expect("invariant: a run id ends in a number"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_names_follow_the_plan_grammar() {
        for good in ["a", "_", "build", "test-linux", "B2_c-d"] {
            assert_eq!(good.parse::<JobName>().unwrap().as_str(), good);
        }
        assert_eq!("".parse::<JobName>(), Err(NameError::Empty));
        assert_eq!("1a".parse::<JobName>(), Err(NameError::Start('1')));
        assert_eq!("-a".parse::<JobName>(), Err(NameError::Start('-')));
        assert_eq!("a b".parse::<JobName>(), Err(NameError::Character(' ')));
        assert_eq!(
            "\u{e9}t\u{e9}".parse::<JobName>(),
            Err(NameError::Start('\u{e9}'))
        );
        assert_eq!(
            "x".repeat(300).parse::<JobName>(),
            Err(NameError::TooLong(300))
        );
    }

    #[test]
    fn run_ids_split_into_workflow_and_number() {
        let id: RunId = "my-ci-42".parse().unwrap();
        assert_eq!(id.split(), ("my-ci", 42));
        assert_eq!(RunId::new(&"my-ci".parse().unwrap(), 42), id);
        for bad in ["ci", "ci-", "ci-x", "ci-0", "ci-01", "-1", "../etc-1"] {
            assert!(bad.parse::<RunId>().is_err(), "{bad}");
        }
    }
}
