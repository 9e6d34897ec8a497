//! Every kind of manager that nixactions runs on, behind one face, so that one test runs on all.
//!
//! Paths that go into commands and plans are those *inside* (where the manager is);
//! [`Manager::file`] gives the host's path of one. Knows nixactions' command line as far as
//! `--manager` and `--state-dir`.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Child, Command},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::{
    CommandExt as _, Machine, Root, Skip, Suite,
    process::{field, processes, started},
    root::served,
};

/// The name of the unprivileged user that `.ci/roots` makes, and the ids of user and group.
const USER: (&str, u32) = ("tester", 1000);

/// Where an installed nixactions lies inside.
const INSTALLED: &str = "/usr/bin/nixactions";
/// The program that belongs beside it.
const RUNNER: &str = "nixactions-runner";

/// Where a machine has the image of its own root, for jobs with a root file system of their own.
const IMAGE: &str = "/srv/image";
/// The servers of Debian for tests of services.
const SERVED: &str = "/srv/served";

/// The kind of a manager, as `nixactions run --manager` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The system's PID 1.
    System,
    /// The systemd of an unprivileged, lingering user.
    User,
    /// None is running: nixactions must bring its own.
    Embedded,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Embedded => "embedded",
        }
    }
}

/// A manager and the place where it is; all of it is gone when this is dropped.
pub struct Manager {
    kind: Kind,
    /// Where it is; the host itself if `None`.
    machine: Option<Machine>,
    program: PathBuf,
    state_dir: PathBuf,
    dir: PathBuf,
    /// Holds the directories on the host.
    _host_dir: Option<TempDir>,
}

/// Makes the constructors, which are what [`on_managers!`](crate::on_managers) calls by name.
macro_rules! constructors {
    ($($name:ident = $kind:ident $suite:ident),* $(,)?) => {
        impl Manager {$(
            #[doc = concat!("Makes a manager of kind [`Kind::", stringify!($kind), "`] in a machine of [`Suite::", stringify!($suite), "`], with `program` installed.")]
            pub fn $name(program: &Path) -> Result<Self, Skip> {
                Self::in_machine(Kind::$kind, Suite::$suite, program)
            }
        )*}
    };
}

constructors! {
    system_252 = System Bookworm, system_257 = System Trixie, system_262 = System Forky,
    user_252 = User Bookworm, user_257 = User Trixie, user_262 = User Forky,
    embedded_252 = Embedded Bookworm, embedded_257 = Embedded Trixie, embedded_262 = Embedded Forky,
}

impl Manager {
    /// Lets `program` run on the host itself, with a private manager of its own and a temporary
    /// state directory.
    pub fn embedded(program: &Path) -> Result<Self, Skip> {
        if !nix::unistd::geteuid().is_root() {
            return Err(Skip::new(
                "an embedded manager needs root: run `tests/run`, or the test program with sudo",
            ));
        }
        if ![
            "/lib/systemd/systemd",
            "/usr/lib/systemd/systemd",
            "/run/current-system/systemd/lib/systemd/systemd",
        ]
        .iter()
        .any(|path| Path::new(path).exists())
        {
            return Err(Skip::new(
                "the systemd package is not installed: run `.ci/setup`",
            ));
        }
        // Beside the default state directory; /tmp, /root and /home look different from within a
        // sandbox.
        let host_dir = tempfile::Builder::new()
            .prefix("nixactions-test-")
            .tempdir_in("/var/lib")
            .expect("/var/lib is writable");
        let (state_dir, dir) = (host_dir.path().join("state"), host_dir.path().join("work"));
        fs::create_dir(&dir).expect("a new directory is writable");
        Ok(Self {
            kind: Kind::Embedded,
            machine: None,
            program: program.into(),
            state_dir,
            dir,
            _host_dir: Some(host_dir),
        })
    }

    fn in_machine(kind: Kind, suite: Suite, program: &Path) -> Result<Self, Skip> {
        let root = Root::get(suite)?;
        let plan = Machine::of(&root)
            .language()
            .bind_read_only(root.path(), IMAGE);
        let plan = match served() {
            Ok(path) => plan.bind_read_only(&path, SERVED),
            // Their tests skip, and say why.
            Err(_) => plan,
        };
        let machine = if kind == Kind::Embedded {
            plan.enter()
        } else {
            plan.boot()
        };
        Self::of(kind, machine, program)
    }

    /// Makes a manager of a machine that was planned by the test, booted unless the kind is
    /// [`Kind::Embedded`].
    pub fn of(kind: Kind, machine: Machine, program: &Path) -> Result<Self, Skip> {
        machine.install(program, INSTALLED)?;
        machine.install(
            &program.with_file_name(RUNNER),
            &format!("/usr/bin/{RUNNER}"),
        )?;
        let (state_dir, dir) = match kind {
            Kind::System | Kind::Embedded => ("/var/lib/nixactions".into(), "/srv/work".into()),
            Kind::User => (home().join(".local/state/nixactions"), home().join("work")),
        };
        if kind == Kind::User {
            machine.command(&["loginctl", "enable-linger", USER.0]).ok();
            machine
                .command(&["systemctl", "start", &format!("user@{}.service", USER.1)])
                .ok();
        }
        let manager = Self {
            kind,
            machine: Some(machine),
            program: INSTALLED.into(),
            state_dir,
            dir,
            _host_dir: None,
        };
        fs::create_dir(manager.file(&manager.dir)).expect("the machine is writable");
        manager.own(&manager.dir);
        if kind == Kind::User {
            // Else the first who uses the bus starts it, and would seem to have left it behind.
            manager.systemctl(&["start", "dbus.service"]).ok();
        }
        Ok(manager)
    }

