//! The services of jobs: programs that run beside a job's steps, each in a unit of its own.
//!
//! The runner of the job asks for them when its gate has let the job pass and the job has its
//! place among those that run at once: it writes into the FIFO of a socket unit, and systemd starts
//! a small unit that holds the ports and wants the services. So neither the client nor the
//! supervisor is needed for the start. All of these units are bound to the job's: systemd stops
//! them when the job ends, however it ends.
//!
//! Job and services share a network of their own, if the job has one: systemd lets the services
//! join it (`JoinsNamespaceOf=`). Otherwise they have the host's, where jobs of the same state
//! directory take turns at a port.

use std::path::PathBuf;

use super::{
    Context, ImageSpec, JobPaths, MOUNT_ROOT_COMMAND, ManagerKind, Placement, RootSpec, RunPaths,
    TransientUnit, UnitName, Value,
    disk::LOOP_MODULE,
    memory, nspawn,
    placement::PATH,
    properties::{documentation, log_fields, micros, service},
    sandbox::{self, OWN_CGROUPS},
    view,
};
use crate::{
    graph::JobIx,
    ids::JobName,
    plan::{Env, Executor, Sandbox, Service, service_key},
    service::{
        PORTS_COMMAND, SERVICE_COMMAND, SERVICE_SPEC_VERSION, ServiceSpec, WatchedService,
        WatchedServices,
    },
};

/// The time that a service has to end after it was asked to: longer than its runner takes.
pub const STOP_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(15);
/// The services end with the process that holds their ports: the kernel ends others before it
/// (`OOMScoreAdjust=`, systemd.exec(5)).
const OOM_SCORE: i32 = -500;
/// The mode of the FIFO by which a runner asks for services. The user of the job writes into it.
const FIFO_MODE: u32 = 0o622;
/// The directory of the state directory with a file for each port that a service has.
const PORTS: &str = "ports";
/// The file that tells the names of hosts (hosts(5)).
pub(super) const HOSTS: &str = "/etc/hosts";

/// A service of a job of the plan.
#[derive(Debug, Clone, Copy)]
struct Of<'a> {
    context: &'a Context<'a>,
    job: &'a JobName,
    name: &'a str,
    service: &'a Service,
    sandbox: Sandbox,
    private_network: bool,
}

