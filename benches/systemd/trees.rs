//! What large trees cost: workspaces over a source tree, and artifacts between jobs, against `cp -a` of the same on the same disk.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use crate::{
    DISK, PROGRAM,
    inside::{in_turns, millis, report, seconds, timed},
};

/// How often each side is measured: a copy of a gigabyte takes seconds.
const ROUNDS: usize = 3;
/// The jobs among which the cost of a workspace is divided.
const JOBS: usize = 8;
/// A tree of one gigabyte.
const FILES: usize = 50_000;
const FILE_SIZE: usize = 20 << 10;

/// Measures what a workspace costs a job: by the difference of a run of many jobs to a run of one.
pub fn workspace() {
    let (large, small) = (format!("{DISK}/large"), format!("{DISK}/small"));
    tree(&large, FILES);
    tree(&small, 300);
    let (ours, theirs) = in_turns(ROUNDS, || a_job(&large), || copy(&large));
    report("a job's workspace of 50,000 files and 1 GB against cp -a", millis(ours), seconds(theirs), ours / theirs, 0.05);
    let (ours, theirs) = in_turns(ROUNDS, || a_job(&large), || a_job(&small));
    report("the same against one of 300 files", millis(ours), millis(theirs), ours / theirs, 1.5);
    let (ours, theirs) = in_turns(ROUNDS, || run(&jobs(1), Some(&large)), || copy(&large));
    report("the run's own copy of that tree, with a job, against cp -a", seconds(ours), seconds(theirs), ours / theirs, 1.0);
}

/// Measures an artifact of one gigabyte from one job to the next: by the difference to the same jobs without it.
pub fn artifact() {
    let bare = pass(false);
    let ours = || run(&pass(true), None) - run(&bare, None);
    let file = format!("{DISK}/file");
    timed(Command::new("dd").args(["if=/dev/zero", &format!("of={file}"), "bs=1M", "count=1024", "status=none"]));
    let (ours, theirs) = in_turns(ROUNDS, ours, || copy(&file));
    report("an artifact of 1 GB saved and restored, rate against cp -a", seconds(ours), seconds(theirs), theirs / ours, 0.8);
}

/// Returns what one more job costs over a source tree.
fn a_job(source: &str) -> f64 {
    let one = run(&jobs(1), Some(source));
    (run(&jobs(JOBS + 1), Some(source)) - one) / JOBS as f64
}

/// Makes a tree of that many files, all in all of their size.
fn tree(root: &str, files: usize) {
    let content = vec![b'x'; FILE_SIZE];
    for file in 0..files {
        let directory = format!("{root}/{}/{}", file % 50, file / 50 % 20);
        if file < 1000 {
            fs::create_dir_all(&directory).expect("the disk is writable");
        }
        fs::write(format!("{directory}/{file}"), &content).expect("the disk has room");
    }
}

/// Returns a chain of jobs, so that nothing of their cost is hidden by running side by side.
fn jobs(count: usize) -> Value {
    let needs = |job: usize| if job == 0 { json!([]) } else { json!([format!("j{}", job - 1)]) };
    let job = |job: usize| (format!("j{job}"), json!({ "needs": needs(job), "steps": [{ "run": ["true"] }] }));
    json!({ "version": 1, "name": "trees", "jobs": (0..count).map(job).collect::<serde_json::Map<_, _>>() })
}

fn pass(with_artifact: bool) -> Value {
    let steps = json!([{ "run": ["dd", "if=/dev/zero", "of=large", "bs=1M", "count=1024", "status=none"] }]);
    let (outputs, inputs) = if with_artifact { (json!({ "large": "large" }), json!(["large"])) } else { (json!({}), json!([])) };
    let executor = json!({ "type": "systemd", "copyRepo": false });
    json!({ "version": 1, "name": "pass", "executors": { "e": executor }, "jobs": {
        "make": { "executor": "e", "outputs": outputs, "steps": steps },
        "take": { "executor": "e", "needs": ["make"], "inputs": inputs, "steps": [{ "run": ["true"] }] } } })
}

/// Returns how long a run takes; what it left is removed, so that the next finds as much room.
fn run(plan: &Value, source: Option<&str>) -> f64 {
    let path = "/tmp/trees.json";
    fs::write(path, plan.to_string()).expect("/tmp is writable");
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--manager", "system", "--state-dir", &format!("{DISK}/state"), path]).current_dir("/tmp");
    command.args(source.map(|source| format!("--source={source}")));
    let time = timed(&mut command);
    remove("state");
    time
}

/// Returns how long `cp -a` takes.
fn copy(from: &str) -> f64 {
    let time = timed(Command::new("cp").args(["-a", from, &format!("{DISK}/copy")]));
    remove("copy");
    time
}

/// Removes what lies there, and lets the disk come to rest before the next measurement.
fn remove(name: &str) {
    let path = Path::new(DISK).join(name);
    fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)).expect("it is ours");
    timed(&mut Command::new("sync"));
}
