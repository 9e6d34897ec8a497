//! The embedded manager: where no systemd is reachable, root gets a private one in fresh
//! namespaces, one a run.
//!
//! ```text
//! client ──spawn──> nixactions embedded RUN        (init.rs) own session; makes the run's cgroup, waits, removes it
//!                   └─ new pid namespace ─> nixactions embedded-pid1 RUN   (pid1.rs) mounts, then becomes systemd
//!                                           ├─ systemd-journald, dbus-daemon         (units.rs)
//!                                           └─ nixactions-RUN.service: the supervisor; when it ends, PID 1 exits
//! ```
//!
//! It lives as long as the supervisor's unit, whatever becomes of the client. The mount, pid, ipc,
//! uts and cgroup namespaces are its own; network and users are the host's. It sees the host's root
//! file system, with its own /dev, /proc, /run, /tmp, /var/tmp and /var/log, and none of the host's
//! units and settings. When PID 1 is gone, the kernel takes the processes and the mounts; what
//! remains is in the run directory:
//!
//! - `journal/`: the journal, for `journalctl -D`; while it is written and afterwards
//! - `manager.log`: what PID 1 had to say before there was a journal and after it
//! - `manager.lock`: locked for as long as the manager lives; `manager.json`: its process id
//! - `manager/`: /tmp and the like; removed when the run is over
//!
//! A shell inside, for a look: `nsenter -at PID`. Knows nothing of plans, jobs and units of jobs.

mod alive;
mod cgroup;
mod check;
mod error;
mod init;
mod instances;
mod mounts;
mod namespace;
mod pid1;
mod trim;
mod units;

use std::{
    ffi::OsString,
    fs,
    io::{self, Read, Write},
    os::unix::{
        fs::{DirBuilderExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitCode, Stdio},
    thread,
};

use nix::{sys::signal::SigmaskHow, unistd::Pid};
use serde::{Deserialize, Serialize};

pub use alive::{failure, has_ended, is_alive, kill};
pub use check::{Bus, Versions, check};
pub use error::{EmbeddedError, Missing};

use crate::{
    ids::RunId,
    unit::{self, TransientUnit},
};
use error::StageError;

/// The hidden subcommand of the process that starts PID 1, waits for it and clears up.
const INIT: &str = "embedded";
/// The hidden subcommand of the process that becomes PID 1.
const PID1: &str = "embedded-pid1";

/// What is to be booted.
#[derive(Debug, Clone, Copy)]
pub struct Boot<'a> {
    /// The run that the manager is for.
    pub run: &'a RunId,
    /// The state directory; visible inside at the same path.
    pub state_dir: &'a Path,
    /// The run's directory; it must exist. Visible inside at the same path.
    pub run_dir: &'a Path,
    /// The supervisor's unit, which must be of Type=notify and be restarted when it fails; its
    /// program by the absolute path. When it exits with 0, PID 1 exits too.
    pub supervisor: &'a TransientUnit,
    /// Further paths that must stay visible inside, even when they lie below /tmp or /run (the
    /// source tree).
    pub extra_paths: &'a [PathBuf],
    /// A file below its /run, and what it holds: for root alone, and gone with the manager.
    pub private_file: Option<(&'a Path, &'a str)>,
    /// Tells the user, in one phrase, for what the start has to wait.
    pub say: fn(&str),
}

/// What the stages are told; it goes down as JSON on standard input.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    run: RunId,
    run_dir: PathBuf,
    /// What stands in the supervisor's `[Unit]` and `[Service]`.
    supervisor: (String, String),
    /// Absolute paths that stay visible.
    keep: Vec<PathBuf>,
    programs: check::Programs,
    /// A file below /run that only root may read.
    private_file: Option<(PathBuf, String)>,
    /// The terminal that is to be /dev/console inside.
    console: Option<PathBuf>,
}

/// What a stage answers: JSON on its standard output. All but `Waiting` are the last.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Report {
    /// The start goes on when something is free.
    Waiting(String),
    /// PID 1 has been started.
    Started(i32),
    /// Another manager of this run is alive.
    Busy,
    /// A step failed; nothing is left running.
    Failed(StageError),
}

