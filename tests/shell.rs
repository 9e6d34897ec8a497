//! `nixactions shell`: a shell in a running job has what its step has, and ends with the job.

use std::{
    io::{Read as _, Write as _},
    path::Path,
    process::{Child, Command},
    time::{Duration, Instant},
};

use linux_keyutils::{KeyRing, KeyRingIdentifier};
use nixactions_harness::{
    CommandExt as _, Kind, Manager, Run, SOON, ended_within, on_managers, or_skip, wait_for,
};
use pty_process::{Size, blocking::Pty};
use serde_json::{Value, json};

on_managers!(a_shell_has_what_the_step_has on embedded, embedded_262, system_252, system_257, system_262);
on_managers!(a_shell_in_a_root_has_what_the_step_has on embedded_262, system_252, system_262);
on_managers!(a_users_shell_has_what_the_step_has on user_252, user_262);
on_managers!(a_shell_has_a_terminal_of_its_own on embedded, system_252, system_262);
on_managers!(a_large_text_is_typed_into_a_shell on embedded, system_252, system_262);
on_managers!(the_callers_terminal_stays_out_of_the_job on embedded, system_252, system_262);
on_managers!(a_signal_sets_the_callers_terminal_back on embedded, system_262);
on_managers!(a_stranger_cannot_pose_as_the_step on system_252, system_262);
on_managers!(a_shell_lacks_what_its_caller_holds on embedded, system_252, system_262);
on_managers!(another_user_gets_a_hint on system_262, user_262);
on_managers!(a_shell_ends_with_its_job on embedded, system_252, system_262);
on_managers!(a_shell_needs_a_step_that_runs on embedded, system_262);
on_managers!(a_failed_job_is_held_for_a_shell on embedded, embedded_262, system_252, system_262);
on_managers!(a_failed_job_in_a_root_is_held_for_a_shell on embedded_262, system_252, system_262);
on_managers!(a_users_failed_job_is_held_for_a_shell on user_252, user_262);
on_managers!(only_the_last_failure_of_a_job_is_held on system_262);
on_managers!(a_step_asks_for_its_job_to_be_held on embedded, system_252, system_257, system_262);
on_managers!(a_step_asks_in_vain_where_the_run_holds_no_jobs on embedded, system_252, system_262, user_262);
on_managers!(a_job_is_held_no_longer_than_its_bound_and_its_timeout on embedded, system_262);
on_managers!(a_lost_terminal_ends_a_held_job on embedded, system_262);
on_managers!(a_cancellation_ends_a_held_job on embedded, system_252, system_262);

const NONE: [&str; 0] = [];

/// Prints what a process has. Filters of system calls are not the same.
const STATE: &str = "id -un; umask; pwd; echo $MARK $NIXACTIONS_JOB $HOME; readlink /proc/self/ns/*; cat /proc/self/cgroup /proc/self/limits; grep -E '^(Cap[PEB]|NoNewPrivs|[UG]id|Groups)' /proc/self/status";

/// A plan with a job that waits for the file `go`.
fn plan(executor: Value) -> Value {
    let script = format!("({STATE}) > state; touch started; until [ -e go ]; do sleep 0.05; done");
    json!({ "version": 1, "name": "shell", "executors": { "e": executor }, "jobs": { "j": {
        "executor": "e", "steps": [{ "bash": script, "env": { "MARK": "a mark" } }] } } })
}

