//! Prepares a wave: writes the files and makes the users that its jobs need when they start.
//!
//! The supervisor submits the waves of a run. The client submits the first one, in the call that
//! starts the supervisor, so that the first jobs do not wait for it.

use std::{cell::OnceCell, collections::BTreeMap, fs};

use jiff::Timestamp;

use super::{
    state::{Change, Jobs},
    wave::{self, Queue},
};
use crate::{
    error::describe,
    event::{Event, EventKind},
    graph::{Graph, JobIx},
    plan::Plan,
    programs,
    store::{self, EventWriter, JobRanges, JobUsers, RunDir, StoreError},
    systemd::{Manager, SystemdError},
    unit::{self, Context, Features, RunSpec, Wave, WorkspaceHook},
};

/// Starts a run on a running manager: its supervisor and, if the run need not wait for its turn in
/// a concurrency group, its first jobs. systemd creates all of these units or none.
///
/// # Errors
/// Fails when systemd does not start the supervisor. If systemd only refuses the jobs, or their
/// files cannot be written, the supervisor submits them again, and records what is wrong.
pub async fn launch(
    manager: &Manager,
    run: &RunDir,
    spec: &RunSpec,
    plan: &Plan,
    graph: &Graph,
) -> Result<(), SystemdError> {
    let supervisor = unit::supervisor(spec);
    // A manager that re-executes itself does not answer. The call for the supervisor waits for it.
    if plan.concurrency.is_none()
        && let Ok(version) = manager.version().await
    {
        let context = Context {
            plan,
            graph,
            run: spec,
            features: Features::of_version(version),
        };
        if let Ok(Some(mut units)) = first_wave(run, &context) {
            units.add(supervisor.clone());
            match manager.start(&units.main, &units.aux).await {
                Err(error) if !error.is_unanswered() => {
                    tracing::debug!("{}, leaving the first jobs", describe(&error));
                }
                answered => return answered,
            }
        }
    }
    // The supervisor makes users of its own.
    store::remove_users(run.path());
    manager.start(&supervisor, &[]).await
}

/// Writes the files of the first wave, notes that it was submitted, and returns its units. Returns
/// `None` if the supervisor must submit it.
fn first_wave(run: &RunDir, context: &Context<'_>) -> Result<Option<Wave>, StoreError> {
    let mut states = Jobs::new(context.graph);
    // A run that repeats another one takes over some of its results.
    for event in run.load_events()? {
        if let EventKind::JobFinished { job, record } = event.event
            && let Some(ix) = context.graph.ix(&job)
        {
            states.apply(ix, Change::Finish(record.conclusion));
        }
    }
    let Some((number, jobs)) = wave::next_wave(&states, context.graph, &Queue::of(context)) else {
        return Ok(None);
    };
    let mut taken = Users::new(*context);
    let of_jobs = taken.take(&jobs)?;
    let wanted = jobs
        .iter()
        .filter(|ix| unit::wants_user(context, **ix) || unit::wants_range(context, **ix));
    let is_short = of_jobs.len() < wanted.count();
    prepare(run, context, number, &jobs)?;
    let users = unit::Users {
        jobs: of_jobs,
        shared: taken.take_for_containers(run, number)?,
        services: taken.take_for_services(&jobs)?,
    };
    let of_services = jobs
        .iter()
        .map(|ix| unit::services_want_users(context, *ix).len());
    if is_short
        || users.shared.len() < unit::shared_executors(context).count()
        || users.services.len() < of_services.sum()
    {
        // The client may have fewer rights than the supervisor.
        return Ok(None);
    }
    let names = jobs.iter().map(|ix| context.graph.name(*ix).clone());
    let submitted = Event {
        at: Timestamp::now(),
        event: EventKind::JobsSubmitted {
            wave: number,
            jobs: names.collect(),
        },
    };
    // A supervisor that finds this event looks whether systemd has the units.
    EventWriter::open(&run.events(), 0o600)?.append(&[submitted])?;
    let pure = unit::pure_success(context.plan, context.graph);
    Ok(Some(unit::wave(context, number, &jobs, &pure, &users)))
}

