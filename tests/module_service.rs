//! The services and timers that the NixOS module makes, run by a real systemd: what becomes of
//! their runs, and they of their runs.
//!
//! The units are those of `tests/module.rs`, made by the machine's Nix and put where NixOS would.

use std::fs;

use nixactions_harness::{
    CommandExt as _, Manager, RUN_DEADLINE, SOON, on_managers, or_skip, wait_for,
};
use serde_json::Value;

on_managers!(the_result_of_the_service_is_the_conclusion_of_the_run on system_262);
on_managers!(the_timer_starts_one_run_after_the_other on system_262);
on_managers!(stopping_the_service_cancels_the_run on system_262);
on_managers!(a_killed_client_leaves_the_run_alone on system_262);
on_managers!(old_runs_are_removed_by_the_timers_service on system_262);
on_managers!(inputs_variables_and_secrets_of_the_module_reach_the_jobs on system_262);
on_managers!(jobs_get_the_source_tree_as_they_do_without_a_sandbox on system_262);

on_managers!(defaults_and_credentials_of_the_module_reach_the_jobs on system_257, system_262);
on_managers!(a_run_waits_for_room_on_the_disk_and_says_so on system_257, system_262);
on_managers!(a_run_that_waits_for_room_can_be_stopped on system_262);
on_managers!(a_fetch_waits_for_room_on_the_disk on system_257, system_262);
on_managers!(a_run_waits_for_less_pressure_on_memory_and_says_so on system_252, system_262);
on_managers!(workflows_share_the_limit_on_jobs_until_it_is_gone on system_252, system_262);
on_managers!(an_executor_a_group_and_a_unit_of_one_workflow_are_its_own on system_262);
on_managers!(hooks_of_an_administrator_run_beside_those_of_the_module on system_262);

/// Returns a module with one workflow `ci`, of these settings, and these options beside them.
fn workflow(settings: &str, options: &str) -> String {
    format!(
        "{{ services.nixactions = {{ enable = true; workflows.ci = {{ settings = {settings}; {options} }}; }}; }}"
    )
}

/// A workflow that waits in one job, and cleans up in another.
const WAITS: &str = r#"{ jobs = {
    wait.steps = [ { bash = "touch started; until [ -e stop ]; do sleep 0.05; done"; } ];
    clean = { needs = [ "wait" ]; condition = "always()"; steps = [ { bash = "echo cleaned up"; } ]; };
}; }"#;

/// Returns a property of the service.
fn property(manager: &Manager, name: &str) -> String {
    manager
        .systemctl(&[
            "show",
            "--value",
            &format!("--property={name}"),
            "nixactions@ci.service",
        ])
        .ok()
        .trim()
        .to_owned()
}

/// Returns the service's lines in the journal.
fn log(manager: &Manager) -> String {
    manager
        .command(&[
            "journalctl",
            "--no-pager",
            "--unit=nixactions@ci",
            "--output=cat",
        ])
        .ok()
}

fn the_result_of_the_service_is_the_conclusion_of_the_run(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    nix.install(&workflow(
        r#"{ jobs.a.steps = [ { bash = "echo hello"; } ]; }"#,
        "",
    ));
    manager
        .systemctl(&["start", "--wait", "nixactions@ci"])
        .ok();
    let record = manager.run_of("ci-1").record();
    assert_eq!(
        (
            record["conclusion"].as_str(),
            property(manager, "Result").as_str()
        ),
        (Some("success"), "success"),
        "{record:#}"
    );
    let log = log(manager);
    assert!(
        log.contains("hello") && log.contains("ci-1: success"),
        "{log}"
    );
    assert!(!log.contains("warning"), "its sandbox hinders it: {log}");
    let roots = nix.command(&["nix-store", "--gc", "--print-roots"]).ok();
    assert!(
        roots.contains("/var/lib/nixactions/runs/ci-1/workflow"),
        "the workflow is not kept: {roots}"
    );

    nix.install(&workflow(
        r#"{ jobs.a.steps = [ { bash = "exit 7"; } ]; }"#,
        "",
    ));
    manager
        .systemctl(&["start", "--wait", "nixactions@ci"])
        .fails();
    assert_eq!(manager.run_of("ci-2").record()["conclusion"], "failure");
    assert_eq!(
        (
            property(manager, "Result").as_str(),
            property(manager, "ExecMainStatus").as_str()
        ),
        ("exit-code", "1")
    );
    manager.systemctl(&["start", "nixactions-catalog"]).ok();
    let explained = ["--catalog", "--unit=nixactions-ci-2-a"];
    wait_for(SOON, "the catalog", || {
        let said = manager.journal(&explained).ok();
        said.contains("Subject: Job a has failed").then_some(())
    });
}

