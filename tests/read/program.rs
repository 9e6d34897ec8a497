//! The two programs as files, side by side.

use std::{os::unix::fs::PermissionsExt, process::Command};

#[test]
fn a_program_without_its_runner_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (program, plan) = (dir.path().join("nixactions"), dir.path().join("plan.json"));
    // By another process: what a test beside this one starts just then would hold the file open for
    // writing, and nobody could execute it.
    assert!(
        Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_nixactions"))
            .arg(&program)
            .status()
            .unwrap()
            .success()
    );
    std::fs::write(
        &plan,
        r#"{ "version": 1, "name": "ci", "jobs": { "a": { "steps": [{ "bash": "true" }] } } }"#,
    )
    .unwrap();
    let state = dir.path().join("state");
    let refused = |what: &str| {
        let output = Command::new(&program)
            .arg("--state-dir")
            .arg(&state)
            .arg("run")
            .arg(&plan)
            .output()
            .unwrap();
        let err = String::from_utf8(output.stderr)
            .unwrap()
            .replace(dir.path().to_str().unwrap(), "<dir>");
        let expected = format!(
            "error: `<dir>/nixactions-runner` {what}\nhint: install the two programs of nixactions together\n"
        );
        assert_eq!(
            (output.status.code(), err, state.exists()),
            (Some(3), expected, false)
        );
    };
    refused("does not exist: it must lie beside `nixactions`");
    let runner = dir.path().join("nixactions-runner");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_nixactions-runner"), &runner).unwrap();
    refused("is a link: the program itself must lie beside `nixactions`");
    std::fs::remove_file(&runner).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_nixactions-runner"), &runner).unwrap();
    std::fs::set_permissions(&runner, std::fs::Permissions::from_mode(0o644)).unwrap();
    refused("cannot be executed: check its mode and the options of its mount");
    // As after `umask 077; cargo build`. Only root's jobs have other users.
    if nix::unistd::geteuid().is_root() {
        std::fs::set_permissions(&runner, std::fs::Permissions::from_mode(0o700)).unwrap();
        refused("cannot be executed by the users of jobs: `chmod 755` allows it");
    }
}

#[test]
fn the_runner_is_for_systemd_to_start() {
    for arguments in [&[][..], &["--help"], &["/a", "/b"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_nixactions-runner"))
            .args(arguments)
            .output()
            .unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(2) && err.contains("`nixactions run` runs workflows"),
            "{err}"
        );
    }
}
