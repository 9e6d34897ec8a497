//! A machine: a Debian root file system booted (or only entered) in fresh namespaces, gone with the
//! test that made it.
//!
//! `machine.sh` puts it together and takes it down; here is its owner's end. Knows nothing of
//! nixactions.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    Root, Skip, Suite,
    process::field,
    wait::{CommandExt as _, SOON, ended_within, read_back, wait_for},
};

const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// How a machine is to be made; see [`Machine::of`].
pub struct Plan<'a> {
    root: &'a Root,
    disk: Option<PathBuf>,
    binds: Vec<String>,
}

impl Plan<'_> {
    /// Lets the machine write below `directory` on the host, for tests that need a real disk; else
    /// it writes to memory. What it wrote is removed with it.
    pub fn disk(mut self, directory: impl Into<PathBuf>) -> Self {
        self.disk = Some(directory.into());
        self
    }

    /// Makes the host's directory `host` visible in the machine as `inside`, writable.
    pub fn bind(mut self, host: &Path, inside: &str) -> Self {
        self.binds.push(format!("{}:{inside}", host.display()));
        self
    }

    /// Makes the host's directory `host` visible in the machine as `inside`, read-only and without
    /// what is mounted below it.
    pub fn bind_read_only(mut self, host: &Path, inside: &str) -> Self {
        self.binds.push(format!("{}:{inside}:ro", host.display()));
        self
    }

    /// Boots its systemd as PID 1 and waits until it is up.
    pub fn boot(self) -> Machine {
        let machine = Machine::start(self, "systemd");
        machine.wait_until_up();
        machine
    }

    /// Enters it without booting: PID 1 is an idle shell, as in a container.
    pub fn enter(self) -> Machine {
        Machine::start(self, "idle")
    }
}

/// A running machine. Dropping it kills all that runs in it; so does the end of this process,
/// however it ends.
pub struct Machine {
    name: String,
    root: Root,
    /// Runs `machine.sh watch`; its standard input is open as long as the machine is wanted.
    watcher: Child,
    init: i32,
    /// The machine's control group, as the watcher sees it.
    cgroup: PathBuf,
    log: File,
}

impl Machine {
    /// Boots `root` as it is; see [`Plan::boot`].
    pub fn boot(root: &Root) -> Self {
        Self::of(root).boot()
    }

    /// Enters `root` without booting it; see [`Plan::enter`].
    pub fn enter(root: &Root) -> Self {
        Self::of(root).enter()
    }

