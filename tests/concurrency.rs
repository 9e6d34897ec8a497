//! Concurrency groups: one run at a time, one that waits, across clients, managers and deaths of
//! supervisors.

use std::fs;

use nixactions_harness::{
    CommandExt as _, Kind, Manager, RUN_DEADLINE, Run, SOON, Signal, bash, on_managers,
    on_shared_managers, wait_for,
};
use serde_json::{Value, json};

on_shared_managers!(
    one_run_of_a_group_goes_on_one_waits_and_a_newer_one_replaces_it,
    cancel_in_progress_cancels_the_run_that_goes_on,
    a_group_stays_with_its_run_while_the_supervisor_is_restarted,
    a_run_that_waits_can_be_cancelled,
    a_detached_run_has_its_place_when_its_id_is_printed,
);
on_managers!(a_superseded_run_says_so_after_its_supervisors_death on embedded, system_252, system_262);
on_managers!(a_held_queue_starves_no_watchdog on system_252, system_262);
on_managers!(a_manager_that_is_killed_gives_the_group_back on embedded, embedded_262);

const NONE: [&str; 0] = [];

/// Returns a plan whose job waits to be let go.
fn plan(group: &str, cancel: bool) -> Value {
    let job = bash("touch started; until [ -e go ]; do sleep 0.05; done");
    let always =
        json!({ "needs": ["j"], "condition": "always()", "steps": [{ "bash": "echo cleaned" }] });
    json!({ "version": 1, "name": group, "concurrency": { "group": group, "cancelInProgress": cancel }, "jobs": { "j": job, "always": always } })
}

fn let_go(run: &Run<'_>) {
    run.wait_for_file("j", "started");
    run.release("j", "go");
}

fn has_entered(run: &Run<'_>) -> bool {
    run.events()
        .iter()
        .any(|event| event["event"]["type"] == "groupEntered")
}

fn one_run_of_a_group_goes_on_one_waits_and_a_newer_one_replaces_it(manager: &Manager) {
    let plan = plan("one-at-a-time", false);
    let first = manager.detach(&plan, &NONE);
    first.wait_for_file("j", "started");
    let second = manager.start(&plan, &NONE);
    let event = second.wait_for_event("groupWaiting", None);
    assert_eq!(
        (
            event["event"]["group"].as_str(),
            event["event"]["heldBy"].as_str()
        ),
        (Some("one-at-a-time"), Some(first.id()))
    );
    let sentence = format!("waiting for group `one-at-a-time`, held by {}", first.id());
    let listed = manager.nixactions(&["list", "--json"]).json();
    let listed = listed
        .as_array()
        .into_iter()
        .flatten()
        .find(|row| row["run"] == second.id())
        .expect("it is listed");
    assert_eq!(
        (listed["state"].as_str(), listed["waitsFor"].as_str()),
        (Some("waiting"), Some(first.id()))
    );
    let shown = manager.nixactions(&["show", second.id()]).ok();
    assert!(shown.contains(&sentence), "{shown}");
    if manager.kind() != Kind::Embedded {
        let status = [
            "show",
            "--property=StatusText",
            "--value",
            &format!("nixactions-{}.service", second.id()),
        ];
        wait_for(SOON, "the status", || {
            (manager.systemctl(&status).ok().trim() == sentence).then_some(())
        });
    }

    let third = manager.detach(&plan, &NONE);
    let second = second.end().exits(130);
    let replaced = format!("replaced by {}", third.id());
    assert_eq!(
        (
            second.record["conclusion"].as_str(),
            second.record["reason"].as_str()
        ),
        (Some("cancelled"), Some(replaced.as_str()))
    );
    assert_eq!(
        (second.verdict("j"), second.reason("j")),
        ("cancelled/cancelled".to_owned(), replaced.as_str()),
        "{second}"
    );
    assert_eq!(
        (
            second.verdict("always"),
            second.job("always")["attempts"].as_u64()
        ),
        ("cancelled/cancelled".to_owned(), Some(0))
    );
    second.leaves_nothing(manager);

    third.wait_for_event("groupWaiting", None);
    assert!(!has_entered(&third));
    let_go(&first);
    let first = first.end();
    assert_eq!(first.record["conclusion"], "success", "{first}");
    let_go(&third);
    let third = third.end();
    assert_eq!(third.record["conclusion"], "success", "{third}");
    let time = |value: &Value| value.as_str().expect("a time").to_owned();
    assert!(
        time(&first.record["finishedAt"]) <= time(&third.job("j")["startedAt"]),
        "{first}{third}"
    );
}

fn cancel_in_progress_cancels_the_run_that_goes_on(manager: &Manager) {
    let plan = plan("in-progress", true);
    let first = manager.start(&plan, &NONE);
    first.wait_for_file("j", "started");
    let second = manager.detach(&plan, &NONE);
    let first = first.end().exits(130);
    let reason = format!(
        "cancelled by {}, which is next in its concurrency group",
        second.id()
    );
    assert_eq!(
        (
            first.record["conclusion"].as_str(),
            first.record["reason"].as_str()
        ),
        (Some("cancelled"), Some(reason.as_str()))
    );
    // It had begun, and so cleans up.
    assert_eq!(
        (first.verdict("j"), first.lines("always")),
        ("cancelled/cancelled".to_owned(), vec!["cleaned"]),
        "{first}"
    );
    let_go(&second);
    let second = second.end();
    assert_eq!(second.record["conclusion"], "success", "{second}");
}

