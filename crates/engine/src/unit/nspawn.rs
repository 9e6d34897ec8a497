//! Containers of systemd-nspawn(1): the command that runs one, and the properties of its unit.
//!
//! The main process of the unit is the program `nixactions`. It mounts the container's files,
//! starts systemd-nspawn, hands on signals, and ends as the container does. The runner is the first
//! process in the container. It finds the run's files at the paths of every sandboxed job.
//! [`crate::overlay`] adds the arguments with the ids of the container, when the job starts.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    Context, NSPAWN_COMMAND, RootPaths, RunPaths, RunSpec, STAND, Value, disk,
    placement::Nspawn,
    properties::{CORE_NONE, secrets},
    sandbox::LOG,
    view::{self, View, readable},
};
use crate::{
    graph::JobIx,
    plan::{Env, Job, Network},
    service::SERVICE_COMMAND,
};

/// The name of systemd's program.
pub const NSPAWN: &str = "systemd-nspawn";
/// The longest name of a container and of a host, in bytes (gethostname(2)).
const NAME_MAX: usize = 64;
/// The end of the host name of a container that jobs share. Those of jobs have a number.
const SHARED: &str = "shared";
/// The `PATH` of the first process of a job in a container.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The bytes of a digest in the name of a container.
const DIGEST_BYTES: usize = 8;
/// The capabilities of a container beside those of its executor: what the programs of a
/// distribution need to install packages and to change users. They count in the container's user
/// namespace.
///
/// systemd-nspawn would keep more. With `CAP_SYS_PTRACE`, steps could read the runner's memory and
/// write to its files; with `CAP_SYS_ADMIN`, they could mount over the runner's files.
const CAPABILITIES: [&str; 13] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];
/// The capabilities that systemd-nspawn keeps by default and that a container does not get.
const DROPPED: [&str; 14] = [
    "CAP_AUDIT_CONTROL",
    "CAP_DAC_READ_SEARCH",
    "CAP_IPC_OWNER",
    "CAP_LEASE",
    "CAP_LINUX_IMMUTABLE",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_NET_BROADCAST",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TTY_CONFIG",
];

/// The beginning of the names of properties that are limits of processes, and one of them.
const LIMIT: &str = "Limit";
const CORE: &str = "LimitCORE";

/// The limits of a job's file system in memory: those that systemd sets where it mounts one itself
/// (`TemporaryFileSystem=`, systemd.exec(5)).
pub const MEMORY_LIMITS: &str = "size=10%,nr_inodes=1m";

/// The argument for a network with loopback alone.
const PRIVATE_NETWORK: &str = "--private-network";

/// How to run a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NspawnSpec {
    /// The directories in which to look for systemd-nspawn, in the form of `PATH`.
    pub path: String,
    /// Its arguments, but for those that depend on the job's user.
    pub arguments: Vec<String>,
    /// The command in the container.
    pub command: Vec<String>,
    /// Whether the container has a user namespace of its own.
    pub private_users: bool,
    /// Whether the directories in the image's /run are in that of the container.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shows_run: bool,
    /// The directory in which a service's runner reaches the runner of its job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masks: Option<PathBuf>,
}

/// Returns the properties of a container's unit beside those of each job. systemd-nspawn makes
/// control groups of its own in the job's.
pub(super) fn properties() -> Vec<(&'static str, Value)> {
    vec![("Delegate", Value::Bool(true))]
}

/// Returns the property for the loop devices of a disk image. `None` where the unit may use all
/// devices, as it may unless the plan restricts them: the property would be a restriction itself.
pub(super) fn loop_devices(of_plan: &[&Env]) -> Option<(&'static str, Value)> {
    let of_plan = merged(of_plan);
    let is_set = |name: &str, unset: &str| of_plan.get(name).is_some_and(|text| text != unset);
    let is_restricted = is_set("DevicePolicy", "auto") || is_set("DeviceAllow", "");
    is_restricted.then(disk::loop_devices)
}

