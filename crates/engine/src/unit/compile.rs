//! Compiles a graph and a run into transient units: names, order, sandbox, limits.
//!
//! `After=` orders the jobs. `Requires=` is added only between jobs whose dependents all run on
//! success alone. systemd itself then drops the dependents of a failed job, and no runner starts
//! only to say that its job is skipped. Every other job starts its runner, whose gate decides.

use std::collections::BTreeMap;

use super::{
    Context, RunPaths, RunSpec, TransientUnit, UnitName, Value, WorkspaceHook,
    disk::{LOOP_MODULE, has_disk},
    hooks, matrix, memory, parts,
    properties::{documentation, log_fields, secrets, service},
    services,
    setup::setup_of,
    shared, shared_executor, shared_executors, start_timeout,
};
use crate::{
    graph::{Graph, JobIx},
    plan::Plan,
    status::Condition,
};

/// The share of the machine's tasks that a run may take, in percent: the host's services go on
/// beside the run. systemd gives each job at most 15 percent (`DefaultTasksMax=`,
/// systemd-system.conf(5)).
const TASKS_MAX: u64 = 50;
/// The share of the machine's memory that a run may take, in percent.
const MEMORY_MAX: u64 = 90;
/// The units of one call to `StartTransientUnit`.
#[derive(Debug, Clone, PartialEq)]
pub struct Wave {
    /// The slice without processes that pulls the jobs in and keeps them loaded until the slice is
    /// stopped.
    pub main: TransientUnit,
    /// The jobs. In the first wave also the run's slice and those of its matrix groups.
    pub aux: Vec<TransientUnit>,
}

impl Wave {
    /// Adds a unit that starts with the wave. No job waits for it.
    pub fn add(&mut self, unit: TransientUnit) {
        for (name, value) in &mut self.main.properties {
            if let ("Wants", Value::StrList(names)) = (*name, value) {
                names.push(unit.name.to_string());
            }
        }
        self.aux.push(unit);
    }
}

/// Returns for each job whether it and all its direct and indirect dependents run on success alone.
pub fn pure_success(plan: &Plan, graph: &Graph) -> Vec<bool> {
    let mut pure = vec![false; graph.len()];
    for ix in graph.jobs().rev() {
        let own = plan
            .jobs
            .get(graph.name(ix))
            .is_some_and(|job| Condition::parse(job.condition.as_deref()) == Condition::Success);
        pure[ix.index()] = own
            && graph
                .dependents(ix)
                .iter()
                .all(|dependent| pure[dependent.index()]);
    }
    pure
}

/// The users that were made for jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Users {
    /// By job.
    pub jobs: BTreeMap<JobIx, String>,
    /// Of the containers that jobs share, by executor.
    pub shared: BTreeMap<String, String>,
    /// Of the services of jobs, by job and name.
    pub services: BTreeMap<(JobIx, String), String>,
}

