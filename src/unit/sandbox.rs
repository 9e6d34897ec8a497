//! The sandbox of a job: which unit properties each level sets (systemd.exec(5)).
//!
//! Chosen by cost, measured property by property (`docs/sandbox.md` has the table): a user of the
//! job's own without capabilities makes most `Protect*=` settings redundant, and those left out
//! here cost more than they protect.

use std::path::{Path, PathBuf};

use super::{JobPaths, ManagerKind, RUNNER, RunSpec, Value};
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

/// Directories that a sandboxed job sees empty, and on a newer systemd with the modes they have on
/// the host: what lies below them cannot be reached by the job's user even when it is mounted
/// there.
const HIDDEN: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];

/// Where a sandboxed job sees the state directory that lies in a hidden one.
const ELSEWHERE: &str = "/run/nixactions";

/// Where a job finds the run's files and the runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    /// The state directory, as the job sees it.
    state: PathBuf,
    /// The run's directory, as the job sees it.
    pub directory: PathBuf,
    /// The runner's program, as the job sees it.
    pub runner: PathBuf,
    /// Whether the job would not see it by itself.
    is_runner_covered: bool,
    /// Where the runner makes the files that it and the steps tell each other things by, on a
    /// tmpfs: they may hold secrets.
    pub files: PathBuf,
}

/// Returns what a job of this level sees where. A user's own manager runs jobs as that user, for
/// whom nothing is out of reach.
pub(super) fn view(run: &RunSpec, level: Sandbox, job: &JobName) -> View {
    let is_hidden = |path: &Path| HIDDEN.iter().any(|hidden| path.starts_with(hidden));
    if level == Sandbox::None {
        return View {
            state: run.state_directory.clone(),
            directory: run.directory.clone(),
            runner: run.runner(),
            is_runner_covered: false,
            files: run.runtime_directory.join(job.as_str()),
        };
    }
    let state = if run.manager != ManagerKind::User && is_hidden(&run.state_directory) {
        ELSEWHERE.into()
    } else {
        run.state_directory.clone()
    };
    let directory = run
        .directory
        .strip_prefix(&run.state_directory)
        .map_or(run.directory.clone(), |rest| state.join(rest));
    let is_runner_covered =
        is_hidden(&run.program) || run.program.starts_with(&run.state_directory);
    let runner = if is_runner_covered {
        state.join("bin").join(RUNNER)
    } else {
        run.runner()
    };
    // A tmpfs of the job's own, which goes with it.
    let files = state.join("files");
    View {
        state,
        directory,
        runner,
        is_runner_covered,
        files,
    }
}

/// Returns the properties of a level: `own` is the job's directory, `visible` what it may read of
/// the run.
pub(super) fn properties(
    run: &RunSpec,
    level: Sandbox,
    (job, own): (&JobName, &JobPaths),
    visible: &[PathBuf],
) -> Vec<(&'static str, Value)> {
    if level == Sandbox::None {
        return Vec::new();
    }
    let flag = |name| (name, Value::Bool(true));
    let text = |name, value: &str| (name, Value::Str(value.to_owned()));
    let mut properties = Vec::with_capacity(24);
    match run.manager {
        ManagerKind::System | ManagerKind::Embedded => properties.push(flag("DynamicUser")),
        // A user's manager may build mount namespaces only inside a user namespace.
        ManagerKind::User => properties.extend([
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
    if level == Sandbox::Strict {
        properties.extend([
            text("ProtectProc", "invisible"),
            flag("LockPersonality"),
            flag("RestrictRealtime"),
            flag("RestrictSUIDSGID"),
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
    let bind = |path: &Path| {
        let inside = path
            .strip_prefix(&run.directory)
            .map_or(path.to_owned(), |rest| view.directory.join(rest));
        (path.display().to_string(), inside.display().to_string())
    };
    let mut readable: Vec<_> = visible.iter().map(|path| bind(path)).collect();
    if view.is_runner_covered {
        readable.push((
            run.runner().display().to_string(),
            view.runner.display().to_string(),
        ));
    }
    properties.extend([
        (
            "TemporaryFileSystem",
            Value::Pairs(vec![
                (view.state.display().to_string(), "ro,mode=0755".to_owned()),
                (view.files.display().to_string(), "mode=1777".to_owned()),
            ]),
        ),
        ("BindPaths", Value::Binds(vec![bind(own.path())])),
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