/// Returns the command of a container's unit. `user` is the user that was made for the job, or the
/// user that claims its range of ids.
pub(super) fn command(run: &RunSpec, root: &Path, user: Option<&str>) -> Vec<String> {
    let program = run.program.display().to_string();
    let root = root.display().to_string();
    let mut command = vec![program, NSPAWN_COMMAND.to_owned(), root];
    command.extend(user.map(str::to_owned));
    command
}

/// The container of one job or service, beside the settings of its executor.
struct Own<'a> {
    /// The directory on the host.
    directory: &'a Path,
    /// The place of its root file system.
    root: RootPaths,
    /// The paths of the run's files in the container.
    view: &'a View,
    host_name: String,
    /// Whether its network is that of the unit.
    has_units_network: bool,
    /// The properties of the plan.
    properties: Env,
    /// The paths of the run that it may read.
    readable: Vec<PathBuf>,
    /// The arguments of the runner.
    command: &'a [&'a Path],
}

/// Returns how to run the container of a job.
pub(super) fn spec(context: &Context<'_>, ix: JobIx, nspawn: &Nspawn<'_>) -> NspawnSpec {
    let (name, job) = context.job(ix);
    let run = context.run;
    let paths = RunPaths::new(run.directory.clone());
    let (view, job_paths) = (view::of_job(context, ix), paths.job(name));
    let own = Own {
        directory: job_paths.path(),
        root: paths.root(name),
        view: &view,
        host_name: host_name(run.run.as_str(), name.as_str(), &ix.index().to_string()),
        // The unit has such a network, which the services of the job join.
        has_units_network: !job.services.is_empty(),
        properties: limited(context, job, nspawn.properties),
        readable: readable(context, ix),
        command: &[&view.own],
    };
    isolated(run, nspawn, own)
}

/// Returns how to run the container of a service. The service finds its own files at the paths of
/// every job, and its name is that of the host.
pub(super) fn service_spec(
    run: &RunSpec,
    nspawn: &Nspawn<'_>,
    name: &str,
    (directory, root, masks): (&Path, RootPaths, PathBuf),
    view: &View,
) -> NspawnSpec {
    let own = Own {
        directory,
        root,
        view,
        host_name: name.to_owned(),
        has_units_network: true,
        properties: nspawn.properties.clone(),
        readable: Vec::new(),
        command: &[Path::new(SERVICE_COMMAND), &view.own],
    };
    NspawnSpec {
        // Programs have their sockets there, in directories of their users.
        shows_run: true,
        masks: Some(masks),
        ..isolated(run, nspawn, own)
    }
}

/// Returns how to run a container of one runner.
fn isolated(run: &RunSpec, nspawn: &Nspawn<'_>, own: Own<'_>) -> NspawnSpec {
    let view = own.view;
    let machine = machine(own.directory, &own.host_name);
    let mut arguments = arguments(nspawn, &own.root, &machine, &own.host_name);
    if own.has_units_network {
        arguments.retain(|argument| argument != PRIVATE_NETWORK);
    }
    arguments.extend(limits(&own.properties));
    arguments.push(bind("--bind", own.directory, &view.own));
    for path in own.readable {
        arguments.push(bind("--bind-ro", &path, &view.inside(run, &path)));
    }
    arguments.push(bind("--bind-ro", &run.runner(), &view.runner));
    arguments.push(format!(
        "--tmpfs={}:mode=1777,nosuid,nodev,{MEMORY_LIMITS}",
        escaped(&view.files)
    ));
    let command = [view.runner.as_path()]
        .into_iter()
        .chain(own.command.iter().copied());
    NspawnSpec {
        path: run.path.clone(),
        arguments,
        command: command.map(|part| part.display().to_string()).collect(),
        private_users: nspawn.container.private_users,
        shows_run: false,
        masks: None,
    }
}

