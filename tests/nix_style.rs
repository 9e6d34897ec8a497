//! All Nix code of the repository is formatted (RFC 166), has no dead code, and none that could be
//! simpler.
//!
//! nixfmt may also be its port `nixfmt-rs`. A program that is not installed is a skip: `cargo
//! install --locked nixfmt_rs deadnix`; statix is in nixpkgs.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use nixactions_harness::{Skip, or_skip};

/// Returns all files of Nix code, but none that is built, or not the repository's.
fn files() -> Vec<PathBuf> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if path.is_dir() && !path.is_symlink() {
                if name != "target" && !name.to_string_lossy().starts_with('.') {
                    walk(&path, found);
                }
            } else if path.extension().is_some_and(|extension| extension == "nix") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new(env!("CARGO_MANIFEST_DIR")), &mut found);
    assert!(found.len() > 50, "the files are gone");
    found
}

/// Finds one of some programs in `PATH`.
fn program(names: &[&str]) -> Result<PathBuf, Skip> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .flat_map(|directory| names.iter().map(move |name| directory.join(name)))
        .find(|file| file.exists());
    found.ok_or_else(|| Skip::new(format!("no {} on this machine", names.join(" or "))))
}

fn assert_silent(mut command: Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// The same as for files of Rust (tests/layers.rs).
const MAX_LINES: usize = 600;

#[test]
fn files_of_nix_are_short() {
    for file in files() {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines < MAX_LINES, "{}: {lines} lines", file.display());
    }
}

#[test]
fn nix_code_is_formatted() {
    let mut command = Command::new(or_skip!(program(&["nixfmt", "nixfmt-rs"])));
    command.arg("--check").args(files());
    assert_silent(command);
}

#[test]
fn nix_code_has_no_dead_code() {
    let mut command = Command::new(or_skip!(program(&["deadnix"])));
    command.args(["--fail"]).args(files());
    assert_silent(command);
}

#[test]
fn nix_code_is_as_simple_as_statix_knows() {
    let mut command = Command::new(or_skip!(program(&["statix"])));
    command
        .args(["check", "--format", "errfmt"])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    assert_silent(command);
}
