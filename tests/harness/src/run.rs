//! Runs of nixactions as a test sees them: started with a plan, looked at while they go on, and
//! what they left.
//!
//! Clients print JSON, one event a line, so that every test reads that form as well. Knows the
//! layout of the run directory and the names of events and of the record's fields; asserts nothing
//! but that a run ends.

use std::{
    ffi::OsStr,
    fmt,
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use nix::{sys::signal::kill, unistd::Pid};
use serde_json::{Value, json};

use crate::{
    CommandExt as _, Kind, Manager, SOON, Signal,
    process::{field, processes},
    wait::{ended_within, read_back, wait_for},
};

/// The deadline for a run; test machines are loaded.
pub const RUN_DEADLINE: Duration = Duration::from_secs(120);

/// Returns a job of one step `it`, which is this script.
pub fn bash(script: &str) -> Value {
    json!({ "steps": [{ "name": "it", "bash": script }] })
}

/// Returns a JSON object with the fields of another added.
pub fn with(mut object: Value, more: Value) -> Value {
    let fields = object.as_object_mut().expect("it is an object");
    fields.extend(more.as_object().expect("what is added is one").clone());
    object
}

/// A run that was started.
pub struct Run<'a> {
    manager: &'a Manager,
    id: String,
    client: Option<Client>,
}

/// A client that follows a run.
struct Client {
    child: Child,
    stdout: File,
    stderr: File,
}

/// A run that has ended, or was refused.
#[derive(Debug)]
pub struct Finished {
    /// Its id; empty where it was refused.
    pub id: String,
    /// The client's exit status; `None` where a signal ended it, or there was none.
    pub code: Option<i32>,
    /// The client's standard output, one JSON object a line.
    pub events: Vec<Value>,
    /// The client's standard error.
    pub stderr: String,
    /// The final record; null where there is none.
    pub record: Value,
}

impl Manager {
    /// Writes a plan to a file of its own; returns its path inside.
    pub fn plan(&self, plan: &Value) -> PathBuf {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        self.write(
            format!("plan-{}.json", COUNT.fetch_add(1, Ordering::Relaxed)),
            plan.to_string(),
        )
    }

