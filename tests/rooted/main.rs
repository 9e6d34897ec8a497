//! Jobs with a root file system of their own, in both ways: under a plain unit (`systemd`) and in a
//! container (`nspawn`).

mod both;
mod builders;
mod ends;
mod ids;
mod nspawn;
mod shared;
mod store;
mod systemd;

use std::process::Command;

use nixactions_harness::{CommandExt as _, Finished, Kind, Manager, SOON, Skip, wait_for, with};
use serde_json::{Value, json};

const NONE: [&str; 0] = [];
/// The types of executors with a root file system of their own.
const WAYS: [&str; 2] = ["systemd", "nspawn"];

/// Returns a plan of these jobs, which run in the image in this way.
fn plan(manager: &Manager, way: &str, executor: Value, jobs: Value) -> Result<Value, Skip> {
    let root = json!({ "type": way, "root": manager.image()? });
    let mut plan = json!({
        "version": 1, "name": "boxed", "executors": { "box": with(root, executor) }, "jobs": jobs
    });
    for job in plan["jobs"].as_object_mut().into_iter().flatten() {
        job.1["executor"] = json!("box");
    }
    Ok(plan)
}

fn has_no_leak(finished: &Finished, job: &str) {
    let leaks: Vec<_> = finished
        .lines(job)
        .into_iter()
        .filter(|line| line.contains("LEAK"))
        .collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
}

/// Returns a digest of names, modes, owners, sizes and times below the image.
fn digest(manager: &Manager) -> String {
    let image = manager.image().expect("it was there").display().to_string();
    let script = "cd $1 && find etc usr/bin var/lib . -xdev -maxdepth 2 -printf '%p %m %U %G %s %T@ %C@\\n' | LC_ALL=C sort | sha256sum";
    manager
        .command(&["sh", "-c", script, "digest", &image])
        .ok()
}

/// Makes a small root file system below the manager's directory, with these programs of the image.
fn small_root(manager: &Manager, name: &str, programs: &str) -> String {
    let root = manager.dir().join(name).display().to_string();
    let script = "mkdir -p $1/bin; cd /; mount -t tmpfs -o mode=755 tmpfs $1; mkdir $1/bin
        for program in $2; do
            cp -L /bin/$program $1/bin/
            ldd /bin/$program | grep -o '/[^ ]*' | while read -r library; do mkdir -p $1${library%/*}; cp -L $library $1$library; done
        done";
    manager
        .command(&["bash", "-euc", script, "small", &root, programs])
        .ok();
    root
}

/// Returns a command that asks the manager itself.
fn inside(manager: &Manager, argv: &[&str]) -> Command {
    let of_host = manager.kind() == Kind::Embedded;
    let private = manager.private_managers();
    match private.last().filter(|_| of_host) {
        None => manager.command(argv),
        Some(pid) => {
            let mut command = Command::new("nsenter");
            let pid = pid.to_string();
            command.args(["--target", &pid, "--all"]).args(argv);
            command
        }
    }
}

/// Panics unless no root file system of a job is mounted where the manager is.
fn is_unmounted(manager: &Manager) {
    let state = manager.state_dir().display().to_string();
    wait_for(SOON, "the root file systems to be unmounted", || {
        // Their mount points alone: a machine's own root is an overlay over a directory `roots`.
        // And of this manager alone: another test's may be taken for it, as both see the host's
        // mounts.
        let points = inside(manager, &["cut", "-d ", "-f5", "/proc/1/mountinfo"]).ok();
        let is_root = |point: &str| point.starts_with(&state) && point.contains("/roots/");
        (!points.lines().any(is_root)).then_some(())
    });
}

/// Returns the mounts and processes of this manager's containers, in all namespaces, and the files
/// of systemd-nspawn on the host.
fn left(manager: &Manager) -> String {
    let state = manager.state_dir().display().to_string();
    let look = "cat /proc/[0-9]*/mountinfo 2>/dev/null | cut -d' ' -f5 | grep \"^$1/.*/roots/\"
        pgrep -af \"[s]ystemd-nspawn --quiet.*$1/\"
        find /run/systemd/nspawn -name \"*boxed-*\" 2>/dev/null; true";
    manager.command(&["sh", "-c", look, "look", &state]).ok()
}

/// Panics unless nothing of a root file system or a container is left where the manager is.
fn nothing_is_left(manager: &Manager) {
    is_unmounted(manager);
    wait_for(SOON, "the containers to be gone", || {
        left(manager).is_empty().then_some(())
    });
}
