//! The means of all measurements: runs a command or a plan, compares both sides, and prints a line
//! of the table.

use std::{
    fs,
    process::{Command, Stdio},
    time::Instant,
};

use serde_json::Value as Json;

use crate::PROGRAM;

/// Prints a line of the table.
pub fn report(what: &str, ours: String, floor: String, ratio: f64, bound: f64) {
    println!("{what}\t{ours}\t{floor}\t{ratio:.2}\t{bound}");
}

/// Returns the median of some times.
pub fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Measures both sides in turns. Returns the median of our times, the median of the other's times
/// and the median of the ratio in each turn. A change of the machine's speed affects both sides of
/// a turn.
pub fn in_turns(
    rounds: usize,
    mut ours: impl FnMut() -> f64,
    mut other: impl FnMut() -> f64,
) -> (f64, f64, f64) {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        b.push(other());
        a.push(ours());
    }
    let ratios = a.iter().zip(&b).map(|(ours, other)| ours / other).collect();
    (median(a), median(b), median(ratios))
}

/// Returns the command that runs a plan.
pub fn client(plan: &Json) -> Command {
    let path = "/tmp/plan.json";
    fs::write(path, plan.to_string()).expect("/tmp is writable");
    let mut command = Command::new(PROGRAM);
    command
        .args(["run", "--manager", "system", path])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Returns the time of a whole `nixactions run`, from its start to its exit.
pub fn run(plan: &Json) -> f64 {
    timed(&mut client(plan))
}

/// Returns the time of a command. The command must succeed.
pub fn timed(command: &mut Command) -> f64 {
    let start = Instant::now();
    let status = command
        .stdout(Stdio::null())
        .status()
        .expect("the command starts");
    assert!(status.success(), "{command:?}: {status}");
    start.elapsed().as_secs_f64()
}

/// Shows a time in seconds.
pub fn seconds(time: f64) -> String {
    format!("{time:.2} s")
}

/// Shows a time in milliseconds.
pub fn millis(time: f64) -> String {
    format!("{:.2} ms", time * 1e3)
}
