//! The units that hear of runs of the NixOS module's services: `notify`, `onSuccess`, `onFailure`.

use std::fs;

use nixactions_harness::{CommandExt as _, Manager, SOON, on_managers, or_skip, wait_for};

on_managers!(units_that_a_workflow_names_start_after_its_run on system_262);
on_managers!(units_hear_of_failures_successes_and_recoveries on system_257, system_262);
on_managers!(a_unit_hears_of_a_run_whose_client_was_killed on system_262);
on_managers!(a_unit_that_is_not_there_is_a_warning on system_262);

fn units_that_a_workflow_names_start_after_its_run(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let module = r#"{
        services.nixactions = let
            telling = script: {
                settings.jobs.a.steps = [ { bash = script; } ];
                onSuccess = [ "good-news.service" ];
                onFailure = [ "bad-news.service" ];
            };
        in { enable = true; workflows = { good = telling "true"; bad = telling "exit 1"; }; };
        systemd.services = {
            good-news.serviceConfig.ExecStart = "/bin/touch /run/good-news";
            bad-news.serviceConfig.ExecStart = "/bin/touch /run/bad-news";
        };
    }"#;
    nix.install(module);
    let told = |news: &str| manager.file(format!("/run/{news}-news")).exists();
    manager
        .systemctl(&["start", "--wait", "nixactions@good"])
        .ok();
    wait_for(SOON, "the news of the success", || {
        told("good").then_some(())
    });
    assert!(!told("bad"), "nothing has failed");
    manager
        .systemctl(&["start", "--wait", "nixactions@bad"])
        .fails();
    wait_for(SOON, "the news of the failure", || {
        told("bad").then_some(())
    });
}

/// Units that write the digest of a run to a file named after the event and the run.
const TELLS: &str = r#"
    systemd.services = builtins.listToAttrs (map (event: {
        name = "on-${event}@";
        value.serviceConfig = {
            Type = "oneshot";
            ExecStart = "/bin/sh -c '${config.services.nixactions.package}/bin/nixactions show %i --digest >/run/${event}-%i'";
        };
    }) [ "failure" "success" "recovery" ]);
    services.nixactions.notify = {
        failure = [ "on-failure@.service" ];
        success = [ "on-success@.service" ];
        recovery = [ "on-recovery@.service" ];
    };
"#;

/// Waits for a file that a unit of [`TELLS`] writes, and returns its text.
fn told(manager: &Manager, event: &str, run: &str) -> String {
    wait_for(SOON, &format!("the {event} of {run}"), || {
        let text = fs::read_to_string(manager.file(format!("/run/{event}-{run}"))).ok()?;
        text.contains(run).then_some(text)
    })
}

fn units_hear_of_failures_successes_and_recoveries(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let switch = manager.dir().join("good").display().to_string();
    nix.install(&format!(
        r#"({{ config, ... }}: {{ {TELLS} services.nixactions = {{
            enable = true;
            sandbox = "none";
            workflows.ci.settings.jobs.a.steps = [ {{ name = "look"; bash = ''
                test -e {switch} || {{ echo "::error file=a.c,line=3::broken"; exit 7; }}
            ''; }} ];
        }}; }})"#
    ));
    let run = |succeeds: bool| {
        let mut start = manager.systemctl(&["start", "--wait", "nixactions@ci"]);
        if succeeds {
            start.ok();
        } else {
            start.fails();
        }
    };
    run(false);
    let failure = told(manager, "failure", "ci-1");
    for part in [
        "ci-1: failure",
        "started by: root",
        "job a: failure",
        "look: failure",
        "exit status 7",
        "a.c:3: broken",
        "Output: nixactions logs ci-1",
    ] {
        assert!(failure.contains(part), "{part}: {failure}");
    }
    run(false);
    let failure = told(manager, "failure", "ci-2");
    assert!(
        failure.contains("the run before it failed, too: ci-1"),
        "{failure}"
    );

    manager.write("good", "");
    run(true);
    let recovery = told(manager, "recovery", "ci-3");
    assert!(
        recovery.contains("ci-3: success")
            && recovery.contains("recovery: the run before it failed: ci-2"),
        "{recovery}"
    );
    told(manager, "success", "ci-3");
    run(true);
    told(manager, "success", "ci-4");
    for none in [
        "recovery-ci-4",
        "failure-ci-3",
        "recovery-ci-2",
        "success-ci-1",
    ] {
        assert!(!manager.file(format!("/run/{none}")).exists(), "{none}");
    }
}

fn a_unit_hears_of_a_run_whose_client_was_killed(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    nix.install(&format!(
        r#"({{ config, ... }}: {{ {TELLS} services.nixactions = {{
            enable = true;
            workflows.ci.settings.jobs.wait.steps = [ {{ bash = "touch started; until [ -e stop ]; do sleep 0.05; done; exit 1"; }} ];
        }}; }})"#
    ));
    manager.systemctl(&["start", "nixactions@ci"]).ok();
    let run = manager.run_of("ci-1");
    run.wait_for_file("wait", "started");
    manager
        .systemctl(&["kill", "--signal=KILL", "nixactions@ci"])
        .ok();
    run.release("wait", "stop");
    told(manager, "failure", "ci-1");
    // A supervisor that died between the record and the units is started again.
    let directory = manager.run_dir("ci-1");
    let inside = "/var/lib/nixactions/runs/ci-1";
    for (is_told, again) in [(true, false), (false, true)] {
        let file = manager.file("/run/failure-ci-1");
        fs::remove_file(&file).expect("the unit wrote it");
        if !is_told {
            fs::remove_file(directory.join("notified")).expect("the supervisor made it");
        }
        let program = manager.program().display().to_string();
        manager.command(&[&program, "supervise", inside]).ok();
        if again {
            told(manager, "failure", "ci-1");
        } else {
            assert!(!file.exists());
            fs::write(&file, "").expect("it is the machine's");
        }
    }
}

fn a_unit_that_is_not_there_is_a_warning(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    nix.install(
        r#"{ services.nixactions = {
            enable = true;
            workflows.ci = {
                settings.jobs.a.steps = [ { bash = "true"; } ];
                notify.success = [ "not-there@.service" ];
            };
        }; }"#,
    );
    manager
        .systemctl(&["start", "--wait", "nixactions@ci"])
        .ok();
    let log = wait_for(SOON, "the warning", || {
        let log = manager.journal(&["--unit=nixactions-ci-1"]).ok();
        log.contains("not-there@ci-1.service").then_some(log)
    });
    assert!(
        log.contains("nobody hears of the run by this unit"),
        "{log}"
    );
}
