//! Nix for expressions that are only evaluated: that of each Debian root, run on the host.
//!
//! The root's own dynamic linker starts it, with Nix' store for nothing (`dummy://`): no machine,
//! no rights and no store are needed, and nothing of the host's own Nix is touched. What is built,
//! and run, is a machine's business.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    CommandExt as _, Skip, Suite,
    nix_inside::{lib, no_lib, oldest_lib},
    root::roots_dir,
};

/// All checks of a whole nixpkgs take 90 s on an idle machine.
const DEADLINE: Duration = Duration::from_secs(900);

/// The Nix of a suite, or the host's.
pub struct Evaluator {
    argv: Vec<PathBuf>,
    lib: PathBuf,
    scratch: TempDir,
}

/// The result of an expression.
#[derive(Debug)]
pub struct Evaluation {
    /// Its value, or the last and innermost of Nix' errors, without its trace.
    pub result: Result<Value, String>,
    /// The warnings of the evaluation.
    pub warnings: Vec<String>,
    /// Nix' own figures of it (`NIX_SHOW_STATS`).
    pub statistics: Value,
}

impl Evaluator {
    /// Finds the Nix of a suite's root, and nixpkgs' `lib`; or says what is missing.
    pub fn get(suite: Suite) -> Result<Self, Skip> {
        let root = roots_dir().join(suite.as_str());
        let missing = || {
            Skip::new(format!(
                "no Nix in `{}`: make it anew with `.ci/roots {suite}`",
                root.display()
            ))
        };
        let program = Some(root.join("usr/bin/nix"))
            .filter(|program| program.exists())
            .ok_or_else(missing)?;
        let linker = linker(&root).ok_or_else(missing)?;
        let libraries = linker.parent().unwrap_or(&root).to_owned();
        Self::new(vec![
            linker,
            "--library-path".into(),
            libraries,
            "--argv0".into(),
            "nix-instantiate".into(),
            program,
        ])
    }

    /// Finds the Nix that is installed on the host, and nixpkgs' `lib`; or says what is missing.
    pub fn host() -> Result<Self, Skip> {
        let path = env::var_os("PATH").unwrap_or_default();
        let program = env::split_paths(&path)
            .map(|dir| dir.join("nix-instantiate"))
            .find(|program| program.exists());
        Self::new(vec![
            program.ok_or_else(|| Skip::new("no Nix on this machine"))?,
        ])
    }

    fn new(argv: Vec<PathBuf>) -> Result<Self, Skip> {
        let scratch = TempDir::new().expect("there is room for a directory");
        Ok(Self {
            argv,
            lib: lib().ok_or_else(no_lib)?,
            scratch,
        })
    }

    /// Lets it find another `lib` of nixpkgs: that of the oldest release that the documentation
    /// names; or says what is missing.
    pub fn with_oldest_lib(mut self) -> Result<Self, Skip> {
        self.lib = oldest_lib()?;
        Ok(self)
    }

    /// Returns the directory of a whole nixpkgs, with packages and NixOS; or says what is missing.
    pub fn nixpkgs(&self) -> Result<&Path, Skip> {
        let nixpkgs = self.lib.parent().unwrap_or(&self.lib);
        let is_whole = ["default.nix", "nixos/default.nix"]
            .iter()
            .all(|file| nixpkgs.join(file).exists());
        if is_whole {
            return Ok(nixpkgs);
        }
        Err(Skip::new(format!(
            "`{}` has nixpkgs' `lib` alone: name a whole nixpkgs in `NIXACTIONS_TEST_NIXPKGS`",
            nixpkgs.display()
        )))
    }

    /// Returns the directory of nixpkgs' `lib`.
    pub fn lib(&self) -> &Path {
        &self.lib
    }

    /// Evaluates an expression to the end.
    pub fn eval(&self, expression: &str) -> Evaluation {
        let statistics = tempfile::Builder::new()
            .tempfile_in(&self.scratch)
            .expect("there is room for a file");
        let mut command = Command::new(&self.argv[0]);
        command
            .args(&self.argv[1..])
            .args([
                "--eval", "--strict", "--json", "--store", "dummy://", "--expr", expression,
            ])
            .env_clear()
            .env("HOME", self.scratch.path())
            .env("NIX_CONF_DIR", self.scratch.path())
            .env("NIX_STATE_DIR", self.scratch.path())
            .env("NIX_PATH", format!("nixpkgs/lib={}", self.lib.display()))
            .env("NIX_SHOW_STATS", "1")
            .env("NIX_SHOW_STATS_PATH", statistics.path());
        let Output {
            status,
            stdout,
            stderr,
        } = command.output_within(DEADLINE);
        let said = String::from_utf8_lossy(&stderr);
        let result = if status.success() {
            Ok(serde_json::from_slice(&stdout)
                .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&stdout))))
        } else {
            Err(innermost(&said))
        };
        let statistics = fs::read(statistics.path()).unwrap_or_default();
        Evaluation {
            result,
            warnings: said
                .lines()
                .filter_map(|line| Some(line.split_once("warning: ")?.1.to_owned()))
                .collect(),
            statistics: serde_json::from_slice(&statistics).unwrap_or_default(),
        }
    }
}

/// Returns the last error in what Nix said, as it was thrown: newer versions put a trace above it,
/// and indent it.
fn innermost(said: &str) -> String {
    let lines: Vec<&str> = said.lines().collect();
    let Some(first) = lines
        .iter()
        .rposition(|line| line.trim_start().starts_with("error: "))
    else {
        return said.to_owned();
    };
    let mut error = String::new();
    for line in &lines[first..] {
        if !line.starts_with("(use '--show-trace'") {
            let text = if error.is_empty() {
                line.trim_start().trim_start_matches("error: ")
            } else {
                line.strip_prefix("       ").unwrap_or(line)
            };
            error.extend([text, "\n"]);
        }
    }
    error
}

/// Returns the dynamic linker of a root; its libraries lie beside it.
fn linker(root: &Path) -> Option<PathBuf> {
    let libraries = fs::read_dir(root.join("usr/lib"))
        .ok()?
        .flatten()
        .map(|entry| entry.path());
    let files = libraries
        .filter(|path| path.to_string_lossy().ends_with("-linux-gnu"))
        .filter_map(|path| fs::read_dir(path).ok());
    files
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("ld-linux-") && name.contains(".so.")
        })
}
