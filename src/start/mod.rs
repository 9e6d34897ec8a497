//! The start of a run: turns a plan and the caller's additions into a run directory and a
//! supervisor.
//!
//! All faults are reported before anything is made. If the start fails later, its files are removed
//! again.

mod collected;
mod command;
mod environment;
mod gc_root;
mod git;
mod head;
mod launch;
mod links;
mod manager;
mod note;
mod notify;
mod obtain;
mod place;
mod repository;
mod rerun;
mod reuse;
mod secrets;
mod source;
mod source_error;

use std::path::{Path, PathBuf};

use nix::unistd::{User, geteuid, getuid};

pub use environment::EnvironmentError;
pub use manager::{Choice, ManagerError};
pub use obtain::{ImagesUnit, images_of, is_in_use, obtain_for, unless_interrupted};
pub use rerun::{RerunError, RerunRequest, Which, rerun};
pub use source_error::SourceError;

use head::Head;
use launch::{Files, New, Settings, this_program};
use source::Source;

use crate::{
    embedded,
    error::escaped,
    graph::{Graph, GraphError},
    images::ImageError,
    interrupts::{Interrupted, Interrupts},
    language,
    origin::{Origin, Trigger},
    plan::{self, Fault, PlanError, Seconds},
    programs,
    roots::RootFault,
    store::{RunDir, RunLock, StoreError},
    systemd::SystemdError,
    unit::{ManagerKind, Placement},
};

/// The settings of a new run.
#[derive(Debug)]
pub struct Request<'a> {
    /// The plan: a file, or a directory that holds `plan.json`.
    pub plan: &'a Path,
    /// The state directory.
    pub state_dir: &'a Path,
    /// The requested manager.
    pub manager: Choice,
    /// `--env K=V`.
    pub env: &'a [String],
    /// `--env-file F`.
    pub env_files: &'a [PathBuf],
    /// `--secret-env-file F`.
    pub secret_env_files: &'a [PathBuf],
    /// `--input K=V`.
    pub inputs: &'a [String],
    /// `--source DIR`.
    pub source: Option<&'a Path>,
    /// The cause of the start.
    pub trigger: Trigger,
    /// `--notify WHEN=UNIT`.
    pub notify: &'a [String],
    /// `--keep-failed`: the longest time that a failed job is held for a shell.
    pub keep_failed: Option<Seconds>,
    /// `--delay-shutdown`: whether a shutdown waits for the run.
    pub delays_shutdown: bool,
    /// `--images UNIT`: the unit that has obtained the images for this run. Without it, the start
    /// obtains them.
    pub images: Option<&'a str>,
    /// `--actor NAME`; without it, the calling user.
    pub actor: Option<&'a str>,
}

/// A run that was started.
#[derive(Debug)]
pub struct Started {
    /// Its directory.
    pub run: RunDir,
    /// The manager of its units.
    pub manager: ManagerKind,
    /// Notes for the caller.
    pub notes: Vec<String>,
    /// Whether the run has to take a place in a concurrency group.
    pub has_group: bool,
    /// Keeps the run from being removed before it has been followed to its end.
    pub lock: Option<RunLock>,
}

