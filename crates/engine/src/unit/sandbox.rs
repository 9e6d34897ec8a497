//! The sandbox of a job: the unit properties of each level (systemd.exec(5)).
//!
//! The properties were chosen by their measured cost (`docs/sandbox.md` has the table). A user of
//! the job's own without capabilities makes some `Protect*=` settings redundant, and the ones left
//! out here cost more than they protect.

use std::path::{Path, PathBuf};

use super::{
    Bind, JobPaths, ManagerKind, RunSpec, Value,
    disk::loop_devices,
    placement::Root,
    properties::CORE_NONE,
    view::{INSIDE, OWN, view},
};
use crate::{
    ids::JobName,
    plan::{
        Env, Sandbox,
        properties::{PropertyValue, parse},
    },
};

/// The first systemd with `ProtectControlGroups=strict`.
pub(super) const OWN_CGROUPS: u32 = 258;

/// System calls that no build needs and that widen the kernel's attack surface. As a deny-list they
/// cost nothing measurable; the allow-list `@system-service` costs 2 to 3 ms a job.
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
    // A part of @debug. Its ptrace(2) stays allowed: a job may trace its own processes, and reaches
    // no others.
    "perf_event_open",
    "userfaultfd",
];

/// The socket families for programs, the network and the kernel's network settings. The others are
/// rarely used, so faults in them are rarely found.
const ADDRESS_FAMILIES: [&str; 4] = ["AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK"];

/// `EPERM`: a denied call fails and does not kill its process.
pub(super) const EPERM: i32 = 1;

/// The directories that are empty or private in a sandboxed job. Only bound paths appear in them.
const HIDDEN: [&str; 5] = ["/home", "/root", "/run", "/tmp", "/var/tmp"];

/// The parts of the host's /run that a sandboxed job can read, if the host has them. Programs need
/// them to log, to look up users and hosts, and to find NixOS's programs and drivers. Only journald
/// and NixOS's name service cache listen on sockets in them.
///
/// journald's other sockets stay hidden. It passes each connection to its socket `stdout` on to
/// PID 1, so a job with some thousand connections would stop the whole host.
const RUN: [&str; 10] = [
    LOG,
    "/run/systemd/journal/dev-log",
    NAME_CACHE,
    "/run/current-system",
    "/run/booted-system",
    "/run/opengl-driver",
    "/run/systemd/resolve/stub-resolv.conf",
    "/run/systemd/resolve/resolv.conf",
    "/run/resolvconf",
    "/run/NetworkManager/resolv.conf",
];

/// The directory of the name service cache (nscd(8)). The C library asks it for users and hosts
/// before it reads files.
pub(super) const NAME_CACHE: &str = "/run/nscd";

/// The records of users. Those of jobs name their runs.
const RECORDS: &str = "/run/userdb";

/// The directory of the socket of Nix's daemon. What the daemon builds is outside of the job's
/// limits, and may fetch files over the host's network.
const NIX_DAEMON: &str = "/nix/var/nix/daemon-socket";

/// The socket for log lines, all that a job with a root file system of its own sees of the host's
/// /run.
pub(super) const LOG: &str = "/run/systemd/journal/socket";

/// Further needs of a job.
#[derive(Debug)]
pub(super) struct Needs<'a> {
    /// The user that was made for the job. If `None`, systemd makes one.
    pub user: Option<&'a str>,
    /// Whether the unit runs the program `nixactions` before its runner.
    pub program: bool,
    /// The root file system of the job's own, and the path of its mount point.
    pub root: Option<(&'a Root<'a>, PathBuf)>,
    /// Whether the job has a PID namespace of its own.
    pub own_pids: bool,
    /// Whether systemd can give the job a view of control groups of its own.
    pub own_cgroups: bool,
    /// The directories of the job beside that of its work to which it writes.
    pub writable: Vec<PathBuf>,
    /// Whether its root file system is a disk image.
    pub is_disk: bool,
    /// Whether the job can build with the host's Nix daemon.
    pub uses_nix: bool,
}

