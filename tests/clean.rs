//! Finished runs are removed, and only those.

use std::fs;

use nixactions_harness::{CommandExt as _, Manager, SOON, bash, on_managers, wait_for, with};
use serde_json::json;

on_managers!(clean_removes_finished_runs_only on embedded, system_252, user_262);

fn clean_removes_finished_runs_only(manager: &Manager) {
    let plan = |name: &str, script: &str| json!({ "version": 1, "name": name, "jobs": { "j": with(bash(script), json!({ "outputs": { "made": "made" } })) } });
    let quick = plan(
        "often",
        "mkdir -p made/shut; touch made/shut/x; chmod 500 made/shut",
    );
    let [first, second] = [(); 2].map(|()| manager.run(&quick, &[""; 0]).exits(0).id);
    let going = manager.detach(
        &plan(
            "often",
            "mkdir made; touch started; until [ -e go ]; do sleep 0.05; done",
        ),
        &[""; 0],
    );
    let other = manager
        .run(&plan("seldom", "mkdir made"), &[""; 0])
        .exits(0)
        .id;
    going.wait_for_file("j", "started");
    let clean = |arguments: &[&str]| -> Vec<String> {
        let mut argv = vec!["clean"];
        argv.extend(arguments);
        manager
            .nixactions(&argv)
            .ok()
            .lines()
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(clean(&["--older-than=1h"]), [""; 0]);
    assert_eq!(clean(&["--keep=2", "--dry-run"]), [first.as_str()]);
    assert!(manager.run_dir(&first).exists());
    assert_eq!(clean(&["--keep=2"]), [first.as_str()]);
    assert!(!manager.run_dir(&first).exists());
    assert_eq!(manager.refused(&["show", &first]).0, 2);
    // A private manager that still puts its journal in order keeps its run a moment longer.
    let mut rest = Vec::new();
    wait_for(SOON, "the others to be removed", || {
        rest.extend(clean(&["--keep=0", "--older-than=0s"]));
        (rest.len() >= 2).then_some(())
    });
    rest.sort();
    assert_eq!(rest, [second, other]);
    assert_eq!(manager.runs(), [going.id().to_owned()]);

    fs::write(going.workspace("j", "go"), "").expect("it is ours");
    let going = going.end();
    assert_eq!(going.record["conclusion"], "success", "{going}");
    assert_eq!(manager.run(&quick, &[""; 0]).exits(0).id, "often-4");
    assert_eq!(
        manager
            .run(&plan("seldom", "mkdir made"), &[""; 0])
            .exits(0)
            .id,
        "seldom-2",
        "a number is given once"
    );

    for (arguments, said) in [
        (vec!["clean"], "--keep"),
        (vec!["clean", "--older-than=soon"], "`soon` is no age"),
    ] {
        let (code, stderr) = manager.refused(&arguments);
        assert!(
            code == 2 && stderr.contains(said),
            "{arguments:?}: {code} {stderr}"
        );
    }
}
