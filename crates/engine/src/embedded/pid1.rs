//! The process that becomes PID 1: it enters its namespaces, mounts what systemd needs, and
//! executes it.

use std::{
    convert::Infallible,
    fs,
    io::{self, Write},
    os::{fd::AsFd, unix::process::CommandExt},
    process::{Command, ExitCode, Stdio},
};

use nix::{
    sched::{CloneFlags, unshare},
    sys::stat::{Mode, umask},
};
use rustix::thread::{
    CapabilitySet, capabilities, remove_capability_from_bounding_set, set_capabilities,
};

use super::{
    Spec,
    error::{At, StageError},
    mounts, read_spec, units,
};

/// Capabilities that no process of a run may have, not even root's: loading modules, setting the
/// clock, and access to the hardware and the audit system. They affect the whole machine, and
/// systemd would load modules when it starts.
const DROPPED: [CapabilitySet; 7] = [
    CapabilitySet::SYS_MODULE,
    CapabilitySet::SYS_TIME,
    CapabilitySet::SYS_RAWIO,
    CapabilitySet::AUDIT_CONTROL,
    CapabilitySet::AUDIT_READ,
    CapabilitySet::WAKE_ALARM,
    CapabilitySet::BLOCK_SUSPEND,
];

/// Runs the stage. Returns only if it failed.
pub(super) fn main() -> ExitCode {
    // Executing systemd replaces standard output, so a failure to execute it goes through a copy.
    // On success the copy is closed, and the other side sees the end.
    let Ok(answer) = io::stdout().as_fd().try_clone_to_owned() else {
        return ExitCode::FAILURE;
    };
    let Err(error) = become_systemd();
    let mut answer = fs::File::from(answer);
    let _ = serde_json::to_writer(&mut answer, &error)
        .map_err(io::Error::from)
        .and_then(|()| answer.flush());
    ExitCode::FAILURE
}

fn become_systemd() -> Result<Infallible, StageError> {
    let spec = read_spec()?;
    let namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    unshare(namespaces).at("unshare the mount, ipc, uts and cgroup namespaces")?;
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
    let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    mounts::set_up(&spec)?;
    drop_capabilities();
    Err(execute(&spec, hostname.trim())).at(format_args!(
        "execute `{}`",
        spec.programs.systemd.display()
    ))
}

fn drop_capabilities() {
    // These calls fail only if the container lacks the right to make them. It then lacks the
    // capabilities as well.
    for capability in DROPPED {
        let _ = remove_capability_from_bounding_set(capability);
    }
    if let Ok(mut sets) = capabilities(None) {
        // Root keeps its inheritable capabilities in spite of the bounding set, and container
        // managers often set them.
        sets.inheritable = CapabilitySet::empty();
        let _ = set_capabilities(None, sets);
    }
}

fn execute(spec: &Spec, hostname: &str) -> io::Error {
    Command::new(&spec.programs.systemd)
        .args([
            "--system",
            "--log-level=notice",
            "--log-target=journal",
            "--show-status=no",
        ])
        .env_clear()
        .envs([
            // Tells systemd that it does not own the kernel, the clock and the devices, and that it
            // may exit.
            ("container", "nixactions"),
            (
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ),
            // systemd 257 and later would ask a terminal for its size and wait for an answer.
            ("TERM", "dumb"),
            ("SYSTEMD_COLORS", "0"),
            ("SYSTEMD_UNIT_PATH", units::UNIT_PATH),
            ("SYSTEMD_GENERATOR_PATH", units::NO_GENERATORS),
            ("SYSTEMD_ENVIRONMENT_GENERATOR_PATH", units::NO_GENERATORS),
            // The kernel's command line belongs to the host. The host name stays as it is, whatever
            // /etc/hostname says.
            (
                "SYSTEMD_PROC_CMDLINE",
                &format!("systemd.hostname={hostname}"),
            ),
        ])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .exec()
}