/// Returns the properties of a level. `own` is the job's directory, and `visible` holds the paths
/// of the run that the job may read.
pub(super) fn properties(
    run: &RunSpec,
    level: Sandbox,
    (job, own): (&JobName, &JobPaths),
    visible: &[PathBuf],
    needs: &Needs<'_>,
) -> Vec<(&'static str, Value)> {
    if level == Sandbox::None {
        return Vec::new();
    }
    let flag = |name| (name, Value::Bool(true));
    let text = |name, value: &str| (name, Value::Str(value.to_owned()));
    let is_on_host = needs.root.is_none();
    let mut properties = Vec::with_capacity(32);
    match (run.manager, needs.user) {
        (ManagerKind::System | ManagerKind::Embedded, None) => properties.push(flag("DynamicUser")),
        // The settings that `DynamicUser=` implies, without the filter of `RestrictSUIDSGID=`:
        // under it, openat2(2) and setgid directories fail. Writable paths of a job are mounted
        // nosuid.
        (ManagerKind::System | ManagerKind::Embedded, Some(user)) => {
            properties.push(text("User", user));
            properties.extend(is_on_host.then(|| text("ProtectSystem", "strict")));
            properties.extend([flag("PrivateTmp"), flag("RemoveIPC")]);
        }
        // A user's manager can build mount namespaces only inside a user namespace.
        (ManagerKind::User, _) => properties.extend([
            flag("PrivateUsers"),
            text("ProtectSystem", "strict"),
            flag("PrivateTmp"),
            // The system's manager does so by itself.
            text("KeyringMode", "private"),
        ]),
    }
    properties.extend(is_on_host.then(|| text("ProtectHome", "tmpfs")));
    properties.push(flag("NoNewPrivileges"));
    match &needs.root {
        None => properties.push(("CapabilityBoundingSet", Value::U64(0))),
        Some((root, tree)) => properties.extend(rooted(root, tree, needs.is_disk)),
    }
    if needs.own_pids {
        properties.extend([
            text("PrivatePIDs", "yes"),
            // systemd opens it before it makes the namespace.
            text("StandardInputFile", "/proc"),
        ]);
    }
    // The host may lack the mount point. Only root can then make it, or a unit with a private /dev.
    if run.manager != ManagerKind::User || level == Sandbox::Strict {
        properties.push(flag("PrivateIPC"));
    }
    // Under the other managers they belong to root; here, to the job's user.
    if run.manager == ManagerKind::User && level == Sandbox::Relaxed {
        properties.push(control_groups(needs));
    }
    if level == Sandbox::Strict {
        properties.extend([
            flag("PrivateDevices"),
            flag("ProtectKernelLogs"),
            flag("ProtectKernelTunables"),
            flag("ProtectKernelModules"),
            control_groups(needs),
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
    let view = view(run, level, job, needs.uses_nix);
    let mut readable: Vec<_> = visible
        .iter()
        .map(|path| Bind::new(path, &view.inside(run, path)))
        .collect();
    let whole = Bind::new(own.path(), &view.own);
    let writable: Vec<_> = if run.manager == ManagerKind::User {
        // Under the system's manager, the job's directory belongs to root. Here the job's user owns
        // it: a step could replace its parts by links, which systemd follows for other jobs.
        readable.push(whole);
        let parts = [own.work()].into_iter().chain(needs.writable.clone());
        let inside = |path: PathBuf| {
            let rest = path.strip_prefix(own.path()).unwrap_or(&path);
            Bind::new(&path, &view.own.join(rest))
        };
        parts.map(inside).collect()
    } else {
        // The record of the job's user has a path that is the same for all runs.
        let home = Path::new(INSIDE).join(OWN);
        let home = needs.uses_nix.then(|| Bind::new(own.path(), &home));
        [whole].into_iter().chain(home).collect()
    };
    readable.push(Bind::new(&run.runner(), &view.runner));
    readable.extend(
        needs
            .program
            .then(|| Bind::new(&run.program, &view.program)),
    );
    let of_run = if is_on_host { &RUN[..] } else { &[LOG] };
    readable.extend(of_run.iter().copied().map(Bind::where_there));
    readable.extend(
        is_on_host
            .then(|| records(needs.user))
            .into_iter()
            .flatten(),
    );
    let own_tmpfs = |path: &Path, mode: &str| {
        let options = format!("{mode},nosuid,nodev");
        (path.display().to_string(), options)
    };
    // A root file system of the job's own is writable.
    let of_run = if is_on_host {
        "ro,mode=0755"
    } else {
        "mode=1777"
    };
    let mut empty = vec![
        own_tmpfs(Path::new("/run"), of_run),
        own_tmpfs(&view.files, "mode=1777"),
        // /dev/shm has names that all processes of the host see. `PrivateIPC=` does not cover it.
        own_tmpfs(Path::new("/dev/shm"), "mode=1777"),
    ];
    let is_hidden = HIDDEN
        .iter()
        .any(|hidden| run.state_directory.starts_with(hidden));
    if !is_hidden && is_on_host {
        empty.push(own_tmpfs(&run.state_directory, "ro,mode=0755"));
    }
    properties.extend((is_on_host && !needs.uses_nix).then(|| {
        let hidden = vec![format!("-{NIX_DAEMON}")];
        ("InaccessiblePaths", Value::StrList(hidden))
    }));
    properties.extend([
        ("TemporaryFileSystem", Value::Pairs(empty)),
        ("BindPaths", Value::Binds(writable)),
        ("BindReadOnlyPaths", Value::Binds(readable)),
    ]);
    properties
}

/// Returns the property that protects the control groups, and hides those of others if possible.
fn control_groups(needs: &Needs<'_>) -> (&'static str, Value) {
    if needs.own_cgroups {
        ("ProtectControlGroupsEx", Value::Str("strict".to_owned()))
    } else {
        ("ProtectControlGroups", Value::Bool(true))
    }
}

/// Returns the records of users that a job reads: those of its own user, if one was made for it.
fn records(user: Option<&str>) -> Vec<Bind> {
    let Some(user) = user else {
        return vec![Bind::where_there(RECORDS)];
    };
    // A record is found by its name and by its id.
    let id = user.rsplit('-').next().unwrap_or_default();
    [user, id]
        .into_iter()
        .flat_map(|name| ["user", "group"].map(|kind| format!("{RECORDS}/{name}.{kind}")))
        .map(|path| Bind::where_there(&path))
        .collect()
}

/// Returns the properties of a job with a root file system of its own, which is mounted at `tree`.
fn rooted(root: &Root<'_>, tree: &Path, is_disk: bool) -> Vec<(&'static str, Value)> {
    let flag = |name| (name, Value::Bool(true));
    let mut properties = vec![
        ("RootDirectory", Value::Str(tree.display().to_string())),
        // The command that mounts the root file system runs in the host's.
        flag("RootDirectoryStartOnly"),
        flag("MountAPIVFS"),
    ];
    if root.container.private_users {
        // Only the job's user and root exist. Capabilities count in this user namespace only.
        properties.push(flag("PrivateUsers"));
    }
    if root.sandbox != Sandbox::Strict {
        // Otherwise /dev would be the host's.
        properties.push(flag("PrivateDevices"));
    }
    properties.extend(is_disk.then(loop_devices));
    if !root.container.network.is_host() {
        properties.push(flag("PrivateNetwork"));
    }
    let capabilities = parse(
        "CapabilityBoundingSet",
        &root.container.capabilities.join(" "),
    );
    let mask = capabilities
        .unwrap_or_default()
        .into_iter()
        .find_map(|property| match property.value {
            PropertyValue::U64(mask) => Some(mask),
            _ => None,
        })
        .unwrap_or(0);
    properties.push(("CapabilityBoundingSet", Value::U64(mask)));
    properties.extend((mask != 0).then_some(("AmbientCapabilities", Value::U64(mask))));
    properties
}

/// Adds the plan's own properties. As in a unit file, a later setting replaces an earlier one, or
/// adds to a list. Properties that this systemd does not know are left out; [`missing`] lists them.
pub(super) fn extend(properties: &mut Vec<(&'static str, Value)>, extra: &Env, version: u32) {
    for (name, text) in extra {
        let parsed = parse(name, text).unwrap_or_default();
        let known = parsed
            .into_iter()
            .filter(|property| property.since <= version);
        properties.extend(known.map(|property| {
            let value = match (property.name, property.value) {
                // Under a limit of 0, a program that takes core dumps still gets them.
                ("LimitCORE" | "LimitCORESoft", PropertyValue::U64(0)) => Value::U64(CORE_NONE),
                (_, value) => Value::Checked(value, text.clone()),
            };
            (property.name, value)
        }));
    }
}

/// Returns whether properties ask for a private network.
pub(super) fn has_own_network(extra: &Env) -> bool {
    let asked = extra
        .get("PrivateNetwork")
        .and_then(|text| parse("PrivateNetwork", text).ok())
        .unwrap_or_default();
    asked
        .iter()
        .any(|property| property.value == PropertyValue::Bool(true))
}

/// Returns the properties that a systemd of this version does not know, each with the version that
/// introduced it.
pub(super) fn missing(extra: &Env, version: u32) -> impl Iterator<Item = (&'static str, u32)> + '_ {
    let parsed = extra
        .iter()
        .flat_map(|(name, text)| parse(name, text).unwrap_or_default());
    parsed
        .filter(move |property| property.since > version)
        .map(|property| (property.source, property.since))
}
