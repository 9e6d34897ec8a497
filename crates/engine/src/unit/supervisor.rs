//! The supervisor's unit, the same under every manager: what it may do, and what becomes of it when
//! it dies or hangs.
//!
//! It runs as root and reads what jobs wrote, so it has few rights. They are those that need no
//! mount namespace: one costs a run 8 to 10 ms on systemd 262, and would not keep from anything a
//! process that may ask systemd for units. What it keeps: to read and write files whoever owns
//! them, and to unmount workspaces where they are mounted.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::{
    CLEANUP_GRACE, INTERRUPT_GRACE, ManagerKind, ROOT_SLICE, RUNNER_SLACK, RunSpec,
    TERMINATE_GRACE, TransientUnit, UnitName, Value,
    compile::{documentation, log_fields, micros},
    sandbox::EPERM,
};

/// After how long without a word from the supervisor it is replaced: longer than a slow disk may
/// hold one up.
const WATCHDOG: Duration = Duration::from_secs(120);

/// `CAP_DAC_OVERRIDE`, `CAP_DAC_READ_SEARCH` and `CAP_FOWNER` (capabilities(7)): the state directory
/// may lie in a user's home, and a job's files belong to its user.
const FILES: u64 = 1 << 1 | 1 << 2 | 1 << 3;
/// `CAP_SYS_ADMIN`: to unmount.
const UNMOUNT: u64 = 1 << 21;

/// System calls that it has no use for.
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
/// Those of `@mount` but for `umount2`.
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
        // So that at a shutdown the bus stops after it: over the bus it is told how its jobs end.
        ("After", Value::StrList(vec!["dbus.service".to_owned()])),
        (
            "ExecStart",
            Value::Exec(vec![
                run.program.display().to_string(),
                "supervise".into(),
                run.directory.display().to_string(),
            ]),
        ),
        // Holds the lock of the run's concurrency group while the supervisor is being restarted.
        ("FileDescriptorStoreMax", Value::U32(1)),
        ("Restart", Value::Str("on-failure".into())),
        ("RestartUSec", Value::U64(100_000)),
        ("StartLimitIntervalUSec", Value::U64(0)),
        // One that hangs is replaced as one that died is; it need not leave a core.
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

/// Returns what the supervisor may do. A user's manager cannot give out less than it has itself, but
/// for what seccomp(2) does.
fn rights(run: &RunSpec) -> Vec<(&'static str, Value)> {
    let flag = |name| (name, Value::Bool(true));
    let mut denied: Vec<String> = DENIED_CALLS.map(str::to_owned).to_vec();
    if run.mounts_source {
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
        // The bus, journald and systemd itself.
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
        let unmount = if run.mounts_source { UNMOUNT } else { 0 };
        rights.extend([
            ("CapabilityBoundingSet", Value::U64(FILES | unmount)),
            ("DevicePolicy", Value::Str("closed".into())),
            flag("ProtectHostname"),
            // Only a privileged manager may lower it (proc_pid_oom_score_adj(5)).
            ("OOMScoreAdjust", Value::I32(-500)),
        ]);
    }
    rights
}
