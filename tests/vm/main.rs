//! The NixOS tests of `vm-tests/`, run by the project's own driver on Debian.
//!
//! Here they run in containers. `tests/run --vm` also runs them in virtual machines, where the
//! kernel, the cgroup controllers, the clock and the disk are the machine's own.

use std::{path::Path, process::Command, time::Duration};

use nixactions_harness::{CommandExt as _, Evaluator, Root, Skip, Suite, or_skip};

/// A test boots its machine several times, on a busy computer.
const DEADLINE: Duration = Duration::from_secs(300);

/// Returns the driver's command, without a test.
fn driver() -> Result<Command, Skip> {
    let root = Root::get(Suite::Forky)?;
    let evaluator = Evaluator::get(Suite::Forky)?;
    if Command::new("python3").arg("--version").output().is_err() {
        return Err(Skip::new("no python3 on this machine"));
    }
    let programs = Path::new(env!("CARGO_BIN_EXE_nixactions"))
        .parent()
        .expect("invariant: a program lies in a directory");
    let mut command = Command::new("python3");
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("vm-tests/driver")
        .arg("--root")
        .arg(root.path())
        .arg("--lib")
        .arg(evaluator.lib())
        .arg("--programs")
        .arg(programs)
        .arg("--work")
        .arg(env!("CARGO_TARGET_TMPDIR"));
    Ok(command)
}

/// Returns the driver's exit status and output for a test.
fn said(mut driver: Command, test: &str) -> (Option<i32>, String) {
    let output = driver.arg(test).output_within(DEADLINE);
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// Runs one test of `vm-tests/`.
fn passes(test: &str) {
    let driver = or_skip!(driver());
    let (status, said) = said(driver, test);
    assert!(
        status == Some(0) && said.contains(&format!("{test}: passed")),
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
fn a_script_that_fails_is_told() {
    let driver = or_skip!(driver());
    let said = said(driver, "tests/vm/failing");
    assert!(
        said.0 != Some(0) && said.1.contains("failing: FAILED"),
        "{said:?}"
    );
    assert!(said.1.contains("CommandFailed"), "{said:?}");
}
