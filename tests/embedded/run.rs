//! A run with a manager of its own, and looking at it from outside.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use nixactions::embedded;

const DEADLINE: Duration = Duration::from_secs(60);

/// A state directory with one run in it; the manager is killed and all is removed when it is
/// dropped.
pub struct Run {
    _state: tempfile::TempDir,
    pub state_dir: PathBuf,
    pub dir: PathBuf,
    pub id: String,
    pub keep: Vec<PathBuf>,
}

/// The output of a client after it booted a manager.
pub struct Booted {
    pub client: Child,
    pub pid: u32,
    pub took: String,
}

impl Run {
    /// Makes a run with its state directory below `parent`.
    pub fn new(parent: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let id = format!(
            "embtest{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let state = tempfile::Builder::new()
            .prefix("nixactions-test")
            .tempdir_in(parent)
            .unwrap();
        let state_dir = state.path().to_owned();
        let dir = state_dir.join("runs").join(&id);
        fs::create_dir_all(&dir).unwrap();
        Self {
            _state: state,
            state_dir,
            dir,
            id,
            keep: Vec::new(),
        }
    }

    /// The client's command line with a script as the supervisor. The script runs in the run's
    /// directory `$D`.
    pub fn client(&self, script: &str) -> Command {
        let file = self.dir.join("supervisor.sh");
        // `systemd-notify` is a process of its own, and only the main process is listened to.
        let text = format!(
            "D='{}'\ncd $D\nready() {{ systemd-notify --ready --pid=$$; }}\n{script}\n",
            self.dir.display()
        );
        fs::write(&file, text).unwrap();
        let mut command = client_command();
        command.args([&self.state_dir, &self.dir]).arg(&self.id);
        for path in &self.keep {
            command.arg("--keep").arg(path);
        }
        command
            .args(["--stay", "--", "/bin/bash"])
            .arg(file)
            .stdout(Stdio::piped());
        command
    }

    pub fn boot(&self, script: &str) -> Booted {
        let mut client = self.client(script).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(client.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let (pid, took) = line
            .trim()
            .split_once(' ')
            .expect("PID 1's id; or the client's error is above");
        Booted {
            client,
            pid: pid.parse().unwrap(),
            took: took.to_owned(),
        }
    }

    /// Boots, waits for the end, and returns what the script wrote to `$D/out`.
    pub fn finish(&self, script: &str) -> String {
        let mut booted = self.boot(&format!("exec >out 2>&1\n{script}"));
        self.wait_for_end();
        booted.stop_client();
        self.read("out")
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name))
            .unwrap_or_else(|error| panic!("{name}: {error}\nmanager.log:\n{}", self.log()))
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("manager.log")).unwrap_or_default()
    }

    pub fn journal(&self) -> String {
        let output = Command::new("journalctl")
            .args(["-q", "-o", "cat", "-D"])
            .arg(self.dir.join("journal"))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn wait_for_file(&self, name: &str) {
        self.wait(name, || {
            let there = self.dir.join(name).exists();
            assert!(
                there || embedded::is_alive(&self.dir) || self.dir.join(name).exists(),
                "no {name}: {:?}",
                embedded::failure(&self.dir)
            );
            there
        });
    }

    pub fn wait_for_end(&self) {
        self.wait("the manager's end", || !embedded::is_alive(&self.dir));
    }

    pub fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let started = Instant::now();
        while !done() {
            assert!(
                started.elapsed() < DEADLINE,
                "waited for {what}\nmanager.log:\n{}\njournal:\n{}",
                self.log(),
                self.journal()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The run's cgroups, found by their name in every cgroup2 hierarchy that is mounted.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let roots = mounts.lines().filter_map(|line| {
            let mut words = line.split(' ');
            let (target, kind) = (words.nth(1)?, words.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(target))
        });
        let prefix = format!("nixactions-{}.", self.id);
        let mut found = Vec::new();
        for root in roots {
            find(&root, &prefix, &mut found);
        }
        found
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = embedded::kill(&self.dir);
        let started = Instant::now();
        while embedded::is_alive(&self.dir) && started.elapsed() < DEADLINE {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Booted {
    pub fn stop_client(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }

    /// The name of the manager's pid namespace, which no other gets while the file is held.
    pub fn namespace(&self) -> (PathBuf, fs::File) {
        let path = format!("/proc/{}/ns/pid", self.pid);
        (fs::read_link(&path).unwrap(), fs::File::open(path).unwrap())
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        self.stop_client();
    }
}

pub fn find(dir: &Path, prefix: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
    {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            found.push(entry.path());
        } else {
            find(&entry.path(), prefix, found);
        }
    }
}

/// This program, as the client.
pub fn client_command() -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("client");
    command
}

/// The processes that satisfy a condition on their directory in /proc.
pub fn processes(condition: impl Fn(&Path) -> bool) -> Vec<String> {
    let all = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    all.filter(|path| path.join("ns").is_dir() && condition(path))
        .map(|path| {
            format!(
                "{}: {}",
                path.display(),
                fs::read_to_string(path.join("cmdline"))
                    .unwrap_or_default()
                    .replace('\0', " ")
            )
        })
        .collect()
}

/// Returns the names in a directory, without those of other tests that run at the same time.
pub fn names(dir: &str) -> BTreeSet<OsString> {
    let names = fs::read_dir(dir).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| !name.to_string_lossy().starts_with("nixactions-test-"))
        .collect()
}

pub fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
