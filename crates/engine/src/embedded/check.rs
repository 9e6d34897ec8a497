//! Checks what a private manager needs from the machine: programs, privileges, kernel features.
//!
//! It tries nothing out. Only the start of a manager shows whether a container may really mount.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use super::error::{EmbeddedError, Missing};
use crate::programs;

/// The oldest supported version of systemd.
const LEAST_SYSTEMD: u32 = 252;
/// The namespaces of a private manager, by their names in /proc/PID/ns.
const NAMESPACES: [&str; 5] = ["cgroup", "ipc", "mnt", "pid", "uts"];
/// CAP_SYS_ADMIN's bit, see linux/capability.h.
const CAP_SYS_ADMIN: u32 = 21;
const SYSTEMD_DIRS: [&str; 3] = [
    "/usr/lib/systemd",
    "/lib/systemd",
    "/run/current-system/systemd/lib/systemd",
];
const BIN_DIRS: [&str; 6] = [
    "/usr/bin",
    "/bin",
    "/usr/local/bin",
    "/usr/sbin",
    "/sbin",
    "/run/current-system/sw/bin",
];

/// The programs of a private manager.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Programs {
    pub systemd: PathBuf,
    pub systemctl: PathBuf,
    pub journald: PathBuf,
    pub bus: Bus,
}

/// The D-Bus implementation of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Bus {
    /// dbus-daemon(1). It is preferred where the machine has both.
    Daemon(PathBuf),
    /// dbus-broker-launch(1).
    Broker(PathBuf),
}

/// The versions and programs found on the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// systemd's version.
    pub systemd: u32,
    /// The bus that will be used.
    pub bus: Bus,
}

/// Returns the programs that a private manager would use, or an error that names everything
/// missing.
pub fn check() -> Result<Versions, EmbeddedError> {
    let programs = requirements()?;
    let output = Command::new(&programs.systemd)
        .arg("--version")
        .output()
        .map_err(|source| EmbeddedError::io("execute", &programs.systemd, source))?;
    let systemd = version(&String::from_utf8_lossy(&output.stdout)).unwrap_or(0);
    if systemd < LEAST_SYSTEMD {
        return Err(EmbeddedError::TooOld {
            found: systemd,
            least: LEAST_SYSTEMD,
        });
    }
    Ok(Versions {
        systemd,
        bus: programs.bus,
    })
}

/// Reads `systemd 252 (252.39-1~deb12u2)`; a release candidate is `257~rc1`.
fn version(text: &str) -> Option<u32> {
    let number = text.split_whitespace().nth(1)?;
    number
        .split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

/// Finds the programs and looks for the rest, without executing anything.
pub(super) fn requirements() -> Result<Programs, EmbeddedError> {
    let mut missing = Vec::new();
    let mut miss = |what: &str, hint: &str| {
        missing.push(Missing {
            what: what.to_owned(),
            hint: hint.to_owned(),
        })
    };
    const INSTALL: &str = "install systemd and D-Bus: `apt-get install systemd dbus`";

    if !geteuid().is_root() {
        miss(
            "root's privileges",
            "run it as root, or use a reachable user manager (`--manager user`)",
        );
    } else if !has_capability(CAP_SYS_ADMIN) {
        miss(
            "CAP_SYS_ADMIN",
            "give the container CAP_SYS_ADMIN (`docker run --privileged`)",
        );
    }
    let systemd = executable(&SYSTEMD_DIRS, "systemd");
    if systemd.is_none() {
        miss("`systemd`", INSTALL);
    }
    let journald = executable(&SYSTEMD_DIRS, "systemd-journald");
    if journald.is_none() {
        miss("`systemd-journald`", INSTALL);
    }
    let systemctl = executable(&BIN_DIRS, "systemctl");
    if systemctl.is_none() {
        miss("`systemctl`", INSTALL);
    }
    let bus = executable(&BIN_DIRS, "dbus-daemon")
        .map(Bus::Daemon)
        .or_else(|| executable(&BIN_DIRS, "dbus-broker-launch").map(Bus::Broker));
    if bus.is_none() {
        miss("`dbus-daemon` or `dbus-broker-launch`", INSTALL);
    }
    if !Path::new("/etc/machine-id").is_file() {
        miss("`/etc/machine-id`", "make one: `systemd-machine-id-setup`");
    }
    if !Path::new("/proc/self/status").exists() {
        miss("`/proc`", "mount it: `mount -t proc proc /proc`");
    } else {
        for name in NAMESPACES
            .iter()
            .filter(|name| !Path::new("/proc/self/ns").join(name).exists())
        {
            miss(
                &format!("the kernel's `{name}` namespace"),
                "use a kernel with namespaces (CONFIG_NAMESPACES)",
            );
        }
        if !fs::read_to_string("/proc/filesystems")
            .unwrap_or_default()
            .lines()
            .any(|line| line.ends_with("\tcgroup2"))
        {
            miss(
                "the kernel's `cgroup2`",
                "use a kernel with cgroup v2 (CONFIG_CGROUPS)",
            );
        }
    }
    match (systemd, systemctl, journald, bus) {
        (Some(systemd), Some(systemctl), Some(journald), Some(bus)) if missing.is_empty() => {
            Ok(Programs {
                systemd,
                systemctl,
                journald,
                bus,
            })
        }
        _ => Err(EmbeddedError::Missing(missing)),
    }
}

/// Returns the canonical path, since the searched directories may be links that the private /run
/// lacks. The programs that this package brings along are used if the host has none.
fn executable(dirs: &[&str], name: &str) -> Option<PathBuf> {
    let brought = programs::brought().flat_map(|bin| [bin.join("../lib/systemd"), bin]);
    programs::find(dirs.iter().map(PathBuf::from).chain(brought), name)?
        .canonicalize()
        .ok()
}

fn has_capability(bit: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .unwrap_or("0");
    // Without /proc the capabilities are unknown. The missing /proc is reported by itself.
    status.is_empty()
        || u64::from_str_radix(effective.trim(), 16).is_ok_and(|set| set & (1 << bit) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemds_version_is_read_from_its_output() {
        assert_eq!(version("systemd 252 (252.39-1~deb12u2)\n+PAM"), Some(252));
        assert_eq!(version("systemd 258~rc1 (258~rc1-1)"), Some(258));
        assert_eq!(version("systemd"), None);
        assert_eq!(version("systemd x"), None);
    }

    #[test]
    fn program_paths_are_canonical() {
        let found = executable(&["/nowhere", "/proc/self/root/bin"], "sh").unwrap();
        assert_eq!(found, found.canonicalize().unwrap());
        assert!(!found.starts_with("/proc"));
    }
}