    /// Starts `nixactions run` and returns when the run has an id; panics with what it printed if
    /// it gets none.
    pub fn start<S: AsRef<OsStr>>(&self, plan: &Value, arguments: &[S]) -> Run<'_> {
        let plan = self.plan(plan);
        let mut argv: Vec<&OsStr> =
            vec!["run".as_ref(), plan.as_os_str(), "--output=json".as_ref()];
        argv.extend(arguments.iter().map(AsRef::as_ref));
        self.start_command(self.nixactions(&argv))
    }

    /// As [`Manager::start`], by a `run` command with JSON output that the test has made.
    pub fn start_command(&self, command: Command) -> Run<'_> {
        let mut client = Client::spawn(command);
        let id = wait_for(SOON, "the run's id", || {
            let id = client
                .events()
                .first()
                .and_then(|event| event["event"]["run"].as_str().map(str::to_owned));
            if id.is_none()
                && let Some(status) = client.child.try_wait().expect("a child can be waited for")
                && client.events().is_empty()
            {
                panic!("not started, {status}: {}", client.stderr());
            }
            id
        });
        Run {
            manager: self,
            id,
            client: Some(client),
        }
    }

    /// Runs a plan to its end.
    pub fn run<S: AsRef<OsStr>>(&self, plan: &Value, arguments: &[S]) -> Finished {
        self.start(plan, arguments).end()
    }

    /// Starts a run that nobody follows.
    pub fn detach<S: AsRef<OsStr>>(&self, plan: &Value, arguments: &[S]) -> Run<'_> {
        let plan = self.plan(plan);
        let mut argv: Vec<&OsStr> = vec!["run".as_ref(), plan.as_os_str(), "--detach".as_ref()];
        argv.extend(arguments.iter().map(AsRef::as_ref));
        Run {
            manager: self,
            id: self.nixactions(&argv).ok().trim().to_owned(),
            client: None,
        }
    }

    /// Returns the run of that id, which another client started.
    pub fn run_of(&self, id: &str) -> Run<'_> {
        Run {
            manager: self,
            id: id.to_owned(),
            client: None,
        }
    }

    /// Runs a command that is to be refused; returns its exit status and standard error.
    pub fn refused<S: AsRef<OsStr>>(&self, arguments: &[S]) -> (i32, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = self.nixactions(arguments).output_within(SOON);
        let (stdout, stderr) = (
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr),
        );
        assert!(!status.success(), "it was not refused: {stdout}{stderr}");
        (status.code().unwrap_or(-1), stderr.into_owned())
    }

    /// Returns the run that a client with JSON output has shown to its end, if it was one.
    pub fn finished(&self, output: &Output) -> Finished {
        let events = lines(&String::from_utf8_lossy(&output.stdout));
        let id = events
            .first()
            .and_then(|event| event["event"]["run"].as_str())
            .unwrap_or_default()
            .to_owned();
        let record = if id.is_empty() {
            Value::Null
        } else {
            self.run_of(&id).record()
        };
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Finished {
            id,
            code: output.status.code(),
            events,
            stderr,
            record,
        }
    }

    /// Returns the host's path of a run's directory.
    pub fn run_dir(&self, id: &str) -> PathBuf {
        self.file(self.state_dir().join("runs").join(id))
    }

    /// Returns the ids of all runs in the state directory.
    pub fn runs(&self) -> Vec<String> {
        let entries = fs::read_dir(self.file(self.state_dir().join("runs")))
            .into_iter()
            .flatten()
            .flatten();
        entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| !name.starts_with('.'))
            .collect()
    }

    /// Makes a directory that all jobs may write to once a plan names it in `ReadWritePaths`, out
    /// of what a sandbox hides; returns its path inside.
    pub fn open_directory(&self, name: &str) -> PathBuf {
        let parent = if self.kind() == Kind::User {
            Path::new("/srv")
        } else {
            self.dir()
        };
        let inside = parent.join(name);
        fs::create_dir_all(self.file(&inside)).expect("the place is writable");
        fs::set_permissions(self.file(&inside), Permissions::from_mode(0o777)).expect("it is ours");
        inside
    }

    /// Returns the names of the units that are loaded now and match a pattern (glob(7)).
    pub fn units(&self, pattern: &str) -> Vec<String> {
        let text = self
            .systemctl(&["list-units", "--all", "--plain", "--no-legend", pattern])
            .ok();
        text.lines()
            .filter_map(|line| line.split_whitespace().next())
            .map(str::to_owned)
            .collect()
    }
}

impl Client {
    fn spawn(mut command: Command) -> Self {
        let [stdout, stderr] =
            [(); 2].map(|()| tempfile::tempfile().expect("a temporary file can be made"));
        let duplicate = |file: &File| {
            Stdio::from(
                file.try_clone()
                    .expect("a file descriptor can be duplicated"),
            )
        };
        command
            .stdin(Stdio::null())
            .stdout(duplicate(&stdout))
            .stderr(duplicate(&stderr));
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self {
            child,
            stdout,
            stderr,
        }
    }

    fn events(&self) -> Vec<Value> {
        lines(&String::from_utf8_lossy(&read_back(&self.stdout)))
    }

    fn stderr(&self) -> String {
        String::from_utf8_lossy(&read_back(&self.stderr)).into_owned()
    }
}

/// Parses complete lines. Each must be JSON.
fn lines(text: &str) -> Vec<Value> {
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    complete
        .lines()
        .map(|line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON ({error}): {line}"))
        })
        .collect()
}

