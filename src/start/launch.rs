//! The end of every start: makes the run's directory, fills it, and hands the run over to its
//! manager. If that fails, the files are removed again.
//!
//! Knows nothing of where the plan and the files of the run come from.

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use nix::unistd::{AccessFlags, eaccess, geteuid};

use super::{
    StartError, Started, gc_root,
    manager::Chosen,
    note::note,
    obtain::{self, Obtained},
    reuse::Reuse,
    secrets,
    source::Source,
};
use crate::{
    embedded,
    event::{Event, EventKind},
    graph::Graph,
    ids::WorkflowName,
    interrupts::{Interrupts, Mark},
    origin::Origin,
    plan::{self, Env, Executor, Plan, Seconds},
    roots,
    store::{self, EventWriter, RunDir, RunLock, StateDir},
    supervisor,
    unit::{self, Notify, RUNNER, RunSpec, SPEC_VERSION, UnitName},
};

/// The root file systems of a new run's jobs, with the images among them.
pub(super) struct RunImages {
    obtained: Obtained,
    roots: BTreeMap<String, PathBuf>,
}

/// The parts of a run's spec that differ between a run and a rerun.
pub(super) struct Settings {
    pub overrides: Env,
    pub inputs: Env,
    pub path: String,
    pub has_source: bool,
    pub mounts_source: bool,
    pub max_parallel: u32,
    pub origin: Origin,
    pub notify: Notify,
    pub keep_failed: Option<Seconds>,
    pub delays_shutdown: bool,
}

/// A run that is to be started: all that is known of it before anything is made.
pub(super) struct New<'a> {
    pub plan: &'a Plan,
    pub graph: &'a Graph,
    pub files: Files<'a>,
    pub secrets: &'a Env,
    /// The path in Nix's store that its jobs come from.
    pub build: Option<PathBuf>,
    pub program: PathBuf,
    pub chosen: Chosen,
    pub images: RunImages,
    /// Notes for the caller.
    pub notes: Vec<String>,
    pub settings: Settings,
}

impl New<'_> {
    /// Obtains the images of the jobs of a plan, or takes those of a unit, and checks their root
    /// file systems.
    pub async fn images(
        plan: &Plan,
        state: &Path,
        unit: Option<&str>,
        chosen: &Chosen,
        interrupts: &mut Interrupts,
    ) -> Result<RunImages, StartError> {
        let obtained = obtain::obtain(plan, state, unit, chosen.kind(), interrupts).await?;
        let roots = roots::find(plan, chosen.kind(), &obtained.roots, &obtained.images)
            .map_err(StartError::Roots)?;
        Ok(RunImages { obtained, roots })
    }

    /// Starts the run.
    pub async fn start(self, state: &Path, mark: &Mark) -> Result<Started, StartError> {
        store::sweep_users();
        let state = StateDir::create(state)?;
        let max_jobs = state.max_jobs()?;
        let (run, lock) = create_run(&state, &self.plan.name, &self.chosen).await?;
        let runtime_directory = unit::runtime_directory(self.chosen.kind(), run.id());
        let settings = self.settings;
        let mut spec = RunSpec {
            version: SPEC_VERSION,
            run: run.id().clone(),
            workflow: self.plan.name.clone(),
            manager: self.chosen.kind(),
            created_at: Timestamp::now(),
            program: self.program,
            directory: run.path().to_owned(),
            state_directory: state.path().to_owned(),
            secrets: secrets::of(&runtime_directory, run.id(), self.secrets),
            runtime_directory,
            overrides: settings.overrides,
            inputs: settings.inputs,
            path: settings.path,
            has_source: settings.has_source,
            mounts_source: settings.mounts_source,
            max_parallel: settings.max_parallel,
            max_jobs,
            roots: self.images.roots,
            images: self.images.obtained.images,
            disks: self.images.obtained.disks,
            origin: Some(settings.origin),
            notify: settings.notify,
            keep_failed: settings.keep_failed,
            delays_shutdown: settings.delays_shutdown,
        };
        let mut notes = plan::notes(self.plan);
        notes.extend(self.notes);
        notes.extend(gc_root::add(&run, self.build.as_deref()).await);
        let parts = Parts {
            plan: self.plan,
            graph: self.graph,
            files: &self.files,
            secrets: self.secrets,
        };
        let program = spec.program.clone();
        // The package has another root while this program runs, so the run need not wait.
        let (launched, warning) = tokio::join!(
            launch(&state, &run, &mut spec, &parts, self.chosen, mark),
            gc_root::add_package(&run, &program)
        );
        notes.extend(warning);
        match launched {
            Ok(more) => Ok(Started {
                manager: spec.manager,
                has_group: self.plan.concurrency.is_some(),
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
pub(super) fn this_program() -> Result<PathBuf, StartError> {
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
pub(super) enum Files<'a> {
    /// A source tree, or none.
    Tree(Option<&'a Source>),
    /// An earlier run.
    Run(&'a Reuse),
}

/// The ingredients of a run.
struct Parts<'a> {
    plan: &'a Plan,
    graph: &'a Graph,
    files: &'a Files<'a>,
    secrets: &'a Env,
}

async fn launch(
    state: &StateDir,
    run: &RunDir,
    spec: &mut RunSpec,
    parts: &Parts<'_>,
    chosen: Chosen,
    mark: &Mark,
) -> Result<Vec<String>, StartError> {
    let prepared = prepare(run, spec, parts, mark);
    let Parts { plan, graph, .. } = *parts;
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

/// Writes the files of a new run. Returns notes for the caller, and the secrets for an embedded
/// manager.
#[expect(
    clippy::type_complexity,
    reason = "a private file is a path and its text"
)]
fn prepare(
    run: &RunDir,
    spec: &mut RunSpec,
    parts: &Parts<'_>,
    mark: &Mark,
) -> Result<(Vec<String>, Option<(PathBuf, String)>), StartError> {
    let mut notes = Vec::new();
    let handed_over = secrets::hand_over(spec, parts.secrets)?;
    run.reserve(parts.graph.len())?;
    store::write_json(&run.plan(), parts.plan, 0o600, false)?;
    let (rerun_of, ended) = match parts.files {
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
        jobs: parts.graph.len(),
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