/// Compiles one wave. `jobs` is in topological order, and their needs are among them or finished.
/// `pure` tells which jobs may use `Requires=`.
pub fn wave(
    context: &Context<'_>,
    number: u32,
    jobs: &[JobIx],
    pure: &[bool],
    users: &Users,
) -> Wave {
    let run = context.run;
    let mut in_wave = vec![false; context.graph.len()];
    jobs.iter().for_each(|ix| in_wave[ix.index()] = true);
    let slices = matrix::slices(context);
    let mut needs_loop_devices = jobs.iter().any(|ix| has_disk(context, *ix));
    let mut aux = Vec::with_capacity(jobs.len() + slices.len() + 1);
    let mut names = Vec::with_capacity(jobs.len() + slices.len());
    if number == 0 {
        for (slice, is_wanted) in run_slices(context, slices.len()) {
            names.extend(is_wanted.then(|| slice.name.to_string()));
            aux.push(slice);
        }
        // The main unit wants these slices, so that they are active before their jobs start and
        // stay active in later waves.
        for (group, (name, max_parallel)) in &slices {
            names.push(name.to_string());
            aux.push(matrix_slice(run, group, name, *max_parallel));
        }
    }
    if number == 0 {
        for executor in hooks::executors_with(context, WorkspaceHook::Setup) {
            let unit = hooks::hook_unit(context, executor, WorkspaceHook::Setup);
            names.push(unit.name.to_string());
            aux.push(unit);
        }
        for (executor, _) in shared_executors(context) {
            let user = users.shared.get(executor).map(String::as_str);
            let unit = shared::container_unit(context, executor, user);
            names.push(unit.name.to_string());
            aux.push(unit);
            needs_loop_devices |= run.disks.contains_key(executor);
        }
    }
    for ix in jobs {
        let of_container = shared_executor(context, context.job(*ix).1)
            .and_then(|executor| users.shared.get(executor));
        let user = users.jobs.get(ix).or(of_container).map(String::as_str);
        let unit = job_unit(context, *ix, &in_wave, pure, &slices, user);
        names.push(unit.name.to_string());
        aux.push(unit);
    }
    let mut wanted = names.clone();
    // The units of services follow those of jobs, so that systemd keeps them until the jobs ask.
    let of_services = |ix: &JobIx| services::units(context, *ix, &in_wave, &users.services);
    needs_loop_devices |= jobs.iter().any(|ix| services::have_disks(context, *ix));
    for unit in jobs.iter().flat_map(of_services) {
        names.push(unit.name.to_string());
        aux.push(unit);
    }
    wanted.extend(needs_loop_devices.then(|| LOOP_MODULE.to_owned()));
    let main = TransientUnit {
        name: UnitName::wave(&run.run, number),
        properties: vec![
            (
                "Description",
                Value::Str(format!(
                    "NixActions run {}: all jobs{}",
                    run.run,
                    if number == 0 {
                        String::new()
                    } else {
                        format!(", part {}", number + 1)
                    }
                )),
            ),
            documentation(),
            ("CollectMode", Value::Str("inactive-or-failed".into())),
            ("Wants", Value::StrList(wanted)),
            ("After", Value::StrList(names)),
        ],
    };
    Wave { main, aux }
}

/// Returns the slice of the run's jobs.
fn jobs_slice(context: &Context<'_>) -> UnitName {
    if services::has_steps_slice(context) {
        UnitName::steps_slice(&context.run.run)
    } else {
        UnitName::run_slice(&context.run.run)
    }
}

/// Returns the slice of the run and, where its jobs have one of their own, that slice. The flag
/// tells whether it must be active before its jobs start.
fn run_slices(context: &Context<'_>, groups: usize) -> impl Iterator<Item = (TransientUnit, bool)> {
    let run = context.run;
    // The matrix slices inside the slice of the jobs count as well.
    let groups = u32::try_from(groups).unwrap_or(u32::MAX);
    let max_parallel = context
        .bound()
        .filter(|_| context.features.concurrency)
        .map(|most| most.saturating_add(groups));
    let of_jobs = jobs_slice(context);
    let is_one = of_jobs == UnitName::run_slice(&run.run);
    let description = format!("NixActions run {}: steps", run.run);
    let steps = (!is_one).then(|| (slice(of_jobs, description, max_parallel), true));
    let unit = run_slice(context, max_parallel.filter(|_| is_one));
    [(unit, false)].into_iter().chain(steps)
}

fn run_slice(context: &Context<'_>, max_parallel: Option<u32>) -> TransientUnit {
    let run = context.run;
    let mut unit = slice(
        UnitName::run_slice(&run.run),
        format!("NixActions run {}", run.run),
        max_parallel,
    );
    unit.properties.extend([
        ("TasksMaxScale", Value::U32(share(TASKS_MAX))),
        ("MemoryMaxScale", Value::U32(share(MEMORY_MAX))),
    ]);
    unit
}

/// Returns a percentage as systemd takes it: of 2^32 - 1.
fn share(percent: u64) -> u32 {
    u32::try_from(u64::from(u32::MAX) * percent / 100).unwrap_or(u32::MAX)
}

fn matrix_slice(run: &RunSpec, group: &str, name: &UnitName, max_parallel: u32) -> TransientUnit {
    slice(
        name.clone(),
        format!("NixActions run {}: matrix {group}", run.run),
        Some(max_parallel),
    )
}

fn slice(name: UnitName, description: String, max_parallel: Option<u32>) -> TransientUnit {
    let mut properties = vec![
        ("Description", Value::Str(description)),
        documentation(),
        ("CollectMode", Value::Str("inactive-or-failed".into())),
    ];
    properties.extend(max_parallel.map(|most| ("ConcurrencySoftMax", Value::U32(most))));
    TransientUnit { name, properties }
}

