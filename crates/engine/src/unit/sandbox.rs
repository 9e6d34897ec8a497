//! The sandbox of a job: which unit properties each level sets (systemd.exec(5)).
//!
//! Chosen by cost, measured property by property (`docs/sandbox.md` has the table): a user of the
//! job's own without capabilities makes some `Protect*=` settings redundant, and those left out
//! here cost more than they protect.

use std::path::{Path, PathBuf};

use super::{Bind, JobPaths, ManagerKind, RUNNER, RunPaths, RunSpec, Value};
use crate::{
    ids::JobName,
    plan::{
        Env, Sandbox,
        properties::{PropertyValue, parse},
    },
};

/// System calls that no build needs and that widen the kernel's attack surface; as a deny-list they
/// cost nothing measurable, where the allow-list `@system-service` costs 2 to 3 ms a job.
const DENIED_CALLS: [&str; 12] = [
    "@clock",
    "@cpu-emulation",
    "@keyring",
    "@module",
    "@mount",
    "@obsolete",
    "@raw-io",
    "@reboot",
    "@swap",
    "bpf",
    // Of @debug; ptrace(2) is allowed: a job may trace its own processes, and reaches no others.
    "perf_event_open",
    "userfaultfd",
];

/// What programs talk to each other, to the network and to the kernel's side of it by; others are
/// little used, and so are their faults little known.
const ADDRESS_FAMILIES: [&str; 4] = ["AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"];

/// `EPERM`: a denied call fails, it does not kill.
pub(super) const EPERM: i32 = 1;

/// Directories that a sandboxed job sees empty or has its own of, but for what is bound into them.
const HIDDEN: [&str; 5] = ["/home", "/root", "/run", "/tmp", "/var/tmp"];

/// Where a sandboxed job sees its run. It is the same in all runs, wherever the state directory and
/// the programs lie, so that what a build remembers of its paths serves the next run as well; and it
/// is short, since the path of a socket has 108 bytes (unix(7)).
const INSIDE: &str = "/run/nixactions";

/// The job's own directory there.
const OWN: &str = "job";

/// What of the host's /run a sandboxed job sees, read-only, where the host has it: what it takes to
/// log, to look up users and hosts, and to find NixOS's programs and drivers. No service of the host
/// listens in these but journald and NixOS's name service cache.
const RUN: [&str; 10] = [
    "/run/systemd/journal",
    "/run/userdb",
    "/run/nscd",
    "/run/current-system",
    "/run/booted-system",
    "/run/opengl-driver",
    "/run/systemd/resolve/stub-resolv.conf",
    "/run/systemd/resolve/resolv.conf",
    "/run/resolvconf",
    "/run/NetworkManager/resolv.conf",
];

/// Where systemd takes notifications (sd_notify(3)).
const NOTIFY: &str = "/run/systemd/notify";

/// Where a job finds the run's files and the programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    /// The job's own directory, as the job sees it.
    pub own: PathBuf,
    /// The run's directory, as the job sees it: what is shared, and what its needs left.
    pub directory: PathBuf,
    /// The runner's program, as the job sees it.
    pub runner: PathBuf,
    /// The other program, as commands of the job's unit see it.
    pub program: PathBuf,
    /// Where the runner makes the files that it and the steps tell each other things by, on a
    /// tmpfs: they may hold secrets.
    pub files: PathBuf,
}

/// Returns what a job of this level sees where. Without a sandbox it sees the host's file system,
/// with everything of the run where it is.
pub(super) fn view(run: &RunSpec, level: Sandbox, job: &JobName) -> View {
    if level == Sandbox::None {
        return View {
            own: RunPaths::new(run.directory.clone())
                .job(job)
                .path()
                .to_owned(),
            directory: run.directory.clone(),
            runner: run.runner(),
            program: run.program.clone(),
            files: run.runtime_directory.join(job.as_str()),
        };
    }
    let inside = Path::new(INSIDE);
    View {
        own: inside.join(OWN),
        directory: inside.to_owned(),
        runner: inside.join("bin").join(RUNNER),
        program: inside.join("bin/nixactions"),
        // A tmpfs of the job's own, which goes with it.
        files: inside.join("files"),
    }
}

/// What else a job needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Needs<'a> {
    /// The user that was made for it; else systemd makes one.
    pub user: Option<&'a str>,
    /// To run the program `nixactions` before its runner.
    pub program: bool,
    /// To notify systemd.
    pub notify: bool,
}