impl Run<'_> {
    /// Returns its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the host's path of its directory.
    pub fn dir(&self) -> PathBuf {
        self.manager.run_dir(&self.id)
    }

    /// Returns the host's path of a file in a job's workspace.
    pub fn workspace(&self, job: &str, path: &str) -> PathBuf {
        self.dir()
            .join("jobs")
            .join(job)
            .join("work/workspace")
            .join(path)
    }

    /// Makes a file for which a job waits in its workspace. Waits until the job has begun.
    pub fn release(&self, job: &str, path: &str) {
        let path = self.workspace(job, path);
        let what = format!("the workspace of `{job}` of {}", self.id);
        wait_for(RUN_DEADLINE, &what, || fs::write(&path, "").ok());
    }

    /// Returns the events so far, as the supervisor has written them down.
    pub fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.dir().join("events.jsonl")).unwrap_or_default();
        // A supervisor that was killed may have left a torn line.
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Waits for an event of this type, of this job if one is named.
    pub fn wait_for_event(&self, kind: &str, job: Option<&str>) -> Value {
        wait_for(
            RUN_DEADLINE,
            &format!("event {kind} of {job:?} in {}", self.id),
            || {
                self.events()
                    .into_iter()
                    .find(|event| {
                        event["event"]["type"] == kind
                            && job.is_none_or(|job| event["event"]["job"] == job)
                    })
                    .or_else(|| {
                        let over = self.dir().join("record.json").exists();
                        assert!(
                            !over
                                || self
                                    .events()
                                    .iter()
                                    .any(|event| event["event"]["type"] == kind),
                            "over: {:#}",
                            self.record()
                        );
                        None
                    })
            },
        )
    }

    /// Waits until a job has made this file in its workspace. Panics if the run ends without it.
    pub fn wait_for_file(&self, job: &str, path: &str) {
        let path = self.workspace(job, path);
        wait_for(
            RUN_DEADLINE,
            &format!("`{}` of {}", path.display(), self.id),
            || {
                let is_over = self.has_ended();
                let is_there = path.exists();
                assert!(is_there || !is_over, "over: {:#}", self.record());
                is_there.then_some(())
            },
        );
    }

    /// Sends a signal to the client.
    pub fn signal_client(&self, signal: Signal) {
        self.manager.signal(
            &self.client.as_ref().expect("the run has a client").child,
            signal,
        );
    }

    /// Kills the client as kill -9 does.
    pub fn kill_client(&mut self) {
        self.signal_client(Signal::SIGKILL);
        let mut client = self.client.take().expect("the run has a client");
        client.child.wait().expect("a child can be waited for");
    }

    /// Kills its supervisor as kill -9 does; returns whether there was one just now.
    pub fn kill_supervisor(&self) -> bool {
        self.signal_supervisor(Signal::SIGKILL)
    }

    /// Sends a signal to its supervisor; returns whether there was one just now.
    pub fn signal_supervisor(&self, signal: Signal) -> bool {
        self.signal_process(
            signal,
            &format!("[n]ixactions supervise {}", self.dir_inside().display()),
        )
    }

    /// Kills a job's runner as kill -9 does, and nothing else of the job; returns whether there was
    /// one.
    pub fn kill_runner(&self, job: &str) -> bool {
        self.signal_runner(job, Signal::SIGKILL)
    }

    /// Sends a signal to a job's runner, and to nothing else of the job; returns whether there was
    /// one.
    pub fn signal_runner(&self, job: &str, signal: Signal) -> bool {
        // All runners have the same command line, so it is found by its unit's control group. In a
        // container, it is in one below.
        let unit = format!("/nixactions-{}-{job}.service", self.id);
        let below = format!("{unit}/payload");
        let is_program = |command: &str| {
            let program = command.split('\0').next();
            program.is_some_and(|program| program.ends_with("/nixactions-runner"))
        };
        let is_runner = |pid: &i32| {
            self.manager.holds(*pid)
                && is_program(&field(*pid, "cmdline"))
                && field(*pid, "cgroup")
                    .lines()
                    .any(|line| line.ends_with(&unit) || line.ends_with(&below))
        };
        let runners: Vec<i32> = processes().into_iter().filter(is_runner).collect();
        // Above the runner of a job with a `retry` is a process of the same program.
        let is_above = |pid: i32| {
            let parent = format!("PPid:\t{pid}\n");
            runners
                .iter()
                .any(|other| field(*other, "status").contains(&parent))
        };
        let runner = runners.iter().copied().find(|pid| !is_above(*pid));
        runner.is_some_and(|pid| kill(Pid::from_raw(pid), signal).is_ok())
    }

    /// Finds the process by the whole path, since on the host those of all machines are seen.
    fn signal_process(&self, signal: Signal, command: &str) -> bool {
        let (signal, pattern) = (format!("-{}", signal as i32), format!("{command}$"));
        self.manager
            .command(&["pkill", &signal, "-f", &pattern])
            .output_within(SOON)
            .status
            .success()
    }

    fn dir_inside(&self) -> PathBuf {
        self.manager.state_dir().join("runs").join(&self.id)
    }

    /// Returns the final record; null where there is none yet.
    pub fn record(&self) -> Value {
        let text = fs::read_to_string(self.dir().join("record.json")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// Returns whether a client of the test's own follows it.
    pub fn has_client(&self) -> bool {
        self.client.is_some()
    }

    /// Returns whether its final record is there.
    pub fn has_ended(&self) -> bool {
        self.dir().join("record.json").exists()
    }

    /// Waits until the run and its client have ended.
    pub fn end(mut self) -> Finished {
        let client = self.client.take().map(|mut client| {
            let status = ended_within(&mut client.child, RUN_DEADLINE);
            let status = status.unwrap_or_else(|| {
                panic!(
                    "{} has not ended: {:#?}\n{}",
                    self.id,
                    self.events(),
                    client.stderr()
                )
            });
            (status.code(), client)
        });
        if client.is_none() {
            let path = self.dir().join("record.json");
            let end = std::time::Instant::now() + RUN_DEADLINE;
            while !path.exists() {
                assert!(
                    std::time::Instant::now() < end,
                    "{} has not ended: {:#?}",
                    self.id,
                    self.events()
                );
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let (code, events, stderr) = client
            .map_or((None, self.events(), String::new()), |(code, client)| {
                (code, client.events(), client.stderr())
            });
        Finished {
            id: self.id.clone(),
            code,
            events,
            stderr,
            record: self.record(),
        }
    }
}

impl Finished {
    /// Returns the record of a job; panics with all there is where it has none.
    pub fn job(&self, job: &str) -> &Value {
        let record = &self.record["jobs"][job];
        assert!(record.is_object(), "no record of `{job}` in {self}");
        record
    }

    /// Returns outcome and conclusion of a job, as in `failure/success`.
    pub fn verdict(&self, job: &str) -> String {
        verdict(self.job(job))
    }

    /// Returns why a job ended as it did; empty where there is nothing to say.
    pub fn reason(&self, job: &str) -> &str {
        self.job(job)["reason"].as_str().unwrap_or_default()
    }

    /// Returns a line for each of a job's steps: name, outcome/conclusion, and the reason if there
    /// is one.
    pub fn steps(&self, job: &str) -> Vec<String> {
        let steps = self.job(job)["steps"].as_array().into_iter().flatten();
        let reason = |step: &Value| {
            step["reason"]
                .as_str()
                .map_or_else(String::new, |reason| format!(": {reason}"))
        };
        steps
            .map(|step| {
                format!(
                    "{} {}{}",
                    step["name"].as_str().unwrap_or_default(),
                    verdict(step),
                    reason(step)
                )
            })
            .collect()
    }

    /// Returns a job's standard output and error, as the client showed them.
    pub fn lines(&self, job: &str) -> Vec<&str> {
        let of_job = |event: &&Value| {
            event["event"]["type"] == "log"
                && event["event"]["job"] == job
                && ["stdout", "stderr"]
                    .iter()
                    .any(|stream| event["event"]["stream"] == *stream)
        };
        self.events
            .iter()
            .filter(of_job)
            .filter_map(|event| event["event"]["message"].as_str())
            .collect()
    }

    /// Returns the value of the line `NAME=value` that a job printed.
    pub fn value(&self, job: &str, name: &str) -> &str {
        let lines = self.lines(job);
        let found = lines
            .into_iter()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_else(|| panic!("`{job}` printed no `{name}=` in {self}"))
    }

    /// Panics with all there is unless the client ended with this exit status.
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "run `{}`, exit status {:?}\n--- record\n{:#}\n--- events",
            self.id, self.code, self.record
        )?;
        self.events
            .iter()
            .try_for_each(|event| writeln!(f, "{event}"))?;
        write!(f, "--- stderr\n{}---", self.stderr)
    }
}

fn verdict(record: &Value) -> String {
    let word = |name: &str| record[name].as_str().unwrap_or("?");
    format!("{}/{}", word("outcome"), word("conclusion"))
}
