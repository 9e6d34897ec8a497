//! Signals to a client while it starts a run: from the first byte that it writes, a signal cancels
//! the run or leaves nothing of it.

use std::{
    fs,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nixactions_harness::{
    CommandExt as _, Manager, RUN_DEADLINE, SOON, Signal, bash, ended_within, on_managers, wait_for,
};
use serde_json::{Value, json};

on_managers!(a_signal_during_the_start_cancels_or_leaves_nothing on embedded, embedded_262, system_252, system_262, user_262);
on_managers!(a_signal_during_the_copy_of_a_large_tree_leaves_nothing on embedded, system_252, system_262, user_262);
on_managers!(a_terminal_that_signals_the_whole_group_ends_no_half_run on embedded);
on_managers!(a_client_without_standard_error_follows_its_run on embedded, system_252);
on_managers!(a_caller_that_ignores_or_blocks_signals_changes_nothing on embedded);

/// The steps of the sweep: about the time that a start takes on a machine that is busy.
const UNTIL: u64 = 150;
const STEP: usize = 3;
/// The points of the sweep over the copy of a large tree.
const POINTS: u32 = 7;

/// Returns a plan whose only job ends by nothing but a signal.
fn endless() -> Value {
    json!({ "version": 1, "name": "sweep", "jobs": { "j": bash("sleep 98721") } })
}

/// Makes a small repository, so that a start also asks git and copies files.
fn repository(manager: &Manager) {
    for number in 0..20 {
        manager.write(format!("src/{number}.txt"), "text\n");
    }
    let script =
        "git init -q . && git add src && git -c user.name=t -c user.email=t@t commit -qm one";
    manager.command(&["sh", "-c", script]).ok();
}

/// Panics unless a client said that its run was cancelled, or died before it could say anything.
fn is_cancelled(status: ExitStatus, delay: u64) {
    let cancelled = status.code() == Some(130) || status.signal() == Some(Signal::SIGINT as i32);
    assert!(cancelled, "after {delay} ms: {status}");
}

/// Panics unless every run that is there was cancelled.
fn are_cancelled(manager: &Manager) {
    for id in manager.runs() {
        let record = manager.run_dir(&id).join("record.json");
        let text = wait_for(RUN_DEADLINE, &format!("the end of {id}"), || {
            // A start that was given up is taken back.
            match fs::read_to_string(&record) {
                Ok(text) => Some(text),
                Err(_) => (!manager.run_dir(&id).exists()).then(String::new),
            }
        });
        if text.is_empty() {
            continue;
        }
        let record: Value = serde_json::from_str(&text).expect("the record is JSON");
        assert_eq!(record["conclusion"], "cancelled", "{id}: {record:#}");
    }
}

fn a_signal_during_the_start_cancels_or_leaves_nothing(manager: &Manager) {
    repository(manager);
    let plan = manager.plan(&endless());
    // On a busy machine the start takes longer.
    let sweep = (0..=10 * UNTIL).step_by(STEP);
    for delay in sweep.take_while(|delay| *delay <= UNTIL || manager.runs().is_empty()) {
        let mut command = manager.nixactions(&["run".as_ref(), plan.as_os_str()]);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a command can be started");
        std::thread::sleep(Duration::from_millis(delay));
        manager.signal(&child, Signal::SIGINT);
        let status = ended_within(&mut child, SOON)
            .unwrap_or_else(|| panic!("after {delay} ms: the signal was lost"));
        is_cancelled(status, delay);
    }
    are_cancelled(manager);
    assert!(!manager.runs().is_empty(), "the sweep was too short");
}

/// The start asks git, lists and copies the tree, and replaces the links of its repository. The
/// sweep covers all of it, however long it takes here.
fn a_signal_during_the_copy_of_a_large_tree_leaves_nothing(manager: &Manager) {
    let script = "
        git init -q tree; cd tree
        for dir in $(seq 40); do
            mkdir $dir; for file in $(seq 50); do echo $file > $dir/$file; done
        done
        head -c 30000000 /dev/urandom > large
        git add .; git -c user.name=t -c user.email=t@t commit -qm one
        mv .git/objects ../objects; ln -s $PWD/../objects .git/objects
        git worktree add -q ../worktree 2>/dev/null";
    manager.command(&["bash", "-ec", script]).ok();
    let plan = manager.plan(&endless());
    let source = |name: &str| format!("--source={}", manager.dir().join(name).display());
    let first = {
        let begin = Instant::now();
        let run = manager.detach(&endless(), &[source("tree")]);
        let took = begin.elapsed();
        manager.nixactions(&["cancel", "--kill", run.id()]).ok();
        run.end();
        manager.nixactions(&["clean", "--keep=0"]).ok();
        took
    };
    let again = manager.detach(&endless(), &[source("tree")]);
    manager.nixactions(&["cancel", "--kill", again.id()]).ok();
    let ended = again.end().id;
    let starts = [
        vec!["run".to_owned(), plan.display().to_string(), source("tree")],
        vec![
            "run".to_owned(),
            plan.display().to_string(),
            source("worktree"),
        ],
        vec!["rerun".to_owned(), ended],
    ];
    let signals = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP];
    for point in 0..POINTS {
        let delay = (first * 5 / 4) * point / POINTS;
        let index = usize::try_from(point).expect("it is small");
        let signal = signals[index % signals.len()];
        for start in &starts {
            let mut child = manager
                .nixactions(start)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("a command can be started");
            std::thread::sleep(delay);
            manager.signal(&child, signal);
            ended_within(&mut child, SOON)
                .unwrap_or_else(|| panic!("{start:?} after {delay:?}: {signal} was lost"));
            manager.settle(signal);
        }
    }
}

