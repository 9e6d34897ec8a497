//! Unit names. Only this module escapes names for systemd.
//!
//! A dash in a slice's name nests the slice (systemd.slice(5)). Slice names therefore hold the
//! run's id escaped as by `systemd-escape`. Service names hold the id as it stands. A job's name
//! contains no `.` and does not start with a digit, so all unit names of a run differ.

use std::fmt;

use crate::ids::{JobName, RunId};
use crate::spec::WorkspaceHook;

/// The name of a systemd unit, with the suffix of its type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnitName(String);

/// The longest name of a unit, in bytes (systemd.unit(5)).
const UNIT_NAME_MAX: usize = 255;

/// The slice that holds everything of all runs.
pub const ROOT_SLICE: &str = "nixactions.slice";

impl UnitName {
    /// Returns the name of the run's supervisor service.
    pub fn supervisor(run: &RunId) -> Self {
        Self(format!("nixactions-{run}.service"))
    }

    /// Returns the name of a job's service.
    pub fn job(run: &RunId, job: &JobName) -> Self {
        Self(format!("nixactions-{run}-{job}.service"))
    }

    /// Returns the name of the service that runs a workspace hook of an executor. It differs from
    /// all jobs' names, as these contain no dot.
    pub fn hook(run: &RunId, executor: &str, hook: WorkspaceHook) -> Self {
        Self(format!(
            "nixactions-{run}-{executor}.{}.service",
            hook.word()
        ))
    }

    /// Returns the name of the slice that holds the run's jobs.
    pub fn run_slice(run: &RunId) -> Self {
        Self(format!("nixactions-{}.slice", escape(run.as_str())))
    }

    /// Returns the name of the slice unit that pulls in one wave of jobs. It is a child of the
    /// run's slice and holds no processes.
    pub fn wave(run: &RunId, wave: u32) -> Self {
        Self(format!(
            "nixactions-{}-jobs{wave}.slice",
            escape(run.as_str())
        ))
    }

    /// Returns the name of the slice that limits a matrix group, a child of the run's slice.
    /// `number` replaces a group whose name is too long for a unit's name.
    pub fn matrix(run: &RunId, number: usize, group: &str) -> Self {
        let name = |part: &str| format!("nixactions-{}-matrix{part}.slice", escape(run.as_str()));
        Self(
            Some(name(&format!("_{}", escape(group))))
                .filter(|name| name.len() <= UNIT_NAME_MAX)
                .unwrap_or_else(|| name(&number.to_string())),
        )
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Escapes one component of a slice's name (systemd.unit(5), "String Escaping").
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => out.push(byte.into()),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_of_a_run_do_not_nest_its_slice() {
        let run: RunId = "my-ci-42".parse().unwrap();
        assert_eq!(
            UnitName::run_slice(&run).as_str(),
            r"nixactions-my\x2dci\x2d42.slice"
        );
        assert_eq!(
            UnitName::wave(&run, 0).as_str(),
            r"nixactions-my\x2dci\x2d42-jobs0.slice"
        );
        assert_eq!(
            UnitName::matrix(&run, 0, "os-arch").as_str(),
            r"nixactions-my\x2dci\x2d42-matrix_os\x2darch.slice"
        );
        assert_eq!(
            UnitName::matrix(&run, 3, &"\u{e9}".repeat(100)).as_str(),
            r"nixactions-my\x2dci\x2d42-matrix3.slice"
        );
        assert_eq!(
            UnitName::supervisor(&run).as_str(),
            "nixactions-my-ci-42.service"
        );
        assert_eq!(
            UnitName::job(&run, &"test-linux".parse().unwrap()).as_str(),
            "nixactions-my-ci-42-test-linux.service"
        );
    }
}
