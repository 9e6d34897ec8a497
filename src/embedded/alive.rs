//! Whether a run's manager lives, what it lacks, and how to end it by force. Works from any process as root.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::Path,
};

use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::{Signal, kill as send},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

use super::{cgroup::CONTROLLERS, error::EmbeddedError};

const LOCK: &str = "manager.lock";
const STATE: &str = "manager.json";
/// The version of `manager.json` that is written.
const STATE_VERSION: u32 = 1;

/// What `manager.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct State {
    version: u32,
    /// PID 1, as seen from outside.
    pid: i32,
    /// When it started, in clock ticks since boot (proc_pid_stat(5)): ids are used again.
    start_time: u64,
}

/// Takes the lock that says that a manager lives. The kernel releases it when the caller is gone. `None`: it is taken.
pub(super) fn lock(run_dir: &Path) -> io::Result<Option<Flock<File>>> {
    let file = File::create(run_dir.join(LOCK))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::Error::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error.into()),
    }
}

/// Notes which process PID 1 is.
pub(super) fn write_state(run_dir: &Path, pid: i32) -> io::Result<()> {
    let start_time = start_time(pid).ok_or(ErrorKind::NotFound)?;
    let new = run_dir.join("manager.json.new");
    let mut file = File::create(&new)?;
    serde_json::to_writer(&mut file, &State { version: STATE_VERSION, pid, start_time })?;
    file.write_all(b"\n")?;
    fs::rename(new, run_dir.join(STATE))
}

/// Returns PID 1's id if that very process still lives.
fn living_pid(run_dir: &Path) -> Option<Pid> {
    let state: State = serde_json::from_slice(&fs::read(run_dir.join(STATE)).ok()?).ok()?;
    (state.version == STATE_VERSION && start_time(state.pid) == Some(state.start_time)).then(|| Pid::from_raw(state.pid))
}

/// Reads a process's start time, the 22nd field of its `stat`; the second may hold spaces and parentheses.
/// A zombie counts as gone.
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" { None } else { fields.nth(18)?.parse().ok() }
}

/// Returns whether a run's manager is alive: PID 1, or the process that clears up after it.
pub fn is_alive(run_dir: &Path) -> bool {
    // Opened, not created: to ask about a run must not change it.
    let locked = File::open(run_dir.join(LOCK))
        .is_ok_and(|file| matches!(Flock::lock(file, FlockArg::LockSharedNonblock), Err((_, nix::Error::EWOULDBLOCK))));
    // The second question matters when the process that holds the lock was itself killed.
    locked || living_pid(run_dir).is_some()
}

/// Kills a run's PID 1, and with it every process of the run. Returns whether there was one.
///
/// The last resort: nothing of the run can write a record or finish a job.
pub fn kill(run_dir: &Path) -> Result<bool, EmbeddedError> {
    let Some(pid) = living_pid(run_dir) else { return Ok(false) };
    match send(pid, Signal::SIGKILL) {
        Ok(()) => Ok(true),
        Err(nix::Error::ESRCH) => Ok(false),
        Err(error) => Err(EmbeddedError::io("kill the manager of", run_dir, error.into())),
    }
}

/// Returns the cgroup controllers that a living manager does not have (of cpu, io, memory and pids): limits that
/// need them do not hold. All of them if no manager lives.
pub fn missing_controllers(run_dir: &Path) -> Vec<String> {
    let path = living_pid(run_dir).map(|pid| format!("/proc/{pid}/root/sys/fs/cgroup/cgroup.controllers"));
    let available = path.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    CONTROLLERS.into_iter().filter(|name| !available.split_whitespace().any(|word| word == *name)).map(str::to_owned).collect()
}