    /// Returns its kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns its machine; `None` is the host itself.
    pub fn machine(&self) -> Option<&Machine> {
        self.machine.as_ref()
    }

    /// Returns the path of the program inside.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Returns the directory inside where commands run; empty at first, and the manager's user may
    /// write to it.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the state directory inside.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Returns the path inside of a root file system for jobs, which nobody may write to; or says
    /// what the host misses.
    pub fn image(&self) -> Result<PathBuf, Skip> {
        match &self.machine {
            Some(_) => Ok(IMAGE.into()),
            None => Root::get(Suite::Forky).map(|root| {
                let path = root.path();
                path.canonicalize().unwrap_or_else(|_| path.to_owned())
            }),
        }
    }

    /// Returns the path inside of a root file system with the real PostgreSQL and Redis; or says
    /// what the host lacks.
    pub fn served(&self) -> Result<PathBuf, Skip> {
        let path = served()?;
        Ok(match &self.machine {
            Some(_) => SERVED.into(),
            None => path,
        })
    }

    /// Returns the host's path of a file inside; a relative one is in [`Manager::dir`].
    pub fn file(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = self.dir.join(path);
        self.machine
            .as_ref()
            .map_or_else(|| path.clone(), |machine| machine.file(&path))
    }

    /// Writes a file inside, owned by the manager's user, with the directories above it; returns
    /// its path inside.
    pub fn write(&self, path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> PathBuf {
        let inside = self.dir.join(path);
        let mut missing: Vec<_> = inside
            .ancestors()
            .skip(1)
            .take_while(|dir| !self.file(dir).exists())
            .collect();
        while let Some(dir) = missing.pop() {
            fs::create_dir(self.file(dir))
                .unwrap_or_else(|error| panic!("cannot make `{}`: {error}", dir.display()));
            self.own(dir);
        }
        fs::write(self.file(&inside), contents)
            .unwrap_or_else(|error| panic!("cannot write `{}`: {error}", inside.display()));
        self.own(&inside);
        inside
    }

    /// Writes an executable file; else as [`Manager::write`].
    pub fn write_executable(&self, path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> PathBuf {
        let inside = self.write(path, contents);
        fs::set_permissions(self.file(&inside), fs::Permissions::from_mode(0o755))
            .expect("the file is ours");
        inside
    }

    /// Adds settings to the section `[Service]` of a service that is not there yet.
    pub fn drop_in(&self, service: &str, settings: &str) {
        let home = self.dir.parent().expect("it has a parent");
        let units = match self.kind {
            Kind::User => home.join(".config/systemd/user"),
            Kind::System | Kind::Embedded => "/etc/systemd/system".into(),
        };
        let file = units.join(format!("{service}.d/99-test.conf"));
        self.write(file, format!("[Service]\n{settings}\n"));
        self.systemctl(&["daemon-reload"]).ok();
    }

    /// Gives a file inside to the manager's user.
    pub(crate) fn own(&self, inside: &Path) {
        if self.kind == Kind::User {
            chown(self.file(inside), Some(USER.1), Some(USER.1))
                .expect("the machine's files are ours");
        }
    }

    /// Returns a command that runs inside as the manager's user, in [`Manager::dir`].
    pub fn command<S: AsRef<OsStr>>(&self, argv: &[S]) -> Command {
        self.command_in(&self.dir, argv)
    }

    /// As [`Manager::command`], in a directory inside.
    pub fn command_in<S: AsRef<OsStr>>(&self, directory: &Path, argv: &[S]) -> Command {
        match (&self.machine, self.kind) {
            (None, _) => {
                let (program, arguments) = argv.split_first().expect("a command has a program");
                let mut command = Command::new(program);
                command.args(arguments).current_dir(directory);
                command
            }
            (Some(machine), Kind::System | Kind::Embedded) => {
                machine.command_as(None, directory, argv)
            }
            (Some(machine), Kind::User) => {
                let mut command = machine.command_as(Some(USER.1), directory, argv);
                let runtime = format!("/run/user/{}", USER.1);
                command
                    .env("HOME", home())
                    .env("USER", USER.0)
                    .env("LOGNAME", USER.0);
                command
                    .env(
                        "DBUS_SESSION_BUS_ADDRESS",
                        format!("unix:path={runtime}/bus"),
                    )
                    .env("XDG_RUNTIME_DIR", runtime);
                command
            }
        }
    }

    /// Returns a nixactions command, told to use this manager and its state directory.
    pub fn nixactions<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        self.nixactions_in(&self.dir, arguments)
    }

    /// As [`Manager::nixactions`], in a directory inside.
    pub fn nixactions_in<S: AsRef<OsStr>>(&self, directory: &Path, arguments: &[S]) -> Command {
        let mut argv: Vec<OsString> = vec![self.program.clone().into()];
        argv.extend(arguments.iter().map(|argument| argument.as_ref().into()));
        let subcommand = argv
            .get(1)
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let mut flags: Vec<OsString> = Vec::new();
        if subcommand == "run" {
            flags.extend(["--manager".into(), self.kind.as_str().into()]);
        }
        // Inside a machine the default directory is the one to test.
        if self.machine.is_none()
            && [
                "run", "rerun", "list", "show", "logs", "attach", "cancel", "clean", "image",
            ]
            .contains(&subcommand)
        {
            flags.extend(["--state-dir".into(), self.state_dir.clone().into()]);
        }
        argv.splice(argv.len().min(2)..argv.len().min(2), flags);
        self.command_in(directory, &argv)
    }

    /// Returns a journalctl command over what the manager's units have logged. For an embedded
    /// manager these are the journal files that lie below the state directory when this is called.
    pub fn journal<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut argv: Vec<OsString> =
            vec!["journalctl".into(), "--no-pager".into(), "--quiet".into()];
        if self.kind == Kind::Embedded {
            let mut files = Vec::new();
            journal_files(&self.file(&self.state_dir), &self.state_dir, &mut files);
            assert!(
                !files.is_empty(),
                "no journal file below `{}`",
                self.state_dir.display()
            );
            argv.extend(
                files
                    .iter()
                    .map(|file| format!("--file={}", file.display()).into()),
            );
        }
        argv.extend(arguments.iter().map(|argument| argument.as_ref().into()));
        self.command(&argv)
    }