    /// Starts planning a machine of `root`.
    pub fn of(root: &Root) -> Plan<'_> {
        Plan {
            root,
            disk: None,
            binds: Vec::new(),
        }
    }

    fn start(plan: Plan<'_>, init: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let name = format!(
            "nixactions-test-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let upper = plan.disk.map(|dir| dir.join(&name));
        if let Some(upper) = &upper {
            fs::create_dir(upper)
                .unwrap_or_else(|error| panic!("cannot make `{}`: {error}", upper.display()));
        }
        let log = tempfile::tempfile().expect("a temporary file can be made");
        let root = plan.root.path().canonicalize().expect("the root exists");
        let mut watcher = Command::new("unshare")
            .args([
                "--mount",
                "bash",
                concat!(env!("CARGO_MANIFEST_DIR"), "/src/machine.sh"),
                "watch",
                &name,
            ])
            .args([
                root.as_os_str(),
                OsStr::new(init),
                upper.as_deref().map_or(OsStr::new("-"), Path::as_os_str),
            ])
            .args(plan.binds)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(
                log.try_clone()
                    .expect("a file descriptor can be duplicated"),
            )
            // A signal that ends this test, such as Ctrl-C, must not end the watcher before it has
            // cleaned up.
            .process_group(0)
            .spawn()
            .expect("`unshare` can be started");
        let mut line = String::new();
        let stdout = watcher.stdout.take().expect("invariant: it is piped");
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("the watcher can be read from");
        let Some((init, cgroup)) = line.trim().split_once(' ') else {
            drop(watcher.stdin.take());
            ended_within(&mut watcher, SOON);
            panic!(
                "cannot set up machine `{name}` of `{}`:\n{}",
                root.display(),
                String::from_utf8_lossy(&read_back(&log))
            );
        };
        let init = init.parse().expect("the watcher prints a PID");
        Self {
            name,
            root: plan.root.clone(),
            init,
            cgroup: cgroup.into(),
            watcher,
            log,
        }
    }

    fn wait_until_up(&self) {
        // Before the bus listens, asking would only take time from the boot.
        wait_for(SOON, "the system bus", || {
            self.file("/run/dbus/system_bus_socket")
                .exists()
                .then_some(())
        });
        wait_for(SOON, "the machine to be up", || {
            let output = self.run(&["systemctl", "is-system-running", "--wait"]);
            matches!(output.stdout.trim_ascii(), b"running" | b"degraded").then_some(())
        });
    }

    /// Returns its name, which is its host name and its control group's too.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the root that it was made of.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Returns the PID of its PID 1 on the host.
    pub fn init(&self) -> i32 {
        self.init
    }

    /// Returns the host's path of its control group.
    pub fn cgroup(&self) -> PathBuf {
        self.beside_watcher(&self.cgroup)
    }

    /// Returns the host's path of a file inside, to read or write it without running anything
    /// there. `path` is absolute and has no absolute symlink in it, which would lead to the host's
    /// file.
    pub fn file(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        Path::new(&format!("/proc/{}/root", self.init))
            .join(path.strip_prefix("/").expect("a path inside is absolute"))
    }

    fn beside_watcher(&self, path: &Path) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.watcher.id())).join(
            path.strip_prefix("/")
                .expect("the watcher prints absolute paths"),
        )
    }

    /// Returns a command that runs inside as root, in directory `/` and with a clean environment,
    /// to which `Command::env` may add. It dies when the `Child` that is spawned of it is killed;
    /// to send it any other signal, use [`Machine::signal`].
    pub fn command<S: AsRef<OsStr>>(&self, argv: &[S]) -> Command {
        self.command_as(None, Path::new("/"), argv)
    }

    /// As [`Machine::command`], in `directory` and as the user of that id (and the group of the
    /// same).
    pub fn command_as<S: AsRef<OsStr>>(
        &self,
        uid: Option<u32>,
        directory: &Path,
        argv: &[S],
    ) -> Command {
        let mut command = Command::new("/bin/sh");
        // The shell joins the machine's control group from outside, since a namespace's border
        // cannot be crossed from within.
        command
            .args(["-c", r#"echo $$ >"$0" && exec "$@""#])
            .arg(self.cgroup().join("cgroup.procs"));
        command.arg(nsenter()).args([
            "--target",
            &self.init.to_string(),
            "--all",
            "setpriv",
            "--pdeathsig",
            "KILL",
        ]);
        match uid {
            // PID 1 lacks these capabilities as well.
            None => command.args(["--bounding-set", "-sys_module,-sys_time,-sys_rawio,-syslog"]),
            Some(uid) => command.args([
                "--reuid",
                &uid.to_string(),
                "--regid",
                &uid.to_string(),
                "--init-groups",
            ]),
        };
        command
            .args(["env", "--default-signal=INT,QUIT", "--chdir"])
            .arg(directory)
            .args(argv);
        command
            .env_clear()
            .envs([("PATH", PATH), ("LANG", "C.UTF-8"), ("TERM", "dumb")]);
        if uid.is_none() {
            command.envs([("HOME", "/root"), ("USER", "root"), ("LOGNAME", "root")]);
        }
        command
    }

    /// Runs a command inside as root; panics when it takes longer than [`SOON`].
    pub fn run<S: AsRef<OsStr>>(&self, argv: &[S]) -> Output {
        self.command(argv).output_within(SOON)
    }

    /// Sends a signal to the program that a child of [`Machine::command`] runs inside.
    pub fn signal(&self, child: &Child, signal: Signal) {
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        // nsenter's only child; until there is one, the command is still on its way in.
        let inner = wait_for(SOON, "the command to be inside", || {
            fs::read_to_string(&children)
                .ok()?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        });
        kill(Pid::from_raw(inner), signal).expect("a process of the machine can be signalled");
    }

    /// Copies a program of the host to `inside`; skips when the machine's libraries are too old for
    /// it.
    pub fn install(&self, program: &Path, inside: &str) -> Result<(), Skip> {
        fs::copy(program, self.file(inside)).unwrap_or_else(|error| {
            panic!("cannot copy `{}` to `{inside}`: {error}", program.display())
        });
        // One answer holds for all machines of a suite.
        static ASKED: Mutex<BTreeMap<(PathBuf, Suite), Result<(), Skip>>> =
            Mutex::new(BTreeMap::new());
        let mut asked = ASKED.lock().unwrap_or_else(PoisonError::into_inner);
        asked
            .entry((program.to_owned(), self.root.suite()))
            .or_insert_with(|| self.has_libraries_of(inside))
            .clone()
    }

    fn has_libraries_of(&self, inside: &str) -> Result<(), Skip> {
        // ldd asks the machine's own dynamic linker, without running the program.
        let output = self.run(&["ldd", inside]);
        let text = [output.stdout, output.stderr].concat();
        match String::from_utf8_lossy(&text)
            .lines()
            .find(|line| line.contains("not found"))
        {
            None => Ok(()),
            Some(line) => Err(Skip::new(format!(
                "this build needs newer libraries than {} has: {}",
                self.root.suite(),
                line.trim()
            ))),
        }
    }

    /// Returns whether the process of that PID (the host's) belongs to it.
    pub fn holds(&self, pid: i32) -> bool {
        field(pid, "cgroup")
            .lines()
            .any(|line| line.split('/').any(|name| name == self.name))
    }

    /// Prints its log and the end of its journal.
    pub(crate) fn tell(&self) {
        let journal = self
            .command(&["journalctl", "--no-pager", "--lines=60"])
            .output();
        let journal = journal
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default();
        eprintln!(
            "--- log of {} ({})\n{}--- end of its journal\n{journal}---",
            self.name,
            self.root.suite(),
            self.log()
        );
    }

    /// Returns all that PID 1 and the set-up have printed.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&read_back(&self.log)).into_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell();
        }
        drop(self.watcher.stdin.take());
        if ended_within(&mut self.watcher, Duration::from_secs(20)).is_none() {
            eprintln!("machine {} did not go away within 20 s", self.name);
        }
    }
}

/// Returns the path of the host's nsenter(1): it is looked up before the command's environment is
/// the machine's.
fn nsenter() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join("nsenter"))
        .find(|path| path.exists())
        .expect("`nsenter` (util-linux) is installed")
}
