//! How jobs in containers end, and what is left then.

use nixactions_harness::{
    CommandExt as _, Kind, Manager, SOON, Signal, bash, ended_within, on_managers, or_skip, with,
};
use serde_json::json;

use super::{NONE, left, nothing_is_left, nspawn::plan};

on_managers!(nothing_stays_however_the_job_ends on embedded, system_252, system_257, system_262);
on_managers!(a_job_that_is_asked_twice_to_end_still_cleans_up on system_252, system_257, system_262);
on_managers!(processes_of_a_step_do_not_outlive_it_in_control_groups_of_its_own on system_252, system_262);
on_managers!(a_cancel_at_any_moment_of_the_start_leaves_nothing on system_252, system_262);
on_managers!(a_stop_at_any_moment_of_the_start_ends_the_job on system_252, system_257, system_262);
on_managers!(a_container_that_does_not_start_is_the_reason on system_252, system_257, system_262);

fn nothing_stays_however_the_job_ends(manager: &Manager) {
    let begin = || {
        let jobs = json!({ "j": bash("touch here; sleep 1000") });
        let plan = plan(manager, json!({}), jobs).expect("it is a machine");
        let run = manager.start(&plan, &NONE);
        run.wait_for_file("j", "here");
        assert_ne!(left(manager), "", "the container runs");
        run
    };
    or_skip!(manager.image());
    let run = begin();
    run.signal_client(Signal::SIGINT);
    let finished = run.end().exits(130);
    assert_eq!(finished.verdict("j"), "cancelled/cancelled");
    finished.leaves_nothing(manager);
    nothing_is_left(manager);

    let run = begin();
    assert!(run.kill_runner("j"));
    let finished = run.end().exits(1);
    assert!(
        finished.reason("j").contains("SIGKILL"),
        "{}",
        finished.reason("j")
    );
    nothing_is_left(manager);

    let run = begin();
    manager.nixactions(&["cancel", "--kill", run.id()]).ok();
    run.end().exits(130);
    nothing_is_left(manager);

    if manager.kind() == Kind::Embedded {
        return;
    }
    // The main process is killed: systemd kills the rest.
    let run = begin();
    let unit = format!("nixactions-{}-j.service", run.id());
    manager
        .command(&[
            "systemctl",
            "kill",
            "--kill-whom=main",
            "--signal=KILL",
            &unit,
        ])
        .ok();
    run.end().exits(1);
    nothing_is_left(manager);
}

/// systemd-nspawn kills its container at the second signal.
fn a_job_that_is_asked_twice_to_end_still_cleans_up(manager: &Manager) {
    let wait = bash("touch here; sleep 1000");
    let clean =
        json!({ "bash": "touch cleaning; sleep 3; echo cleaned up", "condition": "always()" });
    let mut job = wait;
    job["steps"]
        .as_array_mut()
        .expect("it has steps")
        .push(clean);
    let plan = or_skip!(plan(manager, json!({}), json!({ "j": job })));
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("j", "here");
    let unit = format!("nixactions-{}-j.service", run.id());
    let ask = || {
        manager
            .command(&[
                "systemctl",
                "kill",
                "--kill-whom=main",
                "--signal=TERM",
                &unit,
            ])
            .ok()
    };
    ask();
    run.wait_for_file("j", "cleaning");
    ask();
    ask();
    let finished = run.end();
    let lines = finished.lines("j");
    assert!(lines.contains(&"cleaned up"), "{lines:?}");
}

fn processes_of_a_step_do_not_outlive_it_in_control_groups_of_its_own(manager: &Manager) {
    // Before the next step, the runner kills only the processes that a cancel leaves.
    let script = "mkdir /sys/fs/cgroup/own; setsid sh -c 'echo $$ >/sys/fs/cgroup/own/cgroup.procs; trap \"\" INT TERM; touch /var/tmp/there; while :; do sleep 1; done' & 
        until [ -e /var/tmp/there ]; do sleep 0.1; done; echo began=yes; sleep 1000";
    let mut job = with(bash(script), json!({}));
    job["steps"][0]["timeout"] = json!(5);
    job["steps"][0]["continueOnError"] = json!(true);
    let look = json!({ "bash": "echo left=$(cat /sys/fs/cgroup/own/cgroup.procs | wc -l)" });
    job["steps"]
        .as_array_mut()
        .expect("it has steps")
        .push(look);
    let plan = or_skip!(plan(manager, json!({}), json!({ "j": job })));
    let finished = manager.run(&plan, &NONE).exits(0);
    assert_eq!(finished.value("j", "began"), "yes");
    assert_eq!(finished.value("j", "left"), "0");
}