/// Writes the files that the jobs of a wave need when they start.
pub(super) fn prepare(
    run: &RunDir,
    context: &Context<'_>,
    number: u32,
    jobs: &[JobIx],
) -> Result<(), StoreError> {
    if number == 0 {
        prepare_slots(run, context)?;
        unit::matrix_groups(context.plan)
            .into_keys()
            .try_for_each(|group| store::create_matrix(&run.matrix(group)))?;
        prepare_hooks(run, context)?;
        for (executor, _) in unit::shared_executors(context) {
            if let Some(spec) = unit::container_spec(context, executor) {
                store::create_root(&run.shared_root(executor), &spec)?;
            }
        }
    }
    for ix in jobs {
        let (name, job) = context.job(*ix);
        let paths = run.job(name);
        store::create_job(
            &paths,
            &job.outputs.keys().map(String::as_str).collect::<Vec<_>>(),
        )?;
        prepare_services(run, context, *ix)?;
        if let Some(spec) = unit::root_spec(context, *ix) {
            store::create_root(&run.root(name), &spec)?;
        }
        if let Some(spec) = unit::join_spec(context, *ix) {
            store::create_root(&run.root(name), &spec)?;
        }
        // A plain write suffices: the job starts only after the whole wave is written.
        store::write_json_plainly(&paths.spec(), &unit::job_spec(context, *ix), 0o644)?;
    }
    Ok(())
}

/// Writes the files that the services of a job need when they start.
fn prepare_services(run: &RunDir, context: &Context<'_>, ix: JobIx) -> Result<(), StoreError> {
    let (name, job) = context.job(ix);
    if job.services.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = job.services.keys().cloned().collect();
    store::create_masks(&run.job(name))?;
    store::create_hosts(&run.hosts(name), &names)?;
    store::create_job(&run.service_ports(name), &[])?;
    let ports = unit::shared_ports(context, ix);
    if !ports.is_empty() {
        store::create_ports(&unit::ports_directory(context), &ports)?;
    }
    for (service, paths, spec, root) in unit::service_files(context, ix) {
        store::create_job(&paths, &[])?;
        if let Some(root) = root {
            store::create_root(&run.service_root(name, &service), &root)?;
        }
        // Only the service and the owner of the run see the directory.
        store::write_json_plainly(&paths.spec(), &spec, 0o644)?;
    }
    Ok(())
}

/// Makes the locks of the run and of its matrix groups, where the manager does not count running
/// jobs itself, and links those that all runs share.
fn prepare_slots(run: &RunDir, context: &Context<'_>) -> Result<(), StoreError> {
    let slots = run.slots();
    if let Some(count) = context.run.max_jobs {
        store::link_slots(&context.run.state_directory, &slots, count)?;
    }
    if context.features.concurrency {
        return Ok(());
    }
    if let Some(count) = context.bound() {
        store::create_slots(&slots.run(), count)?;
    }
    unit::matrix_groups(context.plan)
        .into_iter()
        .filter_map(|(group, matrix)| Some((group, matrix.max_parallel?)))
        .try_for_each(|(group, count)| store::create_slots(&slots.matrix(group), count))
}

/// Writes the files that the hooks of executors need when they start.
fn prepare_hooks(run: &RunDir, context: &Context<'_>) -> Result<(), StoreError> {
    for hook in [WorkspaceHook::Setup, WorkspaceHook::Cleanup] {
        for executor in unit::executors_with(context, hook) {
            store::create_executor(run, executor)?;
            if let Some(spec) = unit::hook_spec(context, executor, hook) {
                store::write_json(&run.hook(executor, hook).spec(), &spec, 0o600, false)?;
            }
        }
    }
    // Jobs of an executor without these hooks still share a directory.
    for executor in context.plan.executors.keys() {
        let shared = run.executor(executor);
        if unit::has_hooks(context, executor) && !shared.exists() {
            store::create_executor(run, executor)?;
        }
    }
    Ok(())
}

// The user of a service rests until systemd has stopped the service, which it does after the job.
const _: () = assert!(store::REST.as_secs() > unit::SERVICE_STOP_TIMEOUT.as_secs() + 5);

/// The users that this process makes for jobs.
#[derive(Debug)]
pub(super) struct Users<'a> {
    context: Context<'a>,
    /// Opened for the first job that needs a user. `None` where systemd makes the users.
    pool: OnceCell<Option<JobUsers>>,
    /// The ranges of ids of containers. Opened for the first container.
    ranges: OnceCell<JobRanges>,
    /// The users of the services of jobs that go on.
    of_services: BTreeMap<JobIx, Vec<String>>,
}

impl<'a> Users<'a> {
    pub fn new(context: Context<'a>) -> Self {
        Self {
            context,
            pool: OnceCell::new(),
            ranges: OnceCell::new(),
            of_services: BTreeMap::new(),
        }
    }

