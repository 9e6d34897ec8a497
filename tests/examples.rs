//! Every example, run by the real program: on a private systemd, as `examples/run` does it for
//! root, and one on the others too.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nixactions_harness::{CommandExt as _, Manager, Skip, on_managers, or_skip};
use serde_json::Value;

/// The time limit for compiling and testing a small crate on a loaded machine.
const BUILD: Duration = Duration::from_secs(15 * 60);
/// The time limit for the project's own checks.
const OWN_CHECKS: Duration = Duration::from_secs(60 * 60);

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn manager() -> Result<Manager, Skip> {
    Manager::embedded(Path::new(env!("CARGO_BIN_EXE_nixactions")))
}

/// Returns the plan of an example; one that depends on the machine is made by its `prepare`.
fn plan(name: &str) -> PathBuf {
    let folder = repository().join("examples").join(name);
    let prepare = folder.join("prepare");
    if prepare.exists() {
        return Command::new(prepare).ok().trim_end().into();
    }
    folder.join("plan.json")
}

/// Runs an example, on the host with this source tree, and returns its record; panics with all it
/// printed unless it succeeds.
fn run(manager: &Manager, name: &str, deadline: Duration) -> Value {
    let plan = manager.write(
        "plan.json",
        fs::read(plan(name)).expect("the example has a plan"),
    );
    let mut command = manager.nixactions(&[Path::new("run"), &plan]);
    if manager.machine().is_none() {
        command.current_dir(repository());
    }
    let output = command.output_within(deadline);
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{}\n{stderr}{stdout}",
        output.status
    );
    let record = manager
        .nixactions(&["show", &format!("{name}-1"), "--json"])
        .json();
    assert_eq!(record["conclusion"], "success", "{record:#}");
    record
}

/// Returns an artifact of the example's run.
fn artifact(manager: &Manager, name: &str, job: &str, artifact: &str) -> PathBuf {
    manager.file(manager.state_dir().join(format!(
        "runs/{name}-1/jobs/{job}/artifacts/{artifact}/tree"
    )))
}

#[test]
fn each_example_is_run_by_a_test_of_this_file() {
    let entries = fs::read_dir(repository().join("examples"))
        .unwrap()
        .map(Result::unwrap);
    // Examples in Nix have tests of their own.
    let is_plan =
        |folder: PathBuf| folder.join("plan.json").exists() || folder.join("plan.json.in").exists();
    let mut names: Vec<_> = entries
        .filter(|entry| is_plan(entry.path()))
        .map(|entry| entry.file_name())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["crate-ci", "diamond", "hello", "postgres", "self-ci"]
    );
}

#[test]
fn hello_says_hello_as_a_user_of_its_own() {
    let manager = or_skip!(manager());
    let record = run(&manager, "hello", BUILD);
    assert_eq!(
        record["jobs"]["hello"]["unit"],
        "nixactions-hello-1-hello.service"
    );
    assert_eq!(record["jobs"]["hello"]["steps"][0]["name"], "greet");
    let log = manager.nixactions(&["logs", "hello-1", "hello"]).ok();
    assert!(
        log.contains("Hello from hello, run by user ") && !log.contains("run by user 0\n"),
        "{log}"
    );
    assert!(log.contains("/nixactions-hello-1-hello.service"), "{log}");
}

on_managers!(diamond_tests_in_parallel_and_reports_in_any_case on embedded, system_252, system_262, user_257);

fn diamond_tests_in_parallel_and_reports_in_any_case(manager: &Manager) {
    let record = run(manager, "diamond", BUILD);
    let jobs = &record["jobs"];
    let time = |job: &str, key: &str| {
        jobs[job][key]
            .as_str()
            .and_then(|text| text.parse::<jiff::Timestamp>().ok())
            .expect("a time")
    };
    assert!(
        time("test-small", "startedAt") < time("test-large", "finishedAt"),
        "{jobs:#}"
    );
    assert!(
        time("test-large", "startedAt") < time("test-small", "finishedAt"),
        "{jobs:#}"
    );
    assert!(
        time("package", "startedAt") >= time("test-large", "finishedAt"),
        "{jobs:#}"
    );
    assert_eq!(
        (
            jobs["lint"]["outcome"].as_str(),
            jobs["lint"]["conclusion"].as_str()
        ),
        (Some("failure"), Some("success"))
    );
    assert_eq!(jobs["lint"]["reason"], "step documentation: exit status 1");
    assert_eq!(jobs["build"]["outputs"]["version"], "1.0.30");
    assert_eq!(jobs["report"]["outputs"]["package"], "success");
    assert!(
        artifact(manager, "diamond", "package", "package")
            .join("add.tar.gz")
            .is_file()
    );
    let log = manager.nixactions(&["logs", "diamond-1", "report"]).ok();
    assert!(log.contains("version 1.0.30"), "{log}");
    assert!(log.contains("LINT: success"), "{log}");
}

#[test]
fn crate_ci_builds_tests_and_documents_a_crate_of_the_registry() {
    let manager = or_skip!(manager());
    if std::env::var_os("CARGO_NET_OFFLINE").is_some() {
        return Skip::new("`CARGO_NET_OFFLINE` is set: the crate cannot be fetched").report();
    }
    let record = run(&manager, "crate-ci", BUILD);
    let jobs = &record["jobs"];
    let passed: u32 = jobs["test"]["outputs"]["passed"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(passed > 50, "{passed} of the crate's tests passed");
    assert!(
        artifact(&manager, "crate-ci", "doc", "doc")
            .join("crate/target/doc/walkdir/index.html")
            .is_file()
    );
    let summary =
        fs::read_to_string(artifact(&manager, "crate-ci", "summary", "summary").join("summary.md"))
            .unwrap();
    assert!(summary.contains("- use: success"), "{summary}");
}

#[test]
fn postgres_asks_the_real_servers() {
    let manager = or_skip!(manager());
    or_skip!(manager.served());
    let record = run(&manager, "postgres", BUILD);
    let job = &record["jobs"]["test"];
    assert_eq!(job["outputs"]["sum"], "55", "{record:#}");
    assert_eq!(job["outputs"]["answer"], "42", "{record:#}");
    for service in ["cache", "db"] {
        assert!(
            job["services"][service]["readyAt"].is_string(),
            "{record:#}"
        );
    }
}

#[test]
fn self_ci_passes_on_this_source_tree() {
    let manager = or_skip!(manager());
    if std::env::var_os("NIXACTIONS_TEST_SELF_CI").is_none() {
        return Skip::new("it builds everything once more: `tests/run` does it, or set `NIXACTIONS_TEST_SELF_CI=1`").report();
    }
    let record = run(&manager, "self-ci", OWN_CHECKS);
    let names: Vec<_> = record["jobs"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(names, ["clippy", "fetch", "fmt", "summary", "test"]);
}
