//! The process beside the private manager. It makes the run's cgroup, starts PID 1, keeps PID 1's
//! console output, and waits for its end. Then it removes the cgroup and the private /tmp, which
//! the kernel does not remove.
//!
//! It survives the client and the client's terminal. If it is killed, the manager goes on, and
//! nothing clears up.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::{
        fd::AsFd,
        unix::{fs::OpenOptionsExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
};

use nix::{
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    pty::{PtyMaster, grantpt, posix_openpt, ptsname_r, unlockpt},
    sched::{CloneFlags, unshare},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::{close, dup2_stdout, setsid},
};

use super::{
    PID1, Report, Spec,
    alive::{self, State},
    cgroup::Cgroup,
    error::{At, StageError},
    instances::{self, Turn},
    mounts, read_spec,
    sparse::make_sparse,
};
use crate::store;

/// Milliseconds between two checks of a starting manager, while other starts wait for their turn.
const TURN_PAUSE: u8 = 3;

/// Runs the stage.
pub(super) fn main() -> ExitCode {
    close_inherited();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(report) => {
            answer(&report);
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Report> {
    let mut spec = read_spec()?;
    // This fails only if the process leads a process group. It then has no session to leave.
    let _ = setsid();
    // Signals meant for the client's session must not end this process.
    let signals = block_signals()?;
    let Some(_lock) = alive::take(&spec.run_dir).at("lock the run directory")? else {
        return Err(Report::Busy);
    };
    let mut console = Console::open(&spec.run_dir.join("manager.log"))?;
    spec.console = console.pty.as_ref().map(|pty| pty.path.clone());

    let reserved = instances::reserve(|said| {
        let _ = writeln!(console.log, "{said}");
        tell(&Report::Waiting(said.to_owned()));
    })?;
    let cgroup = Cgroup::create(
        &spec.run,
        &spec.run_dir.join(mounts::PRIVATE).join("cgroup"),
    )?;
    let mut child = match start(&spec, &cgroup) {
        Ok(child) => child,
        Err(error) => {
            clear_up(&spec, &cgroup, &mut console);
            return Err(error.into());
        }
    };
    let turn = reserved.hand_over(cgroup.path());
    let pid = child.id().cast_signed();
    let noted = State::started(pid).and_then(|state| state.write(&spec.run_dir).map(|()| state));
    let mut state = match noted {
        Ok(state) => state,
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            clear_up(&spec, &cgroup, &mut console);
            return Err(StageError::new("record the manager's process id", &error).into());
        }
    };
    answer(&Report::Started(pid));
    let status = wait(&mut child, &mut console, &signals, turn);
    if let Some(status) = status.filter(|status| !status.success()) {
        state.ended = Some(status.to_string());
        if let Err(error) = state.write(&spec.run_dir) {
            let _ = writeln!(console.log, "failed to record the end of PID 1: {error}");
        }
    }
    clear_up(&spec, &cgroup, &mut console);
    Ok(())
}

impl From<StageError> for Report {
    fn from(error: StageError) -> Self {
        Self::Failed(error)
    }
}

/// Starts the process that becomes PID 1 of a new pid namespace, inside the cgroup. Returns when
/// that process has become systemd.
fn start(spec: &Spec, cgroup: &Cgroup) -> Result<Child, StageError> {
    unshare(CloneFlags::CLONE_NEWPID).at("unshare the pid namespace")?;
    cgroup.enter()?;
    let child = Command::new("/proc/self/exe")
        .arg0("nixactions")
        .args([PID1, spec.run.as_str()])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    // The cgroup can be removed only after this process has left it, so leave even if the start
    // failed.
    let left = cgroup.leave();
    let mut child = child.at("start PID 1")?;
    if let Err(error) = left {
        let _ = child.kill();
        let _ = child.wait();
        return Err(error);
    }
    // PID 1 answers only if a step failed. Its output closes without an answer when it becomes
    // systemd.
    let said = super::converse(&mut child, spec).at("read the answer of PID 1")?;
    if said.is_empty() {
        return Ok(child);
    }
    let _ = child.wait();
    Err(serde_json::from_slice(&said)
        .unwrap_or_else(|error| StageError::other("parse the answer of PID 1", error)))
}

/// Writes the answer and closes standard output, because the client waits for that. The client may
/// be gone.
fn answer(report: &Report) {
    tell(report);
    if let Ok(null) = OpenOptions::new().write(true).open("/dev/null") {
        let _ = dup2_stdout(null);
    }
}

/// Writes to the client, if there still is one.
fn tell(report: &Report) {
    let mut output = io::stdout();
    let _ = serde_json::to_writer(&mut output, report);
    let _ = output.flush();
}

/// Closes the descriptors inherited from the client: a pipe or lock of its caller must not stay
/// open until the run ends.
fn close_inherited() {
    let open: Vec<i32> = fs::read_dir("/proc/self/fd")
        .map(|entries| {
            entries
                .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
                .collect()
        })
        .unwrap_or_default();
    for fd in open.into_iter().filter(|fd| *fd > 2) {
        // The directory's own descriptor is closed already.
        let _ = close(fd);
    }
}

/// Returns the signals that are meant for the client and its session.
pub(super) fn for_the_client() -> SigSet {
    [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
    ]
    .into_iter()
    .collect()
}

/// Blocks the signals that a terminal or an impatient user sends, and makes the child's end
/// readable.
fn block_signals() -> Result<SignalFd, StageError> {
    let mut blocked = for_the_client();
    blocked.add(Signal::SIGCHLD);
    blocked.thread_block().at("block signals")?;
    let mut awaited = SigSet::empty();
    awaited.add(Signal::SIGCHLD);
    SignalFd::with_flags(&awaited, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .at("make a signalfd")
}

/// Waits for the end of PID 1 and writes its output to the log.
fn wait(
    child: &mut Child,
    console: &mut Console,
    signals: &SignalFd,
    mut turn: Turn,
) -> Option<ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => {
                console.drain();
                let _ = writeln!(console.log, "PID 1 ended: {status}");
                return Some(status);
            }
            Err(_) => return None,
        }
        let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        if let Some(pty) = &console.pty {
            fds.push(PollFd::new(pty.master.as_fd(), PollFlags::POLLIN));
        }
        let timeout = if turn.goes_on() {
            PollTimeout::from(TURN_PAUSE)
        } else {
            PollTimeout::NONE
        };
        let _ = poll(&mut fds, timeout);
        console.drain();
        while let Ok(Some(_)) = signals.read_signal() {}
    }
}

