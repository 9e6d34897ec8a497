//! The module of home-manager: what its units are, and that a user's systemd runs them.

use std::fs;

use nixactions_harness::{
    CommandExt as _, Manager, Nix, REPOSITORY, RUN_DEADLINE, on_managers, or_skip, wait_for,
};
use serde_json::Value;

on_managers!(a_users_own_systemd_runs_the_workflows on user_257, user_262);
on_managers!(options_that_need_root_are_refused on user_262);

/// Returns an attribute of the stand-in for home-manager with this module, an expression.
fn home(module: &str, attribute: &str) -> String {
    format!("(import {REPOSITORY}/tests/nix/home.nix {{ modules = [ {module} ]; }}).{attribute}")
}

/// Puts the units of a module into place, where home-manager has links to them.
fn install(manager: &Manager, nix: &Nix<'_>, module: &str) {
    let units = nix.build(&home(module, "files"));
    let copy = format!(
        "mkdir -p ~/.config/systemd/user; cp -r {}/* ~/.config/systemd/user",
        units.display()
    );
    manager.command(&["sh", "-ec", &copy]).ok();
    manager.systemctl(&["daemon-reload"]).ok();
}

fn a_users_own_systemd_runs_the_workflows(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let module = r#"{
        services.nixactions = {
            enable = true;
            limits.tasksMax = "4096";
            maxConcurrentJobs = 3;
            workflows.ci = {
                schedule = "*:*:*";
                env.LEVEL = 3;
                settings.jobs.a.steps = [ { bash = "echo level $LEVEL"; } ];
            };
        };
        # The default is a minute.
        systemd.user.timers."nixactions@ci".Timer.AccuracySec = "1ms";
    }"#;
    install(manager, &nix, module);
    manager
        .systemctl(&["start", "--wait", "nixactions@ci"])
        .ok();
    // A switch of home-manager stops slices that have changed, with all runs.
    let slice = home(module, "units ? \"nixactions.slice\"");
    assert_eq!(nix.eval(&slice), Value::Bool(false));
    let limit = nix.eval(&home(module, "state"));
    assert_eq!(limit["nixactions/max-concurrent-jobs"], "3");
    let record = manager.run_of("ci-1").record();
    assert_eq!(record["conclusion"], "success", "{record:#}");
    let log = manager.nixactions(&["logs", "ci-1"]).ok();
    assert!(log.contains("level 3"), "{log}");
    let tasks = ["show", "--value", "--property=TasksMax", "nixactions.slice"];
    assert_eq!(manager.systemctl(&tasks).ok().trim(), "4096");

    manager.systemctl(&["start", "nixactions@ci.timer"]).ok();
    let record = wait_for(RUN_DEADLINE, "a run by the timer", || {
        let record = manager.run_of("ci-2").dir().join("record.json");
        serde_json::from_slice::<Value>(&fs::read(record).ok()?).ok()
    });
    assert_eq!(record["trigger"], "schedule", "{record:#}");
    manager.systemctl(&["stop", "nixactions@ci.timer"]).ok();
    manager.systemctl(&["start", "nixactions-clean"]).ok();
}

fn options_that_need_root_are_refused(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    for (wrong, expected) in [
        (
            "resume = true;",
            "services.nixactions.workflows.ci.resume: a user's workflow does not start again after a boot",
        ),
        (
            "source.git.url = \"/srv/a\";",
            "services.nixactions.workflows.ci.source.git: a user's workflow fetches no repository",
        ),
        (
            "randomizedDelay = \"5min\";",
            "services.nixactions.workflows.ci.randomizedDelay: it has no effect without a `schedule`",
        ),
    ] {
        let module = format!(
            "{{ services.nixactions = {{ enable = true; workflows.ci = {{ settings.jobs.a.steps = [ {{ bash = \"true\"; }} ]; {wrong} }}; }}; }}"
        );
        let said = nix.eval_fails(&home(&module, "units"));
        assert!(said.contains(expected), "{wrong}: {said}");
    }
}