/// Returns how to run the container that the jobs of an executor share. Each job brings its own
/// files and limits.
pub(super) fn shared_spec(
    context: &Context<'_>,
    executor: &str,
    nspawn: &Nspawn<'_>,
    root: &RootPaths,
) -> NspawnSpec {
    let run = context.run;
    let runner = view::runner_inside();
    let host_name = host_name(run.run.as_str(), executor, SHARED);
    let machine = machine(root.path(), &host_name);
    let mut arguments = arguments(nspawn, root, &machine, &host_name);
    arguments.push(bind("--bind-ro", &run.runner(), &runner));
    NspawnSpec {
        path: run.path.clone(),
        arguments,
        command: vec![runner.display().to_string(), STAND.to_owned()],
        private_users: nspawn.container.private_users,
        shows_run: false,
        masks: None,
    }
}

/// Returns the arguments that do not depend on a single job.
fn arguments(nspawn: &Nspawn<'_>, root: &RootPaths, machine: &str, host_name: &str) -> Vec<String> {
    let container = &nspawn.container;
    let mut arguments: Vec<String> = [
        "--quiet",
        // The unit is the container's: no scope, and nothing for systemd-machined.
        "--keep-unit",
        "--register=no",
        // Standard input and output are the runner's.
        "--console=pipe",
        "--kill-signal=SIGTERM",
        // Nothing of the host but what is named here.
        "--settings=no",
        "--link-journal=no",
        "--resolv-conf=off",
        "--timezone=off",
        // The runner keeps the job in a Landlock domain. systemd-nspawn 252 would deny it that.
        "--system-call-filter=landlock_create_ruleset landlock_add_rule landlock_restrict_self",
    ]
    .map(str::to_owned)
    .into();
    arguments.push(format!("--directory={}", root.tree().display()));
    arguments.push(format!("--machine={machine}"));
    arguments.push(format!("--hostname={host_name}"));
    match container.network {
        Network::Host => {}
        Network::Private => arguments.push(PRIVATE_NETWORK.to_owned()),
        Network::Veth => arguments.push("--network-veth".to_owned()),
    }
    let asked = container.capabilities;
    let given: Vec<_> = asked
        .iter()
        .map(String::as_str)
        .chain(CAPABILITIES)
        .collect();
    arguments.push(format!("--capability={}", given.join(",")));
    let dropped = DROPPED.iter().filter(|name| !given.contains(name));
    let dropped: Vec<_> = dropped.copied().collect();
    arguments.push(format!("--drop-capability={}", dropped.join(",")));
    arguments.push(bind("--bind-ro", Path::new(LOG), Path::new(LOG)));
    arguments
}

/// Returns the properties of an executor and its job, with the limit that its secrets need.
fn limited(context: &Context<'_>, job: &Job, of_executor: &Env) -> Env {
    let mut all = merged(&[of_executor, &job.properties]);
    if secrets(context, Some(job))
        .iter()
        .any(|(name, _)| *name == CORE)
    {
        all.entry(CORE.to_owned())
            .or_insert_with(|| CORE_NONE.to_string());
    }
    all
}

/// Returns the arguments for the limits (`LimitNOFILE=` and others) among properties.
/// systemd-nspawn does not pass on the limits that it has itself.
fn limits(properties: &Env) -> Vec<String> {
    let limits = properties.iter().filter_map(|(name, value)| {
        let limit = name.strip_prefix(LIMIT)?;
        let value = match (name.as_str(), value.as_str()) {
            // Under a limit of 0, a program that takes core dumps still gets them.
            (CORE, "0") => &CORE_NONE.to_string(),
            (_, value) => value,
        };
        Some(format!("--rlimit=RLIMIT_{limit}={value}"))
    });
    limits.collect()
}