/// Removes everything that outlives the namespaces. A failure goes to the log, since no client
/// waits any more.
fn clear_up(spec: &Spec, cgroup: &Cgroup, console: &mut Console) {
    console.drain();
    if let Err(error) = cgroup.remove() {
        let _ = writeln!(console.log, "failed to remove the run's cgroup: {error}");
    }
    store::remove_users(&spec.run_dir);
    if let Err(error) = make_sparse(&spec.run_dir.join("journal")) {
        let _ = writeln!(console.log, "failed to trim the journal: {error}");
    }
    if let Err(error) = store::remove_tree(&spec.run_dir.join(mounts::PRIVATE)) {
        let _ = writeln!(
            console.log,
            "failed to remove the private directories: {error}"
        );
    }
}

/// The terminal that is /dev/console inside, and the file that keeps its output.
struct Console {
    log: File,
    /// `None` on a machine without pseudo terminals. PID 1 then has no console.
    pty: Option<Pty>,
}

struct Pty {
    master: PtyMaster,
    path: PathBuf,
    /// Stays open; otherwise the master reports an end whenever PID 1 closes its console.
    _slave: File,
}

impl Console {
    fn open(log: &Path) -> Result<Self, StageError> {
        let log = File::create(log).at("create `manager.log`")?;
        Ok(Self {
            log,
            pty: Pty::open().ok(),
        })
    }

    /// Copies all available output into the log.
    fn drain(&mut self) {
        let Some(pty) = &mut self.pty else { return };
        let mut buffer = [0; 4096];
        loop {
            match pty.master.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => {
                    let text: Vec<u8> = buffer[..read]
                        .iter()
                        .copied()
                        .filter(|byte| *byte != b'\r')
                        .collect();
                    let _ = self.log.write_all(&text);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

impl Pty {
    fn open() -> io::Result<Self> {
        let master =
            posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let path = PathBuf::from(ptsname_r(&master)?);
        let slave = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlag::O_NOCTTY.bits())
            .open(&path)?;
        Ok(Self {
            master,
            path,
            _slave: slave,
        })
    }
}
