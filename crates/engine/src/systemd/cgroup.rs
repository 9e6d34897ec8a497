//! The support of the kernel for a manager: the cgroup controllers that it was given (cgroups(7)),
//! whether it can make networks, and whether the kernel has Landlock's scopes.

use std::{collections::BTreeSet, fs, path::Path};

use super::{Scope, has_scopes};
use crate::unit::KernelSupport;

/// CAP_NET_ADMIN's bit, see linux/capability.h.
const CAP_NET_ADMIN: u32 = 12;

/// Returns the support of the kernel for a manager. The caller must run in one of its units.
pub fn kernel_support(scope: Scope) -> KernelSupport {
    // The capabilities of PID 1: the supervisor calls this, and has given up most of its own.
    let status = fs::read_to_string("/proc/1/status").unwrap_or_default();
    let bounding = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // An unknown set gives no warning.
    let network =
        scope == Scope::User || bounding.is_none_or(|mask| mask & (1 << CAP_NET_ADMIN) != 0);
    KernelSupport {
        controllers: controllers(scope),
        network,
        scopes: has_scopes(),
    }
}

/// Returns the controllers of the unified hierarchy that a manager can use: all of the root for the
/// system's manager, the delegated ones for a user's. A host with the legacy hierarchies has none.
fn controllers(scope: Scope) -> BTreeSet<String> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = match scope {
        Scope::System => "/",
        Scope::User => own
            .lines()
            .find_map(|line| line.strip_prefix("0::"))
            .map_or("/", delegated),
    };
    let read = |root: &str| {
        fs::read_to_string(
            Path::new(root)
                .join(path.trim_start_matches('/'))
                .join("cgroup.controllers"),
        )
        .ok()
    };
    let text = read("/sys/fs/cgroup")
        .or_else(|| read("/sys/fs/cgroup/unified"))
        .unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// Returns the part of a cgroup's path that belongs to the user's manager, `…/user@1000.service`.
fn delegated(path: &str) -> &str {
    let end = path
        .find("/user@")
        .and_then(|start| path[start + 1..].find('/').map(|length| start + 1 + length));
    end.map_or(path, |end| &path[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_manager_has_the_delegated_controllers() {
        let path = "/user.slice/user-1000.slice/user@1000.service/nixactions.slice/nixactions-ci-1.service";
        assert_eq!(
            delegated(path),
            "/user.slice/user-1000.slice/user@1000.service"
        );
        assert_eq!(delegated("/user.slice/x"), "/user.slice/x");
    }
}
