//! The contents of a case file: the rule, the plan, and the expected run.
//!
//! `README.md` beside it tells how a case is written. Knows nothing of managers.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// One case.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Case {
    /// The words of the contract that it holds.
    pub rule: String,
    /// Where GitHub's documentation decides, what it says.
    pub github: Option<Source>,
    /// A bash script that runs inside first, in the case's directory.
    pub setup: Option<String>,
    /// Files that are there before, below the case's directory.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// The plan: a table, or its text where that must be JSON as it stands.
    #[serde(deserialize_with = "plan")]
    pub plan: String,
    /// More arguments of `nixactions run`.
    #[serde(default)]
    pub args: Vec<String>,
    /// Variables of the caller.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The events during the run, in this order.
    #[serde(default)]
    pub meanwhile: Vec<Meanwhile>,
    /// The expectations.
    pub expect: Expect,
    /// More runs, by name, that are started meanwhile.
    #[serde(default)]
    pub runs: BTreeMap<String, Other>,
    /// The commands after the end of the run, in this order.
    #[serde(default)]
    pub then: Vec<Then>,
    /// Why the case does not apply to jobs with a root file system of their own.
    pub not_in_a_root: Option<String>,
}

/// A statement of GitHub's documentation.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The page, with its anchor.
    pub page: String,
    /// The expected text there.
    pub says: String,
}

/// Another run of the case.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Other {
    /// Its plan; the case's where absent.
    #[serde(default, deserialize_with = "other_plan")]
    pub plan: Option<String>,
    /// Where it is a run that is run again, the arguments of `nixactions rerun`.
    pub rerun: Option<Vec<String>>,
    /// More arguments of `nixactions run`.
    #[serde(default)]
    pub args: Vec<String>,
    /// The expectations.
    pub expect: Expect,
}

/// Something that is done once what it waits for has come.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Meanwhile {
    /// Waits until a job has made this file in its workspace: `job/path`, or `run:job/path`.
    pub once: Option<String>,
    /// Waits for an event of a run: `run groupWaiting`.
    pub event: Option<String>,
    /// Waits until this run is over.
    pub over: Option<String>,
    /// Starts this one of `runs`.
    pub start: Option<String>,
    /// Arguments of a nixactions command, which succeeds.
    pub nixactions: Vec<String>,
    /// Sends SIGINT to the client, as Ctrl-C does.
    pub interrupt: bool,
    /// Kills this job's runner.
    pub kill_runner: Option<String>,
    /// Kills the supervisor.
    pub kill_supervisor: bool,
    /// Runs a command in the case's directory, by bash.
    pub bash: Option<String>,
}

/// A command on a run that is over; one of the two.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Then {
    /// Arguments of a nixactions command.
    #[serde(default)]
    pub nixactions: Vec<String>,
    /// Or a script, by bash in the case's directory.
    pub bash: Option<String>,
    /// Its exit status.
    #[serde(default)]
    pub exit: i32,
    /// All it prints, where that is said.
    pub prints: Option<String>,
    /// Texts in its output.
    #[serde(default)]
    pub says: Vec<String>,
}

/// The expectations on a run.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Expect {
    /// The exit status of `run`; with it the run's conclusion.
    pub exit: i32,
    /// The run's reason; none where absent.
    pub reason: Option<String>,
    /// The jobs' records, all of them.
    #[serde(default)]
    pub jobs: BTreeMap<String, Map<String, Value>>,
    /// `a < b`: `a` was over when `b` began. `a | b`: both ran at some time.
    #[serde(default)]
    pub order: Vec<String>,
    /// The highest number of jobs that ran at once.
    pub peak: Option<usize>,
    /// Texts in standard error.
    #[serde(default)]
    pub stderr: Vec<String>,
    /// Entries of the journal, by some of their fields.
    #[serde(default)]
    pub journal: Vec<BTreeMap<String, String>>,
    /// Texts that occur nowhere: not in the output, the journal, or any file of the run.
    #[serde(default)]
    pub nowhere: Vec<String>,
    /// Files below the case's directory when the run is over.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Whether nothing of the run is left: no unit, no process, no control group.
    #[serde(default)]
    pub leaves_nothing: bool,
}

/// A case and its name, `012-failed-need-skips-dependents`.
#[derive(Debug, Clone)]
pub struct File {
    /// The name of its file, without the extension.
    pub name: String,
    /// Its text.
    text: String,
}

/// Where the jobs of a case run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// On the host.
    Host,
    /// In a root file system of their own.
    Root,
    /// In containers of systemd-nspawn.
    Nspawn,
}

/// A root file system, and how jobs have it.
#[derive(Debug, Clone, Copy)]
pub struct Container<'a> {
    /// Its directory.
    pub image: &'a Path,
    /// How jobs have it.
    pub way: Way,
}

