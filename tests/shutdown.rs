//! Runs whose manager shuts down in good order: they are cancelled, with a truthful record.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nixactions_harness::{
    CommandExt as _, Kind, Machine, Manager, RUN_DEADLINE, Root, SOON, Skip, Suite, bash,
    on_managers, or_skip, wait_for, with,
};
use serde_json::{Value, json};

on_managers!(a_private_manager_that_exits_cancels_its_run on embedded_262);
on_managers!(a_private_manager_does_not_delay_a_shutdown_and_says_so on embedded_262);
on_managers!(a_users_manager_that_ends_cancels_its_runs on user_252, user_257, user_262);

const NONE: [&str; 0] = [];

/// A step that hides the words with which its runner tells of the shutdown. Words decide nothing.
const MASKS: &str = "echo '::add-mask::its unit was stopped'; touch started; sleep 98941";

fn plan() -> Value {
    json!({ "version": 1, "name": "down", "maxParallel": 2, "jobs": {
        "done": bash("true"),
        "runs": { "needs": ["done"], "steps": [
            { "name": "it", "bash": MASKS },
            { "name": "after", "bash": "touch cleaned", "condition": "always()" },
            { "name": "later", "bash": "true" },
        ] },
        "later": with(bash("true"), json!({ "needs": ["runs"] })),
    } })
}

/// Panics unless the record says that the run was cancelled when half of it was done.
fn is_cancelled(directory: &Path) {
    let record = wait_for(RUN_DEADLINE, "the record", || {
        fs::read(directory.join("record.json")).ok()
    });
    let record: Value = serde_json::from_slice(&record).expect("a record is JSON");
    let of = |job: &str| {
        (
            record["jobs"][job]["outcome"].clone(),
            record["jobs"][job]["reason"].clone(),
        )
    };
    assert_eq!(record["conclusion"], "cancelled", "{record:#}");
    assert_eq!(of("done"), ("success".into(), Value::Null), "{record:#}");
    assert_eq!(
        of("runs"),
        ("cancelled".into(), "the run was cancelled".into()),
        "{record:#}"
    );
    assert_ne!(of("later").0, "success", "{record:#}");
    let outcomes: Vec<&Value> = record["jobs"]["runs"]["steps"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|step| &step["outcome"])
        .collect();
    assert_eq!(outcomes, ["cancelled", "success", "skipped"], "{record:#}");
    assert!(
        directory.join("jobs/runs/work/workspace/cleaned").exists(),
        "{record:#}"
    );
}

fn a_private_manager_that_exits_cancels_its_run(manager: &Manager) {
    let run = manager.detach(&plan(), &NONE);
    run.wait_for_file("runs", "started");
    manager.systemctl(&["poweroff"]).output_within(SOON);
    is_cancelled(&run.dir());
}

fn a_private_manager_does_not_delay_a_shutdown_and_says_so(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "none", "jobs": { "j": bash("true") } });
    let run = manager.run(&plan, &["--delay-shutdown"]).exits(0);
    let warning = "a shutdown does not wait for the run: an embedded manager has no logind";
    assert!(
        run.events
            .iter()
            .any(|event| event["event"]["message"] == warning),
        "{run}"
    );
}

fn a_users_manager_that_ends_cancels_its_runs(manager: &Manager) {
    let run = manager.detach(&plan(), &NONE);
    run.wait_for_file("runs", "started");
    let machine = manager.machine().expect("it is in a machine");
    machine
        .command(&["systemctl", "stop", "user@1000.service"])
        .output_within(RUN_DEADLINE);
    is_cancelled(&run.dir());
}

/// A machine whose state directory outlives it.
struct Mortal {
    manager: Manager,
    kept: tempfile::TempDir,
}

impl Mortal {
    fn boot(suite: Suite) -> Result<Self, Skip> {
        let root = Root::get(suite)?;
        let kept = tempfile::tempdir_in("/var/lib").expect("/var/lib is writable");
        let machine = Machine::of(&root).bind(kept.path(), "/srv/kept").boot();
        let program = Path::new(env!("CARGO_BIN_EXE_nixactions"));
        let manager = Manager::of(Kind::System, machine, program)?;
        Ok(Self { manager, kept })
    }

