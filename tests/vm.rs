//! The NixOS tests of `vm-tests/`, run by the project's own driver on Debian.
//!
//! Here they run in containers. `tests/run --vm` also runs them in virtual machines, where the
//! kernel, the cgroup controllers, the clock and the disk are the machine's own.

use std::{path::Path, process::Command, time::Duration};

use nixactions_harness::{CommandExt as _, Evaluator, Root, Skip, Suite, or_skip};

/// A test boots its machine several times, on a busy computer.
const DEADLINE: Duration = Duration::from_secs(300);

/// Runs one test of `vm-tests/`.
fn passes(test: &str) {
    let root = or_skip!(Root::get(Suite::Forky));
    let evaluator = or_skip!(Evaluator::get(Suite::Forky));
    if Command::new("python3").arg("--version").output().is_err() {
        return Skip::new("no python3 on this machine").report();
    }
    let programs = Path::new(env!("CARGO_BIN_EXE_nixactions"))
        .parent()
        .expect("invariant: a program lies in a directory");
    let output = Command::new("python3")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("vm-tests/driver")
        .arg("--root")
        .arg(root.path())
        .arg("--lib")
        .arg(evaluator.lib())
        .arg("--programs")
        .arg(programs)
        .arg("--work")
        .arg(env!("CARGO_TARGET_TMPDIR"))
        .arg(test)
        .output_within(DEADLINE);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        output.status.success() && said.contains(&format!("{test}: passed")),
        "{said}"
    );
}

#[test]
fn module() {
    passes("module");
}

#[test]
fn recovery() {
    passes("recovery");
}

#[test]
fn a_failing_script_fails() {
    let output = Command::new("python3")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["vm-tests/driver", "not-there"])
        .output();
    assert!(!output.expect("python3 can be started").status.success());
}
