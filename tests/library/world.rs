//! Where the tests of the library run: on the host, where the tools are, with a private manager and a Nix store of its own.
//!
//! The store is a directory that is gone with the test; the host's own is never touched. Its packages are the host's programs
//! (tests/nix/). Knows nothing of single actions.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use nixactions_harness::{CommandExt as _, Evaluator, Finished, Manager, Skip};

/// What building a workflow may take on a loaded machine.
const BUILD: Duration = Duration::from_secs(300);
/// What Nix says of a builder that it has killed itself while it was exiting, as it may on some kernels. The next try may do.
const KILLED: &str = "failed due to signal 9 (Killed)";
const TRIES: usize = 20;

/// A place to build and run workflows, gone when this is dropped.
pub struct World {
    manager: Manager,
    nix: Evaluator,
}

impl World {
    /// Makes one; or says what the host misses, of what every test needs and of these programs.
    pub fn with(programs: &[&str]) -> Result<Self, Skip> {
        let manager = Manager::embedded(Path::new(env!("CARGO_BIN_EXE_nixactions")))?;
        let nix = Evaluator::host()?;
        for program in ["jq"].iter().chain(programs) {
            if !env::split_paths(&path()).any(|directory| directory.join(program).exists()) {
                return Err(Skip::new(format!("`{program}` is not installed: run `.ci/setup`")));
            }
        }
        let top = manager.dir().parent().expect("it lies in a directory of its own");
        fs::set_permissions(top, fs::Permissions::from_mode(0o755)).expect("the directory is ours");
        Ok(Self { manager, nix })
    }

    /// Returns its manager.
    pub fn manager(&self) -> &Manager {
        &self.manager
    }

    /// Returns a path below its directory.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.manager.dir().join(path)
    }

    /// Writes a file below its directory that only root can read; returns its path.
    pub fn secret(&self, path: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.manager.write(path, contents);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("the file is ours");
        path
    }

    /// Returns a command of the host's, in its directory.
    pub fn command(&self, argv: &[&str]) -> Command {
        let mut command = self.manager.command(argv);
        command.env("PATH", path());
        command
    }

    /// Makes a git repository of these files, in one commit; returns its path.
    pub fn project(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        files.iter().for_each(|(path, contents)| _ = self.manager.write(Path::new(name).join(path), contents));
        let directory = self.path(name);
        fs::create_dir_all(&directory).expect("the directory is ours");
        git(&directory, &["init", "--quiet", "--initial-branch=main"]);
        git(&directory, &["add", "--all"]);
        git(&directory, &["commit", "--quiet", "--allow-empty", "--message=first"]);
        directory
    }

    fn scope(&self, expression: &str) -> String {
        scope(self.manager.dir(), self.nix.lib(), expression)
    }

    fn nix(&self, argv: &[&str]) -> Output {
        for _ in 1..TRIES {
            let mut command = self.command(argv);
            let directory = |name: &str| self.path("nix").join(name);
            command.envs([("NIX_STORE_DIR", directory("store")), ("NIX_STATE_DIR", directory("var")), ("NIX_LOG_DIR", directory("log"))]);
            command.envs([("NIX_CONF_DIR", directory("etc")), ("HOME", directory("home")), ("XDG_CACHE_HOME", directory("cache"))]);
            command
                .env("NIX_CONFIG", "sandbox = false\nsubstituters =\nbuild-users-group =\n")
                .env_remove("NIX_REMOTE")
                .env_remove("NIX_PATH");
            if let Some(sysroot) = sysroot() {
                command.env("NIXACTIONS_TEST_RUST", sysroot);
            }
            let output = command.output_within(BUILD);
            if output.status.success() || !String::from_utf8_lossy(&output.stderr).contains(KILLED) {
                return output;
            }
        }
        panic!("Nix has killed a builder {TRIES} times: {argv:?}");
    }

    /// Returns what an expression is, as JSON.
    pub fn eval(&self, expression: &str) -> serde_json::Value {
        let output = self.nix(&["nix-instantiate", "--eval", "--strict", "--json", "--expr", &self.scope(expression)]);
        assert!(output.status.success(), "{expression}\n{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("Nix prints JSON")
    }

    /// Builds what an expression is; returns its path in the store.
    pub fn build(&self, expression: &str) -> PathBuf {
        let output = self.nix(&["nix-build", "--no-out-link", "--expr", &self.scope(expression)]);
        assert!(output.status.success(), "{expression}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("a path in the store is ASCII").trim().into()
    }

    /// Builds a workflow of these jobs, a set of Nix', and runs it to its end over the source tree `project`.
    pub fn run(&self, project: &Path, jobs: &str, options: &[&str]) -> Finished {
        let plan = self.build(&format!("mkWorkflow {{ name = \"library\"; jobs = {jobs}; }}"));
        let plan = plan.to_str().expect("it is ASCII");
        let argv = [&["run", plan, "--output=json"], options].concat();
        self.manager.start_command(self.manager.nixactions_in(project, &argv)).end()
    }

    /// Returns a file of an artifact that a run has left.
    pub fn artifact(&self, run: &Finished, job: &str, artifact: &str, path: &str) -> Vec<u8> {
        let file = self.manager.run_dir(&run.id).join("jobs").join(job).join("artifacts").join(artifact).join("tree").join(path);
        fs::read(&file).unwrap_or_else(|error| panic!("`{}`: {error}: {run}", file.display()))
    }

    /// Panics if one of these texts is in anything that a run has printed or left, but for its artifacts.
    pub fn nothing_says(&self, run: &Finished, texts: &[&str]) {
        let printed = run.to_string();
        for text in texts {
            assert!(!printed.contains(text), "`{text}` was printed: {printed}");
            let found = self.command(&[
                "grep",
                "--recursive",
                "--files-with-matches",
                "--text",
                "--fixed-strings",
                "--exclude-dir=artifacts",
                text,
            ]);
            let found = { found }.arg(self.manager.run_dir(&run.id)).output_within(BUILD);
            assert!(found.stdout.is_empty(), "`{text}` is in {}", String::from_utf8_lossy(&found.stdout));
        }
    }
}

/// Runs git as somebody, and returns what it printed.
pub fn git(directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.arg("-C").arg(directory).args(["-c", "user.name=Test", "-c", "user.email=test@example.org"]).args(arguments);
    command.ok().trim().to_owned()
}

/// Returns the search path: of this test, and of what `.ci/tools` has fetched.
fn path() -> std::ffi::OsString {
    let tools =
        env::var_os("NIXACTIONS_TEST_TOOLS").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools"), PathBuf::from);
    let paths = env::split_paths(&env::var_os("PATH").unwrap_or_default()).chain([tools]).collect::<Vec<_>>();
    env::join_paths(paths).expect("they were joined before")
}

/// Returns the directory of this machine's Rust.
fn sysroot() -> Option<String> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
}

/// Returns an expression in which the language's functions, `pkgs` and `lib` are in scope, with paths relative to `directory`.
pub fn scope(directory: &Path, lib: &Path, expression: &str) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    let file = directory.join("expression.nix");
    fs::write(&file, format!("{{ pkgs, lib, nixactions }}: with nixactions; {expression}\n")).expect("the directory is ours");
    format!(
        "let pkgs = import {root}/tests/nix/pkgs.nix {{ lib = import {lib}; overlays = [ (import {root}/tests/nix/tools.nix) ]; }};
         in import {file} {{ inherit pkgs; inherit (pkgs) lib; nixactions = import {root}/nix {{ inherit pkgs; }}; }}",
        lib = lib.display(),
        file = file.display(),
    )
}