fn job_unit(
    context: &Context<'_>,
    ix: JobIx,
    in_wave: &[bool],
    pure: &[bool],
    slices: &BTreeMap<&str, (UnitName, u32)>,
    user: Option<&str>,
) -> TransientUnit {
    let run = context.run;
    let (name, job) = context.job(ix);
    let paths = RunPaths::new(run.directory.clone());
    let own = paths.job(name);
    let parts = parts::parts(context, ix, user);
    let unit_names = |jobs: &mut dyn Iterator<Item = JobIx>| -> Vec<String> {
        jobs.map(|need| UnitName::job(&run.run, context.graph.name(need)).to_string())
            .collect()
    };
    // Needs of earlier waves have finished, and their units are unloaded.
    let mut after = unit_names(
        &mut context
            .graph
            .needs(ix)
            .iter()
            .copied()
            .filter(|need| in_wave[need.index()]),
    );
    if after.is_empty() {
        after.extend(slices.values().map(|(name, _)| name.to_string()));
    }
    let own_slice = job
        .matrix
        .as_ref()
        .and_then(|matrix| slices.get(matrix.group.as_str()))
        .map(|(name, _)| name.clone());
    // systemd must not decide over a need whose failure counts as success: if the need is killed,
    // its unit has failed.
    // A service is bound to its job. Its start would start what the job requires, and so run needs
    // again that are over.
    let may_require = pure[ix.index()] && job.services.is_empty();
    let decides = |need: &JobIx| {
        may_require && in_wave[need.index()] && !context.job(*need).1.continue_on_error
    };
    let mut requires = unit_names(&mut context.graph.needs(ix).iter().copied().filter(decides));
    // A job waits for its slots while it starts. The supervisor bounds it, once it has them.
    let takes_slots = matrix::waits_for_slots(context, job);
    let timeout = context
        .job_timeout(job)
        .filter(|_| !takes_slots)
        .map(start_timeout);
    let mut properties = service(
        format!("NixActions run {}: job {name}", run.run),
        own_slice.unwrap_or_else(|| jobs_slice(context)).to_string(),
        parts.command,
        timeout,
        log_fields(run, Some(name)),
        &own,
    );
    // Not `Requires=`: a later wave would restart a failed setup.
    let setup = setup_of(context, ix).map(|unit| unit.to_string());
    after.extend(setup.clone());
    after.extend(has_disk(context, ix).then(|| LOOP_MODULE.to_owned()));
    after.extend(services::socket_of(context, ix));
    properties.extend(secrets(context, Some(job)));
    if !after.is_empty() {
        properties.push(("After", Value::StrList(after)));
    }
    if takes_slots {
        // systemd opens the directory before the sandbox is built: the runner has it, and no
        // process of the job can open a lock in it.
        let slots = paths.slots().path().display().to_string();
        let has_input = context.placement(job).has_own_pids(context);
        properties.push(if has_input {
            ("OpenFile", Value::OpenDirectory(slots))
        } else {
            ("StandardInputFile", Value::Str(slots))
        });
    }
    requires.extend(services::socket_of(context, ix));
    properties.extend(services::of_job(context, ix));
    if !requires.is_empty() {
        properties.push(("Requires", Value::StrList(requires)));
    }
    if memory::job_goes_on(context, job) {
        memory::go_on(&mut properties);
    }
    let mounts = parts.mounts;
    properties.extend(mounts.map(|argv| ("ExecStartPreEx", Value::ExecPrivileged(argv))));
    properties.extend(setup.map(|setup| ("Requisite", Value::StrList(vec![setup]))));
    properties.extend(parts.properties);
    TransientUnit {
        name: UnitName::job(&run.run, name),
        properties,
    }
}

/// Returns whether a job needs a user made for it.
pub fn wants_user(context: &Context<'_>, ix: JobIx) -> bool {
    let (_, job) = context.job(ix);
    context
        .placement(job)
        .wants_user(context.run, &job.properties)
}

/// Returns whether a job needs a range of user ids for a container of its own.
pub fn wants_range(context: &Context<'_>, ix: JobIx) -> bool {
    let place = context.placement(context.job(ix).1);
    place.wants_range() && !place.is_shared()
}