/// Starts a private manager for a run and returns the process id of its PID 1, as seen from
/// outside.
///
/// Returns when PID 1 has been executed, which is before the supervisor runs. The manager does not
/// depend on the caller from then on. The program that calls this must hand its arguments to
/// [`entry`] first of all.
pub fn boot(boot: &Boot<'_>) -> Result<Pid, EmbeddedError> {
    let exe = std::env::current_exe().map_err(|source| {
        EmbeddedError::io("find this program's own file", "/proc/self/exe", source)
    })?;
    let programs = check::requirements()?;
    let run_dir = canonical(boot.run_dir)?;
    let program = boot.supervisor.program().map(Path::new);
    let mut keep = Vec::new();
    for path in [boot.run_dir, boot.state_dir]
        .into_iter()
        .chain(boot.extra_paths.iter().map(PathBuf::as_path))
        .chain(program)
    {
        // Both names: a link that leads out of /tmp would itself be gone.
        keep.push(canonical(path)?);
        keep.push(
            std::path::absolute(path).map_err(|source| EmbeddedError::io("find", path, source))?,
        );
    }
    make_directories(&run_dir)?;

    let private_file = boot
        .private_file
        .map(|(path, text)| (path.to_owned(), text.to_owned()));
    let spec = Spec {
        run: boot.run.clone(),
        run_dir,
        supervisor: unit::sections(boot.supervisor),
        keep,
        programs,
        private_file,
        console: None,
    };
    let failed = |source| EmbeddedError::io("start", &exe, source);
    let mut command = Command::new(&exe);
    command
        .arg0("nixactions")
        .args([INIT, boot.run.as_str()])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    // Until it has a session of its own, a terminal signals it together with this process. It is
    // born with these signals blocked, and keeps them so.
    let mask = init::for_the_client()
        .thread_swap_mask(SigmaskHow::SIG_BLOCK)
        .map_err(|errno| failed(errno.into()))?;
    let child = command.spawn();
    // What has come meanwhile comes now.
    let unblocked = mask.thread_set_mask();
    let mut child = child.map_err(failed)?;
    unblocked.map_err(|errno| failed(errno.into()))?;
    let answer = send(&mut child, &spec).map_err(failed);
    // Whoever outlives the other: a client that goes on collects its child, else init does.
    thread::spawn(move || child.wait());
    let mut reports = serde_json::Deserializer::from_reader(answer?).into_iter();
    let report = loop {
        match reports.next() {
            Some(Ok(Report::Waiting(said))) => (boot.say)(&said),
            report => break report,
        }
    };
    match report {
        Some(Ok(Report::Started(pid))) => Ok(Pid::from_raw(pid)),
        Some(Ok(Report::Busy)) => Err(EmbeddedError::Busy {
            run: boot.run.clone(),
        }),
        Some(Ok(Report::Failed(error))) => Err(EmbeddedError::Stage(error)),
        _ => Err(EmbeddedError::Silent),
    }
}

/// Runs one of the hidden stages if the arguments (with the program's name first) ask for it.
///
/// To be called at the start of `main`, before any thread is started: the stages enter namespaces.
pub fn entry(argv: &[OsString]) -> Option<ExitCode> {
    match argv.get(1)?.to_str()? {
        INIT => Some(init::main()),
        PID1 => Some(pid1::main()),
        _ => None,
    }
}

/// Writes the spec to a stage and returns all that it answers; it ends when the stage closes its
/// output.
fn converse(child: &mut Child, spec: &Spec) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    send(child, spec)?.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Writes the spec to a stage and returns its output.
fn send(child: &mut Child, spec: &Spec) -> io::Result<ChildStdout> {
    let mut input = child
        .stdin
        .take()
        .expect("invariant: standard input is a pipe");
    // A stage that died early says so by an empty answer, not by a broken pipe.
    let _ = input.write_all(&serde_json::to_vec(spec)?);
    Ok(child
        .stdout
        .take()
        .expect("invariant: standard output is a pipe"))
}

/// Reads the spec that [`send`] wrote.
fn read_spec() -> Result<Spec, StageError> {
    serde_json::from_reader(io::stdin())
        .map_err(|error| StageError::other("read what to boot", error))
}

/// Makes what the run directory must hold: the journal's place and the private /tmp and the like.
fn make_directories(run_dir: &Path) -> Result<(), EmbeddedError> {
    for (name, mode) in mounts::DIRECTORIES {
        let path = run_dir.join(name);
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(*mode)
            .create(&path);
        // The umask must not decide who can write to /tmp.
        made.and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(*mode)))
            .map_err(|source| EmbeddedError::io("make", path, source))?;
    }
    Ok(())
}

fn canonical(path: &Path) -> Result<PathBuf, EmbeddedError> {
    path.canonicalize()
        .map_err(|source| EmbeddedError::io("find", path, source))
}
