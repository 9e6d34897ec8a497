//! Real Nix in a machine: its own, over a store that is gone with the machine, with this repository
//! and nixpkgs' `lib` in sight.
//!
//! `<nixpkgs>` inside is `tests/nix/pkgs.nix`, which makes packages of the machine's own programs,
//! and `<nixpkgs/lib>` the real one. That is found on the host by `NIXACTIONS_TEST_NIXPKGS`, a
//! directory with `lib/`, else by `<nixpkgs>` of `NIX_PATH`, else where `.ci/nixpkgs` puts it.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

use crate::{
    CommandExt as _, Finished, Manager, RUN_DEADLINE, SOON, Skip, machine::Plan, wait_for,
};

/// Where a machine sees this repository, read-only.
pub const REPOSITORY: &str = "/srv/nixactions";
/// Where it sees nixpkgs' `lib`, if the host has it.
const LIB: &str = "/srv/nixpkgs/lib";

/// The message of Nix when it has killed a builder that was exiting, as Nix may do on some kernels:
/// Nix ends a builder whose output is at its end. Nothing is wrong, and the next try may succeed.
const KILLED: &str = "failed due to signal 9 (Killed)";
/// The message of Nix while another Nix of the same store holds the database: tests of a machine
/// share one store.
const BUSY: &str = "' is busy";
const TRIES: usize = 20;

impl Plan<'_> {
    /// Lets the machine see this repository and, if the host has it, nixpkgs' `lib`.
    pub fn language(self) -> Self {
        let plan = self.bind_read_only(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."),
            REPOSITORY,
        );
        match lib() {
            Some(lib) => plan.bind_read_only(&lib, LIB),
            None => plan,
        }
    }
}

/// Returns where the host has nixpkgs' `lib`.
pub(crate) fn lib() -> Option<PathBuf> {
    let given = env::var_os("NIXACTIONS_TEST_NIXPKGS").map(PathBuf::from);
    let from_path = || {
        let path = env::var("NIX_PATH").unwrap_or_default();
        path.split(':')
            .find_map(|entry| entry.strip_prefix("nixpkgs="))
            .map(PathBuf::from)
    };
    let nixpkgs = given
        .or_else(from_path)
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/nixpkgs"));
    nixpkgs
        .join("lib")
        .canonicalize()
        .ok()
        .filter(|lib| lib.join("default.nix").exists())
}

/// Returns where the host has the `lib` of the oldest nixpkgs that the documentation names.
pub(crate) fn oldest_lib() -> Result<PathBuf, Skip> {
    env::var_os("NIXACTIONS_TEST_NIXPKGS_OLDEST")
        .map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/nixpkgs-oldest"),
            PathBuf::from,
        )
        .join("lib")
        .canonicalize()
        .map_err(|_| {
            Skip::new(
                "no oldest nixpkgs: fetch its `lib` with `.ci/nixpkgs`, or name a directory that \
                 has it in `NIXACTIONS_TEST_NIXPKGS_OLDEST`",
            )
        })
}

/// Says that the host does not have it.
pub(crate) fn no_lib() -> Skip {
    Skip::new(
        "no nixpkgs: fetch its `lib` with `.ci/nixpkgs`, or name a directory that has it in `NIXACTIONS_TEST_NIXPKGS`",
    )
}

/// Nix as the manager's user has it.
pub struct Nix<'a> {
    manager: &'a Manager,
    /// `<nixpkgs>`, relative to the repository.
    nixpkgs: &'a str,
}

impl Manager {
    /// Returns the Nix of this manager's machine; or says what is missing.
    pub fn nix(&self) -> Result<Nix<'_>, Skip> {
        let Some(machine) = self.machine() else {
            return Err(Skip::new(
                "Nix is tested in machines only, to leave the host's store alone",
            ));
        };
        if !self.file(LIB).join("default.nix").exists() {
            return Err(no_lib());
        }
        if !self.file("/usr/bin/nix-build").exists() {
            return Err(Skip::new(format!(
                "no Nix in `{}`: make it anew with `.ci/roots`",
                machine.root().path().display()
            )));
        }
        // The user who builds owns the store, as in any installation of one user. Without these
        // variables, Nix would give such a user another store.
        for directory in ["/nix", "/nix/store", "/nix/var", "/nix/var/nix"] {
            match fs::create_dir(self.file(directory)) {
                Ok(()) => self.own(Path::new(directory)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => panic!("cannot make `{directory}`: {error}"),
            }
        }
        Ok(Nix {
            manager: self,
            nixpkgs: "tests/nix/pkgs.nix",
        })
    }
}

impl<'a> Nix<'a> {
    /// Lets it find another `<nixpkgs>`, a file of the repository.
    pub fn with_nixpkgs(self, nixpkgs: &'a str) -> Self {
        Self { nixpkgs, ..self }
    }

