//! Warnings about properties of a plan that the manager does not support.

use std::collections::BTreeSet;

use super::{Context, Placement, sandbox};
use crate::plan::Env;

/// The first systemd that gives a unit the host's network if it cannot make a private one (seen:
/// 252 makes one, 257 does not).
const NETWORK_NEEDS_LEAVE: u32 = 253;

/// The support of the kernel for a manager. The version of systemd does not tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelSupport {
    /// The cgroup controllers of the manager (cgroups(7)).
    pub controllers: BTreeSet<String>,
    /// Whether the manager has CAP_NET_ADMIN (capabilities(7)). Without it, systemd makes no
    /// private network for a unit.
    pub network: bool,
    /// Whether the kernel has Landlock's scopes (landlock(7)).
    pub scopes: bool,
}

/// The warning about jobs with a sandbox on a kernel without Landlock's scopes.
pub const NO_SCOPES: &str = "the kernel has no Landlock scopes (Linux 6.12 has them); jobs run without: a job can signal all processes of its user, and reach all abstract sockets of its network";

/// Returns warnings about properties that have no effect on this manager, each with its
/// consequence.
pub fn warnings(context: &Context<'_>, support: &KernelSupport) -> Vec<String> {
    let version = context.features.version;
    let executors = context.plan.executors.values();
    let executors = executors.filter_map(|executor| Placement::by(executor).properties());
    let services = context.plan.jobs.values();
    let services = services.flat_map(|job| job.services.values());
    let all: Vec<&Env> = executors
        .chain(context.plan.jobs.values().map(|job| &job.properties))
        .chain(services.map(|service| &service.properties))
        .collect();
    let missing: BTreeSet<_> = all
        .iter()
        .flat_map(|properties| sandbox::missing(properties, version))
        .collect();
    let old = missing.into_iter().map(|(name, since)| {
        format!("`{name}` needs systemd {since}, this is {version}; jobs run without it")
    });
    let limits: BTreeSet<_> = all
        .iter()
        .flat_map(|properties| properties.keys())
        .filter_map(|name| Some((name, controller(name)?)))
        .collect();
    let void = limits
        .into_iter()
        .filter(|(_, controller)| !support.controllers.contains(*controller));
    old.chain(void.map(|(name, controller)| {
        format!(
            "the cgroup controller `{controller}` is not available here; jobs run without `{name}`"
        )
    }))
    .chain(shared_network(&all, support, version))
    .chain(no_scopes(context, support))
    .collect()
}

/// Returns a warning if jobs that ask for a private network get the host's. A user's manager makes
/// networks in a user namespace.
fn shared_network(all: &[&Env], support: &KernelSupport, version: u32) -> Option<String> {
    let is_shared = !support.network
        && version >= NETWORK_NEEDS_LEAVE
        && all
            .iter()
            .any(|properties| sandbox::has_own_network(properties));
    is_shared.then(|| "the manager lacks CAP_NET_ADMIN; jobs run without `PrivateNetwork`, with the host's network".to_owned())
}

/// Returns a warning if jobs with a sandbox run on a kernel without Landlock's scopes.
fn no_scopes(context: &Context<'_>, support: &KernelSupport) -> Option<String> {
    let is_missed = !support.scopes
        && context
            .plan
            .jobs
            .values()
            .any(|job| context.placement(job).is_sandboxed());
    is_missed.then(|| NO_SCOPES.to_owned())
}

/// Returns the cgroup controller that enforces a property (systemd.resource-control(5)).
fn controller(property: &str) -> Option<&'static str> {
    const CONTROLLERS: [(&str, &str); 7] = [
        ("Memory", "memory"),
        ("CPUQuota", "cpu"),
        ("CPUWeight", "cpu"),
        ("StartupCPUWeight", "cpu"),
        ("IO", "io"),
        ("Tasks", "pids"),
        ("Allowed", "cpuset"),
    ];
    let not_cgroup = property == "MemoryDenyWriteExecute"
        || property == "MemoryKSM"
        || property.starts_with("IOScheduling");
    CONTROLLERS
        .iter()
        .find(|(prefix, _)| !not_cgroup && property.starts_with(prefix))
        .map(|(_, controller)| *controller)
}