fn a_cancel_at_any_moment_of_the_start_leaves_nothing(manager: &Manager) {
    let plan = or_skip!(plan(manager, json!({}), json!({ "j": bash("sleep 1000") })));
    for delay in [0, 20, 40, 60, 80, 100, 130, 160, 200, 300] {
        let run = manager.start(&plan, &NONE);
        std::thread::sleep(std::time::Duration::from_millis(delay));
        run.signal_client(Signal::SIGINT);
        let finished = run.end().exits(130);
        assert!(
            finished.verdict("j").contains("cancelled"),
            "{}",
            finished.verdict("j")
        );
        nothing_is_left(manager);
    }
}

/// The kernel drops a signal for the first process of a container that does not catch it yet.
fn a_stop_at_any_moment_of_the_start_ends_the_job(manager: &Manager) {
    let names: Vec<_> = (0..12).map(|number| format!("j{number:02}")).collect();
    let mut jobs = serde_json::Map::new();
    for (number, name) in names.iter().enumerate() {
        let needs: Vec<_> = number
            .checked_sub(1)
            .map(|last| &names[last])
            .into_iter()
            .collect();
        let one_by_one = json!({ "needs": needs, "condition": "always()" });
        jobs.insert(name.clone(), with(bash("sleep 1000"), one_by_one));
    }
    let plan = or_skip!(plan(manager, json!({}), jobs.into()));
    let run = manager.start(&plan, &NONE);
    // The n-th job is asked to end n hundredths of a second after its control group is made.
    let stop = "run=$1; shift; delay=0
        for job; do
            unit=nixactions-$run-$job.service
            until [ -e /sys/fs/cgroup/nixactions.slice/*/$unit ]; do sleep 0.002; done
            sleep $(printf 0.%03d $delay); timeout 20 systemctl stop $unit || exit 1; delay=$((delay + 10))
        done";
    let mut argv = vec!["sh", "-c", stop, "stop", run.id()];
    argv.extend(names.iter().map(String::as_str));
    let mut stop = manager.command(&argv).spawn().expect("sh starts");
    let status = ended_within(&mut stop, 4 * SOON).expect("the stops end");
    assert!(status.success(), "a stop was lost");
    let finished = run.end();
    for name in &names {
        assert_eq!(
            finished.verdict(name),
            "failure/failure",
            "{name}: {:#}",
            finished.job(name)
        );
        let reason = finished.reason(name);
        assert!(!reason.contains("root file system"), "{name}: {reason}");
    }
    nothing_is_left(manager);
}

/// A program that stands for a systemd-nspawn that fails.
fn a_container_that_does_not_start_is_the_reason(manager: &Manager) {
    let image = or_skip!(manager.image()).display().to_string();
    let fake = "mv /usr/bin/systemd-nspawn /usr/bin/nspawn.away
        printf '#!/bin/sh\\necho first >&2; echo Failed to do it >&2; exit 1\\n' >/usr/bin/systemd-nspawn; chmod 755 /usr/bin/systemd-nspawn";
    manager.command(&["sh", "-ec", fake]).ok();
    let plan = plan(manager, json!({}), json!({ "j": bash("true") })).expect("there is an image");
    let finished = manager.run(&plan, &NONE).exits(1);
    let reason = finished.reason("j");
    assert!(
        reason.starts_with("its root file system: failed to run systemd-nspawn: ")
            && reason.contains("Failed to do it"),
        "{reason} ({image})"
    );
    assert_eq!(finished.job("j")["reasonCode"], "rootFailed");
    finished.leaves_nothing(manager);
}
