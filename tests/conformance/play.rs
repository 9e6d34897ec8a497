//! Plays a case on a manager: writes its files, runs its plan, does what it says meanwhile and
//! afterwards.

use std::{
    collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command,
};

use libtest_mimic::Failed;
use nixactions_harness::{
    CommandExt as _, Finished, Manager, RUN_DEADLINE, Run, SOON, Signal, wait_for,
};

use crate::{
    case::{Case, Container, File, Meanwhile, Then, in_root},
    expect::{Found, Spoken},
    place::Place,
};

/// The exit statuses of what cannot be started.
const REFUSED: [i32; 2] = [2, 3];

/// Plays the case and compares; a difference is an error that shows it and says where all there is
/// has been kept.
///
/// With a `container`, the jobs have its root file system.
pub fn play(
    file: &File,
    manager: &Manager,
    container: Option<Container<'_>>,
    name: &str,
) -> Result<(), Failed> {
    let directory = manager.dir().join(name.replace("::", "-"));
    let mut case = file.case(&directory);
    if let Some(container) = container {
        let others = case.runs.values_mut().filter_map(|run| run.plan.as_mut());
        for plan in [&mut case.plan].into_iter().chain(others) {
            *plan = in_root(plan, container, &directory);
        }
    }
    prepare(&case, manager, &directory);
    let place = Place {
        manager,
        directory: &directory,
        runs: Vec::new(),
    };
    let command = place.run("plan.json", &case.plan, &case.args, &case.env);
    if REFUSED.contains(&case.expect.exit) {
        refused(command, place, &case).compare(name)
    } else {
        started(command, place, &case, name)
    }
}

/// Takes what a command printed that is to be refused.
fn refused<'a>(mut command: Command, place: Place<'a>, case: &'a Case) -> Found<'a> {
    let output = command.output_within(SOON);
    let (exit, stderr) = (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        stdout, "",
        "what is refused starts nothing, and has no events"
    );
    Found {
        place,
        plan: &case.plan,
        expect: &case.expect,
        finished: None,
        stderr,
        exit,
        then: &[],
        spoken: Vec::new(),
    }
}

/// Follows the run that the command starts, and those that come meanwhile, to their ends.
fn started(command: Command, mut place: Place<'_>, case: &Case, name: &str) -> Result<(), Failed> {
    let manager = place.manager;
    let run = manager.start_command(command);
    place.runs.push(("RUN".to_owned(), run.id().to_owned()));
    let mut runs = BTreeMap::from([("RUN".to_owned(), run)]);
    let mut over = BTreeMap::new();
    for meanwhile in &case.meanwhile {
        act(meanwhile, case, &mut place, &mut runs, &mut over);
    }
    over.extend(runs.into_iter().map(|(name, run)| (name, run.end())));
    let found = |(label, finished): (String, Finished)| {
        let other = case.runs.get(&label);
        let (then, spoken) = if other.is_some() {
            (&[][..], Vec::new())
        } else {
            (&*case.then, speak(case, &place))
        };
        Found {
            place: place.clone(),
            plan: other
                .and_then(|other| other.plan.as_ref())
                .unwrap_or(&case.plan),
            expect: other.map_or(&case.expect, |other| &other.expect),
            exit: finished.code.unwrap_or(-1),
            stderr: finished.stderr.clone(),
            finished: Some(finished),
            then,
            spoken,
        }
    };
    over.into_iter().try_for_each(|run| {
        let kept = if run.0 == "RUN" {
            name.to_owned()
        } else {
            format!("{name}-{}", run.0)
        };
        found(run).compare(&kept)
    })
}

/// Makes what is there before: the directory, which jobs may be let write to, the files, and what
/// the setup makes.
fn prepare(case: &Case, manager: &Manager, directory: &Path) {
    manager.write(directory.join(".case"), "");
    fs::set_permissions(manager.file(directory), fs::Permissions::from_mode(0o777))
        .expect("it is ours");
    for (path, text) in &case.files {
        let path = directory.join(path);
        if text.starts_with("#!") {
            manager.write_executable(path, text);
        } else {
            manager.write(path, text);
        }
    }
    if let Some(script) = &case.setup {
        manager
            .command_in(directory, &["bash", "-euc", script])
            .ok();
    }
}

fn act<'a>(
    meanwhile: &Meanwhile,
    case: &Case,
    place: &mut Place<'a>,
    runs: &mut BTreeMap<String, Run<'a>>,
    over: &mut BTreeMap<String, Finished>,
) {
    if let Some(once) = &meanwhile.once {
        let (run, file) = once.split_once(':').unwrap_or(("RUN", once));
        let (job, path) = file.split_once('/').expect("`once` is `job/path`");
        runs[run].wait_for_file(job, path);
    }
    if let Some(event) = &meanwhile.event {
        let (run, kind) = event.split_once(' ').expect("`event` is `run kind`");
        runs[run].wait_for_event(kind, None);
    }
    if let Some(name) = &meanwhile.over {
        over.insert(
            name.clone(),
            runs.remove(name).expect("there is such a run").end(),
        );
    }
    if meanwhile.interrupt {
        runs["RUN"].signal_client(Signal::SIGINT);
    }
    if meanwhile.kill_supervisor {
        wait_for(SOON, "a supervisor to kill", || {
            runs["RUN"].kill_supervisor().then_some(())
        });
    }
    if let Some(job) = &meanwhile.kill_runner {
        wait_for(SOON, "a runner to kill", || {
            runs["RUN"].kill_runner(job).then_some(())
        });
    }
    if !meanwhile.nixactions.is_empty() {
        place.nixactions(&meanwhile.nixactions).ok();
    }
    if let Some(script) = &meanwhile.bash {
        place.bash(script).ok();
    }
    if let Some(name) = &meanwhile.start {
        let other = &case.runs[name];
        let command = match &other.rerun {
            Some(arguments) => place.nixactions(
                &[
                    &["rerun".to_owned(), "--output=json".to_owned()],
                    arguments.as_slice(),
                ]
                .concat(),
            ),
            None => place.run(
                &format!("{name}.json"),
                other.plan.as_ref().unwrap_or(&case.plan),
                &other.args,
                &case.env,
            ),
        };
        let run = place.manager.start_command(command);
        place.runs.push((name.clone(), run.id().to_owned()));
        runs.insert(name.clone(), run);
    }
}

fn speak(case: &Case, place: &Place<'_>) -> Vec<Spoken> {
    let speak = |then: &Then| {
        let mut command = then.bash.as_ref().map_or_else(
            || place.nixactions(&then.nixactions),
            |script| place.bash(script),
        );
        let output = command.output_within(RUN_DEADLINE);
        let text = [output.stdout, output.stderr].concat();
        Spoken {
            exit: output.status.code().unwrap_or(-1),
            text: String::from_utf8_lossy(&text).into_owned(),
        }
    };
    case.then.iter().map(speak).collect()
}