fn the_timer_starts_one_run_after_the_other(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    nix.install(
        r#"{
            services.nixactions = {
                enable = true;
                workflows.ci = {
                    schedule = "*:*:*";
                    settings.jobs.a.steps = [ { bash = "true"; } ];
                };
            };
            # The default is a minute.
            systemd.timers."nixactions@ci".timerConfig.AccuracySec = "1ms";
        }"#,
    );
    manager.systemctl(&["start", "nixactions@ci.timer"]).ok();
    for run in ["ci-1", "ci-2"] {
        let record = wait_for(RUN_DEADLINE, &format!("a run {run} by the timer"), || {
            let record = manager.run_of(run).dir().join("record.json");
            serde_json::from_slice::<Value>(&fs::read(record).ok()?).ok()
        });
        assert_eq!(record["conclusion"], "success", "{record:#}");
        assert_eq!(record["trigger"], "schedule", "{record:#}");
    }
    manager.systemctl(&["stop", "nixactions@ci.timer"]).ok();
}

fn stopping_the_service_cancels_the_run(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    nix.install(&workflow(WAITS, ""));
    manager.systemctl(&["start", "nixactions@ci"]).ok();
    assert_eq!(property(manager, "ActiveState"), "active");
    let run = manager.run_of("ci-1");
    run.wait_for_file("wait", "started");
    manager
        .systemctl(&["stop", "nixactions@ci"])
        .output_within(RUN_DEADLINE);
    let run = run.end();
    assert_eq!(run.record["conclusion"], "cancelled", "{run}");
    assert_eq!(
        (run.verdict("wait").as_str(), run.verdict("clean").as_str()),
        ("cancelled/cancelled", "success/success"),
        "{run}"
    );
    // A run that was cancelled has not succeeded: no `OnSuccess=` follows it.
    assert_eq!(
        (
            property(manager, "Result").as_str(),
            property(manager, "ExecMainStatus").as_str()
        ),
        ("exit-code", "130")
    );
    run.leaves_nothing(manager);
}

fn a_killed_client_leaves_the_run_alone(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    nix.install(&workflow(WAITS, ""));
    manager.systemctl(&["start", "nixactions@ci"]).ok();
    let run = manager.run_of("ci-1");
    run.wait_for_file("wait", "started");
    manager
        .systemctl(&["kill", "--signal=KILL", "nixactions@ci"])
        .ok();
    wait_for(SOON, "the service to notice", || {
        (property(manager, "Result") == "signal").then_some(())
    });
    run.release("wait", "stop");
    let run = run.end();
    assert_eq!(run.record["conclusion"], "success", "{run}");
    run.leaves_nothing(manager);
}

fn jobs_get_the_source_tree_as_they_do_without_a_sandbox(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    // Large enough to be mounted rather than copied, over a file system that can be (a machine's
    // own is an overlay itself); of another user than root, who can reach it.
    let make = "mkdir /var/lib/nixactions && mount -t tmpfs tmpfs /var/lib/nixactions && mkdir /srv/project && cd /srv/project &&
        git init --quiet . && mkdir many && seq 300 | sed s,^,many/, | xargs touch && echo ignored > .gitignore && touch ignored && chown -R 1000 .";
    manager.command(&["sh", "-c", make]).ok();
    let look = r#"{ jobs.look.steps = [ { bash = "mountpoint . && test -f many/300 && test ! -e ignored && touch many/301 && rm many/1"; } ]; }"#;
    nix.install(&workflow(look, r#"source = "/srv/project";"#));
    manager
        .systemctl(&["start", "--wait", "nixactions@ci"])
        .output_within(RUN_DEADLINE);
    let record = manager.run_of("ci-1").record();
    assert_eq!(record["conclusion"], "success", "{record:#}");
}

fn old_runs_are_removed_by_the_timers_service(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let module = r#"{ services.nixactions = {
        enable = true;
        retention.runs = 1;
        workflows.ci.settings.jobs.a.steps = [ { bash = "exit 0"; } ];
        workflows.bad = { settings = { name = "ci"; jobs.a.steps = [ { bash = "exit 1"; } ]; }; };
    }; }"#;
    nix.install(module);
    // ci-1 and ci-3 succeed, ci-2 fails.
    for (workflow, succeeds) in [("ci", true), ("bad", false), ("ci", true), ("ci", true)] {
        let unit = format!("nixactions@{workflow}");
        let mut start = manager.systemctl(&["start", "--wait", &unit]);
        if succeeds {
            start.ok();
        } else {
            start.fails();
        }
    }
    manager.systemctl(&["start", "nixactions-clean.timer"]).ok();
    let next = manager
        .systemctl(&["list-timers", "--no-legend", "nixactions-clean.timer"])
        .ok();
    assert!(next.contains("nixactions-clean.service"), "{next}");
    manager.systemctl(&["start", "nixactions-clean"]).ok();
    let mut runs = manager.runs();
    runs.sort();
    assert_eq!(
        runs,
        ["ci-2", "ci-4"],
        "the newest failure and success stay"
    );
}

