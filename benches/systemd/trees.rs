//! Measures large trees: workspaces over a source tree, and artifacts between jobs. The peer is `cp
//! -a` of the same files on the same disk.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::{
    DISK, PROGRAM,
    measure::{in_turns, millis, report, seconds, timed},
};

/// The state directory, on the same disk.
const STATE: &str = "/srv/disk/state";
/// The number of measurements of each side. A copy of a gigabyte takes seconds.
const ROUNDS: usize = 3;
/// The number of jobs over which the cost of a workspace is averaged.
const JOBS: usize = 8;
/// The files of a tree of one gigabyte.
const FILES: usize = 50_000;
const FILE_SIZE: usize = 20 << 10;

/// Measures the cost of a job's workspace by the times in the record.
pub fn workspace() {
    let (large, small) = (format!("{DISK}/large"), format!("{DISK}/small"));
    tree(&large, FILES);
    tree(&small, 300);
    let (ours, theirs, ratio) = in_turns(ROUNDS, || a_job(&large), || copy(&large));
    report(
        "a job's workspace of 50,000 files and 1 GB against cp -a",
        millis(ours),
        seconds(theirs),
        ratio,
        0.05,
    );
    let (ours, theirs, ratio) = in_turns(ROUNDS, || a_job(&large), || a_job(&small));
    report(
        "the same against one of 300 files",
        millis(ours),
        millis(theirs),
        ratio,
        1.5,
    );
    let one = jobs(1);
    let (ours, theirs, ratio) = in_turns(ROUNDS, || own_copy(&one, &large), || copy(&large));
    report(
        "the run's own copy of that tree, with a job, against cp -a",
        seconds(ours),
        seconds(theirs),
        ratio,
        1.0,
    );
}

/// Makes a git repository of small files. Returns its directory.
pub fn repository(files: usize) -> PathBuf {
    let directory = PathBuf::from("/tmp/repository");
    fs::create_dir_all(&directory).expect("/tmp is writable");
    for number in 0..files {
        let text = format!("text {number}\n").repeat(50);
        fs::write(directory.join(format!("{number}.txt")), text).expect("/tmp is writable");
    }
    let commit =
        "git init -q . && git add . && git -c user.name=t -c user.email=t@t commit -qm one";
    timed(
        Command::new("sh")
            .args(["-ec", commit])
            .current_dir(&directory),
    );
    directory
}

/// Measures the transfer of an artifact of one gigabyte between two jobs, by the times in the
/// record. The first part lasts from the end of the step that makes the artifact to the end of its
/// job. The second part lasts from the start of the next job to the start of its step.
pub fn artifact() {
    let ours = || {
        let record = run(&pass(), None);
        let step = |job: &str, time: &str| at(&record["jobs"][job]["steps"][0][time]);
        let job = |job: &str, time: &str| at(&record["jobs"][job][time]);
        (job("make", "finishedAt") - step("make", "finishedAt"))
            + (step("take", "startedAt") - job("take", "startedAt"))
    };
    let file = format!("{DISK}/file");
    // Write the file anew before each copy, as the job does.
    let theirs = || {
        timed(Command::new("dd").args([
            "if=/dev/zero",
            &format!("of={file}"),
            "bs=1M",
            "count=1024",
            "status=none",
        ]));
        let time = timed(Command::new("cp").args(["-a", &file, &format!("{DISK}/copy")]));
        remove("copy");
        remove("file");
        time
    };
    let (ours, theirs, ratio) = in_turns(ROUNDS, ours, theirs);
    report(
        "an artifact of 1 GB saved and restored, rate against cp -a",
        seconds(ours),
        seconds(theirs),
        1.0 / ratio,
        0.8,
    );
}

/// Returns the time of a run of a plan over a source tree.
fn own_copy(plan: &Value, source: &str) -> f64 {
    let time = timed(&mut client(plan, Some(source)));
    remove("state");
    time
}

/// Returns the cost of a job over a source tree, from the end of the job before to its own end.
fn a_job(source: &str) -> f64 {
    let record = run(&jobs(JOBS + 1), Some(source));
    let end = |job: usize| at(&record["jobs"][format!("j{job}")]["finishedAt"]);
    (end(JOBS) - end(0)) / JOBS as f64
}

/// Returns a time of the record in seconds.
fn at(time: &Value) -> f64 {
    let time: Timestamp = time
        .as_str()
        .and_then(|text| text.parse().ok())
        .expect("the record has this time");
    time.as_microsecond() as f64 / 1e6
}

/// Makes a tree of `files` files, each of `FILE_SIZE` bytes.
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

/// Returns a chain of jobs, so that no job hides its cost by running beside another. The first job
/// syncs the disk.
fn jobs(count: usize) -> Value {
    let needs = |job: usize| {
        if job == 0 {
            json!([])
        } else {
            json!([format!("j{}", job - 1)])
        }
    };
    let step = |job: usize| {
        if job == 0 && count > 1 {
            "sync"
        } else {
            "true"
        }
    };
    let job = |job: usize| {
        (
            format!("j{job}"),
            json!({ "needs": needs(job), "steps": [{ "run": [step(job)] }] }),
        )
    };
    json!({ "version": 1, "name": "trees", "jobs": (0..count).map(job).collect::<serde_json::Map<_, _>>() })
}

fn pass() -> Value {
    let steps = json!([{ "run": ["dd", "if=/dev/zero", "of=large", "bs=1M", "count=1024", "status=none"] }]);
    let executor = json!({ "type": "systemd", "copyRepo": false });
    json!({ "version": 1, "name": "pass", "executors": { "e": executor }, "jobs": {
        "make": { "executor": "e", "outputs": { "large": "large" }, "steps": steps },
        "take": { "executor": "e", "needs": ["make"], "inputs": ["large"], "steps": [{ "run": ["true"] }] } } })
}

/// Returns the command that runs a plan over a source tree.
fn client(plan: &Value, source: Option<&str>) -> Command {
    let path = "/tmp/trees.json";
    fs::write(path, plan.to_string()).expect("/tmp is writable");
    let mut command = Command::new(PROGRAM);
    command
        .args(["run", "--manager", "system", "--state-dir", STATE, path])
        .current_dir("/tmp");
    command.args(source.map(|source| format!("--source={source}")));
    command
}

/// Runs a plan and returns its record. Removes the state directory, so that each run finds the same
/// free space.
fn run(plan: &Value, source: Option<&str>) -> Value {
    timed(&mut client(plan, source));
    let name = plan["name"].as_str().expect("the plan has a name");
    let text = fs::read_to_string(format!("{STATE}/runs/{name}-1/record.json"))
        .expect("the run left a record");
    remove("state");
    serde_json::from_str(&text).expect("the record is JSON")
}

/// Returns the time of `cp -a`.
fn copy(from: &str) -> f64 {
    let time = timed(Command::new("cp").args(["-a", from, &format!("{DISK}/copy")]));
    remove("copy");
    time
}

/// Removes a file or directory and syncs the disk before the next measurement.
pub fn remove(name: &str) {
    let path = Path::new(DISK).join(name);
    fs::remove_dir_all(&path)
        .or_else(|_| fs::remove_file(&path))
        .expect("this program can remove its own files");
    timed(&mut Command::new("sync"));
}
