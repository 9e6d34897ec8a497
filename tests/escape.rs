//! The escape suite: a step that plays each attack on its runner, on other jobs and on the machine,
//! and reports each; and what a job may do to its own processes.
#![cfg(target_arch = "x86_64")]

#[path = "escape/full.rs"]
mod full;
#[path = "services/image.rs"]
mod image;

use std::sync::atomic::{AtomicU32, Ordering};

use nixactions_harness::{Finished, Manager, bash, on_managers, on_shared_managers, or_skip, with};
use serde_json::{Value, json};

on_shared_managers!(
    a_strict_job_escapes_by_no_attack,
    a_relaxed_job_escapes_by_no_attack,
    a_job_may_trace_its_own,
);
on_managers!(a_job_that_signals_all_reaches_its_own_only on embedded_257, system_252, system_262, user_262);
on_managers!(a_job_of_an_older_users_manager_escapes_by_no_attack on user_252, user_257);
on_managers!(root_in_a_container_escapes_by_no_attack on embedded, embedded_262, system_252, system_257, system_262);
on_managers!(root_in_a_service_escapes_by_no_attack on embedded, system_252, system_257, system_262);
on_managers!(jobs_in_a_shared_container_escape_by_no_attack on embedded, embedded_262, system_252, system_257, system_262);
on_managers!(a_job_in_a_root_escapes_by_no_attack on embedded, embedded_262, system_252, system_257, system_262);

const NONE: [&str; 0] = [];

/// The least number of attacks, so that a mistake in the script loses none.
const ATTACKS: usize = 90;

fn a_strict_job_escapes_by_no_attack(manager: &Manager) {
    attack(manager, "strict");
}

fn a_relaxed_job_escapes_by_no_attack(manager: &Manager) {
    attack(manager, "relaxed");
}

fn a_job_of_an_older_users_manager_escapes_by_no_attack(manager: &Manager) {
    attack(manager, "strict");
    attack(manager, "relaxed");
}

/// In a root file system of its own, files are the job's own, and it may write to all of them.
const OF_ROOT: [&str; 9] = [
    "FELL files: /etc/shadow is read",
    "FELL files: / is written to",
    "FELL files: /etc is written to",
    "FELL files: /usr/bin is written to",
    "FELL files: /var/lib is written to",
    "FELL files: /run is written to",
    "FELL files: /boot is written to",
    "FELL files: /opt is written to",
    "FELL files: homes are listed",
];

fn a_job_in_a_root_escapes_by_no_attack(manager: &Manager) {
    let image = or_skip!(manager.image());
    let shadow = manager.file(image.join("etc/shadow"));
    let before = std::fs::read(&shadow).expect("an image has it");
    for level in ["strict", "relaxed"] {
        let executor = json!({ "type": "systemd", "sandbox": level, "root": image });
        let fell = fell(manager, &executor);
        let not_own: Vec<_> = fell
            .iter()
            .filter(|line| !OF_ROOT.contains(&line.as_str()))
            .collect();
        assert!(not_own.is_empty(), "{level}: {not_own:#?}");
        assert_eq!(fell.len(), OF_ROOT.len(), "{level}: {fell:#?}");
    }
    let after = std::fs::read(&shadow).expect("it is still there");
    assert!(before == after && !manager.file(image.join("probe")).exists());
}

/// In a container, root may use its capabilities and the container's own control groups. It may
/// count the files that its runner has open, and open none.
const OF_CONTAINER: [&str; 10] = [
    "FELL runner: what it has open is listed",
    "FELL cgroup: one is made",
    "FELL cgroup: it is left",
    "FELL cgroup: a deeper one is made",
    "FELL cgroup: it is left for a deeper one",
    "FELL cgroup: cgroup.kill of another is opened",
    "FELL cgroup: cgroup.freeze of another is opened",
    "FELL call: chroot",
    "FELL call: setuid",
    "FELL privileges: it has any",
];

fn root_in_a_container_escapes_by_no_attack(manager: &Manager) {
    let image = or_skip!(manager.image());
    let shadow = manager.file(image.join("etc/shadow"));
    let before = std::fs::read(&shadow).expect("an image has it");
    let fell = fell(manager, &json!({ "type": "nspawn", "root": image }));
    let own = |line: &str| OF_ROOT.contains(&line) || OF_CONTAINER.contains(&line);
    let not_own: Vec<_> = fell.iter().filter(|line| !own(line)).collect();
    assert!(not_own.is_empty(), "{not_own:#?}");
    let after = std::fs::read(&shadow).expect("it is still there");
    assert!(before == after && !manager.file(image.join("probe")).exists());
}

/// The service is of an image whose programs begin as root.
fn root_in_a_service_escapes_by_no_attack(manager: &Manager) {
    let root = or_skip!(manager.image());
    let shadow = manager.file(root.join("etc/shadow"));
    let before = std::fs::read(&shadow).expect("an image has it");
    let root = root.display().to_string();
    let image = image::image(manager, &root, "true", &json!({ "Env": [] }));
    let (script, socket) = attacks();
    let attacks = format!("{script} && touch /done; exec sleep 1000");
    let health = json!({ "run": ["test", "-e", "/done"], "interval": 0.2, "retries": 600 });
    let service =
        json!({ "image": { "oci": image }, "run": ["bash", "-c", attacks], "health": health });
    let evil = with(bash("true"), json!({ "services": { "root": service } }));
    let run = played(manager, &json!({ "type": "systemd" }), evil, &socket);
    let events = run.events.iter().map(|event| &event["event"]);
    let lines = events.filter(|event| event["service"] == "root" && event["type"] == "log");
    let fell = judged(lines.filter_map(|event| event["message"].as_str()));
    let own = |line: &str| OF_ROOT.contains(&line) || OF_CONTAINER.contains(&line);
    let not_own: Vec<_> = fell.iter().filter(|line| !own(line)).collect();
    assert!(not_own.is_empty(), "{not_own:#?}");
    let after = std::fs::read(&shadow).expect("it is still there");
    assert!(before == after && !manager.file("/probe").exists());
}

