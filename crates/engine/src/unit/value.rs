//! The typed values of unit properties, as `StartTransientUnit` takes them
//! (org.freedesktop.systemd1(5)).
//!
//! This module knows nothing of D-Bus: `systemd` converts each value to a D-Bus variant.

use std::{fmt, path::Path};

use super::UnitName;
use crate::plan::properties::PropertyValue;

/// The value of a property. The comments name the D-Bus signatures.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `b`
    Bool(bool),
    /// `i`
    I32(i32),
    /// `u`
    U32(u32),
    /// `t`
    U64(u64),
    /// `s`
    Str(String),
    /// `as`
    StrList(Vec<String>),
    /// `aay`
    BytesList(Vec<Vec<u8>>),
    /// `a(sasb)`: the executable and its argv.
    Exec(Vec<String>),
    /// `a(sasas)`: the same, run with full privileges and outside of the sandbox, whatever the
    /// unit's other properties say.
    ExecPrivileged(Vec<String>),
    /// `a(sst)`: a directory that systemd opens for reading and passes on.
    OpenDirectory(String),
    /// `a(ss)`
    Pairs(Vec<(String, String)>),
    /// `a(ssbt)`
    Binds(Vec<Bind>),
    /// `(bas)`: whether the list allows, and the list.
    Filter(bool, Vec<String>),
    /// A checked property of the plan, with its original text.
    Checked(PropertyValue, String),
}

/// A file or directory, with the mounts below it, that is bound into a unit's view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// Its path on the host.
    pub source: String,
    /// Its path in the unit.
    pub target: String,
    /// Whether it may be missing.
    pub optional: bool,
}

impl Bind {
    /// Binds a path that must exist.
    pub(super) fn new(source: &Path, target: &Path) -> Self {
        Self {
            source: source.display().to_string(),
            target: target.display().to_string(),
            optional: false,
        }
    }

    /// Binds a path to itself, if it exists.
    pub(super) fn where_there(path: &str) -> Self {
        Self {
            source: path.to_owned(),
            target: path.to_owned(),
            optional: true,
        }
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.optional {
            f.write_str("-")?;
        }
        f.write_str(&self.source)?;
        if self.source != self.target {
            write!(f, ":{}", self.target)?;
        }
        Ok(())
    }
}

/// A unit for `StartTransientUnit`.
#[derive(Debug, Clone, PartialEq)]
pub struct TransientUnit {
    /// Its name.
    pub name: UnitName,
    /// Its properties, in the order in which they are set.
    pub properties: Vec<(&'static str, Value)>,
}

impl TransientUnit {
    /// Returns the program of the unit's `ExecStart=`.
    pub fn program(&self) -> Option<&str> {
        self.properties.iter().find_map(|(name, value)| {
            let Value::Exec(argv) = value else {
                return None;
            };
            (*name == "ExecStart").then(|| argv.first().map(String::as_str))?
        })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::I32(value) => write!(f, "{value}"),
            Self::U32(value) => write!(f, "{value}"),
            Self::U64(u64::MAX) => f.write_str("infinity"),
            Self::U64(value) => write!(f, "{value}"),
            Self::Str(value) => f.write_str(value),
            Self::OpenDirectory(path) => write!(f, "{path}:handed:read-only"),
            Self::ExecPrivileged(values) => write!(f, "+{}", values.join(" ")),
            Self::StrList(values) | Self::Exec(values) => f.write_str(&values.join(" ")),
            Self::BytesList(values) => {
                let texts: Vec<_> = values
                    .iter()
                    .map(|value| String::from_utf8_lossy(value))
                    .collect();
                f.write_str(&texts.join(" "))
            }
            Self::Pairs(pairs) => {
                let texts: Vec<_> = pairs.iter().map(|(a, b)| format!("{a}:{b}")).collect();
                f.write_str(&texts.join(" "))
            }
            Self::Binds(binds) => {
                let texts: Vec<_> = binds.iter().map(Bind::to_string).collect();
                f.write_str(&texts.join(" "))
            }
            Self::Checked(_, text) => f.write_str(text),
            Self::Filter(allow, values) => {
                write!(f, "{}{}", if *allow { "" } else { "~" }, values.join(" "))
            }
        }
    }
}

impl fmt::Display for TransientUnit {
    /// Writes the unit like a unit file, for golden tests and `check`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[{}]", self.name)?;
        self.properties
            .iter()
            .try_for_each(|(name, value)| writeln!(f, "{name}={value}"))
    }
}
