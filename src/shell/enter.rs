//! Moves this process into a running job, and starts a shell there.
//!
//! The shell has no more rights than the step: its groups and resource limits, no capabilities that
//! the step lacks, and no new ones by set-user-ID programs where the step gets none. The filters of
//! system calls and Landlock's domain do not hold for it, since a process cannot join them.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs, io,
    os::fd::AsFd as _,
    path::Path,
    process::Command,
    sync::{Arc, atomic::AtomicBool},
};

use nix::{
    errno::Errno,
    libc,
    sys::signal::Signal,
    unistd::{close, setgroups, setresgid, setresuid},
};
use rustix::{
    process::{
        DumpableBehavior, fchdir, pidfd_send_signal, set_dumpable_behavior, setrlimit, umask,
    },
    thread::{
        CapabilitySet, capability_is_in_bounding_set, move_into_thread_name_spaces,
        remove_capability_from_bounding_set, set_no_new_privs,
    },
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use super::{
    ShellError, code,
    group::{self, join, own_groups},
    process::Process,
    wait,
};
use crate::{
    store::{self, RunDir, StoreError},
    unit::RunSpec,
};

/// Enters the job of a unit, and runs a command or a shell there. Returns its exit status.
///
/// # Errors
/// Fails when no step of the job runs, or this user may not enter the job.
pub fn enter(unit: &OsStr, run: &Path, command: &[OsString]) -> Result<u8, ShellError> {
    close_inherited();
    // In a container, processes see this one before it has given up its rights. None of them may
    // trace it, or read its memory.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| ShellError::Enter(error.into()))?;
    let step = find(unit, run)?;
    let mut environment = step.environment().map_err(ShellError::Enter)?;
    // The step has no terminal, so it does not know the caller's.
    environment.extend(env::var_os("TERM").map(|kind| ("TERM".into(), kind)));
    let own = own_groups().map_err(ShellError::Enter)?;
    let groups = step.control_groups().map_err(ShellError::Enter)?;
    if own.is_empty() || groups.is_empty() {
        return Err(ShellError::NoGroup);
    }
    join(&groups)
        .and_then(|()| become_like(&step))
        .map_err(ShellError::Enter)?;
    let (program, arguments) = match command.split_first() {
        Some((program, arguments)) => (program.clone(), arguments),
        None => (shell().ok_or(ShellError::NoShell)?, &[][..]),
    };
    // The keys are for the shell. It gets the usual actions back when it is executed.
    let [pressed, asked] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    for (signal, flag) in [
        (SIGINT, &pressed),
        (SIGQUIT, &pressed),
        (SIGHUP, &asked),
        (SIGTERM, &asked),
    ] {
        signal_hook::flag::register(signal, Arc::clone(flag)).map_err(ShellError::Terminal)?;
    }
    let started = Command::new(&program)
        .args(arguments)
        .env_clear()
        .envs(environment)
        .spawn();
    // An embedded manager does not see this process, and cannot kill a control group that has it.
    let left = join(&own);
    let mut child = started.map_err(|source| ShellError::Start {
        program: program.to_string_lossy().into_owned(),
        source,
    })?;
    if let Err(error) = left {
        let _ = child.kill();
        let _ = child.wait();
        return Err(ShellError::Enter(error));
    }
    let ended = wait(&mut child, &asked, Signal::SIGHUP).map_err(ShellError::Enter)?;
    if step.is_holder() {
        // The job waits for the shell's end.
        let _ = pidfd_send_signal(step.pidfd(), rustix::process::Signal::TERM);
    }
    Ok(code(ended))
}

/// Closes the files that the caller has left open, so that none of them reaches the job.
fn close_inherited() {
    let entries = fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten();
    let open: Vec<i32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    // The directory itself is closed already.
    let _: Vec<_> = open.into_iter().filter(|fd| *fd > 2).map(close).collect();
}

/// Returns the process of the step that runs in the unit of a run's job.
fn find(unit: &OsStr, run: &Path) -> Result<Process, ShellError> {
    let run = RunDir::at(run).map_err(|_| ShellError::NotRunning)?;
    let spec: RunSpec = store::read_document(&run.spec()).map_err(|error| match error {
        StoreError::Io { source, .. } => ShellError::Enter(source),
        _ => ShellError::NotRunning,
    })?;
    let members = group::members(&run, spec.manager, unit);
    Process::of_step(&members).ok_or(ShellError::NotRunning)
}

/// Gives up the keys of the caller's session (session-keyring(7)).
#[expect(unsafe_code, reason = "no crate has this system call")]
fn leave_session_keys() -> io::Result<()> {
    let name: *const libc::c_char = std::ptr::null();
    // SAFETY: without a name, the call takes no memory of this process.
    let joined =
        unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name) };
    match Errno::result(joined) {
        // A kernel without keys, or a container that denies the calls, to the job as well.
        Ok(_) | Err(Errno::ENOSYS | Errno::EPERM) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Returns the first shell that this mount namespace has.
fn shell() -> Option<OsString> {
    let shells = ["/bin/bash", "/bin/sh"].map(Path::new);
    let found = shells.into_iter().find(|shell| shell.exists());
    found.map(Into::into)
}

/// Moves this process into the namespaces and the working directory of a step, and gives up the
/// rights that the step lacks. Children get its PID namespace.
fn become_like(step: &Process) -> io::Result<()> {
    let directory = step.working_directory()?;
    for (resource, limit) in step.limits()? {
        // Only root raises a limit again.
        let _ = setrlimit(resource, limit);
    }
    // Before the user namespace, which may forbid it.
    match setgroups(&step.groups()?) {
        Ok(()) => {}
        // A user's own groups are those of the manager.
        Err(Errno::EPERM) if !nix::unistd::geteuid().is_root() => {}
        Err(error) => return Err(error.into()),
    }
    // All at once: in the user namespace alone, this process might lack the right to enter a mount
    // namespace of the host's.
    let differing = step.namespaces()?;
    if !differing.is_empty() {
        move_into_thread_name_spaces(step.pidfd(), differing)?;
    }
    // From here on, ids are those of the user namespace.
    let rights = step.rights()?;
    fchdir(directory.as_fd())?;
    for capability in CapabilitySet::all().iter() {
        let is_held = capability_is_in_bounding_set(capability);
        if is_held.is_ok_and(|held| held) && !rights.bounding.contains(capability) {
            remove_capability_from_bounding_set(capability)?;
        }
    }
    if rights.no_new_privileges {
        set_no_new_privs(true)?;
    }
    umask(rights.umask);
    setresgid(rights.group, rights.group, rights.group)?;
    setresuid(rights.user, rights.user, rights.user)?;
    leave_session_keys()?;
    // A change of the user may have changed it.
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}