fn inputs_variables_and_secrets_of_the_module_reach_the_jobs(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let secrets = manager.write("secrets.env", "TOKEN=not-for-the-log\n");
    let plain = manager.write("plain.env", "PLAIN=from a file\n");
    let options = format!(
        "inputs.price = \"$5 %n\"; env.LEVEL = 3; environmentFiles = [ {:?} ]; secretFiles = [ {:?} ];",
        plain.display().to_string(),
        secrets.display().to_string()
    );
    let settings = r#"{ inputs.price.default = "0"; jobs.a.steps = [ { bash = ''
        echo "$INPUT_PRICE, $LEVEL, $PLAIN, $TOKEN"
        test "$TOKEN" = not-for-the-log
    ''; } ]; }"#;
    nix.install(&workflow(settings, &options));
    manager
        .systemctl(&["start", "--wait", "nixactions@ci"])
        .ok();
    let log = log(manager);
    assert!(log.contains("$5 %n, 3, from a file, ***"), "{log}");
    assert!(!log.contains("not-for-the-log"), "{log}");
}

fn defaults_and_credentials_of_the_module_reach_the_jobs(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let token = manager.write("token", "not-for-the-log\n");
    let module = format!(
        r#"{{ services.nixactions = {{
            enable = true;
            properties.Nice = 7;
            workflows.ci = {{
                credentials.token = {:?};
                settings.jobs.a.steps = [ {{ bash = ''
                    echo "nice $(cut -d ' ' -f 19 /proc/self/stat), $(cat "$CREDENTIALS_DIRECTORY/token")"
                ''; }} ];
            }};
        }}; }}"#,
        token.display().to_string()
    );
    nix.install(&module);
    manager
        .systemctl(&["start", "--wait", "nixactions@ci"])
        .ok();
    let log = log(manager);
    assert!(log.contains("nice 7, ***"), "{log}");
}

fn an_executor_a_group_and_a_unit_of_one_workflow_are_its_own(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    nix.install(
        r#"({ config, ... }: {
            systemd.services."page@".serviceConfig = {
                Type = "oneshot";
                ExecStart = "/bin/touch /run/paged-%i";
            };
            services.nixactions = {
                enable = true;
                executors.nice = config.lib.nixactions.executors.systemd { properties.Nice = 7; };
                executor = "nice";
                workflows.first = {
                    concurrency.group = "one";
                    notify.failure = [ "page@.service" ];
                    settings.jobs.a.steps = [ { bash = ''
                        echo "nice $(cut -d ' ' -f 19 /proc/self/stat)"
                        touch started; until [ -e stop ]; do sleep 0.05; done; exit 1
                    ''; } ];
                };
                workflows.second = {
                    concurrency.group = "one";
                    settings.jobs.a.steps = [ { bash = "exit 1"; } ];
                };
            };
        })"#,
    );
    manager.systemctl(&["start", "nixactions@first"]).ok();
    let first = manager.run_of("first-1");
    first.wait_for_file("a", "started");
    manager
        .systemctl(&["start", "--no-block", "nixactions@second"])
        .ok();
    let second = manager.run_of("second-1");
    wait_for(SOON, "the second run", || {
        second.dir().exists().then_some(())
    });
    assert_eq!(
        second.wait_for_event("groupWaiting", None)["event"]["heldBy"],
        "first-1"
    );
    first.release("a", "stop");
    let (first, second) = (first.end(), second.end());
    assert_eq!(first.record["conclusion"], "failure", "{first}");
    let log = manager.nixactions(&["logs", "first-1", "a"]).ok();
    assert!(log.contains("nice 7"), "{log}");
    assert_eq!(second.record["conclusion"], "failure", "{second}");
    let is_paged = |run: &str| manager.file(format!("/run/paged-{run}")).exists();
    wait_for(SOON, "the page", || is_paged("first-1").then_some(()));
    // The supervisor of a run starts such units before it ends.
    second.leaves_nothing(manager);
    assert!(!is_paged("second-1"));
}

