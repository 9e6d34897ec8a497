//! The embedded manager. Where no systemd is reachable, root gets a private one in fresh
//! namespaces, one for each run.
//!
//! ```text
//! client
//! └─ nixactions embedded RUN            own session; makes and removes the run's cgroup (init.rs)
//!    └─ nixactions embedded-pid1 RUN    new pid namespace; mounts, then becomes systemd (pid1.rs)
//!       ├─ systemd-journald, dbus-daemon                                           (units.rs)
//!       └─ nixactions-RUN.service       the supervisor; when it ends, PID 1 exits
//! ```
//!
//! The manager lives as long as the supervisor's unit, whatever happens to the client. It has its
//! own mount, pid, ipc, uts and cgroup namespaces, and shares network and users with the host. It
//! sees the host's root file system, but has its own /dev, /proc, /run, /tmp, /var/tmp and
//! /var/log, and sees none of the host's units and settings. When PID 1 ends, the kernel removes
//! the processes and the mounts. These files stay in the run directory:
//!
//! - `journal/`: the journal, for `journalctl -D`, both during the run and afterwards
//! - `manager.log`: the output of PID 1 before the journal starts and after it ends
//! - `manager.lock`: locked while the manager lives; `manager.json`: its process id
//! - `manager/`: the private /tmp and so on; removed when the run is over
//!
//! To look inside: `nsenter -at PID`. This module knows nothing of plans, jobs and units of jobs.

mod alive;
mod cgroup;
mod check;
mod error;
mod init;
mod instances;
mod mounts;
mod namespace;
mod pid1;
mod sparse;
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

pub use alive::{failure, has_ended, is_alive, kill, pid, was_booted};
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

/// The settings of a private manager.
#[derive(Debug, Clone, Copy)]
pub struct Boot<'a> {
    /// The run.
    pub run: &'a RunId,
    /// The state directory. It is visible inside at the same path.
    pub state_dir: &'a Path,
    /// The run's directory. It must exist, and is visible inside at the same path.
    pub run_dir: &'a Path,
    /// The supervisor's unit. It must be of Type=notify, name its program by an absolute path, and
    /// be restarted when it fails. When it exits with 0, PID 1 exits too.
    pub supervisor: &'a TransientUnit,
    /// Further paths that must stay visible inside even if they lie below /tmp or /run (the source
    /// tree).
    pub extra_paths: &'a [PathBuf],
    /// A file below the private /run, and its contents. Only root can read it, and it goes with the
    /// manager.
    pub private_file: Option<(&'a Path, &'a str)>,
    /// Tells the user, in one phrase, why the start has to wait.
    pub say: fn(&str),
}

/// The instructions for the stages, sent as JSON on standard input.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    run: RunId,
    run_dir: PathBuf,
    /// The supervisor's settings in `[Unit]` and in `[Service]`.
    supervisor: (String, String),
    /// Absolute paths that stay visible.
    keep: Vec<PathBuf>,
    programs: check::Programs,
    /// A file below /run that only root may read.
    private_file: Option<(PathBuf, String)>,
    /// The terminal that becomes /dev/console inside.
    console: Option<PathBuf>,
}

/// The answer of a stage: JSON on its standard output. Every answer but `Waiting` is the last one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Report {
    /// The start waits until something is free.
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
/// Returns when PID 1 has been executed, before the supervisor runs. From then on the manager does
/// not depend on the caller. The calling program must pass its arguments to [`entry`] before
/// anything else.
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
        // Keep both names: a link out of /tmp would itself be gone.
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
    // Until the child has a session of its own, a terminal signals it together with this process.
    // So the child is born with these signals blocked, and keeps them blocked.
    let mask = init::for_the_client()
        .thread_swap_mask(SigmaskHow::SIG_BLOCK)
        .map_err(|errno| failed(errno.into()))?;
    let child = command.spawn();
    // Unblocking delivers the signals that came in the meantime.
    let unblocked = mask.thread_set_mask();
    let mut child = child.map_err(failed)?;
    unblocked.map_err(|errno| failed(errno.into()))?;
    let answer = send(&mut child, &spec).map_err(failed);
    // Collects the child if the client outlives it. Otherwise init does.
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

/// Runs one of the hidden stages if the arguments (with the program's name first) name one.
///
/// Call this at the start of `main`, before any thread starts: the stages enter namespaces.
pub fn entry(argv: &[OsString]) -> Option<ExitCode> {
    match argv.get(1)?.to_str()? {
        INIT => Some(init::main()),
        PID1 => Some(pid1::main()),
        _ => None,
    }
}

/// Writes the spec to a stage and returns its whole answer, which ends when the stage closes its
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
    // A stage that died early shows itself by an empty answer, not by a broken pipe.
    let _ = input.write_all(&serde_json::to_vec(spec)?);
    Ok(child
        .stdout
        .take()
        .expect("invariant: standard output is a pipe"))
}

/// Reads the spec that [`send`] wrote.
fn read_spec() -> Result<Spec, StageError> {
    serde_json::from_reader(io::stdin())
        .map_err(|error| StageError::other("read the boot specification", error))
}

/// Makes the directories of a run that its manager needs: for the journal, the private /tmp and so
/// on.
fn make_directories(run_dir: &Path) -> Result<(), EmbeddedError> {
    for (name, mode) in mounts::DIRECTORIES {
        let path = run_dir.join(name);
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(*mode)
            .create(&path);
        // The umask must not decide which users can write to /tmp.
        made.and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(*mode)))
            .map_err(|source| EmbeddedError::io("make", path, source))?;
    }
    Ok(())
}

fn canonical(path: &Path) -> Result<PathBuf, EmbeddedError> {
    path.canonicalize()
        .map_err(|source| EmbeddedError::io("find", path, source))
}