fn a_group_stays_with_its_run_while_the_supervisor_is_restarted(manager: &Manager) {
    let plan = plan("restarted", false);
    let first = manager.detach(&plan, &NONE);
    first.wait_for_file("j", "started");
    let second = manager.detach(&plan, &NONE);
    second.wait_for_event("groupWaiting", None);
    let supervisors = |run: &Run<'_>| {
        run.events()
            .iter()
            .filter(|event| event["event"]["type"] == "supervisorStarted")
            .count()
    };
    for round in 2..4 {
        // That of the run that waits too: it keeps its place.
        for run in [&first, &second] {
            run.kill_supervisor();
            wait_for(RUN_DEADLINE, "another supervisor", || {
                (supervisors(run) == round).then_some(())
            });
        }
        assert!(!has_entered(&second), "{:#?}", second.events());
    }
    let_go(&first);
    let first = first.end();
    assert_eq!(
        (first.record["conclusion"].as_str(), first.verdict("j")),
        (Some("success"), "success/success".to_owned()),
        "{first}"
    );
    let_go(&second);
    let second = second.end();
    assert_eq!(second.record["conclusion"], "success", "{second}");
    second.leaves_nothing(manager);
}

fn a_run_that_waits_can_be_cancelled(manager: &Manager) {
    let plan = plan("left", false);
    let first = manager.detach(&plan, &NONE);
    first.wait_for_file("j", "started");
    let second = manager.start(&plan, &NONE);
    second.wait_for_event("groupWaiting", None);
    manager.nixactions(&["cancel", second.id()]).ok();
    let second = second.end().exits(130);
    assert_eq!(
        (second.verdict("j"), second.reason("j")),
        ("cancelled/cancelled".to_owned(), "the run was cancelled"),
        "{second}"
    );
    assert_eq!(
        (second.verdict("always"), second.lines("always")),
        ("cancelled/cancelled".to_owned(), vec![]),
        "{second}"
    );
    second.leaves_nothing(manager);
    let_go(&first);
    let first = first.end();
    assert_eq!(first.record["conclusion"], "success", "{first}");
    // Nobody waits for one that has left.
    let third = manager.detach(&plan, &NONE);
    let_go(&third);
    let third = third.end();
    assert_eq!(third.record["conclusion"], "success", "{third}");
}

fn a_manager_that_is_killed_gives_the_group_back(manager: &Manager) {
    let plan = plan("killed", false);
    let first = manager.detach(&plan, &NONE);
    first.wait_for_file("j", "started");
    let killed = *manager.private_managers().last().expect("it has a manager");
    let second = manager.detach(&plan, &NONE);
    second.wait_for_event("groupWaiting", None);
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(killed), Signal::SIGKILL)
        .expect("it is ours");
    let_go(&second);
    let second = second.end();
    assert_eq!(second.record["conclusion"], "success", "{second}");
}

/// Somebody who changes the group holds its queue for longer than the watchdog's time.
fn a_held_queue_starves_no_watchdog(manager: &Manager) {
    let dir = manager.file(manager.state_dir().join("concurrency/slow"));
    fs::create_dir_all(&dir).expect("it is ours");
    manager.drop_in("nixactions-queued-1.service", "WatchdogSec=2s");
    let queue = fs::File::create(dir.join("queue")).expect("it is ours");
    let lock = nix::libc::flock {
        l_type: nix::libc::F_WRLCK as i16,
        l_whence: nix::libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    nix::fcntl::fcntl(&queue, nix::fcntl::FcntlArg::F_OFD_SETLK(&lock)).expect("it is free");
    let plan = json!({ "version": 1, "name": "queued", "concurrency": { "group": "slow" },
        "jobs": { "j": bash("true") } });
    let run = manager.start(&plan, &NONE);
    wait_for(SOON, "its supervisor", || {
        run.dir().join("supervisor.lock").exists().then_some(())
    });
    // Longer than twice the time.
    std::thread::sleep(std::time::Duration::from_secs(5));
    let unit = "nixactions-queued-1.service";
    let restarts = manager
        .systemctl(&["show", "--property=NRestarts,ActiveState", unit])
        .ok();
    let lines: Vec<&str> = restarts.lines().collect();
    assert!(lines.contains(&"NRestarts=0"), "{restarts}");
    assert!(
        lines.contains(&"ActiveState=activating") || lines.contains(&"ActiveState=active"),
        "{restarts}"
    );
    drop(queue);
    run.end().exits(0);
}

fn a_superseded_run_says_so_after_its_supervisors_death(manager: &Manager) {
    let mut held = plan("superseded", true);
    held["jobs"]["j"]["steps"][0]["bash"] =
        json!("trap '' INT TERM; touch started; until [ -e go ]; do sleep 0.05; done");
    let first = manager.detach(&held, &NONE);
    first.wait_for_file("j", "started");
    let second = manager.detach(&plan("superseded", true), &NONE);
    first.wait_for_event("cancelRequested", None);
    assert!(first.kill_supervisor(), "it has a supervisor");
    wait_for(SOON, "the next supervisor", || {
        let started = |event: &&Value| event["event"]["type"] == "supervisorStarted";
        (first.events().iter().filter(started).count() == 2).then_some(())
    });
    first.release("j", "go");
    let first = first.end();
    assert_eq!(first.record["conclusion"], "cancelled", "{first}");
    assert_eq!(first.record["reasonCode"], "superseded", "{first}");
    let_go(&second);
    assert_eq!(second.end().record["conclusion"], "success");
}

fn a_detached_run_has_its_place_when_its_id_is_printed(manager: &Manager) {
    let plan = plan("in-order", false);
    let first = manager.detach(&plan, &NONE);
    assert!(has_entered(&first));
    let second = manager.detach(&plan, &NONE);
    let waits = |event: &Value| event["event"]["type"] == "groupWaiting";
    assert!(second.events().iter().any(waits));
    assert!(!has_entered(&second));
    for run in [first, second] {
        let_go(&run);
        assert_eq!(run.end().record["conclusion"], "success");
    }
}