    /// Makes the users of a wave's jobs, unless systemd makes them, and claims the ids of their
    /// containers. Those of a wave that PID 1 does not get are removed with the run.
    ///
    /// # Errors
    /// Fails if the disk is full.
    pub fn take(&mut self, jobs: &[JobIx]) -> Result<BTreeMap<JobIx, String>, StoreError> {
        let mut taken = BTreeMap::new();
        let context = self.context;
        for ix in jobs.iter().filter(|ix| unit::wants_user(&context, **ix)) {
            let Some(users) = self.pool()? else { break };
            match users.take() {
                Ok(user) => _ = taken.insert(*ix, user),
                Err(error) if error.is_full() => return Err(error),
                Err(error) => {
                    tracing::warn!("{}, leaving it to systemd", describe(&error));
                    break;
                }
            }
        }
        for ix in jobs.iter().filter(|ix| unit::wants_range(&context, **ix)) {
            match self.ranges().take() {
                Ok(user) => _ = taken.insert(*ix, user),
                Err(error) if error.is_full() => return Err(error),
                Err(error) => tracing::warn!("{}, its job will fail", describe(&error)),
            }
        }
        Ok(taken)
    }

    /// Returns the users of the containers that jobs share. They are made for the first wave, and a
    /// file keeps their names for the later ones.
    pub fn take_for_containers(
        &mut self,
        run: &RunDir,
        wave: u32,
    ) -> Result<BTreeMap<String, String>, StoreError> {
        let context = self.context;
        let mut taken = BTreeMap::new();
        for (executor, place) in unit::shared_executors(&context) {
            let file = run.shared_root(executor).user();
            if wave > 0 {
                if let Ok(user) = fs::read_to_string(&file) {
                    taken.insert(executor.to_owned(), user);
                }
                continue;
            }
            let made = if place.wants_range() {
                self.ranges().take().map(Some)
            } else {
                self.pool()?.map(JobUsers::take).transpose()
            };
            match made {
                Ok(Some(user)) => {
                    fs::write(&file, &user)
                        .map_err(|error| StoreError::io("write", &file, error))?;
                    taken.insert(executor.to_owned(), user);
                }
                Ok(None) => {}
                Err(error) if error.is_full() => return Err(error),
                Err(error) => tracing::warn!("{}, its jobs will fail", describe(&error)),
            }
        }
        Ok(taken)
    }

    /// Makes the users of the services of a wave's jobs, like [`Self::take`].
    ///
    /// # Errors
    /// Fails if the disk is full.
    pub fn take_for_services(
        &mut self,
        jobs: &[JobIx],
    ) -> Result<BTreeMap<(JobIx, String), String>, StoreError> {
        let mut taken = BTreeMap::new();
        let context = self.context;
        for ix in jobs {
            for (service, wants_range) in unit::services_want_users(&context, *ix) {
                let (made, consequence) = if wants_range {
                    (self.ranges().take().map(Some), "its service will fail")
                } else {
                    let made = self.pool()?.map(JobUsers::take).transpose();
                    (made, "leaving it to systemd")
                };
                match made {
                    Ok(Some(user)) => {
                        self.of_services.entry(*ix).or_default().push(user.clone());
                        taken.insert((*ix, service), user);
                    }
                    Ok(None) => {}
                    Err(error) if error.is_full() => return Err(error),
                    Err(error) => tracing::warn!("{}, {consequence}", describe(&error)),
                }
            }
        }
        Ok(taken)
    }

    /// Notes that a job has ended, and its services with it. systemd ends their processes within
    /// the time for which a user rests before it is used again ([`store::REST`]).
    pub fn release_services(&mut self, ix: JobIx) {
        for user in self.of_services.remove(&ix).unwrap_or_default() {
            self.release(user);
        }
    }

    fn ranges(&mut self) -> &mut JobRanges {
        let directory = &self.context.run.directory;
        self.ranges
            .get_or_init(|| JobRanges::of_run(directory, &unit::home_inside()));
        self.ranges.get_mut().expect("invariant: it was made above")
    }

    fn pool(&mut self) -> Result<Option<&mut JobUsers>, StoreError> {
        if self.pool.get().is_none() {
            let run = self.context.run;
            let shell = programs::shell(&run.path);
            let users = JobUsers::of_run(&run.directory, &unit::home_inside(), &shell)?;
            let _ = self.pool.set(users);
        }
        Ok(self.pool.get_mut().and_then(Option::as_mut))
    }

    /// Notes that the job of a user has ended.
    pub fn release(&mut self, user: String) {
        if JobRanges::is_range_user(&user) {
            self.ranges().release(user);
        } else if let Some(users) = self.pool.get_mut().and_then(Option::as_mut) {
            users.release(user);
        }
    }

    /// Removes all users of the run after its jobs, also those that another process made.
    pub fn remove_all(&self) {
        let jobs = &mut self.context.graph.jobs();
        let context = &self.context;
        let wants = |ix| {
            unit::wants_user(context, ix)
                || unit::wants_range(context, ix)
                || !unit::services_want_users(context, ix).is_empty()
        };
        if jobs.any(wants) || unit::shared_executors(context).next().is_some() {
            store::remove_users(&self.context.run.directory);
        }
    }
}