/// Runs a command beside a step, and compares what both have.
fn compare(manager: &Manager, executor: Value, before: &[&str]) {
    let run = manager.start(&plan(executor), &NONE);
    run.wait_for_file("j", "started");
    let program = manager.program().display().to_string();
    let state = manager.state_dir().display().to_string();
    let arguments = ["--state-dir", &state, "shell", run.id(), "j", "--"];
    let shell = |command: &[&str]| {
        let argv = [before, &[program.as_str()], &arguments, command].concat();
        manager.command(&argv).output_within(SOON)
    };
    let seen = shell(&["sh", "-c", STATE]);
    let said = String::from_utf8_lossy(&[&*seen.stdout, &seen.stderr].concat()).into_owned();
    let file = std::fs::read_to_string(run.workspace("j", "state")).expect("the step wrote it");
    assert_eq!(String::from_utf8_lossy(&seen.stdout), file, "{said}");
    assert!(file.contains("a mark j "), "{file}");
    // systemd-run takes `$$` for one `$`.
    let killed = if before.is_empty() {
        "kill -9 $$"
    } else {
        "kill -9 $$$$"
    };
    for (script, code) in [("exit 7", 7), (killed, 137)] {
        let seen = shell(&["sh", "-c", script]);
        assert_eq!(seen.status.code(), Some(code), "{script}: {seen:?}");
    }
    assert_eq!(shell(&["/no/such/program"]).status.code(), Some(3));
    run.release("j", "go");
    run.end().exits(0);
}

fn a_shell_has_what_the_step_has(manager: &Manager) {
    for sandbox in ["strict", "relaxed", "none"] {
        compare(
            manager,
            json!({ "type": "systemd", "sandbox": sandbox }),
            &[],
        );
    }
}

fn a_shell_in_a_root_has_what_the_step_has(manager: &Manager) {
    let image = or_skip!(manager.image());
    for kind in ["systemd", "nspawn"] {
        for mode in ["isolated", "shared"] {
            let executor = json!({ "type": kind, "root": image, "mode": mode });
            compare(manager, executor, &[]);
        }
    }
}

/// Another process than those of the user's manager may not join a job's control group.
fn a_users_shell_has_what_the_step_has(manager: &Manager) {
    let before = ["systemd-run", "--user", "--quiet", "--pipe", "--wait", "--"];
    compare(manager, json!({ "type": "systemd" }), &before);
}

/// A terminal on which a test types.
struct Typist {
    pty: Pty,
    child: Child,
    seen: Vec<u8>,
    /// The part that was waited for.
    looked: usize,
}

impl Typist {
    /// Runs a command of a manager's machine on a terminal. `outside` gets the terminal, too.
    fn new(command: Command) -> Self {
        let (pty, pts) = pty_process::blocking::open().expect("there are terminals");
        pty.resize(Size::new(33, 77)).expect("it has a size");
        let child = pty_process::blocking::Command::from(command)
            .spawn(pts)
            .expect("it can be started");
        let flags = rustix::fs::fcntl_getfl(&pty).expect("it is open");
        rustix::fs::fcntl_setfl(&pty, flags | rustix::fs::OFlags::NONBLOCK).expect("it is open");
        Self {
            pty,
            child,
            seen: Vec::new(),
            looked: 0,
        }
    }

    fn types(&mut self, keys: &str) {
        let mut rest = keys.as_bytes();
        wait_for(SOON, "the keys to be taken", || {
            self.reads();
            rest = &rest[self.pty.write(rest).unwrap_or(0)..];
            rest.is_empty().then_some(())
        });
    }

