//! The paths of the programs to execute, on the host or in a package that comes with ours.
//!
//! The host's programs come first: its journalctl reads its journal, and its systemd fits its
//! kernel. Knows none of the programs.

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The directories of the programs that come with the package, in the form of `PATH`. The Nix
/// package sets this (nix/package.nix), since a machine may have nothing but Nix. A wrapper could
/// not set it: systemd starts the supervisor and the jobs by the path of this program itself.
const BROUGHT: Option<&str> = option_env!("NIXACTIONS_PROGRAMS");

/// Returns the directories of the programs that come with the package.
pub fn brought() -> impl Iterator<Item = PathBuf> {
    directories(BROUGHT.unwrap_or_default().as_ref())
        .collect::<Vec<_>>()
        .into_iter()
}

/// Returns the command for a program: its path in the caller's `PATH` or in the package's
/// directories. If neither has the program, returns the bare name, and executing it fails as usual.
pub fn program(name: &str) -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    find(directories(&path).chain(brought()), name).map_or(name.into(), PathBuf::into_os_string)
}

/// Returns the path of a program in the first of these directories that has it.
pub fn find(mut directories: impl Iterator<Item = PathBuf>, name: &str) -> Option<PathBuf> {
    directories.find_map(|directory| Some(directory.join(name)).filter(|path| is_executable(path)))
}

/// Returns the shell of a user with this `PATH`: bash, which also runs the script steps, or else
/// the shell that every system has.
pub fn shell(path: &str) -> PathBuf {
    find(directories(path.as_ref()), "bash").unwrap_or_else(|| "/bin/sh".into())
}

/// Returns the directories of a `PATH`.
pub fn directories(path: &std::ffi::OsStr) -> impl Iterator<Item = PathBuf> {
    env::split_paths(path).filter(|directory| !directory.as_os_str().is_empty())
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, name: &str) -> Option<PathBuf> {
        find(directories(path.as_ref()), name)
    }

    #[test]
    fn programs_are_files_that_may_be_executed() {
        assert_eq!(found("/nowhere::/bin", "sh"), Some("/bin/sh".into()));
        assert_eq!(found("/etc:/dev", "passwd"), None);
        assert_eq!(found("/dev", "null"), None);
        assert_eq!(found("/", "etc"), None);
        assert_eq!(found("", "sh"), None);
    }

    #[test]
    fn a_missing_program_keeps_its_name() {
        assert_eq!(program("no-such-program"), "no-such-program");
        assert!(Path::new(&program("sh")).is_absolute());
    }
}
