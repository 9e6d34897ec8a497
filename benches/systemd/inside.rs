//! The part of the benchmark that runs inside a machine: the measurements of both sides.

use std::{
    fs,
    path::Path,
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use nixactions::{
    graph::Graph,
    plan::{Env, Plan},
    store::{JobUsers, StateDir, create_job, remove_users},
    systemd::{Manager, Scope, Told},
    unit::{self, Context, Features, ManagerKind, RunSpec, SPEC_VERSION, UnitName, Value},
};
use serde_json::{Value as Json, json};

use crate::{
    DISK, PROGRAM, STATE, containers, images,
    measure::{client, in_turns, median, millis, report, run, seconds, timed},
    peers, plans, trees,
};

/// The number of measurements of each side. The sides take turns.
const ROUNDS: usize = 9;

/// Measures one group and prints its lines.
pub fn main(arguments: &[String]) -> ExitCode {
    match arguments.first().map(String::as_str) {
        Some("dag") => dag(),
        // Measure the floor alone, for profilers.
        Some("floor") => println!(
            "{}",
            seconds(floor(&plans::layers(1000, 10, "none"), &["/bin/true"]))
        ),
        Some("size") => size(),
        Some("one") => one(),
        Some("memory") => memory(),
        Some("lines") => lines(),
        Some("matrix") => matrix(),
        Some("mask") => mask(),
        Some("workspace") => trees::workspace(),
        Some("artifact") => trees::artifact(),
        Some("large") => large(),
        Some("rights") => rights(),
        Some("containers") => containers::main(),
        Some("images") => images::main(),
        Some("peers") => peers::main(),
        _ => return ExitCode::from(2),
    }
    ExitCode::SUCCESS
}

fn dag() {
    for sandbox in ["none", "strict"] {
        let plan = plans::layers(1000, 10, sandbox);
        let rounds = if sandbox == "none" { ROUNDS } else { 3 };
        let (ours, floor, ratio) = in_turns(rounds, || run(&plan), || floor(&plan, &["/bin/true"]));
        report(
            &format!("1,000 jobs in layers of 10, sandbox {sandbox}"),
            seconds(ours),
            seconds(floor),
            ratio,
            1.3,
        );
        if sandbox == "none" {
            let (ours, other, ratio) = in_turns(
                ROUNDS,
                || run(&plan),
                || self::floor(&plan, &["/bin/sh", "-c", "/bin/true; exit 0"]),
            );
            let what = "the same against units that start one process, like a runner";
            report(what, seconds(ours), seconds(other), ratio, 1.3);
            let mut on_disk = client(&plan);
            on_disk.args(["--state-dir", DISK]);
            let (ours, floor, ratio) = in_turns(
                3,
                || timed(&mut on_disk),
                || self::floor(&plan, &["/bin/true"]),
            );
            println!(
                "the same with the state on this host's disk\t{}\t{}\t{:.2}\t",
                seconds(ours),
                seconds(floor),
                ratio
            );
        }
    }
}

fn size() {
    let (small, large) = (
        plans::layers(100, 10, "none"),
        plans::layers(5000, 10, "none"),
    );
    let (large, small, ratio) = in_turns(3, || run(&large) / 5000.0, || run(&small) / 100.0);
    report(
        "a job of 5,000 against a job of 100",
        millis(large),
        millis(small),
        ratio,
        1.3,
    );
}

fn one() {
    let plan = plans::one("none", &["true"]);
    let peer = || timed(Command::new("systemd-run").args(["--quiet", "--wait", "true"]));
    let (ours, theirs, ratio) = in_turns(41, || run(&plan), peer);
    report(
        "one job without a sandbox against systemd-run --wait true",
        millis(ours),
        millis(theirs),
        ratio,
        2.0,
    );
    // A run has two units, the supervisor's and the job's. They start at the same time.
    let wait = "systemd-run --quiet --wait true";
    let two = || timed(Command::new("sh").args(["-c", &format!("{wait} & {wait} & wait")]));
    let (two, one, ratio) = in_turns(41, two, peer);
    println!(
        "two units at once by systemd-run --wait true, against one\t{}\t{}\t{ratio:.2}\t",
        millis(two),
        millis(one)
    );
    // All defaults: the sandbox, and the sources of a small git repository.
    let repository = trees::repository(60);
    let defaults =
        json!({ "version": 1, "name": "one", "jobs": { "j": { "steps": [{ "run": ["true"] }] } } });
    let properties = properties_of_a_job();
    let mut typed = client(&defaults);
    typed.current_dir(&repository);
    let same = || {
        let mut command = Command::new("systemd-run");
        command.args(["--quiet", "--wait"]).args(&properties);
        timed(command.arg("true"))
    };
    let (ours, theirs, ratio) = in_turns(21, || timed(&mut typed), same);
    report(
        "one job with all defaults, 60 files in git, against systemd-run with its properties",
        millis(ours),
        millis(theirs),
        ratio,
        2.0,
    );
}

/// Returns the sandbox of a job with all defaults, as options of systemd-run(1). systemd stores the
/// properties of a transient unit as text.
fn properties_of_a_job() -> Vec<String> {
    let own = [
        "Type",
        "Slice",
        "User",
        "Group",
        "WorkingDirectory",
        "Exec",
        "Standard",
        "Log",
    ];
    let mut client = client(&plans::one("strict", &["sleep", "2"]))
        .spawn()
        .expect("the program starts");
    let unit = loop {
        let unit = format!(
            "/run/systemd/transient/nixactions-{}-j0.service",
            last_run()
        );
        if let Ok(text) = fs::read_to_string(unit) {
            break text;
        }
        let ended = client.try_wait().expect("it can be waited for");
        assert!(ended.is_none(), "the job's unit was not seen: {ended:?}");
        thread::sleep(Duration::from_millis(5));
    };
    assert!(client.wait().expect("it can be waited for").success());
    // systemd begins a section anew with each property of another section.
    let mut section = "";
    let of_service = unit.lines().filter(|line| {
        if line.starts_with('[') {
            section = line;
        }
        section == "[Service]"
    });
    of_service
        .filter(|line| line.contains('=') && !own.iter().any(|name| line.starts_with(name)))
        .chain(["DynamicUser=yes"])
        .map(|line| format!("--property={line}"))
        .collect()
}

/// A run of 20,000 jobs: the cost of a job, and the time in which the run is shown.
fn large() {
    let (small, large) = (
        plans::layers(1000, 10, "none"),
        plans::layers(20_000, 10, "none"),
    );
    let (small, large) = (run(&small) / 1000.0, run(&large) / 20_000.0);
    report(
        "a job of 20,000 against a job of 1,000",
        millis(large),
        millis(small),
        large / small,
        1.2,
    );
    let id = last_run();
    for arguments in [vec!["list"], vec!["show", &id]] {
        let time = median(
            (0..5)
                .map(|_| timed(Command::new(PROGRAM).args(&arguments)))
                .collect(),
        );
        let what = format!("`{}` of that run against 100 ms", arguments[0]);
        report(&what, millis(time), millis(0.1), time / 0.1, 1.0);
    }
}

fn memory() {
    let plan = plans::layers(5000, 10, "none");
    let mut child = client(&plan).spawn().expect("the program starts");
    let mut most = 0;
    while child.try_wait().expect("it can be waited for").is_none() {
        most = most.max(supervisor_peak().unwrap_or(0));
        thread::sleep(Duration::from_millis(50));
    }
    report(
        "supervisor at 5,000 jobs, peak resident MB",
        mb(most),
        "30".into(),
        most as f64 / 1024.0 / 30.0,
        1.0,
    );
    let show = plans::one(
        "none",
        &[
            "/bin/sh",
            "-c",
            "grep -E 'RssAnon|VmHWM' /proc/$PPID/status",
        ],
    );
    let output = client(&show)
        .stdout(Stdio::piped())
        .output()
        .expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let own = text
        .lines()
        .find_map(|line| line.split("RssAnon:").nth(1))
        .and_then(kilobytes)
        .unwrap_or(u64::MAX);
    report(
        "a runner's own memory (RssAnon), MB",
        mb(own),
        "3".into(),
        own as f64 / 1024.0 / 3.0,
        1.0,
    );
}

fn lines() {
    const COUNT: u64 = 1_000_000;
    let plan = plans::one("none", &["seq", "1000000"]);
    let expected: String = (1..=COUNT).map(|number| format!("{number}\n")).collect();
    let ours = || {
        let time = synced(&mut client(&plan));
        assert!(
            printed(&last_run()) == expected,
            "the journal has all lines of the job with their fields, in order"
        );
        time
    };
    // Run the peer as a service whose lines carry the same fields as the lines of a job.
    let mut service = vec![
        "--quiet".to_owned(),
        "--wait".to_owned(),
        "--collect".to_owned(),
    ];
    for property in [
        "LogRateLimitIntervalSec=1us",
        "LogRateLimitBurst=4294967295",
    ] {
        service.push(format!("--property={property}"));
    }
    for field in ["RUN=peer-1", "WORKFLOW=peer", "JOB=j0"] {
        service.push(format!("--property=LogExtraFields=NIXACTIONS_{field}"));
    }
    let peer = || {
        synced(Command::new("systemd-run").args(&service).args([
            "sh",
            "-c",
            "seq 1000000 | systemd-cat -t peer",
        ]))
    };
    let (ours, theirs, ratio) = in_turns(3, ours, peer);
    let rate = |time: f64| format!("{:.0}/s", COUNT as f64 / time);
    report(
        "1,000,000 lines, rate against systemd-cat",
        rate(ours),
        rate(theirs),
        1.0 / ratio,
        0.8,
    );
}

fn mask() {
    let (masked, plain) = (plans::printing(100), plans::printing(0));
    let (ours, other, ratio) = in_turns(
        ROUNDS,
        || synced(&mut client(&masked)),
        || synced(&mut client(&plain)),
    );
    report(
        "300,000 lines, 100 secrets masked against none",
        seconds(ours),
        seconds(other),
        ratio,
        1.3,
    );
}

fn matrix() {
    const JOBS: usize = 256;
    const AT_ONCE: usize = 8;
    for sandbox in ["none", "strict"] {
        let plan = plans::matrix(JOBS, AT_ONCE, sandbox);
        let (ours, ideal) = (run(&plan), (JOBS / AT_ONCE) as f64);
        let what = format!("matrix of 256 jobs of 1 s, 8 at once, sandbox {sandbox}, rate");
        report(&what, seconds(ours), seconds(ideal), ideal / ours, 0.95);
    }
}

/// Runs a command and waits until journald has written all its lines.
fn synced(command: &mut Command) -> f64 {
    let start = Instant::now();
    timed(command);
    timed(Command::new("journalctl").arg("--sync"));
    start.elapsed().as_secs_f64()
}

/// Returns the standard output of a run's steps, as stored in the journal.
fn printed(run: &str) -> String {
    let matches = [
        "NIXACTIONS_STREAM=stdout",
        "NIXACTIONS_JOB=j0",
        &format!("NIXACTIONS_RUN={run}"),
    ];
    let output = Command::new("journalctl")
        .args(["--quiet", "--output=cat"])
        .args(matches)
        .output()
        .expect("journalctl starts");
    String::from_utf8(output.stdout).expect("the lines are text")
}

fn last_run() -> String {
    StateDir::open(Path::new(STATE))
        .and_then(|state| state.runs())
        .expect("the state directory is readable")
        .last()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// The cost of each property of the default sandbox for a job: all jobs with it, and without it.
fn rights() {
    const JOBS: usize = 100;
    /// The properties that stay in every unit.
    const BASE: [&str; 5] = [
        "Description",
        "ExecStart",
        "Slice",
        "LogExtraFields",
        "User",
    ];
    let plan = |sandbox: &str| plans::layers(JOBS, JOBS, sandbox);
    let (strict, none) = (plan("strict"), plan("none"));
    let all = |_: &'static str| true;
    let each = |time: f64| millis(time / JOBS as f64);
    let row = |what: &str, with: f64, without: f64| {
        println!(
            "a job with and without {what}\t{}\t{}\t{:.2}\t",
            each(with),
            each(without),
            with / without
        );
    };
    let (with, without, _) = in_turns(
        5,
        || floor_of(&strict, &["/bin/true"], all),
        || floor(&none, &["/bin/true"]),
    );
    row("the default sandbox", with, without);
    let mut names: Vec<&'static str> = Vec::new();
    floor_of(&none, &["/bin/true"], |name| {
        names.push(name);
        true
    });
    let mut more: Vec<&'static str> = Vec::new();
    floor_of(&strict, &["/bin/true"], |name| {
        if !names.contains(&name) && !more.contains(&name) && !BASE.contains(&name) {
            more.push(name);
        }
        true
    });
    for property in more {
        let (with, without, _) = in_turns(
            5,
            || floor_of(&strict, &["/bin/true"], all),
            || floor_of(&strict, &["/bin/true"], |name| name != property),
        );
        row(&format!("`{property}`"), with, without);
    }
}

/// Submits the same units in one raw call, with `command` instead of the runner, and returns their
/// time.
fn floor(plan: &Json, command: &[&str]) -> f64 {
    floor_of(plan, command, |_| true)
}

/// Like [`floor`], with those properties of the jobs that `keep` keeps.
fn floor_of(plan: &Json, command: &[&str], mut keep: impl FnMut(&'static str) -> bool) -> f64 {
    let plan: Plan = serde_json::from_value(plan.clone()).expect("the plan is valid");
    let graph = Graph::new(&plan).expect("the plan is a DAG");
    let state = StateDir::create(Path::new(STATE)).expect("the state directory is writable");
    let run = state
        .create_run(&plan.name)
        .expect("the state directory is writable");
    let spec = RunSpec {
        version: SPEC_VERSION,
        run: run.id().clone(),
        workflow: plan.name.clone(),
        manager: ManagerKind::System,
        created_at: Timestamp::now(),
        program: PROGRAM.into(),
        directory: run.path().to_owned(),
        state_directory: state.path().to_owned(),
        runtime_directory: Path::new("/run/nixactions").join(run.id().as_str()),
        overrides: Env::new(),
        secrets: None,
        inputs: Env::new(),
        path: String::new(),
        has_source: false,
        mounts_source: false,
        roots: Default::default(),
        images: Default::default(),
        disks: Default::default(),
        max_parallel: plan.max_parallel.expect("the plans say"),
        max_jobs: None,
        origin: None,
        notify: Default::default(),
        keep_failed: None,
        delays_shutdown: false,
    };
    for name in graph.names() {
        create_job(&run.job(name), &[]).expect("the run directory is writable");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let elapsed = runtime.block_on(async {
        let manager = Manager::connect(Scope::System).await.expect("the machine's systemd answers");
        let mut signals = manager.signals().await.expect("the machine's systemd sends signals");
        let features = Features::of_version(manager.version().await.expect("the machine's systemd has a version"));
        let context = Context { plan: &plan, graph: &graph, run: &spec, features };
        let jobs: Vec<_> = graph.jobs().collect();
        let pure = unit::pure_success(&plan, &graph);
        let mut made = JobUsers::of_run(run.path(), &unit::home_inside(), Path::new("/bin/sh"))
            .expect("the disk has room");
        let users = jobs
            .iter()
            .filter(|ix| unit::wants_user(&context, **ix))
            .filter_map(|ix| Some((*ix, made.as_mut()?.take().ok()?)))
            .collect();
        let users = unit::Users { jobs: users, ..unit::Users::default() };
        let mut wave = unit::wave(&context, 0, &jobs, &pure, &users);
        for unit in &mut wave.aux {
            if unit.name.as_str().ends_with(".service") {
                unit.properties.retain(|(name, _)| keep(name));
            }
            for (name, value) in &mut unit.properties {
                if *name == "ExecStart" {
                    *value = Value::Exec(command.iter().map(|&word| word.to_owned()).collect());
                }
            }
        }
        let start = Instant::now();
        manager.start(&wave.main, &wave.aux).await.expect("the units start");
        let is_last = |told| matches!(told, Told::Removed(removed) if removed.unit == wave.main.name.as_str());
        while !is_last(signals.recv().await.expect("systemd is there")) {}
        let elapsed = start.elapsed();
        manager.stop(&UnitName::run_slice(&spec.run)).await.expect("the slice stops");
        remove_users(run.path());
        elapsed
    });
    // Keep the run's directory: removing it would make creating files ten times as expensive for
    // some seconds, also for our side.
    elapsed.as_secs_f64()
}

/// Returns the peak resident memory of the running supervisor, in KiB.
fn supervisor_peak() -> Option<u64> {
    let output = Command::new("systemctl")
        .args([
            "show",
            "--property=MainPID",
            "--value",
            &format!("nixactions-{}.service", last_run()),
        ])
        .output()
        .ok()?;
    let pid = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(kilobytes)
}

fn kilobytes(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

fn mb(kilobytes: u64) -> String {
    format!("{:.1}", kilobytes as f64 / 1024.0)
}
