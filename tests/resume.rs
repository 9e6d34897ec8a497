//! Workflows with `resume`, on machines that go down in the middle of a run and boot again.
//!
//! A second machine has the state directories of the first one, and starts the unit that a boot
//! starts.

use std::{fs, path::Path};

use nixactions_harness::{
    CommandExt as _, Kind, Machine, Manager, RUN_DEADLINE, Root, Run, SOON, Skip, Suite,
    on_managers, or_skip, wait_for,
};
use serde_json::Value;
use tempfile::TempDir;

const RESUME: &str = "nixactions-resume@ci.service";

/// The directories that outlive a machine.
struct Disk(TempDir);

impl Disk {
    fn new() -> Self {
        let disk = tempfile::tempdir_in("/var/lib").expect("/var/lib is writable");
        for directory in ["nixactions", "nixactions-resume"] {
            fs::create_dir(disk.path().join(directory)).expect("it is ours");
        }
        Self(disk)
    }

    /// Boots a machine with this disk and the units of a workflow that waits.
    fn boot(&self, suite: Suite) -> Result<Manager, Skip> {
        let root = Root::get(suite)?;
        let kept = |name: &str| self.0.path().join(name);
        let machine = Machine::of(&root)
            .language()
            .bind(&kept("nixactions"), "/var/lib/nixactions")
            .bind(&kept("nixactions-resume"), "/var/lib/nixactions-resume")
            .boot();
        let program = Path::new(env!("CARGO_BIN_EXE_nixactions"));
        let manager = Manager::of(Kind::System, machine, program)?;
        install(&manager, true)?;
        Ok(manager)
    }
}

/// Installs the units of a workflow that waits.
fn install(manager: &Manager, resume: bool) -> Result<(), Skip> {
    manager.nix()?.install(&format!(
        r#"{{ services.nixactions = {{ enable = true; workflows.ci = {{
            resume = {resume};
            # The cancelled run is a success of the service, and no end of the run.
            serviceConfig.SuccessExitStatus = 130;
            settings.jobs.wait.steps = [ {{ bash = "touch started; until [ -e stop ]; do sleep 0.05; done"; }} ];
        }}; }}; }}"#
    ));
    Ok(())
}

fn start(manager: &Manager, run: &str) {
    manager.systemctl(&["start", "nixactions@ci"]).ok();
    manager.run_of(run).wait_for_file("wait", "started");
}

/// Does what a boot does, and returns what the unit said.
fn resume(manager: &Manager) -> String {
    manager.systemctl(&["start", RESUME]).output_within(SOON);
    manager.journal(&[&format!("--unit={RESUME}")]).ok()
}

fn state(manager: &Manager) -> String {
    let shown = manager
        .systemctl(&["show", "--value", "--property=ActiveState", "nixactions@ci"])
        .ok();
    shown.trim().to_owned()
}

fn is_active(manager: &Manager) -> bool {
    state(manager) != "inactive"
}

/// Shuts a machine down, and returns the record of a run.
fn power_off(manager: Manager, disk: &Disk, run: &str) -> Value {
    manager
        .command(&["systemctl", "poweroff", "--no-wall"])
        .output_within(SOON);
    has_gone_down(&manager);
    drop(manager);
    let record = disk
        .0
        .path()
        .join(format!("nixactions/runs/{run}/record.json"));
    let record = fs::read(record).expect("the run has ended");
    serde_json::from_slice(&record).expect("a record is JSON")
}

/// Waits until a machine is down.
fn has_gone_down(manager: &Manager) {
    let events = manager
        .machine()
        .map(|machine| machine.cgroup().join("cgroup.events"));
    let events = events.expect("it is in a machine");
    wait_for(RUN_DEADLINE, "the end of the machine", || {
        fs::read_to_string(&events)
            .map_or(true, |events| events.contains("populated 0"))
            .then_some(())
    });
}

/// Returns the second run of the workflow, which a boot has started.
fn resumed(manager: &Manager) -> Run<'_> {
    let said = resume(manager);
    assert!(said.contains("starting it again"), "{said}");
    let run = manager.run_of("ci-2");
    run.wait_for_file("wait", "started");
    run
}

fn after_a_shutdown(suite: Suite) {
    let disk = Disk::new();
    let manager = or_skip!(disk.boot(suite));
    assert!(!resume(&manager).contains("starting it again"));
    assert!(!is_active(&manager), "there was no run");
    start(&manager, "ci-1");
    assert_eq!(power_off(manager, &disk, "ci-1")["conclusion"], "cancelled");

    let manager = or_skip!(disk.boot(suite));
    let run = resumed(&manager);
    run.release("wait", "stop");
    assert_eq!(run.end().record["conclusion"], "success");
    wait_for(SOON, "the end of the service", || {
        (!is_active(&manager)).then_some(())
    });
    drop(manager);

    let manager = or_skip!(disk.boot(suite));
    resume(&manager);
    assert!(!is_active(&manager), "the run had ended");
}

/// Kills the client of the workflow's run, which goes on.
fn kill_client(manager: &Manager) {
    manager
        .systemctl(&["kill", "--kill-whom=main", "--signal=KILL", "nixactions@ci"])
        .ok();
    wait_for(SOON, "the end of the service", || {
        (state(manager) == "failed").then_some(())
    });
}

fn after_a_killed_client(suite: Suite) {
    let disk = Disk::new();
    let manager = or_skip!(disk.boot(suite));
    start(&manager, "ci-1");
    kill_client(&manager);
    assert_eq!(power_off(manager, &disk, "ci-1")["conclusion"], "cancelled");

    let manager = or_skip!(disk.boot(suite));
    let run = resumed(&manager);
    // This one ends by itself, and its client does not see it.
    kill_client(&manager);
    run.release("wait", "stop");
    assert_eq!(run.end().record["conclusion"], "success");
    drop(manager);

    let manager = or_skip!(disk.boot(suite));
    let said = resume(&manager);
    assert!(!is_active(&manager), "the run had ended: {said}");
}