fn hooks_of_an_administrator_run_beside_those_of_the_module(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    // A file that says that a run goes on cannot be made: that stops no run.
    let script = "useradd --system nixactions-fetch; git init --quiet /srv/a; cd /srv/a
        git -c user.name=t -c user.email=t@t commit --quiet --allow-empty -m t
        mkdir /var/lib/nixactions-resume
        mount -t tmpfs -o ro,mode=755 tmpfs /var/lib/nixactions-resume";
    manager.command(&["sh", "-ec", script]).ok();
    nix.install(
        r#"{
            services.nixactions = {
                enable = true;
                workflows.ci = {
                    resume = true;
                    source.git.url = "/srv/a";
                    settings.jobs.a.steps = [ { bash = "true"; } ];
                };
            };
            systemd.services."nixactions@ci".serviceConfig = {
                ExecStartPre = "/bin/ls -d /var/lib/nixactions-fetch/ci/tree/.git";
                ExecStopPost = "/bin/sh -c 'echo ended: $SERVICE_RESULT'";
            };
        }"#,
    );
    manager
        .systemctl(&["start", "--wait", "nixactions@ci"])
        .ok();
    assert_eq!(manager.run_of("ci-1").record()["conclusion"], "success");
    let log = log(manager);
    for part in ["Read-only file system", "tree/.git\n", "ended: success"] {
        assert!(log.contains(part), "{part}: {log}");
    }
}

/// Makes a state directory on a disk of its own, with less room than the reserve of the workflow.
fn without_room(manager: &Manager, more: &str) {
    let nix = manager
        .nix()
        .unwrap_or_else(|_| unreachable!("the test has it"));
    let fill = "mkdir -p /var/lib/nixactions && mount -t tmpfs -o size=64M tmpfs /var/lib/nixactions && \
        fallocate -l 50M /var/lib/nixactions/full";
    manager.command(&["sh", "-c", fill]).ok();
    nix.install(&format!(
        r#"{{ services.nixactions = {{
            enable = true;
            diskReserve = "32M";
            workflows.ci = {{
                settings.jobs.a.steps = [ {{ bash = "true"; }} ];
                {more}
            }};
        }}; }}"#
    ));
    manager
        .systemctl(&["start", "--no-block", "nixactions@ci"])
        .ok();
    wait_for(SOON, "the status", || {
        property(manager, "StatusText")
            .starts_with("waiting for 32.0M of free room for `/var/lib/nixactions`; there is 14")
            .then_some(())
    });
}

fn a_run_waits_for_room_on_the_disk_and_says_so(manager: &Manager) {
    or_skip!(manager.nix());
    without_room(manager, "serviceConfig.TimeoutStartSec = \"1s\";");
    // A timer that ends after the time-out of the service's start.
    let later = [
        "systemd-run",
        "--on-active=2s",
        "--timer-property=AccuracySec=1ms",
        "--unit=later",
        "touch",
        "/run/later",
    ];
    manager.command(&later).ok();
    wait_for(SOON, "the time-out to pass", || {
        manager.file("/run/later").exists().then_some(())
    });
    assert_eq!(property(manager, "ActiveState"), "activating");
    assert!(manager.runs().is_empty());
    fs::remove_file(manager.file("/var/lib/nixactions/full")).expect("it is there");
    wait_for(RUN_DEADLINE, "the run", || {
        manager.run_of("ci-1").has_ended().then_some(())
    });
    assert_eq!(manager.run_of("ci-1").record()["conclusion"], "success");
}

fn a_run_that_waits_for_room_can_be_stopped(manager: &Manager) {
    or_skip!(manager.nix());
    without_room(manager, "");
    manager.systemctl(&["stop", "nixactions@ci"]).ok();
    assert_ne!(property(manager, "ActiveState"), "activating");
    assert!(manager.runs().is_empty());
}