/// Returns the properties of a plan that hold for the unit, without those for the processes in the
/// container.
pub(super) fn of_unit(properties: &Env) -> Env {
    let all = properties.iter();
    all.filter(|(name, _)| !name.starts_with(LIMIT))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Returns an argument that binds a file or directory of the host.
/// Merges levels of properties. Later levels win.
fn merged(levels: &[&Env]) -> Env {
    levels
        .iter()
        .flat_map(|level| level.iter())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn bind(argument: &str, source: &Path, target: &Path) -> String {
    format!("{argument}={}:{}", escaped(source), escaped(target))
}

/// Escapes the characters of a path that mean something to systemd-nspawn.
pub fn escaped(path: &Path) -> String {
    path.display()
        .to_string()
        .replace('\\', "\\\\")
        .replace(':', "\\:")
}

/// Returns the host name in a container (hostname(7)): of a run's job or executor, with an end that
/// no other container of the run has.
fn host_name(run: &str, job: &str, end: &str) -> String {
    let text = format!("{run}-{job}");
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    let mut name = words.join("-");
    // Jobs whose names are alike still have names of their own.
    let end = format!("-{end}");
    name.truncate(NAME_MAX - end.len());
    format!("{}{end}", name.trim_end_matches('-'))
}

/// Returns the name of a job's container, which no other container on the machine has: a digest of
/// the job's directory, then as much of the host name as fits. The digest comes first, since
/// systemd-nspawn names a network interface by the first 8 characters of the container's name and
/// 24 bits of a hash of it, or by the first 12 characters (systemd.net-naming-scheme(7)).
fn machine(directory: &Path, host_name: &str) -> String {
    let digest = Sha256::digest(directory.as_os_str().as_encoded_bytes());
    let digest: String = digest[..DIGEST_BYTES]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut name = format!("{digest}-{host_name}");
    name.truncate(NAME_MAX);
    name.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_has_a_valid_host_name() {
        assert_eq!(host_name("ci-1", "build", "0"), "ci-1-build-0");
        assert_eq!(host_name("ci-1", "_", "0"), "ci-1-0");
        assert_eq!(host_name("a.b-1", "a-b--c_", "0"), "a-b-1-a-b-c-0");
        let long = host_name("ci-1", &"x-".repeat(60), "0");
        assert!(long.len() <= NAME_MAX && long.ends_with("x-0"), "{long}");
    }

    #[test]
    fn containers_of_two_jobs_have_two_names_and_two_interfaces() {
        let name = |path: &str| machine(Path::new(path), &"x".repeat(NAME_MAX));
        let (one, other) = (name("/runs/ci-1/jobs/a"), name("/runs/ci-2/jobs/a"));
        assert_ne!(one[..8], other[..8]);
        assert!(one.len() == NAME_MAX && other.len() == NAME_MAX);
        assert_eq!(name("/runs/ci-1/jobs/a"), one, "shell and engine agree");
        let short = machine(Path::new("/a"), "ci-1-a-0");
        assert!(short.ends_with("-ci-1-a-0") && short.len() == 25, "{short}");
    }

    #[test]
    fn loop_devices_are_named_where_the_plan_restricts_devices() {
        let env = |pairs: &[(&str, &str)]| -> Env {
            let pairs = pairs.iter();
            pairs
                .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
                .collect()
        };
        let is_named = |executor: &[(&str, &str)], job: &[(&str, &str)]| {
            loop_devices(&[&env(executor), &env(job)]).is_some()
        };
        assert!(!is_named(&[], &[]));
        assert!(is_named(&[("DevicePolicy", "closed")], &[]));
        assert!(is_named(&[], &[("DeviceAllow", "/dev/kvm rw")]));
        assert!(!is_named(
            &[("DevicePolicy", "closed")],
            &[("DevicePolicy", "auto")]
        ));
        assert!(!is_named(
            &[("DeviceAllow", "/dev/kvm rw")],
            &[("DeviceAllow", "")]
        ));
    }

    #[test]
    fn colons_of_paths_are_escaped() {
        assert_eq!(escaped(Path::new("/a:b\\c")), "/a\\:b\\\\c");
    }
}
