//! A connection to a manager of systemd, and the calls that the engine makes.

use std::{
    fmt,
    future::Future,
    time::{Duration, Instant},
};

use futures_util::StreamExt;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use zbus::{Connection, OwnedObjectPath, connection};

use super::{
    ServiceEnd, SystemdError, convert,
    proxy::{ManagerProxy, ServiceProxy},
};
use crate::unit::{ManagerKind, TransientUnit, UnitName};

/// The deadline of a call. PID 1 is single-threaded, and a reload of a large system takes seconds.
const DEADLINE: Duration = Duration::from_secs(90);

/// The pause before the next call to a manager that did not answer.
const ABSENCE: Duration = Duration::from_millis(50);

/// One of the managers of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// PID 1, on the system bus.
    System,
    /// `systemd --user`, on the user's bus.
    User,
}

impl From<ManagerKind> for Scope {
    fn from(kind: ManagerKind) -> Self {
        match kind {
            ManagerKind::System | ManagerKind::Embedded => Self::System,
            ManagerKind::User => Self::User,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "system",
            Self::User => "user",
        })
    }
}

/// How a job of systemd's queue ended (the `result` of `JobRemoved`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueResult {
    /// The job did what was requested.
    Done,
    /// The unit failed.
    Failed,
    /// A unit it requires failed.
    Dependency,
    /// The job was cancelled.
    Canceled,
    /// The job timed out.
    Timeout,
    /// Any other result.
    Unknown(String),
}

impl From<&str> for QueueResult {
    fn from(text: &str) -> Self {
        match text {
            "done" => Self::Done,
            "failed" => Self::Failed,
            "dependency" => Self::Dependency,
            "canceled" => Self::Canceled,
            "timeout" => Self::Timeout,
            other => Self::Unknown(other.to_owned()),
        }
    }
}

/// A job left systemd's queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// The unit it was for.
    pub unit: String,
    /// How it ended.
    pub result: QueueResult,
}

/// A signal of a manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A job left its queue.
    Removed(Removed),
    /// The manager is back after it re-executed itself. The signals in between are lost.
    Back,
}

/// A loaded unit, briefly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitState {
    /// Its name.
    pub name: String,
    /// `active`, `activating`, `deactivating`, `inactive`, `failed`, …
    pub active: String,
    /// Whether a job for it is queued or running.
    pub queued: bool,
}

impl UnitState {
    /// Returns whether the unit runs or is still to run.
    pub fn is_pending(&self) -> bool {
        self.queued
            || matches!(
                self.active.as_str(),
                "activating" | "deactivating" | "active" | "reloading"
            )
    }
}

/// A connection to a manager.
#[derive(Debug, Clone)]
pub struct Manager {
    proxy: ManagerProxy<'static>,
    connection: Connection,
}

impl Manager {
    /// Connects to a manager over its bus. Does not use systemd's private socket: there the
    /// manager's messages carry a well-known name as sender.
    ///
    /// # Errors
    /// Fails when there is no bus or no manager on it.
    pub async fn connect(scope: Scope) -> Result<Self, SystemdError> {
        let unreachable = |source| SystemdError::Unreachable { scope, source };
        let builder = match scope {
            Scope::System => connection::Builder::system(),
            Scope::User => connection::Builder::session(),
        };
        let connection = within("connect", builder.method_timeout(DEADLINE).build())
            .await?
            .map_err(unreachable)?;
        let proxy = ManagerProxy::builder(&connection)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await
            .map_err(unreachable)?;
        Ok(Self { proxy, connection })
    }

    /// Returns the manager's major version.
    ///
    /// # Errors
    /// Fails when the manager does not answer.
    pub async fn version(&self) -> Result<u32, SystemdError> {
        let text = self
            .proxy
            .version()
            .await
            .map_err(call("report its version"))?;
        let digits: String = text
            .chars()
            .skip_while(|c| !c.is_ascii_digit())
            .take_while(char::is_ascii_digit)
            .collect();
        Ok(digits.parse().unwrap_or(0))
    }

    /// Returns whether the manager is shutting down, and its units with it.
    ///
    /// # Errors
    /// Fails when the manager does not answer.
    pub async fn is_stopping(&self) -> Result<bool, SystemdError> {
        Ok(self
            .proxy
            .system_state()
            .await
            .map_err(call("report its state"))?
            == "stopping")
    }