/// The reasons why a run was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The plan is bad.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The plan needs a feature that this version lacks.
    #[error("the plan needs features that this version lacks\n{}", lines(.0))]
    Unsupported(Vec<Fault>),
    /// The plan is not a DAG.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The caller's additions are invalid.
    #[error("{}", escaped_faults(.0))]
    Environment(Vec<EnvironmentError>),
    /// A unit cannot start after the run.
    #[error("invalid notification `{text}`: {what}")]
    Notify {
        /// The given text.
        text: String,
        /// The fault, as a phrase.
        what: &'static str,
    },
    /// An image cannot be used.
    #[error("{named}")]
    Image {
        /// The executor or service.
        named: String,
        /// The fault of the image.
        source: ImageError,
    },
    /// The unit that obtains images failed.
    #[error("{said}")]
    Unobtained {
        /// The unit's messages.
        said: String,
    },
    /// The program that starts this unit cannot be executed.
    #[error("failed to execute `{}`", path.display())]
    Program {
        /// Its path.
        path: PathBuf,
        /// The fault.
        source: std::io::Error,
    },
    /// No unit has such a name.
    #[error("invalid name `{unit}` of a unit that obtains images")]
    BadUnit {
        /// The given name.
        unit: String,
    },
    /// The size of all images together cannot be parsed.
    #[error("invalid size `{text}` of all images in NIXACTIONS_IMAGES_SIZE")]
    ImagesSize {
        /// The given text.
        text: String,
    },
    /// Root file systems of jobs are missing or broken.
    #[error("{}", escaped_faults(.0))]
    Roots(Vec<RootFault>),
    /// There is no manager.
    #[error(transparent)]
    Manager(#[from] ManagerError),
    /// The run cannot be run again.
    #[error(transparent)]
    Rerun(#[from] RerunError),
    /// The run directory cannot be made.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The source tree cannot be copied.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The supervisor cannot be started.
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    /// The embedded manager cannot be booted.
    #[error(transparent)]
    Embedded(#[from] embedded::EmbeddedError),
    /// A signal came before the run was started.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// The runner's program is missing, or cannot be executed.
    #[error("`{}` {what}", path.display())]
    NoRunner {
        /// Its expected path.
        path: PathBuf,
        /// The fault, as a phrase.
        what: &'static str,
    },
    /// This program or the current directory cannot be found.
    #[error("failed to find {0}")]
    Here(&'static str, #[source] std::io::Error),
}

impl StartError {
    /// Returns advice for the user.
    pub fn hint(&self) -> Option<String> {
        let hints = |error: &embedded::EmbeddedError| {
            Some(error.hints().join("\n      ")).filter(|text| !text.is_empty())
        };
        match self {
            Self::Store(error) => error.hint(),
            Self::Rerun(error) => error.hint(),
            Self::Image { source, .. } => source.hint(),
            Self::ImagesSize { .. } => {
                Some("write a number and a unit, as in `512M` or `10G`".to_owned())
            }
            Self::BadUnit { .. } => {
                Some("write it as in `nixactions-images@ci.service`".to_owned())
            }
            Self::Notify { .. } => Some(
                "write `failure`, `success` or `recovery`, and a template unit, as in \
                 `failure=mail@.service`"
                    .to_owned(),
            ),
            Self::Systemd(error) | Self::Manager(ManagerError::Systemd(error)) => error.hint(),
            Self::Embedded(error) | Self::Manager(ManagerError::Embedded(error)) => hints(error),
            Self::Environment(faults) => {
                let hints: Vec<_> = faults
                    .iter()
                    .filter_map(EnvironmentError::hint)
                    .map(escaped)
                    .collect();
                Some(hints.join("\n      ")).filter(|text| !text.is_empty())
            }
            Self::Source(error) => error.hint(),
            Self::NoRunner { .. } => {
                Some("install the two programs of nixactions together".to_owned())
            }
            Self::Manager(ManagerError::None { .. })
            | Self::Plan(_)
            | Self::Unsupported(_)
            | Self::Graph(_)
            | Self::Roots(_)
            | Self::Interrupted(_)
            | Self::Unobtained { .. }
            | Self::Program { .. }
            | Self::Here(..) => None,
        }
    }
}

/// Puts each fault on a line of its own.
fn lines(faults: &[impl std::fmt::Display]) -> String {
    faults
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Like [`lines`], for faults that contain text of the caller.
fn escaped_faults(faults: &[impl std::fmt::Display]) -> String {
    faults
        .iter()
        .map(|fault| escaped(&fault.to_string()).into_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Starts a run.
///
/// # Errors
/// Fails with all faults of the plan or the request, with an error of the system, or with a signal
/// that came before the run was started. Nothing is started or left behind then.
pub async fn start(
    request: &Request<'_>,
    interrupts: &mut Interrupts,
) -> Result<Started, StartError> {
    let plan = plan::load(request.plan)?;
    let unsupported = plan::unsupported(&plan);
    if !unsupported.is_empty() {
        return Err(StartError::Unsupported(unsupported));
    }
    let graph = Graph::new(&plan)?;
    let caller = |name: &str| std::env::var_os(name);
    let additions = environment::collect(
        &plan,
        request.env,
        request.env_files,
        request.secret_env_files,
        request.inputs,
        caller,
    )
    .map_err(StartError::Environment)?;
    let current = std::env::current_dir()
        .map_err(|error| StartError::Here("the current directory", error))?;
    let wants_source = plan
        .jobs
        .values()
        .any(|job| Placement::of(&plan, job).copies_source());
    let found = Source::find(request.source, &current);
    let head = match &found {
        Ok(Some(source)) => source.head(),
        Ok(None) | Err(_) => Head::default(),
    };
    let source = if wants_source { found? } else { None };
    let program = this_program()?;
    let chosen = interrupts
        .unless(manager::choose(request.manager))
        .await??;
    let notify = notify::of(request.notify, chosen.kind())?;
    let images = New::images(
        &plan,
        request.state_dir,
        request.images,
        &chosen,
        interrupts,
    )
    .await?;
    let mut notes = Vec::new();
    if !additions.taken.is_empty() {
        notes.push(format!(
            "taken from your environment: {}",
            additions.taken.join(", ")
        ));
    }
    if wants_source && source.is_none() {
        notes.push("no git repository here, jobs start in an empty workspace (`--source DIR` copies a directory)".to_owned());
    }
    let new = New {
        plan: &plan,
        graph: &graph,
        files: Files::Tree(source.as_ref()),
        secrets: &additions.secrets,
        build: language::store_path(request.plan),
        program,
        chosen,
        images,
        notes,
        settings: Settings {
            overrides: additions.overrides,
            inputs: additions.inputs,
            path: default_path(),
            has_source: source.is_some(),
            mounts_source: false,
            max_parallel: plan
                .max_parallel
                .unwrap_or_else(cpus)
                .min(u32::try_from(graph.len()).unwrap_or(u32::MAX)),
            origin: Origin {
                trigger: request.trigger,
                repository: head.repository,
                git_ref: head.git_ref,
                commit: head.commit,
                actor: request.actor.map(str::to_owned).or_else(actor),
            },
            notify,
            keep_failed: request.keep_failed,
            delays_shutdown: request.delays_shutdown,
        },
    };
    new.start(request.state_dir, interrupts.mark()).await
}

/// Returns the name of the calling user, also behind sudo(8).
pub(super) fn actor() -> Option<String> {
    let behind = std::env::var("SUDO_USER").ok();
    let behind = behind.filter(|name| geteuid().is_root() && !name.is_empty());
    let own = || User::from_uid(getuid()).ok()?.map(|user| user.name);
    behind.or_else(own)
}

/// Returns `PATH` of the jobs: the usual directories that the host has, including NixOS's, and the
/// directories of programs that this package brings along. Never the caller's `PATH`.
fn default_path() -> String {
    const NIXOS: [&str; 2] = ["/run/wrappers/bin", "/run/current-system/sw/bin"];
    const USUAL: [&str; 7] = [
        "/nix/var/nix/profiles/default/bin",
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ];
    let places = NIXOS
        .into_iter()
        .chain(USUAL)
        .map(PathBuf::from)
        .chain(programs::brought());
    let there = places
        .filter(|path| path.is_dir())
        .map(|path| path.display().to_string());
    there.collect::<Vec<_>>().join(":")
}

/// Returns the number of CPUs, the default of `maxParallel`.
fn cpus() -> u32 {
    std::thread::available_parallelism()
        .map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX))
}
