//! Plays a case on a manager: writes its files, runs its plan, does what it says meanwhile and afterwards.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use libtest_mimic::Failed;
use nixactions_harness::{CommandExt as _, Finished, Manager, RUN_DEADLINE, Run, SOON, Signal, wait_for};

use crate::{
    case::{Case, File, Meanwhile},
    expect::{Found, Spoken},
};

/// The exit status of bad usage and bad plans: nothing is started.
const REFUSED: i32 = 2;

/// Plays the case and compares; a difference is an error that shows it and says where all there is has been kept.
pub fn play(file: &File, manager: &Manager, name: &str) -> Result<(), Failed> {
    let directory = manager.dir().join(&file.name);
    let case = file.case(&directory);
    prepare(&case, manager, &directory);
    let plan = manager.write(directory.join("plan.json"), &case.plan);
    let mut arguments = vec!["run".to_owned(), plan.display().to_string(), "--output=json".to_owned()];
    arguments.extend(case.args.iter().cloned());
    let mut command = manager.nixactions_in(&directory, &arguments);
    command.envs(&case.env);

    let mut found =
        Found { manager, directory: &directory, case: &case, finished: None, stderr: String::new(), exit: 0, spoken: Vec::new() };
    if case.expect.exit == REFUSED {
        let output = command.output_within(SOON);
        found.exit = output.status.code().unwrap_or(-1);
        found.stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    } else {
        let run = manager.start_command(command);
        case.meanwhile.iter().for_each(|meanwhile| act(meanwhile, manager, &directory, &run));
        let finished = run.end();
        found.exit = finished.code.unwrap_or(-1);
        found.stderr.clone_from(&finished.stderr);
        found.spoken = speak(&case, manager, &directory, &finished);
        found.finished = Some(finished);
    }
    found.compare(name)
}

/// Makes what is there before: the directory, which jobs may be let write to, the files, and what the setup makes.
fn prepare(case: &Case, manager: &Manager, directory: &Path) {
    manager.write(directory.join(".case"), "");
    fs::set_permissions(manager.file(directory), fs::Permissions::from_mode(0o777)).expect("it is ours");
    for (path, text) in &case.files {
        let path = directory.join(path);
        if text.starts_with("#!") {
            manager.write_executable(path, text);
        } else {
            manager.write(path, text);
        }
    }
    if let Some(script) = &case.setup {
        manager.command_in(directory, &["bash", "-euc", script]).ok();
    }
}

fn act(meanwhile: &Meanwhile, manager: &Manager, directory: &Path, run: &Run<'_>) {
    let (job, path) = meanwhile.once.split_once('/').expect("`once` is `job/path`");
    run.wait_for_file(job, path);
    if meanwhile.interrupt {
        run.signal_client(Signal::SIGINT);
    }
    if meanwhile.kill_supervisor {
        wait_for(SOON, "a supervisor to kill", || run.kill_supervisor().then_some(()));
    }
    if let Some(job) = &meanwhile.kill_runner {
        wait_for(SOON, "a runner to kill", || run.kill_runner(job).then_some(()));
    }
    if !meanwhile.nixactions.is_empty() {
        manager.nixactions_in(directory, &all_of_run(manager, run.id(), &meanwhile.nixactions)).ok();
    }
    if let Some(script) = &meanwhile.bash {
        manager.command_in(directory, &["bash", "-euc", &of_run(manager, run.id(), script)]).ok();
    }
}

/// Puts in what is only known of a run that there is.
fn of_run(manager: &Manager, id: &str, text: &str) -> String {
    text.replace("@RUN_DIR@", &manager.state_dir().join("runs").join(id).display().to_string()).replace("@RUN@", id)
}

fn all_of_run(manager: &Manager, id: &str, arguments: &[String]) -> Vec<String> {
    arguments.iter().map(|argument| of_run(manager, id, argument)).collect()
}

fn speak(case: &Case, manager: &Manager, directory: &Path, run: &Finished) -> Vec<Spoken> {
    let speak = |then: &crate::case::Then| {
        let mut command = match &then.bash {
            Some(script) => manager.command_in(directory, &["bash", "-euc", &of_run(manager, &run.id, script)]),
            None => manager.nixactions_in(directory, &all_of_run(manager, &run.id, &then.nixactions)),
        };
        let output = command.output_within(RUN_DEADLINE);
        let text = [output.stdout, output.stderr].concat();
        Spoken { exit: output.status.code().unwrap_or(-1), text: String::from_utf8_lossy(&text).into_owned() }
    };
    case.then.iter().map(speak).collect()
}
