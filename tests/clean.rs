//! Runs that are over are removed, whatever became of them, and only those, at any moment.

use std::{
    fs::{self, File},
    path::Path,
    process::Stdio,
    time::{Duration, SystemTime},
};

use nixactions_harness::{CommandExt as _, Manager, bash, on_managers, with};
use serde_json::json;

on_managers!(clean_removes_finished_runs_only on embedded, system_252, user_262);
on_managers!(clean_removes_incomplete_and_lost_runs on embedded, system_252, user_262);
on_managers!(clean_at_any_moment_leaves_alone_what_goes_on on embedded, system_252, system_262, user_262);
on_managers!(clean_enters_no_directory_of_the_host_that_is_still_mounted on system_252, system_262);
on_managers!(clean_removes_a_workspace_deeper_than_any_path on embedded, system_252, user_262);

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
    let clean = |arguments: &[&str]| clean(manager, arguments);
    assert_eq!(clean(&["--older-than=1h"]), [""; 0]);
    assert_eq!(clean(&["--keep=2", "--dry-run"]), [first.as_str()]);
    assert!(manager.run_dir(&first).exists());
    assert_eq!(clean(&["--keep=2"]), [first.as_str()]);
    assert!(!manager.run_dir(&first).exists());
    assert_eq!(manager.refused(&["show", &first]).0, 2);
    // At once: a client returns when the manager of its run has ended.
    let mut rest = clean(&["--keep=0", "--older-than=0s"]);
    rest.sort();
    assert_eq!(rest, [second, other]);
    assert_eq!(manager.runs(), [going.id().to_owned()]);

    going.release("j", "go");
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
        (vec!["clean", "--older-than=soon"], "invalid age `soon`"),
        (vec!["clean", "--max-size=much"], "invalid size `much`"),
    ] {
        let (code, stderr) = manager.refused(&arguments);
        assert!(
            code == 2 && stderr.contains(said),
            "{arguments:?}: {code} {stderr}"
        );
    }
}

/// Lets a run look as if nothing had been heard of it for a minute.
fn age(run: &Path) {
    let events = File::options().write(true).open(run.join("events.jsonl"));
    let old = SystemTime::now() - Duration::from_secs(60);
    events
        .and_then(|file| file.set_modified(old))
        .expect("the run's directory is ours");
}

fn clean(manager: &Manager, arguments: &[&str]) -> Vec<String> {
    let mut argv = vec!["clean"];
    argv.extend(arguments);
    let text = manager.nixactions(&argv).ok();
    text.lines().map(str::to_owned).collect()
}

fn clean_removes_incomplete_and_lost_runs(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "over", "jobs": { "j": bash("true") } });
    let lost = manager.run(&plan, &[""; 0]).exits(0).id;
    let kept = manager.run(&plan, &[""; 0]).exits(0).id;
    fs::remove_file(manager.run_dir(&lost).join("record.json")).expect("it is ours");
    age(&manager.run_dir(&lost));
    manager.write(manager.state_dir().join("runs/over-3/shared/file"), "");
    let shown = manager.nixactions(&["list"]).ok();
    assert!(shown.contains("incomplete"), "{shown}");
    assert!(
        manager.run_dir(&lost).join("record.json").exists(),
        "`list` closes a lost run"
    );
    assert_eq!(clean(manager, &["--keep=2"]), ["over-3"]);
    assert_eq!(clean(manager, &["--keep=1", "--dry-run"]), [lost.as_str()]);
    assert_eq!(clean(manager, &["--keep=1"]), [lost.as_str()]);
    assert_eq!(clean(manager, &["--max-size=1G"]), [""; 0]);
    assert_eq!(clean(manager, &["--max-size=0"]), [kept.as_str()]);
    assert_eq!(manager.runs(), [""; 0]);
}

fn clean_at_any_moment_leaves_alone_what_goes_on(manager: &Manager) {
    let endless = json!({ "version": 1, "name": "goes-on", "jobs": {
        "j": bash("touch started; until [ -e stop ]; do sleep 0.05; done") } });
    let run = manager.detach(&endless, &[""; 0]);
    run.wait_for_file("j", "started");
    // Between the end of a supervisor and the start of the next, nobody holds the run's lock.
    for _ in 0..10 {
        age(&run.dir());
        run.kill_supervisor();
        assert_eq!(clean(manager, &["--keep=0"]), [""; 0]);
    }
    // At every point of a run's start.
    let quick =
        manager.plan(&json!({ "version": 1, "name": "quick", "jobs": { "j": bash("true") } }));
    let (mut removed, mut ended) = (Vec::new(), Vec::new());
    for number in 1..=5 {
        let argv = ["run".as_ref(), quick.as_os_str()];
        let mut client = manager
            .nixactions(&argv)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it can be started");
        while client
            .try_wait()
            .expect("a child can be waited for")
            .is_none()
        {
            removed.extend(clean(manager, &["--keep=0"]));
        }
        let output = client.wait_with_output().expect("it has ended");
        assert!(output.status.success(), "run {number}: {output:?}");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let (id, _) = said.split_once(':').expect("it begins with the run's id");
        ended.push(id.to_owned());
    }
    removed.extend(clean(manager, &["--keep=0"]));
    // A directory that its run does not hold yet may be removed too: the run takes another id then.
    for id in &ended {
        let times = removed.iter().filter(|other| *other == id).count();
        assert_eq!(times, 1, "{id}: {removed:?}");
    }
    run.release("j", "stop");
    let run = run.end();
    assert_eq!(run.record["conclusion"], "success", "{run}");
    assert_eq!(clean(manager, &["--keep=0"]), [run.id.as_str()]);
}

fn clean_removes_a_workspace_deeper_than_any_path(manager: &Manager) {
    let script =
        "python3 - <<'END' || perl -e 'for (1..6000) { mkdir(\"d\") && chdir(\"d\") or die }'
import os
for _ in range(6000):
    os.mkdir('d'); os.chdir('d')
END";
    let plan = json!({ "version": 1, "name": "deep", "jobs": { "j": bash(script) } });
    let run = manager.run(&plan, &[""; 0]).exits(0);
    assert_eq!(clean(manager, &["--keep=0"]), [run.id.as_str()]);
    assert_eq!(manager.runs(), [""; 0]);
}

/// A job may have bound the directory, and a killed supervisor may have left the mount.
fn clean_enters_no_directory_of_the_host_that_is_still_mounted(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "bound", "jobs": { "j": bash("true") } });
    let id = manager.run(&plan, &[""; 0]).exits(0).id;
    let run = manager
        .state_dir()
        .join("runs")
        .join(id)
        .display()
        .to_string();
    let make = "mkdir /srv/precious $0/left; echo precious > /srv/precious/file; mount --bind /srv/precious $0/left";
    manager.command(&["sh", "-ec", make, &run]).ok();
    let mut refused = manager.nixactions(&["clean", "--keep=0"]);
    let output = refused.output_within(nixactions_harness::SOON);
    manager.command(&["cat", "/srv/precious/file"]).ok();
    assert!(!output.status.success(), "{output:?}");
    // `clean` has moved the run out of sight.
    let unmount = r#"umount "$(awk '$5 ~ /left$/ { print $5 }' /proc/self/mountinfo)""#;
    manager.command(&["sh", "-ec", unmount]).ok();
    manager.nixactions(&["clean", "--keep=0"]).ok();
    manager.command(&["test", "!", "-e", &run]).ok();
    manager.command(&["cat", "/srv/precious/file"]).ok();
}
