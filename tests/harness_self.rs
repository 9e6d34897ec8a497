//! The managers that the suite runs on are real ones, each of its kind and version, and see what
//! tests give them.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, process::Stdio};

use nixactions_harness::{
    Canaries, CommandExt as _, Kind, Manager, REPOSITORY, SOON, Signal, Snapshot, ended_within,
    on_managers, or_skip, wait_for,
};

on_managers!(
    commands_run_where_the_manager_is,
    snapshots_see_what_is_left,
    runs_are_seen_while_and_after_they_run
);
on_managers!(real_nix_evaluates_builds_and_its_result_runs on system_252, system_257, system_262, user_262, embedded_262);
on_managers!(runs_units_and_reads_their_journal on system_252, system_257, system_262, user_252, user_257, user_262);

fn commands_run_where_the_manager_is(manager: &Manager) {
    let path = manager.write("deep/file", "given");
    assert_eq!(manager.command(&[Path::new("cat"), &path]).ok(), "given");
    assert_eq!(
        manager.command(&["pwd"]).ok().trim(),
        manager.dir().to_string_lossy()
    );
    let uid = if manager.kind() == Kind::User {
        1000
    } else {
        0
    };
    assert_eq!(manager.command(&["id", "-u"]).ok(), format!("{uid}\n"));
    assert_eq!(
        fs::metadata(manager.file("deep"))
            .expect("it was made")
            .uid(),
        uid
    );
    manager.command(&["touch", "deep/by-command"]).ok();
    assert!(manager.file("deep/by-command").exists());
    // The program under test is there, and this place can run it.
    let status = manager.nixactions(&["--help"]).output_within(SOON).status;
    assert!(status.code().is_some_and(|code| code < 126), "{status}");
}

fn runs_units_and_reads_their_journal(manager: &Manager) {
    let mut argv = vec![
        "systemd-run",
        "--quiet",
        "--wait",
        "--collect",
        "--unit=probe",
    ];
    if manager.kind() == Kind::User {
        argv.push("--user");
    }
    manager
        .command(&argv)
        .args([
            "--property=LogExtraFields=PROBE=field",
            "sh",
            "-c",
            // journald finds the unit of a process only while the process runs.
            "echo from-$PPID; sleep 0.5",
        ])
        .ok();
    // journald does not attach a user unit's LogExtraFields=
    // (https://github.com/systemd/systemd/issues/29956).
    let field = if manager.kind() == Kind::User {
        "_SYSTEMD_USER_UNIT=probe.service"
    } else {
        "PROBE=field"
    };
    let lines = wait_for(SOON, "the unit's lines in the journal", || {
        let lines = manager
            .journal(&["--output=cat", "SYSLOG_IDENTIFIER=sh", field])
            .ok();
        lines.contains("from-").then_some(lines)
    });
    assert!(lines.starts_with("from-"), "{lines}");
    assert_eq!(
        manager
            .systemctl(&["show", "--property=LoadState", "probe.service"])
            .ok(),
        "LoadState=not-found\n"
    );
    assert!(
        manager
            .systemctl(&["list-units", "--type=slice", "--no-legend"])
            .ok()
            .contains("-.slice")
    );
}

fn snapshots_see_what_is_left(manager: &Manager) {
    let canaries = Canaries::put(manager);
    let before = Snapshot::take(manager);
    before.assert_restored(manager, &[]);

    // Only the place of this test, so that others on the host are not mistaken for it.
    let left = manager.dir().join("left");
    let mut child = manager
        .command(&["sh", "-c", "echo \"$0\"; exec sleep 1000"])
        .arg(&left)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    wait_for(SOON, "the process", || {
        Snapshot::take(manager)
            .changes(&before)
            .iter()
            .any(|line| line.contains("process"))
            .then_some(())
    });
    let changes = before.changes(&Snapshot::take(manager));
    assert!(
        changes
            .iter()
            .any(|line| line.starts_with("+ process") && line.contains("sleep")),
        "{changes:?}"
    );
    manager.signal(&child, Signal::SIGTERM);
    child.wait().expect("it can be waited for");
    before.assert_restored(manager, &[]);

    if manager.machine().is_some() {
        fs::write(manager.file("/tmp/left"), "").expect("it is writable");
        assert!(
            before
                .changes(&Snapshot::take(manager))
                .iter()
                .any(|line| line == "+ file /tmp/left")
        );
        before.assert_restored(manager, &["/tmp/left"]);
    }
    canaries.assert_alive();
}