    /// Starts a run and waits for its step. Returns the run's directory.
    fn start(&self, plan: &Value, arguments: &[&str]) -> PathBuf {
        let plan = self.manager.plan(plan).display().to_string();
        let run = ["run", &plan, "--detach", "--state-dir=/srv/kept/state"];
        let id = self.manager.nixactions(&[&run, arguments].concat()).ok();
        let directory = self.kept.path().join("state/runs").join(id.trim());
        let started = directory.join("jobs/runs/work/workspace/started");
        wait_for(SOON, "the job", || started.exists().then_some(()));
        directory
    }

    fn poweroff(&self) {
        self.manager
            .command(&["systemctl", "poweroff", "--no-wall"])
            .output_within(SOON);
    }
}

fn poweroff(suite: Suite) {
    let machine = or_skip!(Mortal::boot(suite));
    let directory = machine.start(&plan(), &NONE);
    machine.poweroff();
    is_cancelled(&directory);
}

#[test]
fn a_machine_that_is_powered_off_cancels_its_runs_system_252() {
    poweroff(Suite::Bookworm);
}

#[test]
fn a_machine_that_is_powered_off_cancels_its_runs_system_257() {
    poweroff(Suite::Trixie);
}

#[test]
fn a_machine_that_is_powered_off_cancels_its_runs_system_262() {
    poweroff(Suite::Forky);
}

/// Starts a run that delays a shutdown, on a machine that allows this for some seconds, and asks
/// for the shutdown. Calls `then` with the run's directory when logind waits for the run.
fn delayed(suite: Suite, seconds: u32, then: impl FnOnce(&Path)) {
    let machine = or_skip!(Mortal::boot(suite));
    let manager = &machine.manager;
    let conf = format!("[Login]\nInhibitDelayMaxSec={seconds}\n");
    manager.write("/etc/systemd/logind.conf.d/test.conf", conf);
    manager.systemctl(&["restart", "systemd-logind"]).ok();
    let waits = "touch started; until [ -e go ]; do sleep 0.05; done";
    let mut plan = plan();
    plan["jobs"]["runs"]["steps"][0]["bash"] = waits.into();
    let directory = machine.start(&plan, &["--delay-shutdown"]);
    let id = directory.file_name().expect("it has a name").display();
    wait_for(SOON, "the delay", || {
        let list = manager.command(&["systemd-inhibit", "--list"]).ok();
        list.contains(&format!("run {id} goes on")).then_some(())
    });
    machine.poweroff();
    let preparing = [
        "busctl",
        "get-property",
        "org.freedesktop.login1",
        "/org/freedesktop/login1",
        "org.freedesktop.login1.Manager",
        "PreparingForShutdown",
    ];
    let said = manager.command(&preparing).ok();
    assert_eq!(said.trim(), "b true");
    then(&directory);
}

/// A run that ends in time succeeds, and the machine goes down at once after it.
fn waits_for_the_run(suite: Suite) {
    delayed(suite, 300, |directory| {
        // Longer than by default.
        std::thread::sleep(std::time::Duration::from_secs(7));
        assert!(!directory.join("record.json").exists());
        fs::write(directory.join("jobs/runs/work/workspace/go"), "").expect("it is ours");
        let record = wait_for(RUN_DEADLINE, "the record", || {
            fs::read(directory.join("record.json")).ok()
        });
        let record: Value = serde_json::from_slice(&record).expect("a record is JSON");
        assert_eq!(record["conclusion"], "success", "{record:#}");
    });
}

/// A run that does not is cancelled, and its clean-up runs.
fn cancels_a_run_that_takes_too_long(suite: Suite) {
    delayed(suite, 3, is_cancelled);
}

#[test]
fn a_shutdown_waits_for_a_run_that_asks_for_it_system_252() {
    waits_for_the_run(Suite::Bookworm);
}

#[test]
fn a_shutdown_waits_for_a_run_that_asks_for_it_system_262() {
    waits_for_the_run(Suite::Forky);
}

#[test]
fn a_shutdown_cancels_a_run_when_the_delay_is_over_system_252() {
    cancels_a_run_that_takes_too_long(Suite::Bookworm);
}

#[test]
fn a_shutdown_cancels_a_run_when_the_delay_is_over_system_262() {
    cancels_a_run_that_takes_too_long(Suite::Forky);
}
