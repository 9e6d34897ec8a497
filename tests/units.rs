//! Numbered plans and the units that they become:
//! `tests/units/<nnn>-<what>/{plan.json,run.json,units.txt}`.
//!
//! `run.json`, where there is one, says in which ways the run differs from the usual (`Settings`).
//! `NIXACTIONS_BLESS=1` writes what the program says now; read the difference before it is
//! committed, since these are the properties that jobs run with.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use nixactions::{
    graph::Graph,
    plan::{self, Plan},
    unit::{self, Context, Features, KernelSupport, ManagerKind, RunSpec, SPEC_VERSION},
};
use serde::Deserialize;

/// The input of the units beside the plan.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Settings {
    manager: ManagerKind,
    /// The manager's version.
    systemd: u32,
    state_directory: String,
    program: String,
    /// The cgroup controllers that the manager has.
    controllers: BTreeSet<String>,
    /// Whether the manager may make networks.
    network: bool,
    /// Whether the kernel has Landlock's scopes.
    scopes: bool,
    /// The number of jobs in the first wave; all if absent.
    first_wave: Option<usize>,
    /// The types of the file systems in disk images, by executor.
    disks: BTreeMap<String, String>,
    /// Whether there is a source tree, which is mounted.
    source: bool,
    /// Whether the host looks users up by systemd.
    users: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            manager: ManagerKind::System,
            systemd: 252,
            state_directory: "/var/lib/nixactions".into(),
            program: "/usr/bin/nixactions".into(),
            controllers: ["cpu", "cpuset", "io", "memory", "pids"]
                .map(str::to_owned)
                .into(),
            network: true,
            scopes: true,
            first_wave: None,
            disks: BTreeMap::new(),
            source: false,
            users: true,
        }
    }
}

#[test]
fn each_plan_becomes_exactly_its_units() {
    let bless = std::env::var_os("NIXACTIONS_BLESS").is_some();
    let mut folders: Vec<_> =
        fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/units"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir())
            .collect();
    folders.sort();
    assert!(folders.len() > 10, "the fixtures are gone");
    let mut wrong = Vec::new();
    for folder in folders {
        let file = folder.join("units.txt");
        let expected = fs::read_to_string(&file).unwrap_or_default();
        let plan = plan::load(&folder).unwrap_or_else(|error| panic!("{error}"));
        let settings = fs::read(folder.join("run.json")).map_or_else(
            |_| Settings::default(),
            |text| serde_json::from_slice(&text).unwrap(),
        );
        let found = units(&plan, &settings);
        if found == expected {
            continue;
        }
        if bless {
            fs::write(&file, found).unwrap();
        } else {
            wrong.push(format!(
                "--- {}: expected\n{expected}--- found\n{found}",
                folder.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns the warnings and units of a run's first two waves, and its supervisor's.
fn units(plan: &Plan, settings: &Settings) -> String {
    let directory = Path::new(&settings.state_directory).join(format!("runs/{}-1", plan.name));
    let run = RunSpec {
        version: SPEC_VERSION,
        run: format!("{}-1", plan.name).parse().expect("it is a run id"),
        workflow: plan.name.clone(),
        manager: settings.manager,
        created_at: Default::default(),
        program: settings.program.clone().into(),
        directory,
        state_directory: settings.state_directory.clone().into(),
        runtime_directory: format!("/run/nixactions/{}-1", plan.name).into(),
        overrides: Default::default(),
        secrets: None,
        inputs: Default::default(),
        path: "/usr/bin".into(),
        has_source: settings.source,
        mounts_source: settings.source,
        roots: Default::default(),
        images: Default::default(),
        disks: settings.disks.clone(),
        max_parallel: plan.max_parallel.unwrap_or(2),
        max_jobs: None,
        origin: None,
        notify: Default::default(),
        keep_failed: None,
        delays_shutdown: false,
    };
    let graph = Graph::new(plan).expect("the plan is good");
    let context = Context {
        plan,
        graph: &graph,
        run: &run,
        features: Features::of_version(settings.systemd),
    };
    let pure = unit::pure_success(plan, &graph);
    let jobs: Vec<_> = graph.jobs().collect();
    let waves = jobs.split_at(settings.first_wave.unwrap_or(jobs.len()));
    let users = jobs
        .iter()
        .filter(|ix| settings.users && unit::wants_user(&context, **ix))
        .zip(61184..)
        .map(|(ix, id)| (*ix, format!("nixactions-{id}")));
    let ranges = jobs
        .iter()
        .filter(|ix| unit::wants_range(&context, **ix))
        .zip((0x6000_0000_u32..).step_by(1 << 16))
        .map(|(ix, id)| (*ix, format!("nixactions-{id}")));
    let of_containers = unit::shared_executors(&context).map(|(executor, place)| {
        let id = if place.wants_range() {
            0x6fff_0000_u32
        } else {
            65_000
        };
        (executor.to_owned(), format!("nixactions-{id}"))
    });
    let of_services = jobs.iter().flat_map(|ix| {
        let services = unit::services_want_users(&context, *ix);
        services.into_iter().map(|(service, _)| (*ix, service))
    });
    let of_services = of_services
        .filter(|_| settings.users)
        .zip(61200..)
        .map(|(key, id)| (key, format!("nixactions-{id}")));
    let users = unit::Users {
        jobs: users.chain(ranges).collect(),
        shared: of_containers.collect(),
        services: of_services.collect(),
    };
    let abilities = KernelSupport {
        controllers: settings.controllers.clone(),
        network: settings.network,
        scopes: settings.scopes,
    };
    let mut text: String = unit::warnings(&context, &abilities)
        .iter()
        .map(|warning| format!("warning: {warning}\n"))
        .collect();
    for (number, wave) in [(0, waves.0), (1, waves.1)]
        .into_iter()
        .filter(|(_, wave)| !wave.is_empty())
    {
        let wave = unit::wave(&context, number, wave, &pure, &users);
        for unit in wave.aux.iter().chain([&wave.main]) {
            text.push_str(&format!("{unit}\n"));
        }
    }
    text += &unit::supervisor(&run).to_string();
    for (executor, _) in unit::shared_executors(&context) {
        let root = unit::container_spec(&context, executor);
        if let Some(nspawn) = root.and_then(|root| root.nspawn) {
            let lines = nspawn.arguments.join("\n");
            let command = nspawn.command.join(" ");
            text += &format!(
                "\n[{} of executor {executor}]\n{lines}\n-- {command}\n",
                unit::NSPAWN
            );
        }
    }
    for ix in &jobs {
        if let Some(join) = unit::join_spec(&context, *ix) {
            let join = serde_json::to_string_pretty(&join).expect("it has string keys");
            text += &format!("\n[{}]\n{join}\n", context.job(*ix).0);
        }
        let root = unit::root_spec(&context, *ix);
        if let Some(nspawn) = root.and_then(|root| root.nspawn) {
            let lines = nspawn.arguments.join("\n");
            let command = nspawn.command.join(" ");
            text += &format!(
                "\n[{} of {}]\n{lines}\n-- {command}\n",
                unit::NSPAWN,
                context.job(*ix).0
            );
        }
    }
    text
}