/// Returns the properties of a level: `own` is the job's directory, `visible` what it may read of
/// the run.
pub(super) fn properties(
    run: &RunSpec,
    level: Sandbox,
    (job, own): (&JobName, &JobPaths),
    visible: &[PathBuf],
    needs: Needs<'_>,
) -> Vec<(&'static str, Value)> {
    if level == Sandbox::None {
        return Vec::new();
    }
    let flag = |name| (name, Value::Bool(true));
    let text = |name, value: &str| (name, Value::Str(value.to_owned()));
    let mut properties = Vec::with_capacity(24);
    match (run.manager, needs.user) {
        (ManagerKind::System | ManagerKind::Embedded, None) => properties.push(flag("DynamicUser")),
        // What `DynamicUser=` implies, but for the filter of `RestrictSUIDSGID=`, under which
        // openat2(2) and setgid directories fail: what a job may write to is mounted nosuid.
        (ManagerKind::System | ManagerKind::Embedded, Some(user)) => properties.extend([
            text("User", user),
            text("ProtectSystem", "strict"),
            flag("PrivateTmp"),
            flag("RemoveIPC"),
        ]),
        // A user's manager may build mount namespaces only inside a user namespace.
        (ManagerKind::User, _) => properties.extend([
            flag("PrivateUsers"),
            text("ProtectSystem", "strict"),
            flag("PrivateTmp"),
        ]),
    }
    properties.extend([
        text("ProtectHome", "tmpfs"),
        flag("NoNewPrivileges"),
        ("CapabilityBoundingSet", Value::U64(0)),
    ]);
    // It is mounted where the host may have nothing; then only root, or who has a /dev of its own,
    // can make the place.
    if run.manager != ManagerKind::User || level == Sandbox::Strict {
        properties.push(flag("PrivateIPC"));
    }
    if level == Sandbox::Strict {
        properties.extend([
            flag("PrivateDevices"),
            flag("ProtectKernelLogs"),
            flag("ProtectKernelTunables"),
            flag("ProtectKernelModules"),
            flag("ProtectControlGroups"),
            (
                "RestrictAddressFamilies",
                Value::Filter(true, ADDRESS_FAMILIES.map(str::to_owned).to_vec()),
            ),
            text("ProtectProc", "invisible"),
            flag("LockPersonality"),
            flag("RestrictRealtime"),
            ("RestrictNamespaces", Value::U64(0)),
            flag("ProtectClock"),
            flag("ProtectHostname"),
            (
                "SystemCallArchitectures",
                Value::StrList(vec!["native".to_owned()]),
            ),
            (
                "SystemCallFilter",
                Value::Filter(false, DENIED_CALLS.map(str::to_owned).to_vec()),
            ),
            ("SystemCallErrorNumber", Value::I32(EPERM)),
        ]);
    }
    let view = view(run, level, job);
    let inside = |path: &Path| {
        path.strip_prefix(&run.directory)
            .map_or(path.to_owned(), |rest| view.directory.join(rest))
    };
    let mut readable: Vec<_> = visible
        .iter()
        .map(|path| Bind::new(path, &inside(path)))
        .collect();
    if run.manager == ManagerKind::User {
        // To the system's manager these belong to root; here the job's user is their owner.
        readable.extend([own.out(), own.spec()].map(|path| {
            let rest = path.strip_prefix(own.path()).unwrap_or(&path);
            Bind::new(&path, &view.own.join(rest))
        }));
    }
    readable.push(Bind::new(&run.runner(), &view.runner));
    readable.extend(
        needs
            .program
            .then(|| Bind::new(&run.program, &view.program)),
    );
    let notify = needs.notify.then_some(NOTIFY);
    readable.extend(RUN.into_iter().chain(notify).map(Bind::where_there));
    let own_tmpfs = |path: &Path, mode: &str| {
        let options = format!("{mode},nosuid,nodev");
        (path.display().to_string(), options)
    };
    let mut empty = vec![
        own_tmpfs(Path::new("/run"), "ro,mode=0755"),
        own_tmpfs(&view.files, "mode=1777"),
        // Shared memory has names there that all of the host see; `PrivateIPC=` is about others.
        own_tmpfs(Path::new("/dev/shm"), "mode=1777"),
    ];
    let is_hidden = HIDDEN
        .iter()
        .any(|hidden| run.state_directory.starts_with(hidden));
    if !is_hidden {
        empty.push(own_tmpfs(&run.state_directory, "ro,mode=0755"));
    }
    properties.extend([
        ("TemporaryFileSystem", Value::Pairs(empty)),
        (
            "BindPaths",
            Value::Binds(vec![Bind::new(own.path(), &view.own)]),
        ),
        ("BindReadOnlyPaths", Value::Binds(readable)),
    ]);
    properties
}

/// Adds the plan's own properties. As in a unit file, a later setting replaces an earlier one and
/// adds to a list. What this systemd does not know yet is left out; [`missing`] says so.
pub(super) fn extend(properties: &mut Vec<(&'static str, Value)>, extra: &Env, version: u32) {
    for (name, text) in extra {
        let parsed = parse(name, text).unwrap_or_default();
        let known = parsed
            .into_iter()
            .filter(|property| property.since <= version);
        properties.extend(
            known.map(|property| (property.name, Value::Checked(property.value, text.clone()))),
        );
    }
}

/// Returns whether properties say what a job's user is.
pub(super) fn names_user(extra: &Env) -> bool {
    ["User", "Group", "DynamicUser"]
        .iter()
        .any(|name| extra.contains_key(*name))
}

/// Returns the `$HOME` of sandboxed jobs, as they see it.
pub fn home_inside() -> PathBuf {
    JobPaths::at(Path::new(INSIDE).join(OWN)).home()
}

/// Returns whether properties ask for a network of the job's own.
pub(super) fn has_own_network(extra: &Env) -> bool {
    let asked = extra
        .get("PrivateNetwork")
        .and_then(|text| parse("PrivateNetwork", text).ok())
        .unwrap_or_default();
    asked
        .iter()
        .any(|property| property.value == PropertyValue::Bool(true))
}

/// Returns the properties that a systemd of this version does not know, each with the version it
/// came with.
pub(super) fn missing(extra: &Env, version: u32) -> impl Iterator<Item = (&'static str, u32)> + '_ {
    let parsed = extra
        .iter()
        .flat_map(|(name, text)| parse(name, text).unwrap_or_default());
    parsed
        .filter(move |property| property.since > version)
        .map(|property| (property.source, property.since))
}