/// As Ctrl-C on a terminal does: it signals the client and all that the client has started and
/// that has not left its process group.
fn a_terminal_that_signals_the_whole_group_ends_no_half_run(manager: &Manager) {
    repository(manager);
    let plan = manager.plan(&endless());
    for delay in (0..=UNTIL).step_by(STEP) {
        let mut command: Command = manager.nixactions(&["run".as_ref(), plan.as_os_str()]);
        let mut child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a command can be started");
        std::thread::sleep(Duration::from_millis(delay));
        manager
            .command(&["kill", "-INT", "--", &format!("-{}", child.id())])
            .ok();
        let status = ended_within(&mut child, SOON)
            .unwrap_or_else(|| panic!("after {delay} ms: the signal was lost"));
        is_cancelled(status, delay);
    }
    are_cancelled(manager);
}

/// Runs a shell command line in which `$@` is a client that starts a run.
fn by_shell(manager: &Manager, line: &str, arguments: &[&str]) -> std::process::Output {
    let plan =
        manager.plan(&json!({ "version": 1, "name": "told", "jobs": { "j": bash("true") } }));
    let mut argv = vec!["run".to_owned(), plan.display().to_string()];
    argv.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    let client = manager.nixactions(&argv);
    // The command that enters the machine, if there is one, is all of it passed on.
    let mut command = Command::new("bash");
    command.args(["-c", line, "bash"]).arg(client.get_program());
    command.args(client.get_args());
    if let Some(directory) = client.get_current_dir() {
        command.current_dir(directory);
    }
    for (name, value) in client.get_envs() {
        value.map(|value| command.env(name, value));
    }
    command.output_within(RUN_DEADLINE)
}

fn a_client_without_standard_error_follows_its_run(manager: &Manager) {
    for line in [
        r#""$@" 2>&-"#,
        r#""$@" 2>/dev/full"#,
        // A pipe that nobody reads any more.
        r#"{ "$@" 2>&3 3>&-; } 3> >(exec true) | cat; exit ${PIPESTATUS[0]}"#,
        r#""$@" >&- 2>&-"#,
    ] {
        let output = by_shell(manager, line, &[]);
        assert_eq!(output.status.code(), Some(0), "{line}: {output:?}");
        let output = by_shell(manager, line, &["--detach"]);
        assert_eq!(output.status.code(), Some(0), "{line} --detach: {output:?}");
    }
    // The run's id has no other place.
    let output = by_shell(manager, r#""$@" >/dev/full"#, &["--detach"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("failed to write the output"), "{said}");
}

fn a_caller_that_ignores_or_blocks_signals_changes_nothing(manager: &Manager) {
    for line in [
        r#"trap '' CHLD; exec "$@""#,
        r#"trap '' PIPE INT TERM; exec "$@""#,
    ] {
        let output = by_shell(manager, line, &[]);
        assert_eq!(output.status.code(), Some(0), "{line}: {output:?}");
    }
    let mut command = Command::new("python3");
    let blocked = "import os, signal, sys\n\
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n\
        os.execvp(sys.argv[1], sys.argv[1:])";
    let plan = manager.plan(&endless());
    let client = manager.nixactions(&["run".as_ref(), plan.as_os_str(), "--output=json".as_ref()]);
    command
        .args(["-c", blocked])
        .arg(client.get_program())
        .args(client.get_args());
    if let Some(directory) = client.get_current_dir() {
        command.current_dir(directory);
    }
    let run = manager.start_command(command);
    run.wait_for_event("jobStarted", Some("j"));
    run.signal_client(Signal::SIGINT);
    run.end().exits(130);
}
