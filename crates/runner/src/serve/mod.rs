//! The main process of a service's unit: starts the service's program, sends its lines to the
//! journal, finds out when it is ready, and tells how it ended.
//!
//! It tells all that by events, in a file that systemd opens for it, as a job's runner does. It
//! holds a lock on that file as long as it lives: so the job's runner knows when it was killed.
//! Knows nothing of the job but its name.

mod health;
mod ports;

use std::{
    fs,
    io::{self, Write as _},
    net::TcpListener,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
};

use nix::{sys::prctl::set_dumpable, unistd::geteuid};
use nixactions_core::service::ServiceSpec;

use self::health::Health;
use super::{
    calls,
    cgroup::Cgroup,
    confine,
    container::Container,
    journal::{Journal, Priority},
    keys, lifeline,
    masks::{Hearer, Masks},
    port::{self, Events, ServicePort},
    process::{Ended, Processes},
    signals::Signals,
    slots::handed_directory,
    step::find,
    stop::{Limits, Stop},
};
use crate::{
    bounds::{SERVICE_LINE, SERVICE_LINES, cut_text},
    error::describe,
    event::EventKind,
    reason::Reason,
    store,
};

pub use ports::main as ports;

/// The exit status of a service that was not asked to end.
const EXIT_FAILURE: u8 = 1;
/// The exit status where the service could not be started.
const EXIT_NOT_STARTED: u8 = 74;