/// The parts of a service's unit that its place decides.
struct Parts {
    /// The command of the main process.
    command: Vec<String>,
    /// The property that gives the runner the directory of the job's masks.
    masks: Option<(&'static str, Value)>,
    isolation: Vec<(&'static str, Value)>,
    /// The properties of the plan that hold for the unit.
    of_plan: Env,
}

/// Returns whether a job of the plan has services.
fn any(context: &Context<'_>) -> bool {
    let mut jobs = context.plan.jobs.values();
    jobs.any(|job| !job.services.is_empty())
}

/// Returns whether the slots of the run's jobs are counted in a slice of their own. In the run's
/// slice, systemd would count services as well.
pub(super) fn has_steps_slice(context: &Context<'_>) -> bool {
    context.features.concurrency && context.bound().is_some() && any(context)
}

/// Returns the directory with a lock for each port of the host that a service has.
pub fn ports_directory(context: &Context<'_>) -> PathBuf {
    context.run.state_directory.join(PORTS)
}

fn services_of<'a>(context: &'a Context<'a>, ix: JobIx) -> impl Iterator<Item = Of<'a>> {
    let (name, job) = context.job(ix);
    let place = context.placement(job);
    let sandbox = match place.sandbox() {
        Sandbox::Relaxed => Sandbox::Relaxed,
        // A service has no more rights than a job of its own would have.
        Sandbox::Strict | Sandbox::None => Sandbox::Strict,
    };
    let private_network = has_private_network(&place, job);
    job.services.iter().map(move |(service, settings)| Of {
        context,
        job: name,
        name: service,
        service: settings,
        sandbox,
        private_network,
    })
}

/// Returns whether a job has a network of its own.
pub fn has_private_network(place: &Placement<'_>, job: &crate::plan::Job) -> bool {
    let of_container = place
        .container()
        .is_some_and(|container| !container.network.is_host());
    let of_executor = place.properties().is_some_and(sandbox::has_own_network);
    of_container || of_executor || sandbox::has_own_network(&job.properties)
}

/// Returns the services of a job, as its runner sees them.
pub(super) fn watched(context: &Context<'_>, ix: JobIx) -> Option<WatchedServices> {
    let (name, job) = context.job(ix);
    if job.services.is_empty() {
        return None;
    }
    let ports = RunPaths::new(context.run.directory.clone()).service_ports(name);
    let view = view::of_job(context, ix);
    let of = |of: Of<'_>| WatchedService {
        name: of.name.to_owned(),
        unit: of.unit().to_string(),
        events: view.inside(context.run, &of.paths().events()),
    };
    Some(WatchedServices {
        held: view.inside(context.run, &ports.events()),
        each: services_of(context, ix).map(of).collect(),
    })
}

/// Returns the files that a service needs when it starts: its directory, its instructions, and how
/// to mount its root file system if it has one.
pub fn service_files(
    context: &Context<'_>,
    ix: JobIx,
) -> Vec<(String, JobPaths, ServiceSpec, Option<RootSpec>)> {
    let services = services_of(context, ix);
    services
        .map(|of| (of.name.to_owned(), of.paths(), of.spec(), of.root_spec()))
        .collect()
}

/// Returns the ports of a job's services on the host's network. Each has a lock.
pub fn shared_ports(context: &Context<'_>, ix: JobIx) -> Vec<u16> {
    let services = services_of(context, ix).filter(|of| !of.private_network);
    let ports = services.flat_map(|of| of.service.ports.iter().map(|port| port.0));
    let mut ports: Vec<u16> = ports.collect();
    // All jobs take them in this order, so there is no deadlock.
    ports.sort_unstable();
    ports
}

/// Returns the services of a job that need users made for them, each with whether that is a range
/// of user ids.
pub fn services_want_users(context: &Context<'_>, ix: JobIx) -> Vec<(String, bool)> {
    let services = services_of(context, ix).filter_map(|of| {
        let executor = of.executor();
        let wants_range = of.place(&executor).wants_range();
        (wants_range || of.wants_user()).then(|| (of.name.to_owned(), wants_range))
    });
    services.collect()
}

/// Returns the properties of a job's unit that its services need.
pub(super) fn of_job(context: &Context<'_>, ix: JobIx) -> Vec<(&'static str, Value)> {
    let (_, job) = context.job(ix);
    if job.services.is_empty() {
        return Vec::new();
    }
    let place = context.placement(job);
    let (run, name) = (context.run, context.graph.name(ix));
    let mut properties = Vec::new();
    // The services join the network of the unit.
    if place.has_network_of_unit() && has_private_network(&place, job) {
        properties.push(("PrivateNetwork", Value::Bool(true)));
    }
    // Roots have a file of their own. Mounts need rights that a user's manager has in a sandbox
    // alone.
    let can_mount = run.manager != ManagerKind::User || place.is_sandboxed();
    if place.container().is_none() && can_mount {
        properties.extend(names(&RunPaths::new(run.directory.clone()).hosts(name)));
    }
    properties
}

/// Shows a file of hosts in place of the machine's. A machine without one has none in its place.
/// The host's name service cache would answer by the machine's file, so it is hidden.
fn names(hosts: &std::path::Path) -> [(&'static str, Value); 2] {
    let hosts = super::Bind {
        optional: true,
        ..super::Bind::new(hosts, HOSTS.as_ref())
    };
    let hidden = vec![format!("-{}", sandbox::NAME_CACHE)];
    [
        ("BindReadOnlyPaths", Value::Binds(vec![hosts])),
        ("InaccessiblePaths", Value::StrList(hidden)),
    ]
}

/// Returns whether the root file system of a service of a job is a disk image.
pub(super) fn have_disks(context: &Context<'_>, ix: JobIx) -> bool {
    let mut services = services_of(context, ix);
    services.any(|of| context.run.disks.contains_key(&of.key()))
}

/// Returns the name of the socket that a job's unit requires, if the job has services.
pub(super) fn socket_of(context: &Context<'_>, ix: JobIx) -> Option<String> {
    let (name, job) = context.job(ix);
    let has_some = !job.services.is_empty();
    has_some.then(|| UnitName::services_socket(&context.run.run, name).to_string())
}

/// Compiles the units of a job's services. `users` has the users that were made for them.
pub(super) fn units(
    context: &Context<'_>,
    ix: JobIx,
    in_wave: &[bool],
    users: &std::collections::BTreeMap<(JobIx, String), String>,
) -> Vec<TransientUnit> {
    let (name, job) = context.job(ix);
    if job.services.is_empty() {
        return Vec::new();
    }
    let needs = context.graph.needs(ix).iter();
    let needs = needs.filter(|need| in_wave[need.index()]);
    let needs: Vec<String> = needs
        .map(|need| UnitName::job(&context.run.run, context.graph.name(*need)).to_string())
        .collect();
    let mut units = vec![socket(context, name, &needs), starter(context, ix)];
    units.extend(services_of(context, ix).map(|of| {
        let user = users.get(&(ix, of.name.to_owned()));
        of.compile(user.map(String::as_str))
    }));
    units
}

/// Compiles the socket by which the runner of a job asks for the services.
fn socket(context: &Context<'_>, job: &JobName, after: &[String]) -> TransientUnit {
    let run = context.run;
    let fifo = RunPaths::new(run.directory.clone())
        .job(job)
        .wants_services();
    let description = format!("NixActions run {}: a wish of job {job}", run.run);
    let slice = UnitName::run_slice(&run.run).to_string();
    // systemd stops it at once where the job was dropped, but not before it has begun.
    let after = (!after.is_empty()).then(|| ("After", Value::StrList(after.to_vec())));
    let mut unit = TransientUnit {
        name: UnitName::services_socket(&run.run, job),
        properties: vec![
            ("Description", Value::Str(description)),
            documentation(),
            ("CollectMode", Value::Str("inactive-or-failed".into())),
            (
                "Listen",
                Value::Pairs(vec![("FIFO".to_owned(), fifo.display().to_string())]),
            ),
            ("SocketMode", Value::U32(FIFO_MODE)),
            ("RemoveOnStop", Value::Bool(true)),
            ("StopWhenUnneeded", Value::Bool(true)),
            ("Slice", Value::Str(slice)),
        ],
    };
    unit.properties.extend(after);
    unit
}

/// Compiles the unit that starts the services of a job, and holds the ports that they have on the
/// host's network.
fn starter(context: &Context<'_>, ix: JobIx) -> TransientUnit {
    let (name, _) = context.job(ix);
    let run = context.run;
    let unit = UnitName::job(&run.run, name).to_string();
    let ports = shared_ports(context, ix);
    let held = RunPaths::new(run.directory.clone()).service_ports(name);
    let mut command = vec![run.runner().display().to_string(), PORTS_COMMAND.to_owned()];
    command.push(format!("job {name} of run {}", run.run));
    command.extend(ports.iter().map(u16::to_string));
    let wanted = services_of(context, ix).map(|of| of.unit().to_string());
    let Value::BytesList(mut fields) = log_fields(run, Some(name)) else {
        unreachable!("invariant: fields are a list of bytes");
    };
    fields.push(b"NIXACTIONS_STREAM=runner".to_vec());
    let description = format!("NixActions run {}: services of job {name}", run.run);
    let mut properties = vec![
        ("Description", Value::Str(description)),
        documentation(),
        ("Type", Value::Str("notify".into())),
        ("NotifyAccess", Value::Str("main".into())),
        ("CollectMode", Value::Str("inactive-or-failed".into())),
        (
            "Slice",
            Value::Str(UnitName::run_slice(&run.run).to_string()),
        ),
        ("ExecStart", Value::Exec(command)),
        (
            "StandardOutputFileToAppend",
            Value::Str(held.events().display().to_string()),
        ),
        ("StandardError", Value::Str("journal".into())),
        // It waits as long as another job has a port. The job's own time goes on.
        ("TimeoutStartUSec", micros(None)),
        ("TimeoutStopUSec", micros(Some(STOP_TIMEOUT))),
        ("LogExtraFields", Value::BytesList(fields)),
        ("NoNewPrivileges", Value::Bool(true)),
        ("BindsTo", Value::StrList(vec![unit])),
        ("Wants", Value::StrList(wanted.collect())),
    ];
    if run.manager != ManagerKind::User {
        properties.extend([
            ("CapabilityBoundingSet", Value::U64(0)),
            ("OOMScoreAdjust", Value::I32(OOM_SCORE)),
        ]);
    }
    if !ports.is_empty() {
        let directory = ports_directory(context).display().to_string();
        properties.push(("StandardInputFile", Value::Str(directory)));
    }
    TransientUnit {
        name: UnitName::services(&run.run, name),
        properties,
    }
}

impl Of<'_> {
    fn unit(&self) -> UnitName {
        UnitName::service(&self.context.run.run, self.job, self.name)
    }

    fn paths(&self) -> JobPaths {
        RunPaths::new(self.context.run.directory.clone()).service(self.job, self.name)
    }

    fn executor(&self) -> Executor {
        self.service.executor(self.sandbox)
    }

    /// Returns the place of an executor with the file system of the service.
    fn place<'b>(&self, executor: &'b Executor) -> Placement<'b> {
        Placement::by(executor).with_image(self.context.run.images.get(&self.key()))
    }

    fn wants_user(&self) -> bool {
        self.place(&self.executor())
            .wants_user(self.context.run, &self.service.properties)
    }

    fn key(&self) -> String {
        service_key(self.job.as_str(), self.name)
    }

    fn spec(&self) -> ServiceSpec {
        let run = self.context.run;
        let executor = self.executor();
        let place = self.place(&executor);
        let image = run.images.get(&self.key());
        let is_of_user = run.manager == ManagerKind::User;
        let mut env: Env = image.map(|image| image.env.clone()).unwrap_or_default();
        env.extend(self.service.env.clone());
        let command = match image {
            Some(image) if self.service.run.is_empty() => image.command.clone(),
            _ => self.service.run.clone(),
        };
        ServiceSpec {
            version: SERVICE_SPEC_VERSION,
            run: run.run.clone(),
            workflow: run.workflow.clone(),
            job: self.job.clone(),
            service: self.name.to_owned(),
            command,
            path: if self.service.has_root() {
                PATH.to_owned()
            } else {
                run.path.clone()
            },
            working_dir: image.and_then(|image| image.working_dir.clone()),
            env,
            ports: self.service.ports.iter().map(|port| port.0).collect(),
            shares_network: !self.private_network,
            health: self.service.health(),
            files_directory: view::view(run, self.sandbox, self.job, false).files,
            confine: true,
            own_root: self.service.has_root(),
            own_pids: place.has_own_pids(self.context),
            in_container: place.nspawn().is_some(),
            goes_on_out_of_memory: memory::goes_on(&self.service.properties).unwrap_or(false),
            own_user: self.wants_user(),
            guard_limits: is_of_user,
        }
    }

    fn root_spec(&self) -> Option<RootSpec> {
        let run = self.context.run;
        let key = self.key();
        let image = run.roots.get(&key).map(PathBuf::as_path);
        let image = image.or(self.service.root())?;
        if !self.service.has_root() {
            return None;
        }
        let executor = self.executor();
        let nspawn = self.place(&executor).nspawn().map(|settings| {
            let root = RunPaths::new(run.directory.clone()).service_root(self.job, self.name);
            let view = view::view(run, self.sandbox, self.job, false);
            let own = self.paths();
            let job = RunPaths::new(run.directory.clone()).job(self.job);
            let files = (own.path(), root, job.masks());
            nspawn::service_spec(run, settings, self.name, files, &view)
        });
        let names_store = serde_json::to_string(&self.spec()).unwrap_or_default();
        Some(RootSpec {
            image: image.to_owned(),
            file_system: run.disks.get(&key).cloned(),
            user: run.images.get(&key).and_then(ImageSpec::other_user),
            job: self.paths().path().to_owned(),
            home: view::home_inside(),
            binds: Vec::new(),
            needs_store: image.starts_with(super::NIX_STORE)
                || names_store.contains(&format!("{}/", super::NIX_STORE)),
            uses_network: !self.private_network,
            mounts_workspace: false,
            hosts: self.hosts(),
            nspawn,
        })
    }

    fn hosts(&self) -> Vec<String> {
        let (_, job) = self
            .context
            .plan
            .jobs
            .get_key_value(self.job)
            .expect("invariant: the service is one of this job's");
        job.services.keys().cloned().collect()
    }

    fn compile(&self, user: Option<&str>) -> TransientUnit {
        let (context, run) = (self.context, self.context.run);
        let own = self.paths();
        let executor = self.executor();
        let place = self.place(&executor);
        let parts = self.parts(&place, user);
        let Value::BytesList(mut fields) = log_fields(run, Some(self.job)) else {
            unreachable!("invariant: fields are a list of bytes");
        };
        fields.push(format!("NIXACTIONS_SERVICE={}", self.name).into_bytes());
        let mut properties = service(
            format!(
                "NixActions run {}: service {} of job {}",
                run.run, self.name, self.job
            ),
            UnitName::run_slice(&run.run).to_string(),
            parts.command,
            None,
            Value::BytesList(fields),
            &own,
        );
        for (name, value) in &mut properties {
            if *name == "TimeoutStopUSec" {
                *value = micros(Some(STOP_TIMEOUT));
            }
        }
        let job = UnitName::job(&run.run, self.job).to_string();
        let is_disk = run.disks.contains_key(&self.key());
        let starter = UnitName::services(&run.run, self.job).to_string();
        properties.extend(parts.masks);
        let mut after = vec![starter.clone()];
        after.extend(is_disk.then(|| LOOP_MODULE.to_owned()));
        properties.extend([
            // Without the starter, other jobs could take the ports.
            ("BindsTo", Value::StrList(vec![job.clone(), starter])),
            ("After", Value::StrList(after)),
        ]);
        properties.extend(parts.isolation);
        if self.private_network {
            properties.extend([
                ("PrivateNetwork", Value::Bool(true)),
                ("JoinsNamespaceOf", Value::StrList(vec![job])),
            ]);
        }
        sandbox::extend(&mut properties, &parts.of_plan, context.features.version);
        TransientUnit {
            name: self.unit(),
            properties,
        }
    }

    /// Returns the parts of the unit that the service's place decides. `user` is the user that was
    /// made for it, or the user that claims the range of ids of its container.
    fn parts(&self, place: &Placement<'_>, user: Option<&str>) -> Parts {
        let run = self.context.run;
        let paths = RunPaths::new(run.directory.clone());
        if place.nspawn().is_some() {
            let root = paths.service_root(self.job, self.name);
            return Parts {
                command: nspawn::command(run, root.path(), user),
                // The main process of the container gives it the directory.
                masks: None,
                isolation: nspawn::properties(),
                of_plan: nspawn::of_unit(&self.service.properties),
            };
        }
        let view = view::view(run, self.sandbox, self.job, false);
        let command = [&view.runner, &PathBuf::from(SERVICE_COMMAND), &view.own];
        // systemd opens the directory before the sandbox is built: the runner has it, and the
        // service's program cannot reach it.
        let masks = paths.job(self.job).masks().display().to_string();
        let masks = if place.has_own_pids(self.context) {
            ("OpenFile", Value::OpenDirectory(masks))
        } else {
            ("StandardInputFile", Value::Str(masks))
        };
        Parts {
            command: command.map(|part| part.display().to_string()).into(),
            masks: Some(masks),
            isolation: self.isolation(place, user),
            of_plan: self.service.properties.clone(),
        }
    }

    /// Returns the properties that isolate a service without a container.
    fn isolation(&self, place: &Placement<'_>, user: Option<&str>) -> Vec<(&'static str, Value)> {
        let (context, run) = (self.context, self.context.run);
        let paths = RunPaths::new(run.directory.clone());
        let (own, root) = (self.paths(), paths.service_root(self.job, self.name));
        let mounts = self.service.has_root().then(|| {
            let view = view::view(run, self.sandbox, self.job, false);
            let program = view.program.display().to_string();
            let root = root.path().display().to_string();
            vec![program, MOUNT_ROOT_COMMAND.to_owned(), root]
        });
        let needs = sandbox::Needs {
            uses_nix: false,
            user,
            program: mounts.is_some(),
            root: place.root().map(|settings| (settings, root.tree())),
            own_pids: place.has_own_pids(context),
            own_cgroups: context.features.version >= OWN_CGROUPS,
            writable: Vec::new(),
            is_disk: run.disks.contains_key(&self.key()),
        };
        let mut properties = Vec::new();
        properties.extend(mounts.map(|argv| ("ExecStartPreEx", Value::ExecPrivileged(argv))));
        properties.extend(sandbox::properties(
            run,
            self.sandbox,
            (self.job, &own),
            &[],
            &needs,
        ));
        if !self.service.has_root() {
            properties.extend(names(&paths.hosts(self.job)));
        }
        properties
    }
}
