//! The start of a run: turns a plan and the caller's additions into a run directory and a
//! supervisor.
//!
//! All faults are reported before anything is made. If the start fails later, its files are removed
//! again.

mod command;
mod environment;
mod gc_root;
mod git;
mod head;
mod links;
mod manager;
mod notify;
mod obtain;
mod place;
mod repository;
mod rerun;
mod secrets;
mod source;

use std::{
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use nix::unistd::{AccessFlags, User, eaccess, geteuid, getuid};

pub use environment::EnvironmentError;
pub use manager::{Choice, ManagerError};
pub use obtain::{images_of, is_in_use, unless_interrupted};
pub use rerun::{RerunError, RerunRequest, Which, rerun};
pub use source::SourceError;

use head::Head;
use manager::Chosen;
use rerun::Reuse;
use source::Source;

use crate::{
    embedded,
    error::escaped,
    event::{Event, EventKind},
    graph::{Graph, GraphError},
    ids::WorkflowName,
    images::ImageError,
    interrupts::{Interrupted, Interrupts, Mark},
    language,
    origin::{Origin, Trigger},
    plan::{self, Env, Executor, Fault, Plan, PlanError},
    programs,
    roots::{self, RootFault},
    store::{self, EventWriter, RunDir, RunLock, StateDir, StoreError},
    supervisor,
    systemd::SystemdError,
    unit::{self, ManagerKind, Placement, RUNNER, RunSpec, SPEC_VERSION, UnitName},
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
    #[error("executor `{executor}`")]
    Image {
        /// The executor.
        executor: String,
        /// The fault of the image.
        source: ImageError,
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
    /// Returns what the user can do about the error.
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
            Self::Source(SourceError::NoGit(_)) => {
                Some("install git, or name a plain directory with `--source DIR`".to_owned())
            }
            Self::NoRunner { .. } => {
                Some("install the two programs of nixactions together".to_owned())
            }
            Self::Manager(ManagerError::None { .. })
            | Self::Plan(_)
            | Self::Unsupported(_)
            | Self::Graph(_)
            | Self::Roots(_)
            | Self::Source(_)
            | Self::Interrupted(_)
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
    let obtained = obtain::obtain(&plan, request.state_dir, chosen.kind(), interrupts).await?;
    let roots = roots::find(&plan, chosen.kind(), &obtained.roots).map_err(StartError::Roots)?;

    store::sweep_users();
    let state = StateDir::create(request.state_dir)?;
    let (run, lock) = create_run(&state, &plan.name, &chosen).await?;
    let mut spec = RunSpec {
        version: SPEC_VERSION,
        run: run.id().clone(),
        workflow: plan.name.clone(),
        manager: chosen.kind(),
        created_at: Timestamp::now(),
        program,
        directory: run.path().to_owned(),
        state_directory: state.path().to_owned(),
        runtime_directory: unit::runtime_directory(chosen.kind(), run.id()),
        overrides: additions.overrides,
        secrets: secrets::of(
            &unit::runtime_directory(chosen.kind(), run.id()),
            run.id(),
            &additions.secrets,
        ),
        inputs: additions.inputs,
        path: default_path(),
        has_source: source.is_some(),
        mounts_source: false,
        max_parallel: plan
            .max_parallel
            .unwrap_or_else(cpus)
            .min(u32::try_from(graph.len()).unwrap_or(u32::MAX)),
        roots,
        images: obtained.images,
        disks: obtained.disks,
        origin: Some(Origin {
            trigger: request.trigger,
            repository: head.repository,
            git_ref: head.git_ref,
            commit: head.commit,
            actor: request.actor.map(str::to_owned).or_else(actor),
        }),
        notify,
    };
    let mut notes = plan::notes(&plan);
    if !additions.taken.is_empty() {
        notes.push(format!(
            "taken from your environment: {}",
            additions.taken.join(", ")
        ));
    }
    if wants_source && source.is_none() {
        notes.push("no git repository here, jobs start in an empty workspace (`--source DIR` copies a directory)".to_owned());
    }
    notes.extend(gc_root::add(&run, language::store_path(request.plan).as_deref()).await);
    let files = Files::Tree(source.as_ref());
    match launch(
        &state,
        &run,
        &mut spec,
        &plan,
        &graph,
        &files,
        chosen,
        &additions.secrets,
        interrupts.mark(),
    )
    .await
    {
        Ok(more) => Ok(Started {
            manager: spec.manager,
            has_group: plan.concurrency.is_some(),
            run,
            lock: lock.share().ok(),
            notes: [notes, more].concat(),
        }),
        Err(error) => {
            take_back(&run, &spec);
            Err(error)
        }
    }
}

/// Removes the files of a run that was not started.
fn take_back(run: &RunDir, spec: &RunSpec) {
    store::forget_secrets(spec.secrets.as_ref());
    store::remove_users(run.path());
    // If that fails, the run at least has no record.
    let _ = store::remove_tree(run.path());
}

/// Makes the directory of a new run, with a lock to hold until the run goes on. Its id differs from
/// those of other state directories' runs on the manager: otherwise their units would have the same
/// names.
async fn create_run(
    state: &StateDir,
    workflow: &WorkflowName,
    chosen: &Chosen,
) -> Result<(RunDir, RunLock), StartError> {
    let (mut run, mut lock) = state.begin_run(workflow, 0)?;
    let Chosen::Running(_, manager) = chosen else {
        return Ok((run, lock));
    };
    // The supervisor's unit is loaded as long as any unit of the run.
    while manager
        .is_loaded(&UnitName::supervisor(run.id()))
        .await
        .inspect_err(|_| drop(store::remove_tree(run.path())))?
    {
        let (_, number) = run.id().split();
        let next = state.begin_run(workflow, number);
        let _ = store::remove_tree(run.path());
        (run, lock) = next?;
    }
    Ok((run, lock))
}

/// Returns this program's file. The runner's program must lie beside it.
fn this_program() -> Result<PathBuf, StartError> {
    let program =
        std::env::current_exe().map_err(|error| StartError::Here("this program", error))?;
    let path = program.with_file_name(RUNNER);
    let what = match std::fs::symlink_metadata(&path) {
        // Jobs may not see the link's target.
        Ok(meta) if meta.is_symlink() => {
            "is a link: the program itself must lie beside `nixactions`"
        }
        Ok(meta) if !meta.is_file() || eaccess(&path, AccessFlags::X_OK).is_err() => {
            "cannot be executed: check its mode and the options of its mount"
        }
        // Root's jobs have users of their own.
        Ok(meta) if geteuid().is_root() && meta.mode() & 0o001 == 0 => {
            "cannot be executed by the users of jobs: `chmod 755` allows it"
        }
        Ok(_) => return Ok(program),
        Err(_) => "does not exist: it must lie beside `nixactions`",
    };
    Err(StartError::NoRunner { path, what })
}

/// The place from which a new run's files come.
enum Files<'a> {
    /// A source tree, or none.
    Tree(Option<&'a Source>),
    /// An earlier run.
    Run(&'a Reuse),
}

#[expect(clippy::too_many_arguments, reason = "a run needs all of these parts")]
async fn launch(
    state: &StateDir,
    run: &RunDir,
    spec: &mut RunSpec,
    plan: &Plan,
    graph: &Graph,
    files: &Files<'_>,
    chosen: Chosen,
    secrets: &Env,
    mark: &Mark,
) -> Result<Vec<String>, StartError> {
    let prepared = prepare(run, spec, plan, graph, files, secrets, mark);
    // A signal comes first among the errors, since it may have caused others, such as git's. From
    // here on the run goes on.
    mark.check()?;
    let (notes, handed_over) = prepared?;
    match chosen {
        Chosen::Running(_, manager) => {
            supervisor::launch(&manager, run, spec, plan, graph).await?;
        }
        Chosen::Embedded => {
            let supervisor = unit::supervisor(spec);
            let containers = plan.executors.values().filter_map(Executor::container);
            let bound = containers.flat_map(|container| container.bind);
            let extra_paths: Vec<PathBuf> = bound
                .map(|bind| bind.source.clone())
                .filter(|source| source.exists())
                .chain(spec.roots.values().cloned())
                .chain([spec.runner()])
                .collect();
            let (run_dir, state_dir) = (run.path(), state.path());
            let private_file = handed_over
                .as_ref()
                .map(|(path, text)| (path.as_path(), text.as_str()));
            let boot = embedded::Boot {
                run: run.id(),
                state_dir,
                run_dir,
                supervisor: &supervisor,
                extra_paths: &extra_paths,
                private_file,
                say: note,
            };
            embedded::boot(&boot)?;
        }
    }
    Ok(notes)
}

/// Tells the user why the start has to wait.
fn note(said: &str) {
    let _ = writeln!(io::stderr(), "note: {said}");
}

/// Writes the files of a new run. Returns notes for the caller, and the secrets for an embedded
/// manager.
#[expect(
    clippy::type_complexity,
    reason = "a private file is a path and its text"
)]
fn prepare(
    run: &RunDir,
    spec: &mut RunSpec,
    plan: &Plan,
    graph: &Graph,
    files: &Files<'_>,
    secrets: &Env,
    mark: &Mark,
) -> Result<(Vec<String>, Option<(PathBuf, String)>), StartError> {
    let mut notes = Vec::new();
    let handed_over = secrets::hand_over(spec, secrets)?;
    run.reserve(graph.len())?;
    store::write_json(&run.plan(), plan, 0o600, false)?;
    let (rerun_of, ended) = match files {
        Files::Tree(source) => {
            if let Some(source) = source {
                let snapshot = source.snapshot(run, &spec.state_directory, spec.manager, mark)?;
                spec.mounts_source = snapshot.mounted;
                notes.extend(snapshot.notes);
            }
            (None, Vec::new())
        }
        Files::Run(reuse) => {
            let filled = reuse.fill(run, spec.created_at, mark)?;
            (Some(reuse.run().clone()), filled)
        }
    };
    store::write_json(&run.spec(), spec, 0o600, false)?;
    let created = EventKind::RunCreated {
        run: spec.run.clone(),
        workflow: spec.workflow.clone(),
        jobs: graph.len(),
        rerun_of,
        origin: spec.origin.clone(),
    };
    let events: Vec<Event> = std::iter::once(Event {
        at: spec.created_at,
        event: created,
    })
    .chain(ended)
    .collect();
    EventWriter::open(&run.events(), 0o600)?.append(&events)?;
    Ok((notes, handed_over))
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
