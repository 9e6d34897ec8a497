//! Jobs that build with the host's Nix daemon, and jobs that may not.

use std::{fs, path::PathBuf};

use nixactions_harness::{CommandExt as _, Manager, bash, on_managers, or_skip, with};
use serde_json::{Value, json};

on_managers!(a_job_builds_with_the_hosts_daemon_and_its_results_are_kept_as_long_as_the_run on system_252, system_257, system_262, user_262);
on_managers!(a_job_reaches_the_daemon_only_where_the_plan_says_so on system_252, system_262, user_262);
on_managers!(without_a_daemon_a_job_with_nix_is_refused on system_262);

/// Builds a path of the store that has the job's name in it, waits, and reads it.
const BUILD: &str = r#"
nix-build --quiet --expr "derivation { name = \"made-$NIXACTIONS_JOB\"; system = builtins.currentSystem; builder = \"/bin/sh\"; args = [ \"-c\" \"echo made > \$out\" ]; }" > path
touch built
until [ -e go ]; do sleep 0.05; done
cat result
cp -P result kept
"#;

fn plan(sandbox: &str, nix: bool) -> Value {
    json!({ "version": 1, "name": "nix",
        "executors": { "e": { "type": "systemd", "sandbox": sandbox, "nix": nix } },
        "jobs": {
            "build": with(bash(BUILD), json!({ "executor": "e", "outputs": { "kept": "kept" } })),
            "use": with(bash("cat kept"), json!({ "executor": "e", "needs": ["build"], "inputs": ["kept"] })),
        } })
}

fn a_job_builds_with_the_hosts_daemon_and_its_results_are_kept_as_long_as_the_run(
    manager: &Manager,
) {
    let nix = or_skip!(manager.nix());
    let machine = manager.machine().expect("Nix is in machines only");
    // The store is root's, who alone may write to it.
    let own = ["chown", "--recursive", "root:root", "/nix"];
    machine.command(&own).ok();
    nix.start_daemon();
    let collect = || machine.command(&["nix-store", "--gc"]).ok();
    // A workspace over a large tree is a mount of its own.
    let mut large = PathBuf::new();
    for number in 0..300 {
        large = manager.write(format!("large/{number}"), "text");
    }
    large.pop();
    for (sandbox, source) in [
        ("strict", None),
        ("strict", Some(&large)),
        ("relaxed", None),
    ] {
        let path = manager.plan(&plan(sandbox, true));
        let mut command =
            manager.nixactions(&["run".as_ref(), path.as_path(), "--output=json".as_ref()]);
        if let Some(source) = source {
            command.arg(format!("--source={}", source.display()));
        }
        let run = manager.start_command(command);
        run.wait_for_file("build", "built");
        let made = fs::read_to_string(run.workspace("build", "path")).expect("it is written");
        let made = manager.file(made.trim());
        collect();
        assert!(made.exists(), "a job uses it");
        run.release("build", "go");
        let run = run.end().exits(0);
        assert_eq!(run.lines("use"), ["made"], "{run}");
        collect();
        assert!(made.exists(), "the run is kept");
        manager.nixactions(&["clean", "--keep=0"]).ok();
        collect();
        assert!(!made.exists(), "the run is gone");
    }
}

fn a_job_reaches_the_daemon_only_where_the_plan_says_so(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    nix.start_daemon();
    for sandbox in ["strict", "relaxed"] {
        let run = manager.run(&plan(sandbox, false), &[""; 0]).exits(1);
        assert_eq!(run.verdict("build"), "failure/failure", "{run}");
        let said = run.lines("build").join("\n");
        assert!(
            said.contains("daemon-socket") && said.contains("ermission denied"),
            "{said}"
        );
    }
}

fn without_a_daemon_a_job_with_nix_is_refused(manager: &Manager) {
    let path = manager.plan(&plan("strict", true));
    let (code, stderr) = manager.refused(&["run", &path.display().to_string()]);
    assert_eq!(code, 2, "{stderr}");
    let expected = "executor `e`: Nix's daemon does not run here: there is no socket `/nix/var/nix/daemon-socket/socket`; start it, or leave `nix` out";
    assert!(stderr.contains(expected), "{stderr}");
}