    /// Opens the stream of the manager's signals, and subscribes to them: otherwise the manager
    /// sends none.
    ///
    /// A separate task empties the stream. A connection with a full stream stops reading, and so
    /// would never see the answer to a call that its user waits for.
    ///
    /// # Errors
    /// Fails when the manager does not answer.
    pub async fn signals(&self) -> Result<UnboundedReceiver<Told>, SystemdError> {
        // All three at once, since a run that has not begun waits for each answer.
        let (removed, owners, subscribed) = tokio::join!(
            self.proxy.receive_job_removed(),
            self.proxy.inner().receive_owner_changed(),
            self.proxy.subscribe()
        );
        subscribed.map_err(call("send signals"))?;
        let (removed, owners) = (
            removed.map_err(call("watch jobs"))?,
            owners.map_err(call("watch the manager"))?,
        );
        let (sender, receiver) = unbounded_channel();
        tokio::spawn(async move {
            let (mut removed, mut owners) = (removed, owners);
            loop {
                let told = tokio::select! {
                    signal = removed.next() => match signal.as_ref().map(|signal| signal.args()) {
                        None => break,
                        Some(Err(_)) => continue,
                        Some(Ok(args)) => Told::Removed(Removed { unit: args.unit.clone(), result: args.result.as_str().into() }),
                    },
                    owner = owners.next() => match owner {
                        None => break,
                        Some(None) => continue,
                        Some(Some(_)) => Told::Back,
                    },
                };
                if sender.send(told).is_err() {
                    break;
                }
            }
        });
        Ok(receiver)
    }

    /// Creates `main` and `aux` together and starts `main`; all or nothing. A manager that
    /// re-executes itself in the meantime is asked again, unless it has created them.
    ///
    /// # Errors
    /// Fails when a property is invalid, or a unit with one of the names is loaded.
    pub async fn start(
        &self,
        main: &TransientUnit,
        aux: &[TransientUnit],
    ) -> Result<(), SystemdError> {
        let deadline = Instant::now() + DEADLINE;
        let (properties, aux) = (convert::properties(main), convert::Aux(aux));
        loop {
            let started = self
                .proxy
                .start_transient_unit(main.name.as_str(), "fail", &properties, &aux)
                .await;
            let started = started.map(drop).map_err(|source| SystemdError::Start {
                unit: main.name.clone(),
                source,
            });
            if !started.as_ref().is_err_and(SystemdError::is_unanswered) {
                return started;
            }
            // The manager answers the calls of a connection in order, so it has handled the first.
            if self.is_loaded(&main.name).await? {
                return Ok(());
            }
            if Instant::now() > deadline {
                return started;
            }
        }
    }