    /// Returns a command that runs inside as the manager's user, in [`Manager::dir`], and finds
    /// `<nixpkgs>`.
    pub fn command<S: AsRef<OsStr>>(&self, argv: &[S]) -> Command {
        self.sees(self.manager.command(argv))
    }

    /// Returns a nixactions command as [`Manager::nixactions`] does, which finds `<nixpkgs>`.
    pub fn nixactions<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        self.sees(self.manager.nixactions(arguments))
    }

    fn sees(&self, mut command: Command) -> Command {
        command.env(
            "NIX_PATH",
            format!("nixpkgs/lib={LIB}:nixpkgs={REPOSITORY}/{}", self.nixpkgs),
        );
        command
    }

    /// Returns the value of an expression; panics with what Nix said if it has none.
    pub fn eval(&self, expression: &str) -> Value {
        let output = self.output(|| {
            self.command(&[
                "nix-instantiate",
                "--eval",
                "--strict",
                "--json",
                "--expr",
                expression,
            ])
        });
        assert!(
            output.status.success(),
            "{expression}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!(
                "not JSON ({error}): {}",
                String::from_utf8_lossy(&output.stdout)
            )
        })
    }

    /// Returns Nix's error for an expression without a value; panics if it has a value.
    pub fn eval_fails(&self, expression: &str) -> String {
        self.command(&[
            "nix-instantiate",
            "--eval",
            "--strict",
            "--json",
            "--expr",
            expression,
        ])
        .fails()
    }

    /// Builds the derivation that an expression is, and returns its path in the store; panics with
    /// what Nix said if it cannot. Nothing keeps it from being collected.
    pub fn build(&self, expression: &str) -> PathBuf {
        let output =
            self.output(|| self.command(&["nix-build", "--no-out-link", "--expr", expression]));
        assert!(
            output.status.success(),
            "{expression}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout)
            .expect("a path in the store is ASCII")
            .trim()
            .into()
    }

    /// Checks that the machine has polkit; or says that it is missing.
    ///
    /// # Errors
    /// The root file system was made by an earlier version of `.ci/roots`.
    pub fn polkit(&self) -> Result<(), Skip> {
        if self.manager.file("/usr/lib/polkit-1/polkitd").exists() {
            return Ok(());
        }
        Err(Skip::new(
            "no polkit in the root file system: make it anew with `.ci/roots`",
        ))
    }

    /// Starts Nix' daemon, unless it runs.
    pub fn start_daemon(&self) {
        const DAEMON: &str = "/nix/var/nix/daemon-socket/socket";
        if self.manager.file(DAEMON).exists() {
            return;
        }
        let machine = self.manager.machine().expect("Nix is in machines only");
        machine
            .command(&["systemd-run", "--unit=nix-daemon", "nix-daemon"])
            .ok();
        wait_for(SOON, "Nix' daemon", || {
            self.manager.file(DAEMON).exists().then_some(())
        });
    }

    /// Puts the units and the rules of polkit that NixOS would make of a module into place, on a
    /// machine with Nix' daemon.
    pub fn install(&self, module: &str) {
        self.start_daemon();
        let nixos =
            format!("import {REPOSITORY}/tests/nix/nixos.nix {{ modules = [ ({module}) ]; }}");
        let units = self.build(&format!("({nixos}).files"));
        let copy = format!("cp {}/* /etc/systemd/system/", units.display());
        self.manager.command(&["sh", "-c", &copy]).ok();
        let rules = self.manager.file("/etc/polkit-1/rules.d");
        if rules.exists() {
            let polkit = self.eval(&format!("({nixos}).polkit"));
            fs::write(
                rules.join("10-nixos.rules"),
                polkit.as_str().expect("rules are a text"),
            )
            .expect("the machine is ours");
        }
        self.manager.systemctl(&["daemon-reload"]).ok();
    }

    /// Runs `nixactions run` with these arguments to its end: a target, and options.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Finished {
        let mut argv: Vec<&OsStr> = vec!["run".as_ref(), "--output=json".as_ref()];
        argv.extend(arguments.iter().map(AsRef::as_ref));
        self.manager
            .finished(&self.output(|| self.nixactions(&argv)))
    }

    /// Runs a command to its end, and again when a builder was killed for no reason, or another Nix
    /// was in the way; see the head of this file.
    pub fn output(&self, command: impl Fn() -> Command) -> Output {
        for _ in 1..TRIES {
            let output = command().output_within(RUN_DEADLINE);
            let stderr = String::from_utf8_lossy(&output.stderr);
            if output.status.success()
                || ![KILLED, BUSY].iter().any(|reason| stderr.contains(reason))
            {
                return output;
            }
        }
        command().output_within(RUN_DEADLINE)
    }
}