/// Returns a plan whose jobs have this root file system, unless they are the host's by their
/// executor. They see `directory`. A text that is not a plan stays as it is.
pub fn in_root(plan: &str, container: Container<'_>, directory: &Path) -> String {
    const NAME: &str = "rooted";
    let Ok(mut plan) = serde_json::from_str::<Value>(plan) else {
        return plan.to_owned();
    };
    let is_plan = plan["jobs"].is_object() && plan.get("executors").is_none_or(Value::is_object);
    if !is_plan {
        return plan.to_string();
    }
    let into_root = |executor: &mut Value| {
        if container.way == Way::Nspawn {
            executor["type"] = json!("nspawn");
            executor
                .as_object_mut()
                .map(|executor| executor.remove("sandbox"));
        }
        executor["root"] = json!(container.image);
        executor["bind"] = json!([{ "source": directory }]);
    };
    let mut executors = plan.get("executors").cloned().unwrap_or_else(|| json!({}));
    for executor in executors.as_object_mut().into_iter().flatten() {
        if executor.1["type"] == "systemd" && executor.1["sandbox"] != "none" {
            into_root(executor.1);
        }
    }
    let mut rooted = json!({ "type": "systemd" });
    into_root(&mut rooted);
    executors[NAME] = rooted;
    plan["executors"] = executors;
    // The same case may run on the host at the same time, with the same state directory.
    if let Some(Value::String(group)) = plan.pointer_mut("/concurrency/group") {
        group.push_str(match container.way {
            Way::Host => "",
            Way::Root => "-in-a-root",
            Way::Nspawn => "-in-nspawn",
        });
    }
    for job in plan["jobs"].as_object_mut().into_iter().flatten() {
        if container.way == Way::Nspawn {
            make_bound(job.1);
        }
        if let Some(job) = job.1.as_object_mut() {
            job.entry("executor").or_insert_with(|| json!(NAME));
        }
    }
    plan.to_string()
}

/// Removes the property that makes a directory of the host writable: a container has it bound so.
fn make_bound(settings: &mut Value) {
    if let Some(Value::Object(properties)) = settings.get_mut("properties") {
        properties.remove("ReadWritePaths");
    }
}

/// Returns the folder of this test program.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance")
}

impl File {
    /// Reads all cases, in the order of their numbers.
    pub fn all() -> Vec<Self> {
        let folder = folder().join("cases");
        let mut files: Vec<_> = fs::read_dir(&folder)
            .expect("the cases are there")
            .map(|entry| {
                let path = entry.expect("the folder can be read").path();
                assert_eq!(
                    path.extension().and_then(|it| it.to_str()),
                    Some("toml"),
                    "`{}` is not a case",
                    path.display()
                );
                let name = path
                    .file_stem()
                    .expect("it has a name")
                    .to_string_lossy()
                    .into_owned();
                Self {
                    name,
                    text: fs::read_to_string(&path).expect("a case can be read"),
                }
            })
            .collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        files
    }

    /// Returns whether its plan names a root file system for jobs.
    pub fn needs_image(&self) -> bool {
        self.text.contains("@IMAGE@")
    }

    /// Returns it with the path of a root file system for jobs.
    pub fn with_image(mut self, image: &Path) -> Self {
        self.text = self.text.replace("@IMAGE@", &image.display().to_string());
        self
    }

    /// Parses it, with `@DIR@` as the case's directory.
    pub fn case(&self, directory: &Path) -> Case {
        let mut case: Case =
            toml::from_str(&self.text.replace("@DIR@", &directory.display().to_string()))
                .unwrap_or_else(|error| panic!("{}: {error}", self.name));
        case.expect.complete();
        case.runs.values_mut().for_each(|run| run.expect.complete());
        case
    }
}

impl Expect {
    /// Adds what goes without saying: a job or step that is only said to be there succeeded, its
    /// outcome is its conclusion, it has no reason, a job has no outputs.
    fn complete(&mut self) {
        for job in self.jobs.values_mut() {
            complete(job);
            job.entry("outputs").or_insert_with(|| json!({}));
            for step in job
                .get_mut("steps")
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                complete(step.as_object_mut().expect("a step is a table"));
            }
        }
    }
}

fn complete(record: &mut Map<String, Value>) {
    let conclusion = record
        .entry("conclusion")
        .or_insert_with(|| json!("success"))
        .clone();
    record.entry("outcome").or_insert(conclusion);
    record.entry("reason").or_insert(Value::Null);
}

fn other_plan<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    plan(deserializer).map(Some)
}

/// Reads a plan. A table need not state what is the same in all cases.
fn plan<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(text),
        mut table => {
            table["version"] = json!(1);
            table
                .as_object_mut()
                .expect("invariant: it was indexed")
                .entry("name")
                .or_insert_with(|| json!("case"));
            Ok(table.to_string())
        }
    }
}
