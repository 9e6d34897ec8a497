//! Unit names. Only this module escapes names for systemd.
//!
//! A dash in a slice's name nests the slice (systemd.slice(5)). Slice names therefore hold the
//! run's id escaped as by `systemd-escape`. Service names hold the id as it stands, unless a part
//! of it reads like a run and its job ([`stem`]). A job's name contains no `.` and no `:` and does
//! not start with a digit, so the names of all services differ, also between runs.

use std::fmt;

use crate::ids::{JobName, RunId};
use crate::spec::WorkspaceHook;

/// The name of a systemd unit, with the suffix of its type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnitName(String);

/// The longest name of a unit, in bytes (systemd.unit(5)).
const UNIT_NAME_MAX: usize = 255;

/// The name that stands for all services of a job. No service has such a name.
const SERVICES: &str = "_services";

/// The slice that holds everything of all runs.
pub const ROOT_SLICE: &str = "nixactions.slice";

impl UnitName {
    /// Returns the name of the run's supervisor service.
    pub fn supervisor(run: &RunId) -> Self {
        Self(format!("{}.service", stem(run)))
    }

    /// Returns the name of a job's service.
    pub fn job(run: &RunId, job: &JobName) -> Self {
        Self(format!("{}{job}.service", Self::job_prefix(run)))
    }

    /// Returns how the names of the run's jobs begin: what follows is the job's name.
    pub fn job_prefix(run: &RunId) -> String {
        format!("{}-", stem(run))
    }

    /// Returns the name of the service that runs a workspace hook of an executor. It differs from
    /// all jobs' names, as these contain no dot.
    pub fn hook(run: &RunId, executor: &str, hook: WorkspaceHook) -> Self {
        Self(format!("{}-{executor}.{}.service", stem(run), hook.word()))
    }

    /// Returns the name of the service that holds the container that an executor's jobs share.
    pub fn container(run: &RunId, executor: &str) -> Self {
        Self(format!("{}-{executor}.container.service", stem(run)))
    }

    /// Returns the name of the unit of a job's service. No job has a colon in its name, and no
    /// workflow one between a job and what follows.
    pub fn service(run: &RunId, job: &JobName, service: &str) -> Self {
        Self(format!("{}{job}:{service}.service", Self::job_prefix(run)))
    }

    /// Returns the name of the unit that starts the services of a job.
    pub fn services(run: &RunId, job: &JobName) -> Self {
        Self::service(run, job, SERVICES)
    }

    /// Returns the name of the socket by which the runner of a job asks for that unit.
    pub fn services_socket(run: &RunId, job: &JobName) -> Self {
        Self(format!("{}{job}:{SERVICES}.socket", Self::job_prefix(run)))
    }

    /// Returns the name of the slice of a run's jobs, where the run's own slice has their services
    /// as well.
    pub fn steps_slice(run: &RunId) -> Self {
        Self(format!("nixactions-{}-steps.slice", escape(run.as_str())))
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

    /// Returns the name of the slice that limits a matrix group, a child of the run's slice or of
    /// [`Self::steps_slice`].
    /// `number` replaces a group whose name is too long for a unit's name.
    pub fn matrix(run: &RunId, number: usize, group: &str, in_steps: bool) -> Self {
        let above = if in_steps { "-steps" } else { "" };
        let run = escape(run.as_str());
        let name = |part: &str| format!("nixactions-{run}{above}-matrix{part}.slice");
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

/// Returns how the names of a run's services begin.
///
/// `nixactions-ci-1-b-1` could be the job `b-1` of the run `ci-1`, or the run 1 of a workflow
/// `ci-1-b`. So a dash in a workflow's name is a `:` there where it lies between a number and what
/// could begin a job's name: `nixactions-ci-1:b-1`. Then the first number that a dash and a letter
/// follow, or that ends the name, is that of the run.
fn stem(run: &RunId) -> String {
    let mut stem = "nixactions".to_owned();
    let mut is_after_number = false;
    for part in run.as_str().split('-') {
        let begins_like_a_job = part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        stem.push(if is_after_number && begins_like_a_job {
            ':'
        } else {
            '-'
        });
        stem.push_str(part);
        is_after_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    }
    stem
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
            UnitName::matrix(&run, 0, "os-arch", false).as_str(),
            r"nixactions-my\x2dci\x2d42-matrix_os\x2darch.slice"
        );
        assert_eq!(
            UnitName::matrix(&run, 3, &"\u{e9}".repeat(100), false).as_str(),
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

    #[test]
    fn services_of_two_runs_never_have_one_name() {
        let parts = ["a", "b_", "_1", "1", "2", "01", ""];
        let mut texts: Vec<String> = parts.map(str::to_owned).to_vec();
        for _ in 1..5 {
            let longer = |text: &String| parts.map(|part| format!("{text}-{part}"));
            texts.extend(texts.iter().flat_map(longer).collect::<Vec<_>>());
            texts.sort();
            texts.dedup();
        }
        let of_kind = |long: usize| texts.iter().filter(move |text| text.len() <= long);
        let runs: Vec<RunId> = of_kind(9).filter_map(|text| text.parse().ok()).collect();
        let jobs: Vec<JobName> = of_kind(7).filter_map(|text| text.parse().ok()).collect();
        assert!(runs.len() > 200 && jobs.len() > 200);
        let mut names = std::collections::HashMap::new();
        for run in &runs {
            let supervisor = std::iter::once((UnitName::supervisor(run), None));
            let jobs = jobs.iter().map(|job| (UnitName::job(run, job), Some(job)));
            for (name, job) in supervisor.chain(jobs) {
                let before = names.insert(name.clone(), (run, job));
                assert_eq!(before, None, "{name} is also of {run} and {job:?}");
            }
        }
    }

    #[test]
    fn only_a_workflow_that_reads_like_a_run_and_its_job_has_another_name() {
        let name = |run: &str| UnitName::supervisor(&run.parse().unwrap()).to_string();
        assert_eq!(name("ci-1-b-1"), "nixactions-ci-1:b-1.service");
        assert_eq!(name("a-1-b-22-c-3"), "nixactions-a-1:b-22:c-3.service");
        for plain in ["ci-42", "ci-1-5", "v1-b-1", "a--1--b-1", "ci-1x-b-1"] {
            assert_eq!(name(plain), format!("nixactions-{plain}.service"));
        }
    }
}