#[test]
fn a_run_whose_client_was_killed_starts_again_unless_it_has_ended_system_257() {
    after_a_killed_client(Suite::Trixie);
}

#[test]
fn a_run_whose_client_was_killed_starts_again_unless_it_has_ended_system_262() {
    after_a_killed_client(Suite::Forky);
}

#[test]
fn a_run_that_a_shutdown_cancelled_starts_again_system_257() {
    after_a_shutdown(Suite::Trixie);
}

#[test]
fn a_run_that_a_shutdown_cancelled_starts_again_system_262() {
    after_a_shutdown(Suite::Forky);
}

#[test]
fn a_run_that_takes_the_machine_down_starts_again_three_times() {
    let disk = Disk::new();
    let manager = or_skip!(disk.boot(Suite::Forky));
    start(&manager, "ci-1");
    // A run goes on without its client.
    kill_client(&manager);
    assert!(disk.0.path().join("nixactions-resume/ci").exists());
    // A loss of power.
    drop(manager);
    for run in ["ci-2", "ci-3", "ci-4"] {
        let manager = or_skip!(disk.boot(Suite::Forky));
        resume(&manager);
        manager.run_of(run).wait_for_file("wait", "started");
    }
    let manager = or_skip!(disk.boot(Suite::Forky));
    let said = resume(&manager);
    assert!(
        said.contains("went down 4 times in a row while a run of nixactions@ci.service went on"),
        "{said}"
    );
    assert!(!is_active(&manager));
    // An administrator starts it, and it may be started again after that.
    start(&manager, "ci-5");
}

#[test]
fn a_run_that_is_stopped_does_not_start_again() {
    let disk = Disk::new();
    let manager = or_skip!(disk.boot(Suite::Forky));
    start(&manager, "ci-1");
    // A new configuration starts the unit in the middle of a run.
    let said = resume(&manager);
    assert!(!said.contains("starting it again"), "{said}");
    manager
        .systemctl(&["stop", "nixactions@ci"])
        .output_within(RUN_DEADLINE);
    drop(manager);
    let manager = or_skip!(disk.boot(Suite::Forky));
    resume(&manager);
    assert!(!is_active(&manager));

    // A file of a workflow that has no `resume` any more.
    let file = disk.0.path().join("nixactions-resume/ci");
    fs::write(&file, "0\n").expect("it is ours");
    or_skip!(install(&manager, false));
    let remove = "systemd-tmpfiles --remove /etc/systemd/system/tmpfiles.conf";
    manager.command(&["sh", "-c", remove]).ok();
    assert!(!file.exists());
    // One of a workflow that is gone, beside that of one with `resume`.
    or_skip!(install(&manager, true));
    let gone = file.with_file_name("gone");
    for file in [&file, &gone] {
        fs::write(file, "0\n").expect("it is ours");
    }
    let clean = "systemd-tmpfiles --clean /etc/systemd/system/tmpfiles.conf";
    manager.command(&["sh", "-c", clean]).ok();
    assert!(file.exists() && !gone.exists());
}

#[test]
fn a_run_that_succeeds_while_the_machine_goes_down_does_not_start_again() {
    let disk = Disk::new();
    let manager = or_skip!(disk.boot(Suite::Forky));
    start(&manager, "ci-1");
    // This unit keeps those of the run from the stop until the run has ended.
    let first = "/etc/systemd/system/first.service";
    let wait = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n\
        ExecStop=sh -c 'while systemctl --quiet is-active nixactions@ci; do sleep 0.1; done'\n";
    manager.write(first, wait);
    manager.systemctl(&["daemon-reload"]).ok();
    manager.systemctl(&["start", "first"]).ok();
    // With this order, its start would wait for the end of the job.
    let after = "nixactions@ci.service nixactions-ci-1.service nixactions-ci-1-wait.service";
    manager.write(first, format!("[Unit]\nAfter={after}\n{wait}"));
    manager.systemctl(&["daemon-reload"]).ok();
    let poweroff = ["systemctl", "poweroff", "--no-wall", "--no-block"];
    manager.command(&poweroff).ok();
    wait_for(SOON, "the shutdown", || {
        let state = ["systemctl", "is-system-running"];
        let output = manager.command(&state).output_within(SOON);
        output.stdout.starts_with(b"stopping").then_some(())
    });
    let stop = manager.run_of("ci-1").workspace("wait", "stop");
    fs::write(stop, "").expect("it is ours");
    assert_eq!(power_off(manager, &disk, "ci-1")["conclusion"], "success");

    let manager = or_skip!(disk.boot(Suite::Forky));
    resume(&manager);
    assert!(!is_active(&manager), "the run had ended");
}

on_managers!(a_run_that_a_soft_reboot_cancelled_starts_again on system_257, system_262);

fn a_run_that_a_soft_reboot_cancelled_starts_again(manager: &Manager) {
    or_skip!(install(manager, true));
    // As NixOS has it.
    manager
        .systemctl(&["add-wants", "multi-user.target", RESUME])
        .ok();
    manager.systemctl(&["start", RESUME]).ok();
    start(manager, "ci-1");
    manager
        .command(&["systemctl", "soft-reboot", "--no-wall"])
        .output_within(SOON);
    let again = manager.run_of("ci-2");
    wait_for(RUN_DEADLINE, "the run after it", || {
        again.dir().exists().then_some(())
    });
    again.wait_for_file("wait", "started");
    assert_eq!(manager.run_of("ci-1").record()["conclusion"], "cancelled");
}
