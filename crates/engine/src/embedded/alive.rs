//! Tells whether a run's manager lives and why it ended, and kills it. Works from any process of
//! root.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::Path,
};

use nix::{
    sys::signal::{Signal, kill as send},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

use super::error::EmbeddedError;
use crate::store::lock;

const LOCK: &str = "manager.lock";
const STATE: &str = "manager.json";
/// The version of `manager.json` that is written.
const STATE_VERSION: u32 = 1;

/// The contents of `manager.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct State {
    version: u32,
    /// The process id of PID 1, as seen from outside.
    pid: i32,
    /// The start time of PID 1, in clock ticks since boot (proc_pid_stat(5)). It tells PID 1 from a
    /// later process with the same id.
    start_time: u64,
    /// How PID 1 ended, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
}

/// Takes the lock that marks a manager as alive, until the file is closed. Returns `None` if
/// another process holds the lock.
pub(super) fn take(run_dir: &Path) -> io::Result<Option<File>> {
    let file = lock::open(&run_dir.join(LOCK))?;
    Ok(lock::try_lock(&file)?.then_some(file))
}

fn is_locked(run_dir: &Path) -> bool {
    let held = File::open(run_dir.join(LOCK)).and_then(|file| lock::held(&file));
    held.is_ok_and(|held| held.is_some())
}

impl State {
    /// Returns the state of a manager whose PID 1 has just been started.
    pub fn started(pid: i32) -> io::Result<Self> {
        Ok(Self {
            version: STATE_VERSION,
            pid,
            start_time: start_time(pid).ok_or(ErrorKind::NotFound)?,
            ended: None,
        })
    }

    /// Writes the state into a run directory, all or nothing.
    pub fn write(&self, run_dir: &Path) -> io::Result<()> {
        let new = run_dir.join("manager.json.new");
        let mut file = File::create(&new)?;
        serde_json::to_writer(&mut file, self)?;
        file.write_all(b"\n")?;
        fs::rename(new, run_dir.join(STATE))
    }

    fn read(run_dir: &Path) -> Option<Self> {
        let state: Self = serde_json::from_slice(&fs::read(run_dir.join(STATE)).ok()?).ok()?;
        (state.version == STATE_VERSION).then_some(state)
    }
}

/// Returns the id of PID 1 if that same process still lives.
pub fn pid(run_dir: &Path) -> Option<Pid> {
    let state = State::read(run_dir)?;
    (start_time(state.pid) == Some(state.start_time)).then(|| Pid::from_raw(state.pid))
}

/// Reads a process's start time, the 22nd field of its `stat`. The second field may hold spaces and
/// parentheses. A zombie counts as gone.
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        None
    } else {
        fields.nth(18)?.parse().ok()
    }
}

/// Returns whether a run's manager is alive: PID 1, or the process that clears up after it.
pub fn is_alive(run_dir: &Path) -> bool {
    // PID 1 can outlive the process that holds the lock, if that process is killed.
    is_locked(run_dir) || pid(run_dir).is_some()
}

/// Returns whether a private manager was booted for a run.
pub fn was_booted(run_dir: &Path) -> bool {
    run_dir.join(STATE).exists()
}

/// Returns whether a run had a manager that is now gone.
pub fn has_ended(run_dir: &Path) -> bool {
    State::read(run_dir).is_some() && !is_alive(run_dir)
}

/// Returns why a run's manager failed. Returns `None` while it lives, and after it ended because
/// the supervisor was done.
///
/// [`boot`](super::boot) returns before systemd has started everything, so a client that waits for
/// the supervisor calls this.
pub fn failure(run_dir: &Path) -> Option<EmbeddedError> {
    let status = State::read(run_dir)?.ended?;
    let log = run_dir.join("manager.log");
    let said = fs::read(&log).unwrap_or_default();
    Some(EmbeddedError::Ended {
        status,
        said: String::from_utf8_lossy(&said).into_owned(),
        log,
    })
}

/// Kills a run's PID 1, and with it every process of the run. Returns whether PID 1 was alive.
///
/// This is the last resort: no process of the run can write a record or finish a job afterwards.
pub fn kill(run_dir: &Path) -> Result<bool, EmbeddedError> {
    let Some(pid) = pid(run_dir) else {
        return Ok(false);
    };
    match send(pid, Signal::SIGKILL) {
        Ok(()) => Ok(true),
        Err(nix::Error::ESRCH) => Ok(false),
        Err(error) => Err(EmbeddedError::io(
            "kill the manager of",
            run_dir,
            error.into(),
        )),
    }
}