/// The jobs share users and files, and no more rights than a job alone has.
fn jobs_in_a_shared_container_escape_by_no_attack(manager: &Manager) {
    let image = or_skip!(manager.image());
    let shadow = manager.file(image.join("etc/shadow"));
    let before = std::fs::read(&shadow).expect("an image has it");
    for way in ["systemd", "nspawn"] {
        let executor = json!({ "type": way, "root": image, "mode": "shared" });
        let fell = fell(manager, &executor);
        let own =
            |line: &str| OF_ROOT.contains(&line) || way == "nspawn" && OF_CONTAINER.contains(&line);
        let not_own: Vec<_> = fell.iter().filter(|line| !own(line)).collect();
        assert!(not_own.is_empty(), "{way}: {not_own:#?}");
    }
    let after = std::fs::read(&shadow).expect("it is still there");
    assert!(before == after && !manager.file(image.join("probe")).exists());
}

fn attack(manager: &Manager, level: &str) {
    let fell = fell(manager, &json!({ "type": "systemd", "sandbox": level }));
    assert!(fell.is_empty(), "{fell:#?}");
}

/// Returns the script that plays the attacks, and the name of the socket of the job beside.
fn attacks() -> (String, String) {
    // Several runs at once, on one network, need sockets of different names.
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let socket = format!("nixactions-escape-{}-{number}", std::process::id());
    let script = include_str!("escape/attacks.pl").replace("nixactions-escape", &socket);
    let script = format!("cat > attacks.pl <<'END'\n{script}\nEND\nperl attacks.pl $PPID");
    (script, socket)
}

/// Plays the attacks in jobs of this executor. Returns those that came through.
fn fell(manager: &Manager, executor: &Value) -> Vec<String> {
    let (script, socket) = attacks();
    let run = played(manager, executor, bash(&script), &socket);
    judged(run.lines("evil").into_iter())
}

/// Runs a job with the attacks, beside others of this executor.
fn played(manager: &Manager, executor: &Value, evil: Value, socket: &str) -> Finished {
    let listen = "perl -MSocket -e 'socket(S, PF_UNIX, SOCK_STREAM, 0) && bind(S, pack_sockaddr_un(\"\\0nixactions-escape\")) \
        && listen(S, 1) or die $!; open(F, \">listening\"); close F; for (1 .. 600) { exit if -e \"../../stop\"; select(undef, undef, undef, 0.05) }'"
        .replace("nixactions-escape", socket);
    let plan = json!({ "version": 1, "name": "escape", "maxParallel": 2,
        "executors": { "it": executor },
        "jobs": {
            "need": with(bash("echo thing > thing"), json!({ "executor": "it", "outputs": { "thing": "thing" } })),
            "busy": with(bash(&listen), json!({ "executor": "it" })),
            "evil": with(evil, json!({ "executor": "it", "needs": ["need"], "inputs": ["thing"] })),
        } });
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("busy", "listening");
    run.wait_for_event("jobFinished", Some("evil"));
    std::fs::write(run.dir().join("jobs/busy/stop"), "").expect("the run directory is ours");
    run.end().exits(0)
}

/// Returns the attacks that came through, by what the script said.
fn judged<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<String> {
    let (held, mut fell): (Vec<String>, Vec<String>) = lines
        .map(str::to_owned)
        .partition(|line| line.starts_with("HELD "));
    let last = fell.pop().unwrap_or_default();
    assert!(last.starts_with("END "), "{fell:#?} {last}");
    let count = held.len() + fell.len();
    assert!(count >= ATTACKS, "{count} attacks");
    fell
}

fn a_job_may_trace_its_own(manager: &Manager) {
    // A child that is attached to, as gdb, strace and the leak check of AddressSanitizer do.
    let trace = "perl -e 'my $child = fork(); if (!$child) { sleep 5; exit } \
        syscall(101, 16, $child, 0, 0) == 0 or die \"attach: $!\"; waitpid($child, 0); print \"traced\\n\"; kill(9, $child)'";
    let plan = json!({ "version": 1, "name": "traces", "jobs": { "j": bash(trace) } });
    let run = manager.run(&plan, &NONE).exits(0);
    assert_eq!(run.lines("j"), ["traced"], "{run}");
}

/// Nothing else of the user's is to end: the client, the supervisor, the manager.
fn a_job_that_signals_all_reaches_its_own_only(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "all", "maxParallel": 2, "jobs": {
        "evil": bash("sleep 1000 & kill -9 -1; sleep 0.5; exit 1"),
        "beside": bash("sleep 2; echo alive"),
    } });
    let run = manager.run(&plan, &NONE).exits(1);
    assert_eq!(run.lines("beside"), ["alive"], "{run}");
    assert_eq!(run.verdict("evil"), "failure/failure", "{run}");
    let next = json!({ "version": 1, "name": "next", "jobs": { "j": bash("echo on") } });
    assert_eq!(manager.run(&next, &NONE).exits(0).lines("j"), ["on"]);
}