    fn reads(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = self.pty.read(&mut buffer) {
            self.seen.extend(&buffer[..count]);
        }
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// Waits for a text after the last one that was waited for.
    fn sees(&mut self, text: &str) {
        let end = Instant::now() + SOON;
        loop {
            self.reads();
            let said = self.said();
            if let Some(at) = said[self.looked..].find(text) {
                self.looked += at + text.len();
                return;
            }
            assert!(Instant::now() < end, "waited in vain for `{text}`: {said}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn ends(mut self) -> (Option<i32>, String) {
        let status = wait_for(SOON, "the program's end", || {
            self.reads();
            self.child.try_wait().expect("it can be waited for")
        });
        self.reads();
        (status.code(), self.said())
    }
}

/// Returns the path that a file of the host has in the manager's machine.
fn inside(manager: &Manager, path: &Path) -> String {
    let relative = path.strip_prefix(manager.file("/")).unwrap_or(path);
    Path::new("/").join(relative).display().to_string()
}

/// Returns a shell on a terminal of the manager's machine that runs a script, in which
/// `$SHELL_OF_JOB` opens a shell in the job `j`.
fn script(manager: &Manager, run: &Run<'_>, script: &str) -> Command {
    let shell = format!(
        "{} --state-dir {} shell {} j",
        manager.program().display(),
        manager.state_dir().display(),
        run.id()
    );
    let script = script.replace("$SHELL_OF_JOB", &shell);
    let file = manager.write_executable("script.sh", format!("#!/bin/bash\n{script}\n"));
    manager.command(&["script", "-qec", &inside(manager, &file), "/dev/null"])
}

fn a_shell_has_a_terminal_of_its_own(manager: &Manager) {
    let run = manager.start(&plan(json!({ "type": "systemd" })), &NONE);
    run.wait_for_file("j", "started");
    let mut typist = Typist::new(script(
        manager,
        &run,
        "stty rows 33 cols 77; stty -a > before; $SHELL_OF_JOB; code=$?; stty rows 33 cols 77; stty -a | cmp - before && echo restored; exit $code",
    ));
    typist.types("test -t 0 && echo is\"\"-one; tty; stty size; echo TERM=\"\"$TERM\r");
    typist.sees("is-one");
    typist.sees("33 77");
    typist.pty.resize(Size::new(22, 55)).expect("it has a size");
    typist.types("until [ \"$(stty size)\" = '22 55' ]; do sleep 0.05; done; echo res\"\"ized\r");
    typist.sees("resized");
    // The shell itself would miss a key between two commands.
    typist.types("sh -c 'touch inside; exec sleep 98731'\r");
    run.wait_for_file("j", "inside");
    typist.types("\u{3}");
    // The terminal forgets keys that were typed before it, and the shell those before its prompt.
    typist.sees("^C");
    typist.sees("$ ");
    typist.types("echo sta\"\"tus=$?\r");
    typist.sees("status=130");
    typist.types("exit 5\r");
    let (code, said) = typist.ends();
    assert!(code == Some(5) && said.contains("restored"), "{said}");
    run.release("j", "go");
    run.end().exits(0);
}

/// A program that neither reads nor is read blocks nobody.
fn a_large_text_is_typed_into_a_shell(manager: &Manager) {
    let run = manager.start(&plan(json!({ "type": "systemd" })), &NONE);
    run.wait_for_file("j", "started");
    let mut typist = Typist::new(script(manager, &run, "exec $SHELL_OF_JOB -- cat"));
    // A line of the terminal has at most 4,095 bytes (termios(3)).
    typist.types(&format!("{}\r", "x".repeat(999)).repeat(400));
    typist.types("the end\r\u{4}");
    let (code, said) = typist.ends();
    assert_eq!(code, Some(0), "{}", said.len());
    assert_eq!(
        said.matches("the end").count(),
        2,
        "typed and printed: {}",
        said.len()
    );
    run.release("j", "go");
    run.end().exits(0);
}

/// The job gets the files of a command line, but not the terminals.
fn the_callers_terminal_stays_out_of_the_job(manager: &Manager) {
    let run = manager.start(&plan(json!({ "type": "systemd" })), &NONE);
    run.wait_for_file("j", "started");
    let look = "ls -l /proc/self/fd | sed s/.*-..//; ls -l /dev/tty; ps -o tty= -p $$";
    for line in [
        format!("exec 9<>/dev/tty; tty; $SHELL_OF_JOB -- bash -c '{look}' | cat"),
        format!("tty; echo x | $SHELL_OF_JOB -- bash -c '{look}'"),
        format!("tty; echo x | $SHELL_OF_JOB -- bash -c '{look}' 2>&1 | cat"),
    ] {
        let (code, said) = Typist::new(script(manager, &run, &line)).ends();
        assert_eq!(code, Some(0), "{line}: {said}");
        let own = said.lines().next().unwrap_or_default().trim().to_owned();
        assert!(own.starts_with("/dev/"), "{said}");
        let others = said.lines().skip(1).filter(|other| other.trim() == own);
        assert_eq!(others.count(), 0, "{line}: {said}");
    }
    run.release("j", "go");
    run.end().exits(0);
}

fn a_signal_sets_the_callers_terminal_back(manager: &Manager) {
    let run = manager.start(&plan(json!({ "type": "systemd" })), &NONE);
    run.wait_for_file("j", "started");
    let mut typist = Typist::new(script(
        manager,
        &run,
        "stty -a > before; $SHELL_OF_JOB; stty -a | cmp - before && echo restored",
    ));
    typist.types("touch inside\r");
    run.wait_for_file("j", "inside");
    let program = manager.program().display();
    let pattern = format!("^{program} --state-dir .* shell {} j$", run.id());
    manager.command(&["pkill", "-TERM", "-f", &pattern]).ok();
    let (_, said) = typist.ends();
    assert!(said.contains("restored"), "{said}");
    run.release("j", "go");
    run.end().exits(0);
}

/// A process of another user may have a runner's arguments, be there before the runner, and be in
/// a control group with the name of the job's unit.
fn a_stranger_cannot_pose_as_the_step(manager: &Manager) {
    let job = inside(manager, &manager.run_dir("shell-1").join("jobs/j"));
    // Its child is older than the step, and has another parent than systemd's.
    let pose = format!(
        "mkdir -p /sys/fs/cgroup/stranger/nixactions-shell-1-j.service
        until [ -e {job} ]; do sleep 0.01; done
        dir={job}; while [ $dir != / ]; do chmod a+x $dir; dir=${{dir%/*}}; [ $dir ] || break; done
        echo $$ > /sys/fs/cgroup/stranger/nixactions-shell-1-j.service/cgroup.procs
        exec setpriv --reuid=4321 --clear-groups bash -c \
            'exec -a /x/nixactions-runner find {job} -maxdepth 0 -exec sleep 98733 \\;'"
    );
    let mut stranger = manager
        .command(&["bash", "-c", &pose])
        .spawn()
        .expect("it can be started");
    let run = manager.start(&plan(json!({ "type": "systemd" })), &NONE);
    run.wait_for_file("j", "started");
    assert_eq!(run.id(), "shell-1");
    wait_for(SOON, "the stranger's child", || {
        let found = manager.command(&["pgrep", "-f", "^sleep 98733"]).output();
        found
            .expect("it can be started")
            .status
            .success()
            .then_some(())
    });
    let shell = script(
        manager,
        &run,
        "exec $SHELL_OF_JOB -- sh -c 'id -u; echo $MARK'",
    )
    .ok();
    let (user, mark) = shell.split_once('\n').expect("two lines");
    assert!(user != "4321" && mark.trim() == "a mark", "{shell}");
    manager.command(&["pkill", "-f", "[s]leep 98733"]).ok();
    stranger.wait().expect("it can be waited for");
    run.release("j", "go");
    run.end().exits(0);
}

/// Keys in the caller's session keyring, and files that the caller has open.
fn a_shell_lacks_what_its_caller_holds(manager: &Manager) {
    // Root sees the keys of other tests as well.
    let name = format!("nixactions-test-{:?}", std::thread::current().id());
    let ring = KeyRing::from_special_id(KeyRingIdentifier::Session, true);
    let key = ring.and_then(|ring| ring.add_key(&name, b"secret"));
    key.expect("the kernel has keys");
    let run = manager.start(&plan(json!({ "type": "systemd" })), &NONE);
    run.wait_for_file("j", "started");
    let look = "cat /proc/keys; ls /proc/self/fd";
    let line = format!("cat /proc/keys; exec 9</etc/passwd; $SHELL_OF_JOB -- sh -c '{look}' | cat");
    let said = script(manager, &run, &line).ok();
    let found = said.matches(&name).count();
    assert_eq!(found, 1, "the caller alone has it: {said}");
    assert!(!said.lines().any(|line| line.trim() == "9"), "{said}");
    run.release("j", "go");
    run.end().exits(0);
}

fn a_shell_ends_with_its_job(manager: &Manager) {
    let run = manager.start(&plan(json!({ "type": "systemd" })), &NONE);
    run.wait_for_file("j", "started");
    let script = "touch inside; trap '' HUP INT TERM; sleep 98732";
    let state = manager.state_dir().display().to_string();
    let mut shell = manager
        .nixactions(&[
            "--state-dir",
            &state,
            "shell",
            run.id(),
            "j",
            "--",
            "sh",
            "-c",
            script,
        ])
        .spawn()
        .expect("it can be started");
    run.wait_for_file("j", "inside");
    run.release("j", "go");
    run.end().exits(0);
    let ended = ended_within(&mut shell, SOON).expect("systemd ends it");
    assert_eq!(ended.code(), Some(137));
}

fn a_shell_needs_a_step_that_runs(manager: &Manager) {
    let run = manager.start(&plan(json!({ "type": "systemd" })), &NONE);
    run.wait_for_file("j", "started");
    run.release("j", "go");
    let id = run.id().to_owned();
    run.end().exits(0);
    for (job, expected) in [
        ("j", "error: no step of the job runs now"),
        ("other", "hint: known: j"),
    ] {
        let state = manager.state_dir().display().to_string();
        let (code, said) = manager.refused(&["--state-dir", &state, "shell", &id, job]);
        assert!(code == 2 && said.contains(expected), "{code}: {said}");
    }
}

/// Root alone enters jobs of the system's manager, and a user those of the own one from within it.
fn another_user_gets_a_hint(manager: &Manager) {
    let run = manager.start(&plan(json!({ "type": "systemd" })), &NONE);
    run.wait_for_file("j", "started");
    let (program, unit, directory) = (
        manager.program().display().to_string(),
        format!("nixactions-{}-j.service", run.id()),
        inside(manager, &manager.run_dir(run.id())),
    );
    let enter = [&program, "enter", &unit, &directory, "true"];
    let seen = if manager.kind() == Kind::User {
        manager.command(&enter).output_within(SOON)
    } else {
        let argv = [&["setpriv", "--reuid=4321", "--clear-groups"], &enter[..]].concat();
        manager.command(&argv).output_within(SOON)
    };
    let said = String::from_utf8_lossy(&seen.stderr);
    let is_told = said.contains("systemd-run --user");
    assert!(!seen.status.success() && is_told, "{said}");
    run.release("j", "go");
    run.end().exits(0);
}

/// Fails a job, opens a shell in it, and follows the run to its end.
fn keep(manager: &Manager, executor: Value, before: &[&str]) {
    let serves =
        json!({ "name": "serves", "bash": "sleep 98735 & (sleep 98736 &); setsid sleep 98737 &" });
    let step = json!({ "name": "fails", "bash": "echo here > mark; echo K=written >> $NIXACTIONS_ENV; exit 3", "env": { "MARK": "a mark" } });
    let plan = json!({ "version": 1, "name": "kept", "executors": { "e": executor }, "jobs": { "j": {
        "executor": "e", "steps": [serves, step, { "bash": "cat mark", "condition": "always()" }] } } });
    let run = manager.start(&plan, &["--keep-failed=10m"]);
    run.wait_for_event("jobHeld", Some("j"));
    let state = manager.state_dir().display().to_string();
    let shown = manager
        .nixactions(&["--state-dir", &state, "show", run.id()])
        .ok();
    let command = format!("`nixactions shell {} j`", run.id());
    assert!(shown.contains(&command), "{shown}");
    let program = manager.program().display().to_string();
    let arguments = [&program, "--state-dir", &state, "shell", run.id(), "j"];
    let look = [
        "--",
        "sh",
        "-c",
        "cat mark; echo $MARK $K; echo there > mark",
    ];
    let seen = manager
        .command(&[before, &arguments, &look].concat())
        .output_within(SOON);
    assert_eq!(
        String::from_utf8_lossy(&seen.stdout),
        "here\na mark written\n",
        "{seen:?}"
    );
    let run = run.end().exits(1);
    assert_eq!(run.verdict("j"), "failure/failure", "{run}");
    assert_eq!(run.reason("j"), "step fails: exit status 3", "{run}");
    assert_eq!(run.lines("j"), ["there"], "{run}");
    let told = run.events.iter().any(|line| {
        let text = line["event"]["message"].as_str().unwrap_or_default();
        text.contains(&command)
    });
    assert!(told, "{:?}", run.events);
    run.leaves_nothing(manager);
}

fn a_failed_job_is_held_for_a_shell(manager: &Manager) {
    for sandbox in ["strict", "none"] {
        let executor = json!({ "type": "systemd", "sandbox": sandbox });
        keep(manager, executor, &[]);
    }
}

fn a_failed_job_in_a_root_is_held_for_a_shell(manager: &Manager) {
    let image = or_skip!(manager.image());
    for kind in ["systemd", "nspawn"] {
        keep(manager, json!({ "type": kind, "root": image }), &[]);
    }
}

fn a_users_failed_job_is_held_for_a_shell(manager: &Manager) {
    let before = ["systemd-run", "--user", "--quiet", "--pipe", "--wait", "--"];
    keep(manager, json!({ "type": "systemd" }), &before);
}

/// Neither steps that may fail nor attempts before the last one, and no second time.
fn only_the_last_failure_of_a_job_is_held(manager: &Manager) {
    let fails = |name: &str| json!({ "name": name, "bash": "exit 3" });
    let plan = json!({ "version": 1, "name": "held", "jobs": {
        "tolerated": { "steps": [{ "bash": "exit 3", "continueOnError": true }] },
        "retried": { "retry": { "maxAttempts": 3, "minTime": 0 }, "steps": [fails("a")] },
        "twice": { "steps": [fails("b"), { "name": "c", "bash": "exit 4", "condition": "always()" }] },
        "skipped": { "steps": [fails("d")], "condition": "failure()" },
    } });
    let run = manager.run(&plan, &["--keep-failed=1s"]).exits(1);
    let mut held: Vec<_> = run
        .events
        .iter()
        .filter(|event| event["event"]["type"] == "jobHeld")
        .filter_map(|event| event["event"]["job"].as_str())
        .collect();
    held.sort_unstable();
    assert_eq!(held, ["retried", "twice"], "{run}");
    assert_eq!(run.job("retried")["attempts"], 3, "{run}");
    let (code, said) = manager.refused(&["run", "plan.json", "--keep-failed=soon"]);
    assert!(code == 2 && said.contains("invalid time `soon`"), "{said}");
}

/// The job goes on as if nothing had happened. It is held once.
fn a_step_asks_for_its_job_to_be_held(manager: &Manager) {
    let image = or_skip!(manager.image());
    for executor in [
        json!({ "type": "systemd" }),
        json!({ "type": "nspawn", "root": image }),
        json!({ "type": "nspawn", "root": image, "mode": "shared" }),
    ] {
        let asks = json!({ "name": "asks", "bash": "echo here > mark; echo ::hold::; echo after", "env": { "MARK": "a mark" } });
        let plan = json!({ "version": 1, "name": "asked", "executors": { "e": executor }, "jobs": { "j": {
            "executor": "e", "steps": [asks, { "bash": "cat mark" }, { "name": "fails", "bash": "echo ::hold::; exit 3" }] } } });
        let run = manager.start(&plan, &["--keep-failed=10m"]);
        run.wait_for_event("jobHeld", Some("j"));
        let state = manager.state_dir().display().to_string();
        let look = ["sh", "-c", "cat mark; echo $MARK; echo there > mark"];
        let shell = ["--state-dir", &state, "shell", run.id(), "j", "--"];
        let seen = manager.nixactions(&[&shell[..], &look].concat()).ok();
        assert_eq!(seen, "here\na mark\n");
        let run = run.end().exits(1);
        assert_eq!(run.lines("j"), ["after", "there"], "{run}");
        assert_eq!(run.reason("j"), "step fails: exit status 3", "{run}");
        let is_held = |event: &&Value| event["event"]["type"] == "jobHeld";
        assert_eq!(run.events.iter().filter(is_held).count(), 1, "{run}");
        run.leaves_nothing(manager);
    }
}

fn a_step_asks_in_vain_where_the_run_holds_no_jobs(manager: &Manager) {
    let asks = "echo ::hold::; echo ::HOLD::now; echo after";
    let plan =
        json!({ "version": 1, "name": "vain", "jobs": { "j": { "steps": [{ "bash": asks }] } } });
    let run = manager.run(&plan, &NONE).exits(0);
    assert_eq!(run.lines("j"), ["after"], "{run}");
    let told = run.events.iter().filter(|line| {
        let text = line["event"]["message"].as_str().unwrap_or_default();
        text.contains("`::hold::` has no effect")
    });
    assert_eq!(told.count(), 1, "{:?}", run.events);
}

fn a_job_is_held_no_longer_than_its_bound_and_its_timeout(manager: &Manager) {
    for (bound, timeout) in [("--keep-failed=1s", 600), ("--keep-failed", 2)] {
        let cleans = json!({ "bash": "echo cleaned", "condition": "failure()" });
        let plan = json!({ "version": 1, "name": "bound", "jobs": { "j": {
            "timeout": timeout, "steps": [{ "name": "fails", "bash": "exit 3" }, cleans] } } });
        let run = manager.run(&plan, &[bound]).exits(1);
        assert_eq!(run.verdict("j"), "failure/failure", "{run}");
        assert_eq!(run.reason("j"), "step fails: exit status 3", "{run}");
        assert_eq!(run.lines("j"), ["cleaned"], "{run}");
        run.leaves_nothing(manager);
    }
}

fn a_cancellation_ends_a_held_job(manager: &Manager) {
    let fails = || json!([{ "name": "fails", "bash": "exit 3" }]);
    let after = json!({ "needs": ["j"], "condition": "always()", "steps": fails() });
    let plan = json!({ "version": 1, "name": "cancelled",
        "jobs": { "j": { "steps": fails() }, "after": after } });
    let run = manager.start(&plan, &["--keep-failed"]);
    run.wait_for_event("jobHeld", Some("j"));
    let state = manager.state_dir().display().to_string();
    manager
        .nixactions(&["--state-dir", &state, "cancel", run.id()])
        .ok();
    let run = run.end();
    assert_eq!(run.verdict("j"), "failure/failure", "{run}");
    // It starts after the cancellation, so nothing would end it.
    assert_eq!(run.verdict("after"), "failure/failure", "{run}");
    run.leaves_nothing(manager);
}

fn a_lost_terminal_ends_a_held_job(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "lost", "jobs": { "j": {
        "steps": [{ "name": "fails", "bash": "exit 3" }] } } });
    let run = manager.start(&plan, &["--keep-failed"]);
    run.wait_for_event("jobHeld", Some("j"));
    let mut typist = Typist::new(script(manager, &run, "exec $SHELL_OF_JOB"));
    typist.types("touch inside\r");
    run.wait_for_file("j", "inside");
    drop(typist.pty);
    run.end().exits(1);
    typist.child.wait().expect("it can be waited for");
}