/// The reason why a service cannot be run.
#[derive(Debug, thiserror::Error)]
enum ServiceError {
    #[error("failed to protect the runner from the service")]
    Hide(#[source] io::Error),
    #[error("failed to take over the container's descriptors")]
    Container(#[source] io::Error),
    #[error("failed to catch signals")]
    Signals(#[source] io::Error),
    #[error("failed to isolate the service's processes")]
    Confine(#[source] landlock::RulesetError),
    #[error("failed to guard the limits of other processes")]
    Guard(#[source] seccompiler::Error),
    #[error("failed to find the runner's process id outside of the service")]
    Pid(#[source] io::Error),
    #[error("failed to take over the directory of the job's masks")]
    Masks(#[source] io::Error),
    #[error("failed to lock the service's file of events")]
    Lock(#[source] io::Error),
    #[error(transparent)]
    Store(#[from] store::StoreError),
    #[error("the service was started before; a service runs only once")]
    StartedBefore,
}

/// Runs the service of this directory. Only systemd reads the returned exit status.
pub fn main(directory: PathBuf) -> u8 {
    match run(directory) {
        Ok(status) => status,
        Err(error) => {
            let _ = writeln!(io::stderr(), "nixactions-runner: {}", describe(&error));
            EXIT_NOT_STARTED
        }
    }
}

fn run(directory: PathBuf) -> Result<u8, ServiceError> {
    set_dumpable(false).map_err(|error| ServiceError::Hide(error.into()))?;
    let (port, spec) = ServicePort::open(directory)?;
    let prepared = prepare(&spec).inspect_err(|error| tell_failure(&port, &spec, error));
    let Prepared {
        signals,
        ids: (pid, uid),
        masks,
        counts,
    } = prepared?;
    let mut events = port.events()?.ok_or(ServiceError::StartedBefore)?;
    events.note(EventKind::RunnerStarted {
        job: spec.job.clone(),
        pid,
        uid,
    });
    events.tell()?;
    let fields = [
        ("SYSLOG_IDENTIFIER", spec.service.as_str()),
        ("NIXACTIONS_RUN", spec.run.as_str()),
        ("NIXACTIONS_WORKFLOW", spec.workflow.as_str()),
        ("NIXACTIONS_JOB", spec.job.as_str()),
        ("NIXACTIONS_SERVICE", spec.service.as_str()),
    ];
    let journal = Journal::new(&fields).keeping(SERVICE_LINES);
    let mut processes = Processes::new(signals, Cgroup::own(None, counts), journal, None);
    processes.goes_on_out_of_memory = spec.goes_on_out_of_memory;
    let service = Service {
        events: Arc::new(Mutex::new(events)),
        spec: &spec,
        port: &port,
        processes,
    };
    Ok(service.live(masks))
}

/// A runner that is ready to start its service.
struct Prepared {
    signals: Signals,
    /// The process and its user, as the run knows them.
    ids: (u32, u32),
    /// The directory of the job's masks.
    masks: OwnedFd,
    /// The control group that counts the memory of the service, where that is not its own.
    counts: Option<OwnedFd>,
}

/// Protects the runner from the service, and takes the lock of the file of events, which the port
/// takes over with the file.
fn prepare(spec: &ServiceSpec) -> Result<Prepared, ServiceError> {
    let entered = spec.in_container.then(Container::enter).transpose();
    let container = entered.map_err(ServiceError::Container)?;
    let signals = Signals::new().map_err(ServiceError::Signals)?;
    if spec.confine {
        confine::confine().map_err(ServiceError::Confine)?;
    }
    let refused = calls::Refused {
        limits: spec.guard_limits,
        of_containers: false,
        traces: false,
    };
    calls::guard(refused).map_err(ServiceError::Guard)?;
    if spec.own_user {
        keys::forget();
    }
    let user = geteuid().as_raw();
    let counts = container.as_ref().map(Container::group).transpose();
    let counts = counts.map_err(ServiceError::Container)?.flatten();
    let ids = match container {
        Some(container) => container.outside().map_err(ServiceError::Pid)?,
        None if spec.own_pids => (port::pid_outside().map_err(ServiceError::Pid)?, user),
        None => (std::process::id(), user),
    };
    let masks = handed_directory(spec.own_pids).map_err(ServiceError::Masks)?;
    lifeline::hold(io::stdout()).map_err(ServiceError::Lock)?;
    Ok(Prepared {
        signals,
        ids,
        masks,
        counts,
    })
}

/// Tells why the service does not begin, unless it has begun before.
fn tell_failure(port: &ServicePort, spec: &ServiceSpec, error: &ServiceError) {
    if let Ok(Some(mut events)) = port.events() {
        events.note(EventKind::ServiceEnded {
            job: spec.job.clone(),
            service: spec.service.clone(),
            reason: describe(error),
            lines: Vec::new(),
            was_stopped: false,
        });
        // The supervisor finds that the unit has ended.
        let _ = events.tell();
    }
}

/// A running service.
struct Service<'a> {
    spec: &'a ServiceSpec,
    port: &'a ServicePort,
    processes: Processes,
    events: Arc<Mutex<Events>>,
}

impl Service<'_> {
    fn live(mut self, masks: OwnedFd) -> u8 {
        let (reason, was_stopped) = self.serve(masks);
        self.processes.finish();
        let masker = &self.processes.journal.masker;
        let reason = masker.text(&reason).into_owned();
        let mut lines = self.processes.journal.kept();
        for line in &mut lines {
            // The job may have named a secret after the line.
            *line = masker.text(line).into_owned();
            cut_text(line, SERVICE_LINE);
        }
        if !was_stopped {
            self.processes
                .journal
                .note(&format!("service: {reason}"), Priority::Error);
        }
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.note(EventKind::ServiceEnded {
            job: self.spec.job.clone(),
            service: self.spec.service.clone(),
            reason,
            lines,
            was_stopped,
        });
        // On a full disk, the job's runner finds that this process has ended.
        let _ = events.tell();
        if was_stopped { 0 } else { EXIT_FAILURE }
    }

    /// Runs the service to its end. Returns how it ended, and whether it was asked to.
    fn serve(&mut self, masks: OwnedFd) -> (String, bool) {
        let masker = &mut self.processes.journal.masker;
        match Hearer::connect(masks, masker, &mut self.processes.signals) {
            Some(hearer) => self.processes.masks = Masks::OfService(hearer),
            // The job has ended before.
            None => return ("it was stopped".to_owned(), true),
        }
        if let Err(why) = self.check_ports() {
            return (why, false);
        }
        let mut command = match self.command() {
            Ok(command) => command,
            Err(error) => return (format!("its directories cannot be made: {error}"), false),
        };
        let health = Health::begin(self.spec, &mut command, Arc::clone(&self.events));
        let health = match health {
            Ok(health) => health,
            Err(error) => return (format!("its health cannot be tried: {error}"), false),
        };
        let (ended, stop) = self.processes.run(&mut command, None, Limits::default());
        if let Some(why) = health.end() {
            return (why, false);
        }
        how_it_ended(stop, ended)
    }

    /// Checks that no other program of the host has the service's ports.
    fn check_ports(&self) -> Result<(), String> {
        for port in self.spec.ports.iter().filter(|_| self.spec.shares_network) {
            TcpListener::bind(("127.0.0.1", *port)).map_err(|error| match error.kind() {
                io::ErrorKind::AddrInUse => {
                    format!("port {port} is in use: another program of this host has it")
                }
                _ => format!("port {port} cannot be used: {error}"),
            })?;
        }
        Ok(())
    }

    fn command(&self) -> io::Result<Command> {
        let (home, workspace) = (self.port.home(), self.port.workspace());
        fs::create_dir_all(&home)?;
        fs::create_dir_all(&workspace)?;
        let spec = self.spec;
        let path = spec.env.get("PATH").unwrap_or(&spec.path);
        let (program, arguments) = spec
            .command
            .split_first()
            .ok_or_else(|| io::Error::other("it has no command"))?;
        let mut command = Command::new(find(program, path));
        command.args(arguments);
        command.env_clear();
        command.env("PATH", &spec.path).env("LANG", "C.UTF-8");
        for name in ["USER", "LOGNAME"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("HOME", &home).envs(&spec.env);
        command
            .env("NIXACTIONS", "true")
            .env("NIXACTIONS_RUN", spec.run.as_str())
            .env("NIXACTIONS_JOB", spec.job.as_str())
            .env("NIXACTIONS_SERVICE", &spec.service);
        command.current_dir(spec.working_dir.as_deref().unwrap_or(Path::new(&workspace)));
        command.stdin(std::process::Stdio::null());
        Ok(command)
    }
}

/// Returns how a service ended, and whether it was asked to.
fn how_it_ended(stop: Stop, ended: Ended) -> (String, bool) {
    match (stop, ended) {
        (Stop::Not, Ended::Exited(0)) => ("it ended with exit status 0".to_owned(), false),
        (Stop::Not, ended) => (Reason::from(ended).to_string(), false),
        (Stop::OutOfMemory, _) => (Reason::OutOfMemory.to_string(), false),
        _ => ("it was stopped".to_owned(), true),
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::Signal;

    use super::*;

    #[test]
    fn a_service_that_ran_out_of_memory_was_not_stopped() {
        let memory = (Reason::OutOfMemory.to_string(), false);
        assert_eq!(how_it_ended(Stop::Not, Ended::OutOfMemory), memory);
        let interrupted = Ended::Signaled(Signal::SIGINT, false);
        assert_eq!(how_it_ended(Stop::OutOfMemory, interrupted.clone()), memory);
        assert!(how_it_ended(Stop::Cancelled, interrupted).1);
    }
}
