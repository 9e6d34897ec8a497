//! The supervisor's unit: its rights, and its restart after it died or hung. The unit is the same
//! under every manager.
//!
//! The supervisor runs as root and reads files that jobs wrote, so it has few rights. Only
//! restrictions without a mount namespace are used: such a namespace costs a run 8 to 10 ms on
//! systemd 262, and would not stop a process that may ask systemd for units. The supervisor keeps
//! the rights to read and write any user's files, and to unmount what jobs' units mount.

use std::{path::PathBuf, time::Duration};

use nix::sys::signal::Signal;

use super::{
    CLEANUP_GRACE, INTERRUPT_GRACE, ManagerKind, ROOT_SLICE, RUNNER_SLACK, RunSpec,
    TERMINATE_GRACE, TransientUnit, UnitName, Value,
    properties::{documentation, log_fields, micros},
    sandbox::EPERM,
};
use crate::ids::RunId;

/// Returns a run's directory on a tmpfs (file-hierarchy(7)). It has no parent of ours, so that
/// nothing is left after its removal.
pub fn runtime_directory(manager: ManagerKind, run: &RunId) -> PathBuf {
    let base = match manager {
        ManagerKind::System | ManagerKind::Embedded => PathBuf::from("/run"),
        ManagerKind::User => std::env::var_os("XDG_RUNTIME_DIR").map_or_else(
            || PathBuf::from(format!("/run/user/{}", nix::unistd::geteuid())),
            PathBuf::from,
        ),
    };
    base.join(format!("nixactions-{run}"))
}

/// systemd replaces a supervisor that has been silent for this long. A slow disk may hold one up
/// for less.
const WATCHDOG: Duration = Duration::from_secs(120);

/// `CAP_DAC_OVERRIDE`, `CAP_DAC_READ_SEARCH` and `CAP_FOWNER` (capabilities(7)): the state
/// directory may lie in a user's home, and a job's files belong to the job's user.
const FILES: u64 = 1 << 1 | 1 << 2 | 1 << 3;
/// `CAP_SYS_ADMIN`: to unmount.
const UNMOUNT: u64 = 1 << 21;

/// System calls that the supervisor does not use.
const DENIED_CALLS: [&str; 13] = [
    "@clock",
    "@cpu-emulation",
    "@debug",
    "@keyring",
    "@module",
    "@obsolete",
    "@privileged",
    "@raw-io",
    "@reboot",
    "@resources",
    "@swap",
    "bpf",
    "userfaultfd",
];
/// The system calls of `@mount`, without `umount2`.
const DENIED_MOUNTS: [&str; 9] = [
    "fsconfig",
    "fsmount",
    "fsopen",
    "fspick",
    "mount",
    "mount_setattr",
    "move_mount",
    "open_tree",
    "pivot_root",
];

/// Compiles the supervisor's unit, which the client starts.
pub fn supervisor(run: &RunSpec) -> TransientUnit {
    let stop = INTERRUPT_GRACE + TERMINATE_GRACE + CLEANUP_GRACE + RUNNER_SLACK + RUNNER_SLACK;
    let mut properties = vec![
        (
            "Description",
            Value::Str(format!("NixActions run {}: supervisor", run.run)),
        ),
        documentation(),
        ("Type", Value::Str("notify".into())),
        ("NotifyAccess", Value::Str("main".into())),
        ("CollectMode", Value::Str("inactive-or-failed".into())),
        ("Slice", Value::Str(ROOT_SLICE.into())),
        // At a shutdown the bus stops after the supervisor, which learns over the bus how its jobs
        // end.
        ("After", Value::StrList(vec!["dbus.service".to_owned()])),
        (
            "ExecStart",
            Value::Exec(vec![
                run.program.display().to_string(),
                "supervise".into(),
                run.directory.display().to_string(),
            ]),
        ),
        // Holds the lock of the run's concurrency group during a restart of the supervisor.
        ("FileDescriptorStoreMax", Value::U32(1)),
        ("Restart", Value::Str("on-failure".into())),
        ("RestartUSec", Value::U64(100_000)),
        ("StartLimitIntervalUSec", Value::U64(0)),
        // systemd replaces a supervisor that hangs like one that died. A core dump is not needed.
        ("WatchdogUSec", micros(Some(WATCHDOG))),
        ("WatchdogSignal", Value::I32(Signal::SIGKILL as i32)),
        ("KillMode", Value::Str("mixed".into())),
        ("TimeoutStopUSec", micros(Some(stop))),
        ("LogExtraFields", log_fields(run, None)),
    ];
    properties.extend(rights(run));
    TransientUnit {
        name: UnitName::supervisor(&run.run),
        properties,
    }
}

/// Returns the supervisor's rights. A user's manager can only restrict system calls (seccomp(2)),
/// since it cannot give out less than it has.
fn rights(run: &RunSpec) -> Vec<(&'static str, Value)> {
    let flag = |name| (name, Value::Bool(true));
    let mut denied: Vec<String> = DENIED_CALLS.map(str::to_owned).to_vec();
    if run.mounts() {
        denied.extend(DENIED_MOUNTS.map(str::to_owned));
    } else {
        denied.push("@mount".to_owned());
    }
    let mut rights = vec![
        flag("NoNewPrivileges"),
        flag("LockPersonality"),
        flag("MemoryDenyWriteExecute"),
        flag("RestrictRealtime"),
        flag("RestrictSUIDSGID"),
        ("RestrictNamespaces", Value::U64(0)),
        // To reach the bus, journald and systemd.
        (
            "RestrictAddressFamilies",
            Value::Filter(true, vec!["AF_UNIX".to_owned()]),
        ),
        (
            "SystemCallArchitectures",
            Value::StrList(vec!["native".to_owned()]),
        ),
        ("SystemCallFilter", Value::Filter(false, denied)),
        ("SystemCallErrorNumber", Value::I32(EPERM)),
    ];
    if run.manager != ManagerKind::User {
        let unmount = if run.mounts() { UNMOUNT } else { 0 };
        rights.extend([
            ("CapabilityBoundingSet", Value::U64(FILES | unmount)),
            ("DevicePolicy", Value::Str("closed".into())),
            flag("ProtectHostname"),
            // Only a privileged manager may lower the score (proc_pid_oom_score_adj(5)).
            ("OOMScoreAdjust", Value::I32(-500)),
        ]);
    }
    rights
}
