//! The NixOS tests of `vm-tests/`, run by the project's own driver on Debian.
//!
//! Here they run in containers. `tests/run --vm` also runs some of them in virtual machines, where
//! the kernel, the cgroup controllers, the clock and the disk are the machine's own.

use std::{
    fs,
    path::Path,
    process::{Command, ExitCode},
    time::Duration,
};

use libtest_mimic::{Arguments, Failed, Trial};
use nixactions_harness::{CommandExt as _, Evaluator, Root, Skip, Suite};

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

/// Runs a test of `vm-tests/` in a container.
fn passes(test: &str) -> Result<(), Failed> {
    let driver = match driver() {
        Ok(driver) => driver,
        Err(skip) => {
            skip.report_for(test);
            return Ok(());
        }
    };
    let (status, said) = said(driver, test);
    if said.contains(&format!("{test}: skipped: ")) {
        Skip::new("it needs a virtual machine: `tests/run --vm` runs it").report_for(test);
    } else if status != Some(0) || !said.contains(&format!("{test}: passed")) {
        return Err(said.into());
    }
    Ok(())
}

/// Runs a script of `tests/vm/` that must fail, with this text.
fn fails(test: &str, text: &str) -> Result<(), Failed> {
    let driver = match driver() {
        Ok(driver) => driver,
        Err(skip) => {
            skip.report_for(test);
            return Ok(());
        }
    };
    let (status, said) = said(driver, &format!("tests/vm/{test}"));
    if status == Some(0) || !said.contains(&format!("{test}: FAILED")) || !said.contains(text) {
        return Err(format!("{status:?}: {said}").into());
    }
    Ok(())
}

fn tests_that_need_a_virtual_machine_exist() -> Result<(), Failed> {
    const NAME: &str = "tests_that_need_a_virtual_machine_exist";
    let mut driver = match driver() {
        Ok(driver) => driver,
        Err(skip) => {
            skip.report_for(NAME);
            return Ok(());
        }
    };
    let listed = driver.arg("--list").output_within(DEADLINE).stdout;
    let listed = String::from_utf8_lossy(&listed).into_owned();
    let names = names();
    let unknown: Vec<_> = listed
        .lines()
        .filter(|name| !names.iter().any(|known| known == name))
        .collect();
    if !unknown.is_empty() || listed.is_empty() {
        return Err(format!("not in vm-tests: {unknown:?}, of `{listed}`").into());
    }
    Ok(())
}

/// Returns the names of the tests: each has a machine, `NAME.nix`, and a script, `NAME.py`.
fn names() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("vm-tests");
    let machines = fs::read_dir(&directory).expect("the directory is there");
    let mut names: Vec<_> = machines
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "nix"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    assert!(names.len() > 10, "{names:?}");
    names
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials: Vec<_> = names()
        .into_iter()
        .map(|name| Trial::test(name.clone(), move || passes(&name)))
        .collect();
    trials.push(Trial::test("a_script_that_fails_is_told", || {
        fails("failing", "CommandFailed")
    }));
    trials.push(Trial::test(
        "a_function_of_the_helpers_has_one_meaning",
        || fails("again", "again.py: `runs` is defined twice"),
    ));
    trials.push(Trial::test(
        "tests_that_need_a_virtual_machine_exist",
        tests_that_need_a_virtual_machine_exist,
    ));
    libtest_mimic::run(&arguments, trials).exit_code()
}
