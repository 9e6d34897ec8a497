//! Where the tests of the library run: on the host, where the tools are, with a private manager; or
//! in a machine that sees them.
//!
//! Nix' store is gone with the test; the host's own is never touched. Its packages are the host's
//! programs (tests/nix/). Paths that go into workflows are those inside. Knows nothing of single
//! actions.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use nixactions_harness::{
    CommandExt as _, Evaluator, Finished, Kind, Machine, Manager, REPOSITORY, Root, Skip, Suite,
};

/// The longest time for a build of a workflow on a loaded machine.
const BUILD: Duration = Duration::from_secs(300);
/// The message of Nix when it has killed a builder that was exiting, as Nix may do on some kernels.
/// The next try may succeed.
const KILLED: &str = "failed due to signal 9 (Killed)";
const TRIES: usize = 20;

/// `<nixpkgs>` in a machine, which sees the host's /usr.
const NIXPKGS: &str = "tests/nix/library.nix";
const USR: &str = "/srv/host/usr";
const SOPS: &str = "/srv/sops";

/// A place to build and run workflows, gone when this is dropped.
pub struct World {
    manager: Manager,
    /// Of the host, if it is there.
    lib: Option<PathBuf>,
}

/// Makes tests of functions `fn name(world: &World)`: on the host, and on systemd 262, if the host
/// has these programs.
#[macro_export]
macro_rules! in_each_world {
    ($($name:ident with $programs:expr),+ $(,)?) => {
        $(mod $name {
            #[test]
            fn embedded() {
                super::$name(&nixactions_harness::or_skip!($crate::world::World::with(&$programs)));
            }
            #[test]
            fn system_262() {
                super::$name(&nixactions_harness::or_skip!($crate::world::World::in_machine(&$programs)));
            }
        })+
    };
}

impl World {
    /// Makes one on the host; or says what that misses, of what every test needs and of these
    /// programs.
    pub fn with(programs: &[&str]) -> Result<Self, Skip> {
        let manager = Manager::embedded(Path::new(env!("CARGO_BIN_EXE_nixactions")))?;
        let lib = Evaluator::host()?.lib().to_owned();
        need(programs)?;
        let top = manager
            .dir()
            .parent()
            .expect("it lies in a directory of its own");
        fs::set_permissions(top, fs::Permissions::from_mode(0o755)).expect("the directory is ours");
        Ok(Self {
            manager,
            lib: Some(lib),
        })
    }

    /// As [`World::with`], in a machine that runs systemd 262.
    pub fn in_machine(programs: &[&str]) -> Result<Self, Skip> {
        need(programs)?;
        let root = Root::get(Suite::Forky)?;
        let mut plan = Machine::of(&root)
            .language()
            .bind_read_only(Path::new("/usr"), USR);
        if let Some(directory) = directory_of("sops") {
            plan = plan.bind_read_only(&directory, SOPS);
        }
        let manager = Manager::of(
            Kind::System,
            plan.boot(),
            Path::new(env!("CARGO_BIN_EXE_nixactions")),
        )?;
        manager.nix()?;
        Ok(Self { manager, lib: None })
    }

    /// Returns its manager.
    pub fn manager(&self) -> &Manager {
        &self.manager
    }