fn a_fetch_waits_for_room_on_the_disk(manager: &Manager) {
    or_skip!(manager.nix());
    let script = "useradd --system nixactions-fetch; git init --quiet /srv/a; cd /srv/a
        git -c user.name=t -c user.email=t@t commit --quiet --allow-empty -m t";
    manager.command(&["sh", "-ec", script]).ok();
    without_room(manager, "source.git.url = \"/srv/a\";");
    assert!(!manager.file("/var/lib/nixactions-fetch").exists());
    fs::remove_file(manager.file("/var/lib/nixactions/full")).expect("it is there");
    wait_for(RUN_DEADLINE, "the run", || {
        manager.run_of("ci-1").has_ended().then_some(())
    });
    assert_eq!(manager.run_of("ci-1").record()["conclusion"], "success");
}

fn workflows_share_the_limit_on_jobs_until_it_is_gone(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let install = |limit: &str| {
        nix.install(&format!(
            "{{ services.nixactions = {{ enable = true; maxConcurrentJobs = {limit}; \
                workflows.ci.settings = {WAITS}; workflows.other.settings = {WAITS}; }}; }}"
        ));
        let apply = [
            "systemd-tmpfiles",
            "--create",
            "--remove",
            "/etc/systemd/system/tmpfiles.conf",
        ];
        manager.command(&apply).ok();
    };
    let start = |name: &str| {
        let service = format!("nixactions@{name}");
        let start = ["start", "--no-block", service.as_str()];
        manager.systemctl(&start).ok();
    };
    install("1");
    start("ci");
    wait_for(RUN_DEADLINE, "the first run", || {
        let run = manager.run_of("ci-1");
        run.workspace("wait", "started").exists().then_some(())
    });
    start("other");
    let waits = || manager.run_of("other-1").events();
    wait_for(RUN_DEADLINE, "the second run", || {
        let is_wait = |event: &Value| event["event"]["type"] == "jobWaiting";
        waits().iter().any(is_wait).then_some(())
    });
    // A limit that is gone holds for the runs before, and not for those that start now.
    install("null");
    let plan = manager.plan(&serde_json::json!({ "version": 1, "name": "free",
        "jobs": { "a": nixactions_harness::bash("true") } }));
    let plan = plan.display().to_string();
    manager
        .nixactions(&["run", &plan])
        .output_within(RUN_DEADLINE);
    assert_eq!(manager.run_of("free-1").record()["conclusion"], "success");
    assert!(!manager.run_of("other-1").has_ended());
    manager.run_of("ci-1").release("wait", "stop");
    wait_for(RUN_DEADLINE, "the job that waited", || {
        let run = manager.run_of("other-1");
        run.workspace("wait", "started").exists().then_some(())
    });
    manager.run_of("other-1").release("wait", "stop");
    for run in ["ci-1", "other-1"] {
        wait_for(RUN_DEADLINE, "the end", || {
            manager.run_of(run).has_ended().then_some(())
        });
    }
}

fn a_run_waits_for_less_pressure_on_memory_and_says_so(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let tell = |percent: &str| {
        let some = format!("some avg10={percent} avg60=0.00 avg300=0.00 total=1\n");
        let text = some + "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
        manager.write("/srv/pressure", text);
    };
    tell("60.01");
    nix.install(
        r#"{ services.nixactions = {
            enable = true;
            memoryPressureLimit = 60;
            workflows.ci = {
                settings.jobs.a.steps = [ { bash = "true"; } ];
                serviceConfig.BindReadOnlyPaths = "/srv/pressure:/proc/pressure/memory";
            };
        }; }"#,
    );
    let start = ["start", "--no-block", "nixactions@ci"];
    manager.systemctl(&start).ok();
    let text = "waiting for less pressure on memory than 60%: some process waited for memory in \
                60.01% of the last 10 s";
    wait_for(SOON, "the status", || {
        (property(manager, "StatusText") == text).then_some(())
    });
    assert!(manager.runs().is_empty());
    tell("60.00");
    wait_for(RUN_DEADLINE, "the run", || {
        manager.run_of("ci-1").has_ended().then_some(())
    });
    assert_eq!(manager.run_of("ci-1").record()["conclusion"], "success");

    // A kernel that does not tell holds no run up.
    wait_for(SOON, "the end of the service", || {
        (property(manager, "ActiveState") == "inactive").then_some(())
    });
    manager.write("/srv/pressure", "");
    manager
        .systemctl(&["start", "--wait", "nixactions@ci"])
        .ok();
    let log = log(manager);
    let said = "this machine does not tell the pressure on its memory";
    assert_eq!(log.matches(said).count(), 1, "{log}");
}