    /// Returns a systemctl command to the manager. An embedded one must be alive; of several, the
    /// one started last is meant.
    pub fn systemctl<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut argv: Vec<OsString> = vec!["systemctl".into(), "--no-pager".into()];
        if self.kind == Kind::User {
            argv.push("--user".into());
        }
        argv.extend(arguments.iter().map(|argument| argument.as_ref().into()));
        if self.kind != Kind::Embedded {
            return self.command(&argv);
        }
        let managers = self.private_managers();
        let pid = managers.last().unwrap_or_else(|| {
            panic!(
                "no embedded manager of `{}` is alive",
                self.state_dir.display()
            )
        });
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &pid.to_string(), "--all"])
            .args(argv);
        command
    }

    /// Returns the PIDs (the host's) of the private managers that are alive for this state
    /// directory, in the order of their start.
    pub fn private_managers(&self) -> Vec<i32> {
        let pid_1 = self.machine.as_ref().map(Machine::init);
        // Of a PID namespace of its own; a `systemd --version` is none.
        let is_pid_1 = |pid: i32| {
            field(pid, "status")
                .lines()
                .any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"))
        };
        let is_private_manager = |pid: &i32| {
            field(*pid, "comm").trim() == "systemd"
                && Some(*pid) != pid_1
                && is_pid_1(*pid)
                && self.holds(*pid)
        };
        let mut found: Vec<_> = processes()
            .into_iter()
            .filter(is_private_manager)
            .map(|pid| (started(pid), pid))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, pid)| pid).collect()
    }

    /// Returns whether the process of that PID (the host's) belongs to the machine; or, on the
    /// host, was started for a directory of this manager, as far as can be seen from outside.
    pub fn holds(&self, pid: i32) -> bool {
        match (&self.machine, self.state_dir.parent()) {
            (Some(machine), _) => machine.holds(pid),
            (None, Some(dir)) => ["environ", "cmdline", "mountinfo", "cgroup"]
                .iter()
                .any(|name| field(pid, name).contains(&*dir.to_string_lossy())),
            (None, None) => false,
        }
    }

    /// Sends a signal to the program that a child of one of these commands runs.
    pub fn signal(&self, child: &Child, signal: Signal) {
        match &self.machine {
            Some(machine) => machine.signal(child, signal),
            None => kill(
                Pid::from_raw(i32::try_from(child.id()).expect("a PID fits")),
                signal,
            )
            .expect("a child can be signalled"),
        }
    }
}

/// Prints what a shared manager's machine has to say when a test that uses it panics; one of a
/// test's own does so when it is dropped.
pub struct TellOnPanic<'a>(pub &'a Manager);

impl Drop for TellOnPanic<'_> {
    fn drop(&mut self) {
        if let Some(machine) = self.0.machine().filter(|_| std::thread::panicking()) {
            machine.tell();
        }
    }
}

fn home() -> PathBuf {
    Path::new("/home").join(USER.0)
}

/// Collects the journal files below `host`, by their path inside.
fn journal_files(host: &Path, inside: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(host).into_iter().flatten().flatten() {
        let (host, inside) = (entry.path(), inside.join(entry.file_name()));
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            journal_files(&host, &inside, found);
        } else if inside.extension() == Some(OsStr::new("journal")) {
            found.push(inside);
        }
    }
}
