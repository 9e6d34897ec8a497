//! Nix's garbage collector spares the paths that Nix built for a run as long as the run is kept,
//! and no longer.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use nixactions_harness::{
    CommandExt as _, Kind, Manager, Nix, Run, SOON, on_managers, or_skip, wait_for,
};

/// Each job's program is a path of the store of its own; the second has not begun when garbage is
/// collected.
const FILE: &str = r#"
let
  pkgs = import <nixpkgs> { };
  inherit (import /srv/nixactions/nix { inherit pkgs; }) mkWorkflow;
in
mkWorkflow {
  name = "ci";
  jobs.first.steps = [ { name = "wait"; bash = "touch started; until [ -e go ]; do sleep 0.05; done"; } ];
  jobs.second = { needs = [ "first" ]; steps = [ { name = "late"; deps = [ pkgs.coreutils ]; bash = "echo late by $0"; } ]; };
}
"#;

/// Collects all that nothing keeps, and returns the paths of workflows and their steps that are
/// left.
fn collect(manager: &Manager, nix: &Nix<'_>) -> Vec<String> {
    nix.command(&["nix-store", "--gc"]).ok();
    let names = fs::read_dir(manager.file("/nix/store"))
        .expect("there is a store")
        .flatten();
    let mut names: Vec<_> = names
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.retain(|name| {
        ["-ci", "-wait", "-late"]
            .iter()
            .any(|end| name.ends_with(end))
    });
    names.sort_by_key(|name| name.split_once('-').map(|(_, name)| name.to_owned()));
    names
}

/// Lets the first job end, and returns the lines of the second.
fn go_on(manager: &Manager, run: Run<'_>) -> Vec<String> {
    run.release("first", "go");
    let run = run.end();
    assert_eq!(run.record["conclusion"], "success", "{run}");
    manager
        .nixactions(&["logs", &run.id, "second"])
        .ok()
        .lines()
        .map(str::to_owned)
        .collect()
}

on_managers!(collecting_garbage_harms_no_kept_run on system_252, system_257, system_262, user_262);

fn collecting_garbage_harms_no_kept_run(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let file = manager.write("ci.nix", FILE);
    let kept = ["ci", "late", "wait"].map(str::to_owned);
    let names = |paths: Vec<String>| -> Vec<String> {
        paths
            .iter()
            .filter_map(|path| Some(path.split_once('-')?.1.to_owned()))
            .collect()
    };

    // Built for the run.
    let output = nix.output(|| nix.nixactions(&["run", "ci.nix", "--detach"]));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let run = manager.run_of(String::from_utf8_lossy(&output.stdout).trim());
    run.wait_for_file("first", "started");
    assert_eq!(names(collect(manager, &nix)), kept);
    assert!(
        go_on(manager, run)
            .iter()
            .any(|line| line.contains("late by /nix/store/"))
    );
    assert_eq!(names(collect(manager, &nix)), kept, "a rerun needs it");

    // Run again when the first is gone, from what the second keeps.
    let again = manager.run_of(nix.nixactions(&["rerun", "ci-1", "--detach"]).ok().trim());
    again.wait_for_file("first", "started");
    manager.nixactions(&["clean", "--keep=1"]).ok();
    assert_eq!(manager.runs(), ["ci-2"]);
    assert_eq!(names(collect(manager, &nix)), kept);
    assert!(
        go_on(manager, again)
            .iter()
            .any(|line| line.contains("late by /nix/store/"))
    );

    remove(manager, "ci-2");
    assert_eq!(collect(manager, &nix), [""; 0], "nothing keeps it any more");

    // Another user has built it and has let go of it.
    let built = nix.build(&format!("import {}", file.display()));
    for command in [
        vec![
            built.join("bin/ci"),
            "--detach".into(),
            manager_flag(manager),
        ],
        vec!["run".into(), built.clone(), "--detach".into()],
    ] {
        let id = if command[0] == Path::new("run") {
            nix.nixactions(&command).ok()
        } else {
            nix.command(&command).ok()
        };
        let run = manager.run_of(id.trim());
        run.wait_for_file("first", "started");
        assert_eq!(names(collect(manager, &nix)), kept);
        assert!(
            go_on(manager, run)
                .iter()
                .any(|line| line.contains("late by /nix/store/"))
        );
    }
    remove(manager, "ci-3");
    assert_eq!(
        names(collect(manager, &nix)),
        kept,
        "the other run is still there"
    );
    remove(manager, "ci-4");
    assert_eq!(collect(manager, &nix), [""; 0]);
}

on_managers!(collecting_garbage_spares_the_package_of_a_run_that_goes_on on system_252, system_257, system_262, user_262);

