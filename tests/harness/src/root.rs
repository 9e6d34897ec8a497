//! The Debian root file systems that machines are made of, and what must be true of the host to use
//! them.
//!
//! Only finds them: `.ci/roots` makes them. Knows nothing of booting.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::Skip;

/// A Debian release, and with it a version of systemd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suite {
    /// Debian 12, systemd 252.
    Bookworm,
    /// Debian 13, systemd 257.
    Trixie,
    /// Debian 14 while it is testing, systemd 262 or newer.
    Forky,
}

impl Suite {
    /// All suites, oldest systemd first.
    pub const ALL: [Self; 3] = [Self::Bookworm, Self::Trixie, Self::Forky];

    /// Returns the name that Debian's archive and the root's directory have.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
            Self::Forky => "forky",
        }
    }

    /// Returns the major version of the suite's systemd; the least one where the suite still moves.
    pub fn systemd(self) -> u32 {
        match self {
            Self::Bookworm => 252,
            Self::Trixie => 257,
            Self::Forky => 262,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A root file system on disk. Machines use it as their lower layer and never write to it.
#[derive(Debug, Clone)]
pub struct Root {
    suite: Suite,
    path: PathBuf,
}

impl Root {
    /// Finds the root of `suite`; or says what the host misses, when no machine can be made of it.
    pub fn get(suite: Suite) -> Result<Self, Skip> {
        static HOST: OnceLock<Result<(), Skip>> = OnceLock::new();
        HOST.get_or_init(check_host).clone()?;
        let path = roots_dir().join(suite.as_str());
        // The stamp is written when the root is complete.
        match fs::exists(roots_dir().join(format!("{suite}.stamp"))) {
            Ok(true) => Ok(Self { suite, path }),
            _ => Err(Skip::new(format!(
                "no root file system `{}`: make it with `.ci/roots {suite}`",
                path.display()
            ))),
        }
    }

    /// Returns the suite that it was made of.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Returns its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Returns the directory with the servers of Debian that tests of services run; or says what the
/// host misses.
pub(crate) fn served() -> Result<PathBuf, Skip> {
    let path = roots_dir().join("services");
    match fs::exists(roots_dir().join("services.stamp")) {
        Ok(true) => Ok(path.canonicalize().unwrap_or(path)),
        _ => Err(Skip::new(format!(
            "no root file system `{}`: make it with `.ci/roots services`",
            path.display()
        ))),
    }
}

/// Returns where the roots lie: `$NIXACTIONS_TEST_ROOTS`, else `target/roots` of this checkout.
/// `.ci/roots` has the same rule.
pub(crate) fn roots_dir() -> PathBuf {
    match std::env::var_os("NIXACTIONS_TEST_ROOTS") {
        Some(dir) => dir.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/roots"),
    }
}

/// Checks once what every machine needs of the host: root's rights, and namespaces.
fn check_host() -> Result<(), Skip> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Skip::new(
            "only root can boot a systemd: run `tests/run`, or the test program with sudo",
        ));
    }
    let probe = Command::new("unshare")
        .args([
            "--mount", "--pid", "--fork", "--net", "--ipc", "--uts", "--cgroup", "true",
        ])
        .output();
    match probe {
        Err(error) => Err(Skip::new(format!(
            "cannot run `unshare` (package util-linux): {error}"
        ))),
        Ok(output) if !output.status.success() => Err(Skip::new(format!(
            "namespaces are not allowed here: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))),
        Ok(_) => Ok(()),
    }
}