    /// Asks the manager to start a unit that it has a file of. Asks a manager that re-executes
    /// itself in the meantime again.
    ///
    /// # Errors
    /// Fails when there is no such file, or when the manager refuses.
    pub async fn start_unit(&self, unit: &str) -> Result<(), SystemdError> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let started = self.proxy.start_unit(unit, "replace").await;
            let started = started.map(drop).map_err(call_unit("start", unit));
            if !started.as_ref().is_err_and(SystemdError::is_unanswered)
                || Instant::now() > deadline
            {
                return started;
            }
            tokio::time::sleep(ABSENCE).await;
        }
    }

    /// Asks the manager to stop a unit. A unit that is not loaded counts as stopped.
    ///
    /// # Errors
    /// Fails when the manager refuses.
    pub async fn stop(&self, unit: &UnitName) -> Result<(), SystemdError> {
        ignore_unloaded(
            self.proxy
                .stop_unit(unit.as_str(), "replace")
                .await
                .map(drop)
                .map_err(call_unit("stop", unit.as_str())),
        )
    }

    /// Sends a signal to a unit's main process, or to all of its processes. A unit without
    /// processes is not an error.
    ///
    /// # Errors
    /// Fails when the manager does not answer.
    pub async fn kill(&self, unit: &str, main_only: bool, signal: i32) -> Result<(), SystemdError> {
        match self
            .proxy
            .kill_unit(unit, if main_only { "main" } else { "all" }, signal)
            .await
        {
            // The unit has ended or has not begun. The caller checks again.
            Err(zbus::Error::MethodError(..)) => Ok(()),
            other => other.map_err(call_unit("signal", unit)),
        }
    }

    /// Forgets that a unit failed, so that it is unloaded.
    ///
    /// # Errors
    /// Fails when the manager refuses.
    pub async fn reset_failed(&self, unit: &str) -> Result<(), SystemdError> {
        ignore_unloaded(
            self.proxy
                .reset_failed_unit(unit)
                .await
                .map_err(call_unit("reset", unit)),
        )
    }

    /// Returns the loaded units whose names match one of the patterns (glob(7)).
    ///
    /// # Errors
    /// Fails when the manager does not answer.
    pub async fn list(&self, patterns: &[&str]) -> Result<Vec<UnitState>, SystemdError> {
        let listed = self
            .proxy
            .list_units_by_patterns(&[], patterns)
            .await
            .map_err(call("list units"))?;
        let state = |(name, _, _, active, _, _, _, job, _, _): (
            String,
            _,
            _,
            String,
            _,
            _,
            _,
            u32,
            _,
            _,
        )| UnitState {
            name,
            active,
            queued: job != 0,
        };
        Ok(listed.into_iter().map(state).collect())
    }

    /// Returns whether a unit is loaded, in any state. Waits for a manager that re-executes itself.
    ///
    /// # Errors
    /// Fails when the manager does not answer.
    pub async fn is_loaded(&self, unit: &UnitName) -> Result<bool, SystemdError> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            match self
                .proxy
                .get_unit(unit.as_str())
                .await
                .map_err(call_unit("find", unit.as_str()))
            {
                Err(error) if error.is_no_such_unit() => return Ok(false),
                Err(error) if error.is_unanswered() && Instant::now() < deadline => {
                    tokio::time::sleep(ABSENCE).await
                }
                other => return other.map(|_| true),
            }
        }
    }

    /// Returns how a service's last run ended; `None` if it is not loaded or has never run.
    ///
    /// # Errors
    /// Fails when the manager does not answer.
    pub async fn service_end(&self, unit: &str) -> Result<Option<ServiceEnd>, SystemdError> {
        let path: OwnedObjectPath = match self
            .proxy
            .get_unit(unit)
            .await
            .map_err(call_unit("find", unit))
        {
            Err(error) if error.is_no_such_unit() => return Ok(None),
            other => other?,
        };
        let failed = call_unit("report the result of", unit);
        let service = async {
            let service = ServiceProxy::builder(&self.connection)
                .path(path)
                .cache_properties(zbus::proxy::CacheProperties::No)
                .build()
                .await?;
            let result = service.result().await?;
            let (code, status) = (
                service.exec_main_code().await?,
                service.exec_main_status().await?,
            );
            let end = ServiceEnd::new(
                &result,
                code,
                status,
                service.exec_main_start_timestamp().await?,
                service.exec_main_exit_timestamp().await?,
            );
            // systemd before 255 has no `MemoryPeak`.
            let (cpu, memory) = (service.cpu_usage_nsec().await, service.memory_peak().await);
            zbus::Result::Ok(end.with_usage(cpu.ok(), memory.ok()))
        };
        service.await.map(Some).map_err(failed)
    }
}

fn ignore_unloaded(result: Result<(), SystemdError>) -> Result<(), SystemdError> {
    match result {
        Err(error) if error.is_no_such_unit() => Ok(()),
        other => other,
    }
}

fn call(what: &str) -> impl FnOnce(zbus::Error) -> SystemdError + use<> {
    let what = what.to_owned();
    |source| SystemdError::Call { what, source }
}

fn call_unit(what: &str, unit: &str) -> impl FnOnce(zbus::Error) -> SystemdError + use<> {
    call(&format!("{what} unit `{unit}`"))
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T, SystemdError> {
    within_time(DEADLINE, what, future).await
}

pub(super) async fn within_time<T>(
    time: Duration,
    what: &str,
    future: impl Future<Output = T>,
) -> Result<T, SystemdError> {
    let late = |_| SystemdError::Timeout {
        what: what.to_owned(),
        seconds: time.as_secs(),
    };
    tokio::time::timeout(time, future).await.map_err(late)
}