    /// Returns a path below its directory, as it is inside.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.manager.dir().join(path)
    }

    /// Writes a file below its directory that only root can read; returns its path.
    pub fn secret(&self, path: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.manager.write(path, contents);
        fs::set_permissions(self.manager.file(&path), fs::Permissions::from_mode(0o600))
            .expect("the file is ours");
        path
    }

    /// Returns a command of the host's. It sees a file inside by [`World::host`].
    pub fn command(&self, argv: &[&str]) -> Command {
        let (program, arguments) = argv.split_first().expect("a command has a program");
        let mut command = Command::new(program);
        command.args(arguments).env("PATH", path());
        command
    }

    /// Returns the host's path of a file below its directory.
    pub fn host(&self, path: impl AsRef<Path>) -> String {
        self.manager.file(path).display().to_string()
    }

    /// Runs git in a directory, with a name and address; returns its output.
    pub fn git(&self, directory: &Path, arguments: &[&str]) -> String {
        let argv = [
            &[
                "git",
                "-c",
                "user.name=Test",
                "-c",
                "user.email=test@example.org",
            ],
            arguments,
        ]
        .concat();
        self.manager
            .command_in(directory, &argv)
            .ok()
            .trim()
            .to_owned()
    }

    /// Makes a git repository of these files, in one commit; returns its path.
    pub fn project(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        files.iter().for_each(|(path, contents)| {
            _ = self.manager.write(Path::new(name).join(path), contents)
        });
        let directory = self.path(name);
        fs::create_dir_all(self.manager.file(&directory)).expect("the directory is ours");
        self.git(&directory, &["init", "--quiet", "--initial-branch=main"]);
        self.git(&directory, &["add", "--all"]);
        self.git(
            &directory,
            &["commit", "--quiet", "--allow-empty", "--message=first"],
        );
        directory
    }

    /// Runs the host's Nix over a store below its directory.
    fn nix(&self, argv: &[&str]) -> Output {
        for _ in 1..TRIES {
            let mut command = self.command(argv);
            let directory = |name: &str| self.path("nix").join(name);
            command.envs([
                ("NIX_STORE_DIR", directory("store")),
                ("NIX_STATE_DIR", directory("var")),
                ("NIX_LOG_DIR", directory("log")),
            ]);
            command.envs([
                ("NIX_CONF_DIR", directory("etc")),
                ("HOME", directory("home")),
                ("XDG_CACHE_HOME", directory("cache")),
            ]);
            command
                .env(
                    "NIX_CONFIG",
                    "sandbox = false\nsubstituters =\nbuild-users-group =\n",
                )
                .env_remove("NIX_REMOTE")
                .env_remove("NIX_PATH");
            if let Some(sysroot) = sysroot() {
                command.env("NIXACTIONS_TEST_RUST", sysroot);
            }
            let output = command.output_within(BUILD);
            if output.status.success() || !String::from_utf8_lossy(&output.stderr).contains(KILLED)
            {
                return output;
            }
        }
        panic!("Nix has killed a builder {TRIES} times: {argv:?}");
    }

    /// Returns the value of an expression, as JSON.
    pub fn eval(&self, expression: &str) -> serde_json::Value {
        let Some(lib) = &self.lib else {
            panic!("what is only evaluated needs no machine")
        };
        let output = self.nix(&[
            "nix-instantiate",
            "--eval",
            "--strict",
            "--json",
            "--expr",
            &scope(self.manager.dir(), lib, expression),
        ]);
        assert!(
            output.status.success(),
            "{expression}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).expect("Nix prints JSON")
    }

    /// Builds what an expression is; returns its path in the store.
    pub fn build(&self, expression: &str) -> PathBuf {
        let Some(lib) = &self.lib else {
            let file = self.manager.write("expression.nix", function(expression));
            let nixactions = format!("import {REPOSITORY}/nix {{ inherit pkgs; }}");
            let expression = format!(
                "let pkgs = import <nixpkgs> {{ }}; in import {} {{ inherit pkgs; inherit (pkgs) lib; nixactions = {nixactions}; }}",
                file.display()
            );
            let nix = self.manager.nix().unwrap_or_else(|skip| panic!("{skip}"));
            return nix.with_nixpkgs(NIXPKGS).build(&expression);
        };
        let output = self.nix(&[
            "nix-build",
            "--no-out-link",
            "--expr",
            &scope(self.manager.dir(), lib, expression),
        ]);
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

    /// Builds a workflow of these jobs, a set of Nix', and runs it to its end over the source tree
    /// `project`.
    pub fn run(&self, project: &Path, jobs: &str, options: &[&str]) -> Finished {
        let plan = self.build(&format!(
            "mkWorkflow {{ name = \"library\"; jobs = {jobs}; }}"
        ));
        let plan = plan.to_str().expect("it is ASCII");
        let argv = [&["run", plan, "--output=json"], options].concat();
        self.manager
            .start_command(self.manager.nixactions_in(project, &argv))
            .end()
    }

    /// Returns a file of an artifact that a run has left.
    pub fn artifact(&self, run: &Finished, job: &str, artifact: &str, path: &str) -> Vec<u8> {
        let file = self
            .manager
            .run_dir(&run.id)
            .join("jobs")
            .join(job)
            .join("artifacts")
            .join(artifact)
            .join("tree")
            .join(path);
        fs::read(&file).unwrap_or_else(|error| panic!("`{}`: {error}: {run}", file.display()))
    }

    /// Panics if one of these texts is in anything that a run has printed or left, but for its
    /// artifacts.
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
            let found = { found }
                .arg(self.manager.run_dir(&run.id))
                .output_within(BUILD);
            assert!(
                found.stdout.is_empty(),
                "`{text}` is in {}",
                String::from_utf8_lossy(&found.stdout)
            );
        }
    }
}

/// Returns the text of a function from what is in scope to an expression.
fn function(expression: &str) -> String {
    format!("{{ pkgs, lib, nixactions }}: with nixactions; {expression}\n")
}

/// Says which program the host does not have.
fn need(programs: &[&str]) -> Result<(), Skip> {
    let missing = |program: &&&str| directory_of(program).is_none();
    ["jq"]
        .iter()
        .chain(programs)
        .find(missing)
        .map_or(Ok(()), |program| {
            Err(Skip::new(format!(
                "`{program}` is not installed: run `.ci/setup` and `.ci/tools`"
            )))
        })
}

/// Finds a program of the host.
fn directory_of(program: &str) -> Option<PathBuf> {
    env::split_paths(&path()).find(|directory| directory.join(program).exists())
}

/// Returns the search path: of this test, and of what `.ci/tools` has fetched.
fn path() -> std::ffi::OsString {
    let tools = env::var_os("NIXACTIONS_TEST_TOOLS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools"),
        PathBuf::from,
    );
    let paths = env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .chain([tools])
        .collect::<Vec<_>>();
    env::join_paths(paths).expect("they were joined before")
}

/// Returns the directory of this machine's Rust.
fn sysroot() -> Option<String> {
    let output = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .ok()?;
    String::from_utf8(output.stdout)
        .ok()
        .map(|text| text.trim().to_owned())
}

/// Returns an expression in which the language's functions, `pkgs` and `lib` are in scope, with
/// paths relative to `directory`.
pub fn scope(directory: &Path, lib: &Path, expression: &str) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    let file = directory.join("expression.nix");
    fs::write(&file, function(expression)).expect("the directory is ours");
    format!(
        "let pkgs = import {root}/tests/nix/pkgs.nix {{ lib = import {lib}; overlays = map import [ {root}/tests/nix/tools.nix {root}/tests/nix/stand-ins.nix ]; }};
         in import {file} {{ inherit pkgs; inherit (pkgs) lib; nixactions = import {root}/nix {{ inherit pkgs; }}; }}",
        lib = lib.display(),
        file = file.display(),
    )
}
