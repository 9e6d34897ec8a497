//! `nixactions shell`: a shell in a running job has what its step has, and ends with the job.

use nixactions_harness::{CommandExt as _, Manager, on_managers, or_skip};
use serde_json::{Value, json};

on_managers!(a_shell_has_what_the_step_has on embedded, embedded_262, system_252, system_257, system_262);
on_managers!(a_shell_in_a_root_has_what_the_step_has on embedded_262, system_252, system_262);
on_managers!(a_users_shell_has_what_the_step_has on user_252, user_262);
on_managers!(a_shell_has_a_terminal_of_its_own on embedded, system_252, system_262);
on_managers!(a_shell_ends_with_its_job on embedded, system_252, system_262);
on_managers!(a_shell_needs_a_step_that_runs on embedded, system_262);

const NONE: [&str; 0] = [];

/// Prints what a process has. Filters of system calls and supplementary groups are not the same.
const STATE: &str = "id -un; pwd; echo $MARK $NIXACTIONS_JOB $HOME; readlink /proc/self/ns/*; cat /proc/self/cgroup /proc/self/limits; grep -E '^(Cap[PEB]|NoNewPrivs|[UG]id)' /proc/self/status";

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
        manager
            .command(&argv)
            .output_within(nixactions_harness::SOON)
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
    std::fs::write(run.workspace("j", "go"), "").expect("the run directory is ours");
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
        compare(manager, json!({ "type": kind, "root": image }), &[]);
    }
}

/// Another process than those of the user's manager may not join a job's control group.
fn a_users_shell_has_what_the_step_has(manager: &Manager) {
    let before = ["systemd-run", "--user", "--quiet", "--pipe", "--wait", "--"];
    compare(manager, json!({ "type": "systemd" }), &before);
}

fn a_shell_has_a_terminal_of_its_own(manager: &Manager) {
    let run = manager.start(&plan(json!({ "type": "systemd" })), &NONE);
    run.wait_for_file("j", "started");
    let shell = format!(
        "stty rows 33 cols 77; exec {} --state-dir {} shell {} j",
        manager.program().display(),
        manager.state_dir().display(),
        run.id()
    );
    let typed = format!(
        "(sleep 1; printf 'test -t 0 && echo i\"\"s-one; stty size; sleep 98731\\r'; sleep 1; printf '\\003'; sleep 1; printf 'echo sta\"\"tus=$?; exit 5\\r'; sleep 2) | script -qec '{shell}' /dev/null"
    );
    let seen = manager
        .command(&["bash", "-c", &typed])
        .output_within(nixactions_harness::SOON);
    let said = String::from_utf8_lossy(&seen.stdout);
    assert!(
        said.contains("is-one") && said.contains("33 77") && said.contains("status=130"),
        "{said}"
    );
    assert_eq!(seen.status.code(), Some(5), "{said}");
    std::fs::write(run.workspace("j", "go"), "").expect("the run directory is ours");
    run.end().exits(0);
}

fn a_shell_ends_with_its_job(manager: &Manager) {
    let run = manager.start(&plan(json!({ "type": "systemd" })), &NONE);
    run.wait_for_file("j", "started");
    let script = "touch inside; trap '' HUP INT TERM; sleep 98732";
    let state = manager.state_dir().display().to_string();
    let shell = manager
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
    std::fs::write(run.workspace("j", "go"), "").expect("the run directory is ours");
    run.end().exits(0);
    let ended = shell.wait_with_output().expect("it can be waited for");
    assert_eq!(ended.status.code(), Some(137));
}

fn a_shell_needs_a_step_that_runs(manager: &Manager) {
    let run = manager.start(&plan(json!({ "type": "systemd" })), &NONE);
    run.wait_for_file("j", "started");
    std::fs::write(run.workspace("j", "go"), "").expect("the run directory is ours");
    let id = run.id().to_owned();
    run.end().exits(0);
    for (job, expected) in [
        ("j", "error: no step of job `j` runs now"),
        ("other", "hint: known: j"),
    ] {
        let state = manager.state_dir().display().to_string();
        let (code, said) = manager.refused(&["--state-dir", &state, "shell", &id, job]);
        assert!(code == 2 && said.contains(expected), "{code}: {said}");
    }
}