fn collecting_garbage_spares_the_package_of_a_run_that_goes_on(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let file = manager.write("ci.nix", FILE);
    // An upgrade of nixactions has taken the package out of the system.
    let package = nix.build(
        r#"(import <nixpkgs> { }).runCommand "nixactions-old" { } ''
          mkdir -p $out/bin
          cp /usr/bin/nixactions /usr/bin/nixactions-runner $out/bin/
        ''"#,
    );
    let run = [
        package.join("bin/nixactions"),
        "run".into(),
        file,
        "--detach".into(),
        manager_flag(manager),
    ];
    let output = nix.output(|| nix.command(&run));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let id = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let run = manager.run_of(&id);
    run.wait_for_file("first", "started");
    collect(manager, &nix);
    assert!(manager.file(&package).exists(), "the second job needs it");
    assert!(
        go_on(manager, run)
            .iter()
            .any(|line| line.contains("late by /nix/store/"))
    );
    let link = manager.run_dir(&id).join("package");
    assert!(link.symlink_metadata().is_err(), "the run has ended");
    collect(manager, &nix);
    assert!(!manager.file(&package).exists());
}

on_managers!(a_user_of_a_daemon_keeps_runs_as_well on user_252, user_257, user_262);

fn a_user_of_a_daemon_keeps_runs_as_well(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let machine = manager.machine().expect("Nix is in machines only");
    manager.write("ci.nix", FILE);
    // The store is root's, who alone may write to it.
    machine
        .command(&["chown", "--recursive", "root:root", "/nix"])
        .ok();
    let output = nix
        .nixactions(&["run", "ci.nix", "--detach"])
        .output_within(nixactions_harness::RUN_DEADLINE);
    assert_eq!(
        output.status.code(),
        Some(2),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    machine
        .command(&["systemd-run", "--unit=nix-daemon", "nix-daemon"])
        .ok();
    wait_for(SOON, "the daemon", || {
        machine
            .file("/nix/var/nix/daemon-socket/socket")
            .exists()
            .then_some(())
    });

    let of_daemon = |mut command: Command| {
        command.env("NIX_REMOTE", "daemon");
        command
    };
    let output = nix.output(|| of_daemon(nix.nixactions(&["run", "ci.nix", "--detach"])));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let run = manager.run_of(String::from_utf8_lossy(&output.stdout).trim());
    run.wait_for_file("first", "started");
    let collected = || machine.command(&["nix-store", "--gc"]).ok();
    collected();
    assert!(
        go_on(manager, run)
            .iter()
            .any(|line| line.contains("late by /nix/store/"))
    );
    let path = fs::read_link(manager.run_dir("ci-1").join("workflow")).expect("it is kept");
    assert!(manager.file(&path).exists());

    // A user who can neither write to the store nor ask the daemon gets a warning.
    machine.command(&["systemctl", "stop", "nix-daemon"]).ok();
    let output = nix
        .nixactions(&["run".as_ref(), path.as_os_str(), "--detach".as_ref()])
        .output_within(SOON);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && stderr.contains("from Nix's garbage collector (nix-store: "),
        "{stderr}"
    );
    go_on(manager, {
        let run = manager.run_of("ci-2");
        run.wait_for_file("first", "started");
        run
    });
    manager.nixactions(&["clean", "--keep=0"]).ok();
    collected();
    assert!(!manager.file(&path).exists());
}

on_managers!(a_rerun_of_what_was_collected_is_refused on system_252, system_262);

fn a_rerun_of_what_was_collected_is_refused(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    manager.write(
        "ci.nix",
        FILE.replace("until [ -e go ]; do sleep 0.05; done", "true"),
    );
    let run = nix.run(&["ci.nix"]).exits(0);
    nix.nixactions(&["rerun", &run.id, "--job=second"]).ok();
    for run in manager.runs() {
        let link = Path::new(manager.state_dir())
            .join("runs")
            .join(run)
            .join("workflow");
        manager.command(&["rm".as_ref(), link.as_os_str()]).ok();
    }
    assert_eq!(collect(manager, &nix), [""; 0]);
    let runs = manager.runs();
    for arguments in [&["rerun", &run.id][..], &["rerun", &run.id, "--job=second"]] {
        let output = nix.output(|| nix.nixactions(arguments));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(
            stderr.contains(
                "a program of run `ci-1` does not exist any more: Nix has collected `/nix/store/"
            ),
            "{stderr}"
        );
        assert!(
            stderr.contains("hint: run the workflow anew: `nixactions run` builds it again"),
            "{stderr}"
        );
    }
    assert_eq!(manager.runs(), runs, "nothing was started");
}

fn manager_flag(manager: &Manager) -> PathBuf {
    format!(
        "--manager={}",
        if manager.kind() == Kind::User {
            "user"
        } else {
            "system"
        }
    )
    .into()
}

/// Removes the oldest run.
fn remove(manager: &Manager, run: &str) {
    let others = manager.runs().len() - 1;
    assert_eq!(
        manager
            .nixactions(&["clean", &format!("--keep={others}")])
            .ok()
            .trim(),
        run
    );
}