fn runs_are_seen_while_and_after_they_run(manager: &Manager) {
    let canaries = Canaries::put(manager);
    let before = Snapshot::take(manager);
    let go = manager.dir().join("go");
    let plan = serde_json::json!({
        "version": 1, "name": "seen",
        "executors": { "open": { "type": "systemd", "sandbox": "none", "copyRepo": false } },
        "jobs": { "a": { "executor": "open", "steps": [{ "bash": format!("echo hello; until [ -e {} ]; do sleep 0.02; done", go.display()) }] } }
    });
    let plan = manager.write("plan.json", plan.to_string());
    let mut run = manager
        .nixactions(&["run"])
        .arg(&plan)
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");

    let is_up = || manager.kind() != Kind::Embedded || !manager.private_managers().is_empty();
    wait_for(SOON, "the manager", || is_up().then_some(()));
    let state = [
        "show",
        "--property=ActiveState",
        "nixactions-seen-1-a.service",
    ];
    wait_for(SOON, "the job's unit", || {
        (manager.systemctl(&state).output_within(SOON).stdout == b"ActiveState=activating\n")
            .then_some(())
    });
    manager.write(&go, "");
    assert!(
        ended_within(&mut run, SOON)
            .expect("the run ends in time")
            .success()
    );

    // journald does not attach a user unit's fields, see above.
    if manager.kind() != Kind::User {
        let lines = manager.journal(&["--output=cat", "NIXACTIONS_JOB=a"]).ok();
        assert!(
            lines.contains("hello"),
            "{lines} {}",
            manager.journal(&["--output=verbose"]).ok()
        );
    }
    assert_eq!(
        manager.nixactions(&["show", "seen-1", "--json"]).json()["conclusion"],
        "success"
    );
    fs::remove_file(manager.file(&go)).expect("it is there");
    before.assert_restored(manager, &[]);
    assert!(manager.kind() != Kind::Embedded || manager.private_managers().is_empty());
    canaries.assert_alive();
}

#[test]
fn canaries_are_what_a_booting_systemd_would_remove() {
    let manager = or_skip!(Manager::system_252(Path::new(env!(
        "CARGO_BIN_EXE_nixactions"
    ))));
    let canaries = Canaries::put(&manager);
    canaries.assert_alive();
    // The command that systemd-tmpfiles-setup.service runs at boot.
    manager
        .command(&[
            "systemd-tmpfiles",
            "--create",
            "--remove",
            "--boot",
            "--exclude-prefix=/dev",
        ])
        .output_within(SOON);
    let outcome = std::panic::catch_unwind(|| canaries.assert_alive());
    assert!(outcome.is_err(), "the canaries survived it");
}

fn real_nix_evaluates_builds_and_its_result_runs(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    assert_eq!(nix.eval("(import <nixpkgs/lib>).toUpper \"a\""), "A");
    assert!(
        nix.eval_fails("{ }.missing")
            .contains("attribute 'missing' missing")
    );
    let workflow = r#"(import /srv/nixactions/nix { pkgs = import <nixpkgs> { }; }).mkWorkflow {
        name = "ci"; jobs.a.steps = [ { name = "say"; bash = "echo said by $0"; } ];
    }"#;
    let run = nix.run(&[nix.build(workflow)]).exits(0);
    assert!(
        run.lines("a")
            .iter()
            .any(|line| line.starts_with("said by /nix/store/")),
        "{run}"
    );
    // The repository is there to be read.
    manager
        .command(&["touch", &format!("{REPOSITORY}/README.md")])
        .fails();
}
