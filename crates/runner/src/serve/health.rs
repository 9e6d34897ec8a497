//! Finds out when a service is ready: by its ports, by a command, or by a message of the service.
//!
//! A thread checks the service, while the main thread takes the service's lines. If the service is
//! not ready in time, the thread signals this process, and the main thread ends the service.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _, SeekFrom},
    net::{SocketAddr, TcpStream},
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram, process::CommandExt as _},
    process::{Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use nixactions_core::service::{HealthSpec, Probe, ServiceSpec};
use rustix::fs::{MemfdFlags, memfd_create};

use super::super::{port::Events, process::UNREAPED, step::find};
use crate::event::EventKind;

/// The wait between two looks at a running command.
const LOOK: Duration = Duration::from_millis(10);
/// The most bytes of a command's output that a reason quotes.
const OUTPUT_MAX: u64 = 400;
/// The message of a service that is ready (sd_notify(3)).
const READY: &str = "READY=1";
/// The variable with the socket for such messages.
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// The checks of a service until it is ready.
pub(super) struct Health(Arc<State>);

#[derive(Default)]
struct State {
    /// Whether the service has ended.
    is_over: AtomicBool,
    /// Why the service was not ready in time. `None` as long as it still may become ready.
    verdict: Mutex<Option<String>>,
}

impl Health {
    /// Begins to check the service that this command starts.
    ///
    /// # Errors
    /// Fails with the system's reason.
    pub fn begin(
        spec: &ServiceSpec,
        command: &mut Command,
        events: Arc<Mutex<Events>>,
    ) -> io::Result<Self> {
        let state = Arc::new(State::default());
        let mut trial = Trial {
            health: spec.health.clone(),
            ports: spec.ports.clone(),
            state: Arc::clone(&state),
            socket: None,
            try_command: None,
        };
        match &spec.health.probe {
            Probe::Ports => {}
            Probe::Run(argv) => {
                let path = spec.env.get("PATH").unwrap_or(&spec.path);
                let (program, arguments) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
                let mut tried = Command::new(find(program, path));
                tried.args(arguments).env_clear();
                for (name, value) in command.get_envs() {
                    if let Some(value) = value {
                        tried.env(name, value);
                    }
                }
                if let Some(directory) = command.get_current_dir() {
                    tried.current_dir(directory);
                }
                trial.try_command = Some(tried);
            }
            Probe::Notify => {
                fs::create_dir_all(&spec.files_directory)?;
                let path = spec.files_directory.join("notify");
                let socket = UnixDatagram::bind(&path)?;
                // The service may change its user.
                fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
                command.env(NOTIFY_SOCKET, &path);
                trial.socket = Some(socket);
            }
        }
        let (job, service) = (spec.job.clone(), spec.service.clone());
        thread::Builder::new()
            .stack_size(256 << 10)
            .spawn(move || match trial.run() {
                Some(Ok(())) => {
                    let mut events = events.lock().unwrap_or_else(PoisonError::into_inner);
                    events.note(EventKind::ServiceReady { job, service });
                    // On a full disk the job's runner waits until the job's time is over.
                    let _ = events.tell();
                    drop(events);
                    trial.take_messages();
                }
                Some(Err(why)) => trial.refuse(why),
                // The service has ended.
                None => {}
            })?;
        Ok(Self(state))
    }

    /// Ends the checks of a service that has ended. If the service was ended because it was not
    /// ready in time, returns the reason.
    pub fn end(self) -> Option<String> {
        self.0.is_over.store(true, Ordering::SeqCst);
        let verdict = &self.0.verdict;
        verdict
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

struct Trial {
    health: HealthSpec,
    ports: Vec<u16>,
    state: Arc<State>,
    socket: Option<UnixDatagram>,
    try_command: Option<Command>,
}

impl Trial {
    /// Tries until the service is ready or all tries are over. Returns `None` if the service has
    /// ended before.
    fn run(&mut self) -> Option<Result<(), String>> {
        if let Some(socket) = &self.socket {
            return self.listen(socket);
        }
        let mut why = String::new();
        for number in 1..=self.health.tries {
            match self.try_once()? {
                Ok(()) => return Some(Ok(())),
                Err(reason) => why = reason,
            }
            if number < self.health.tries && !self.sleep(self.health.interval.duration()) {
                return None;
            }
        }
        let tries = match self.health.tries {
            1 => "once".to_owned(),
            tries => format!("{tries} times"),
        };
        Some(Err(format!("it was not ready, tried {tries}: {why}")))
    }

    fn is_over(&self) -> bool {
        self.state.is_over.load(Ordering::SeqCst)
    }

    /// Sleeps, unless the service ends before. Returns whether it still runs.
    fn sleep(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while Instant::now() < until {
            if self.is_over() {
                return false;
            }
            let left = until.saturating_duration_since(Instant::now());
            thread::sleep(left.min(10 * LOOK));
        }
        !self.is_over()
    }

    fn try_once(&mut self) -> Option<Result<(), String>> {
        match self.try_command.take() {
            None => Some(self.try_ports()),
            Some(mut command) => {
                let tried = self.try_command(&mut command);
                self.try_command = Some(command);
                tried
            }
        }
    }

    fn try_ports(&self) -> Result<(), String> {
        for port in &self.ports {
            let address = SocketAddr::from(([127, 0, 0, 1], *port));
            TcpStream::connect_timeout(&address, self.health.timeout.duration())
                .map_err(|error| format!("port {port} takes no connection: {error}"))?;
        }
        Ok(())
    }

    fn try_command(&self, command: &mut Command) -> Option<Result<(), String>> {
        let name = command.get_program().display().to_string();
        let failed = |error: io::Error| Some(Err(format!("`{name}` could not be run: {error}")));
        // The output goes into memory. In a directory, the service could replace its file by a
        // FIFO, and reading that would never end.
        let mut file = match memfd_create("health", MemfdFlags::CLOEXEC) {
            Ok(file) => File::from(file),
            Err(error) => return failed(error.into()),
        };
        let clones = file
            .try_clone()
            .and_then(|out| Ok((out, file.try_clone()?)));
        let (out, err) = match clones {
            Ok(clones) => clones,
            Err(error) => return failed(error),
        };
        command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0);
        // This process may be the first one of a PID namespace. Its main thread then reaps all
        // processes, but must leave this one to this thread.
        let spawned = {
            let mut unreaped = UNREAPED.lock().unwrap_or_else(PoisonError::into_inner);
            let spawned = command.spawn();
            *unreaped = spawned
                .as_ref()
                .ok()
                .and_then(|child| i32::try_from(child.id()).ok());
            spawned
        };
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) => return failed(error),
        };
        let until = Instant::now() + self.health.timeout.duration();
        let ended: Result<ExitStatus, String> = loop {
            match child.try_wait() {
                Ok(Some(status)) => break Ok(status),
                Err(error) => break Err(error.to_string()),
                Ok(None) if Instant::now() < until && !self.is_over() => thread::sleep(LOOK),
                Ok(None) => {
                    let group = i32::try_from(child.id()).map(Pid::from_raw);
                    let _ = group.map(|group| killpg(group, Signal::SIGKILL));
                    let _ = child.wait();
                    let seconds = self.health.timeout.duration().as_secs_f64();
                    break Err(format!("took longer than {seconds} s"));
                }
            }
        };
        *UNREAPED.lock().unwrap_or_else(PoisonError::into_inner) = None;
        if self.is_over() {
            return None;
        }
        let why = match ended {
            Ok(status) if status.success() => return Some(Ok(())),
            Ok(status) => match status.code() {
                Some(code) => format!("exit status {code}"),
                None => "killed by a signal".to_owned(),
            },
            Err(why) => why,
        };
        let said = last_words(&mut file).unwrap_or_default();
        let said = said.trim();
        let said = if said.is_empty() {
            String::new()
        } else {
            format!(": {said}")
        };
        Some(Err(format!("`{name}`: {why}{said}")))
    }

    /// Waits for the message of the service.
    fn listen(&self, socket: &UnixDatagram) -> Option<Result<(), String>> {
        let seconds = self.health.timeout.duration();
        let until = Instant::now() + seconds;
        let mut buffer = [0; 4096];
        loop {
            if self.is_over() {
                return None;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let seconds = seconds.as_secs_f64();
                let why =
                    format!("it was not ready: it did not say so (sd_notify(3)) in {seconds} s");
                return Some(Err(why));
            }
            // A socket without a deadline would wait for ever.
            let _ = socket.set_read_timeout(Some(left.min(10 * LOOK)));
            if let Ok(length) = socket.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]);
                if text.lines().any(|line| line == READY) {
                    return Some(Ok(()));
                }
            }
        }
    }

    /// Takes the other messages of a service that is ready, as long as this process lives. Programs
    /// such as systemd-notify(1) fail if nobody takes them.
    fn take_messages(&self) {
        let Some(socket) = &self.socket else {
            return;
        };
        let mut buffer = [0; 4096];
        let _ = socket.set_read_timeout(None);
        while socket.recv(&mut buffer).is_ok() {}
    }

    /// Ends the service, which was not ready in time.
    fn refuse(&self, why: String) {
        *self
            .state
            .verdict
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(why);
        // The main thread takes it for a request to end the service.
        let _ = kill(Pid::this(), Signal::SIGTERM);
    }
}

/// Returns the last lines of a command's output. A line that is cut could show the end of a secret,
/// which no mask finds.
fn last_words(file: &mut File) -> io::Result<String> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(OUTPUT_MAX)))?;
    let mut bytes = Vec::new();
    file.take(OUTPUT_MAX).read_to_end(&mut bytes)?;
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if length > OUTPUT_MAX {
        let whole = text.find('\n').map_or(text.len(), |end| end + 1);
        text.drain(..whole);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_last_words_begin_with_a_whole_line() {
        let told = |text: &str| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            last_words(&mut file).unwrap()
        };
        assert_eq!(told("one\ntwo\n"), "one\ntwo\n");
        // Only the first byte of the secret is too much.
        let rest = "x".repeat(usize::try_from(OUTPUT_MAX).unwrap() - "unter2-alpha\nlast\n".len());
        assert_eq!(told(&format!("hunter2-alpha{rest}\nlast\n")), "last\n");
        assert_eq!(told(&format!("hunter2-alpha{rest}{rest}")), "");
    }
}
