//! The real binary on run directories made by hand: everything that reads and shows a run, without
//! any manager.

use std::{
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant, SystemTime},
};

use crate::common::{append, event, finish, finished_run, job, make_run, sample_events, state};
use nixactions::{
    event::EventKind,
    record::Conclusion,
    store::{RunDir, create_job, write_json},
};

fn nixactions(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nixactions"));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("TZ", "UTC");
    command.arg("--state-dir").arg(state).stdin(Stdio::null());
    command
}

fn run(state: &Path, args: &[&str]) -> Output {
    nixactions(state).args(args).output().unwrap()
}

/// Returns the exit status, what was printed and what was complained of, with the state directory
/// redacted.
pub(super) fn told(state: &Path, args: &[&str]) -> (i32, String, String) {
    let output = run(state, args);
    let text = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec())
            .unwrap()
            .replace(state.to_str().unwrap(), "<state>")
    };
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// Makes a run look as if nothing had happened in it for that long.
fn age(run: &RunDir, time: Duration) {
    let old = SystemTime::now() - time;
    std::fs::File::options()
        .write(true)
        .open(run.events())
        .unwrap()
        .set_modified(old)
        .unwrap();
}

#[test]
fn list_shows_runs_newest_first() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(dir.path());
    assert_eq!(
        told(dir.path(), &["list"]),
        (0, "no runs in `<state>`\n".into(), String::new())
    );
    finished_run(&state, 0, Conclusion::Failure);
    finished_run(&state, 60_000, Conclusion::Success);
    let lost = make_run(&state, 120_000);
    append(&lost, &sample_events(&lost)[..5]);
    drop(lost.lock_supervisor().unwrap());
    age(&lost, Duration::from_secs(30));
    state.create_run(&"ci".parse().unwrap()).unwrap();
    let (code, out, _) = told(dir.path(), &["list"]);
    assert_eq!(code, 0);
    // The duration of the lost run is not known.
    insta::assert_snapshot!("list", out);
    let (_, out, _) = told(dir.path(), &["list", "--json"]);
    let rows: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(rows[1]["run"], "ci-2");
    assert_eq!(rows[1]["state"], "success");
    assert_eq!(rows[1]["jobsDone"], 3);
}

#[test]
fn show_tells_jobs_steps_and_reasons() {
    let dir = tempfile::tempdir().unwrap();
    let run = finished_run(&state(dir.path()), 0, Conclusion::Failure);
    create_job(&run.job(&job("build")), &["dist", "never-saved"]).unwrap();
    std::fs::write(
        run.job(&job("build")).artifact("dist").join("modes.json"),
        "{}",
    )
    .unwrap();
    let (code, out, _) = told(dir.path(), &["show", "ci-1"]);
    assert_eq!(code, 0);
    insta::assert_snapshot!("show", out);
    let (_, json, _) = told(dir.path(), &["show", "ci-1", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&json).unwrap();
    let stored: serde_json::Value =
        serde_json::from_slice(&std::fs::read(run.record()).unwrap()).unwrap();
    assert_eq!(shown, stored);
}

#[test]
fn json_on_a_terminal_is_not_obeyed() {
    let dir = tempfile::tempdir().unwrap();
    let run = finished_run(&state(dir.path()), 0, Conclusion::Failure);
    let odd = "\u{9b}2J \u{202e}txt \x7f \u{61c} \u{e9}";
    let mut record = run.load_record().unwrap();
    record.reason = Some(odd.to_owned());
    write_json(&run.record(), &record, 0o600, false).unwrap();
    append(
        &run,
        &[event(
            2300,
            EventKind::RunFinished {
                conclusion: Conclusion::Failure,
                reason: Some(odd.to_owned()),
                reason_code: None,
            },
        )],
    );
    for arguments in [
        &["show", "ci-1", "--json"][..],
        &["attach", "ci-1", "-o", "json"],
        &["list", "--json"],
    ] {
        let (_, json, _) = told(dir.path(), arguments);
        assert!(
            !json.contains(|c: char| c != '\n' && c.is_control() || "\u{202e}\u{61c}".contains(c)),
            "{arguments:?}: {json}"
        );
        let said = serde_json::Deserializer::from_str(&json).into_iter::<serde_json::Value>();
        let has_odd = said
            .map(Result::unwrap)
            .any(|value| value["reason"] == odd || value["event"]["reason"] == odd);
        assert!(has_odd || arguments[0] == "list", "{arguments:?}: {json}");
    }
}

#[test]
fn show_of_a_live_run_tells_what_is_known_so_far() {
    let dir = tempfile::tempdir().unwrap();
    let run = make_run(&state(dir.path()), 0);
    append(&run, &sample_events(&run)[..9]);
    let _supervisor = run.lock_supervisor().unwrap().unwrap();
    let (code, out, _) = told(dir.path(), &["show", "ci-1"]);
    assert_eq!(code, 0);
    let head = "ci-1: running, 1 job of 3 done, 1 running\n  test-linux running for ";
    assert!(out.starts_with(head), "{out}");
    assert!(
        out.contains(", step compile\n") && out.contains("build  success"),
        "{out}"
    );
    let (_, json, _) = told(dir.path(), &["show", "ci-1", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (
            json["conclusion"].is_null(),
            json["jobs"]["build"]["conclusion"].as_str()
        ),
        (true, Some("success"))
    );
}

#[test]
fn a_run_that_was_never_started_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    state(dir.path())
        .create_run(&"ci".parse().unwrap())
        .unwrap();
    let (code, out, _) = told(dir.path(), &["show", "ci-1"]);
    assert_eq!(code, 0);
    assert!(out.contains("it was never started"), "{out}");
    for args in [&["attach", "ci-1"][..], &["cancel", "ci-1"]] {
        let (code, _, err) = told(dir.path(), args);
        assert_eq!(code, 3, "{args:?}");
        assert!(err.contains("run `ci-1` was never started"), "{err}");
    }
}

#[test]
fn wrong_runs_and_jobs_get_the_nearest_name() {
    let dir = tempfile::tempdir().unwrap();
    finished_run(&state(dir.path()), 0, Conclusion::Success);
    let cases = [
        (
            &["show", "ci-2"][..],
            "error: no run `ci-2` in `<state>`\nhint: did you mean `ci-1`?\n",
        ),
        (
            &["show", "release-9"],
            "error: no run `release-9` in `<state>`\nhint: `nixactions list` shows the runs of a state directory\n",
        ),
        (
            &["attach", "../x"],
            "error: invalid run id `../x`\n  because: run id does not end in `-<number>`, as in `ci-42`\n",
        ),
        (
            &["cancel", "ci"],
            "error: invalid run id `ci`\n  because: run id does not end in `-<number>`, as in `ci-42`\n",
        ),
        (
            &["logs", "ci-1", "biuld"],
            "error: run `ci-1` has no job `biuld`\nhint: did you mean `build`?\n",
        ),
        (
            &["logs", "ci-1", "zzz"],
            "error: run `ci-1` has no job `zzz`\nhint: known: build, deploy, test-linux\n",
        ),
    ];
    for (args, expected) in cases {
        assert_eq!(
            told(dir.path(), args),
            (2, String::new(), expected.to_owned()),
            "{args:?}"
        );
    }
}

#[test]
fn cancel_leaves_a_request_for_the_supervisor() {
    let dir = tempfile::tempdir().unwrap();
    let run = make_run(&state(dir.path()), 0);
    append(&run, &sample_events(&run)[..4]);
    let _supervisor = run.lock_supervisor().unwrap().unwrap();
    let (code, out, _) = told(dir.path(), &["cancel", "ci-1"]);
    assert_eq!(
        (code, out.as_str()),
        (
            0,
            "ci-1: cancelling; `nixactions attach ci-1` follows it to its end\n"
        )
    );
    assert_eq!(
        run.cancel_requested(false).as_deref(),
        Some("nixactions cancel")
    );
    assert_eq!(run.cancel_requested(true), None);
    assert_eq!(told(dir.path(), &["cancel", "ci-1", "--kill"]).0, 0);
    assert_eq!(
        run.cancel_requested(true).as_deref(),
        Some("nixactions cancel")
    );
}

#[test]
fn cancel_of_a_run_that_has_ended_says_how() {
    let dir = tempfile::tempdir().unwrap();
    let run = finished_run(&state(dir.path()), 0, Conclusion::Success);
    let expected =
        "error: run `ci-1` is already finished: success\nhint: see `nixactions show ci-1`\n";
    assert_eq!(
        told(dir.path(), &["cancel", "ci-1"]),
        (2, String::new(), expected.into())
    );
    assert_eq!(run.cancel_requested(false), None);
}

#[test]
fn attach_exits_with_the_runs_conclusion() {
    for (conclusion, expected) in [
        (Conclusion::Success, 0),
        (Conclusion::Failure, 1),
        (Conclusion::Cancelled, 130),
    ] {
        let dir = tempfile::tempdir().unwrap();
        finished_run(&state(dir.path()), 0, conclusion);
        let (code, out, err) = told(dir.path(), &["attach", "ci-1"]);
        assert_eq!((code, err.as_str()), (expected, ""), "{conclusion}");
        assert!(
            out.ends_with(&format!(
                "\nci-1: {conclusion} in 2.2s (1 success, 1 failure, 1 skipped)\n"
            )),
            "{out}"
        );
        let (code, out, _) = told(dir.path(), &["attach", "ci-1", "--output", "json"]);
        assert_eq!((code, out.lines().count()), (expected, 13));
        let output = nixactions(dir.path())
            .args(["attach", "ci-1"])
            .env("NIXACTIONS_LOG_FORMAT", "structured")
            .output()
            .unwrap();
        assert!(
            output
                .stdout
                .starts_with(b"[2026-01-15T10:00:00.000Z] [workflow:ci] run ci-1: 3 jobs\n")
        );
    }
}

#[test]
fn attach_follows_a_run_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let run = make_run(&state(dir.path()), 0);
    let events = sample_events(&run);
    append(&run, &events[..5]);
    let supervisor = run.lock_supervisor().unwrap().unwrap();
    let mut child = nixactions(dir.path())
        .args(["attach", "ci-1", "-o", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    assert!(
        lines.next().unwrap().unwrap().contains("runCreated"),
        "it does not wait for the end"
    );
    append(&run, &events[5..]);
    finish(&run, Conclusion::Failure);
    let ended = Instant::now();
    assert!(lines.last().unwrap().unwrap().contains("runFinished"));
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(
        ended.elapsed() < Duration::from_secs(2),
        "nothing is waited for that does not come"
    );
    drop(supervisor);
}

#[test]
fn attach_says_so_when_nobody_looks_after_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let run = make_run(&state(dir.path()), 0);
    append(&run, &sample_events(&run)[..4]);
    drop(run.lock_supervisor().unwrap());
    age(&run, Duration::from_secs(30));
    let (code, out, err) = told(dir.path(), &["attach", "ci-1", "-o", "structured"]);
    assert_eq!(code, 3);
    assert!(out.contains("[job:build] started"), "{out}");
    assert!(
        err.contains(
            "error: run `ci-1` is lost: its supervisor is gone and left no record\nhint: "
        ),
        "{err}"
    );
    assert_eq!(told(dir.path(), &["cancel", "ci-1"]).0, 3);
}

#[test]
fn a_run_whose_client_was_killed_before_it_booted_a_manager_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let run = make_run(&state(dir.path()), 0);
    append(&run, &[]);
    age(&run, Duration::from_secs(90));
    let (code, _, said) = told(dir.path(), &["clean", "--keep", "9"]);
    assert_eq!(code, 0, "{said}");
    let record = run.load_record().unwrap();
    assert_eq!(record.conclusion, Some(Conclusion::Failure));
}

#[test]
fn logs_of_a_run_in_which_nothing_ran_are_empty() {
    let dir = tempfile::tempdir().unwrap();
    let run = make_run(&state(dir.path()), 0);
    append(
        &run,
        &[event(
            1,
            EventKind::Warning {
                message: "nothing to do".into(),
            },
        )],
    );
    finish(&run, Conclusion::Success);
    for args in [
        &["logs", "ci-1"][..],
        &["logs", "ci-1", "-f"],
        &["logs", "ci-1", "build"],
    ] {
        assert_eq!(
            told(dir.path(), args),
            (0, String::new(), String::new()),
            "{args:?}"
        );
    }
}

#[test]
fn a_reader_that_closes_the_pipe_early_is_not_an_error() {
    let dir = tempfile::tempdir().unwrap();
    finished_run(&state(dir.path()), 0, Conclusion::Failure);
    for (args, expected) in [
        (&["list"][..], 0),
        (&["show", "ci-1"], 0),
        (&["attach", "ci-1"], 1),
    ] {
        let mut child = nixactions(dir.path())
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            (output.status.code(), output.stderr.as_slice()),
            (Some(expected), &b""[..]),
            "{args:?}"
        );
    }
}

#[test]
fn a_state_directory_of_a_newer_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    finished_run(&state(dir.path()), 0, Conclusion::Success);
    std::fs::write(dir.path().join("version"), "2\n").unwrap();
    for args in [
        &["list"][..],
        &["show", "ci-1"],
        &["cancel", "ci-1"],
        &["logs", "ci-1"],
    ] {
        let (code, _, err) = told(dir.path(), args);
        let expected = "error: state directory `<state>` has version 2, this program knows version 1\n\
                        hint: use the newer program, or another `--state-dir`\n";
        assert_eq!((code, err.as_str()), (3, expected), "{args:?}");
    }
}

#[test]
fn without_permission_nothing_is_told_but_that() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!(
            "skipped: needs root to become nobody; untested is what a user sees of root's runs"
        );
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    finished_run(&state(&dir.path().join("state")), 0, Conclusion::Success);
    // The user `nobody` may have no access to the build directory.
    let program = dir.path().join("nixactions");
    std::fs::copy(env!("CARGO_BIN_EXE_nixactions"), &program).unwrap();
    for args in [&["list"][..], &["show", "ci-1"], &["cancel", "ci-1"]] {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&program)
            .arg("--state-dir")
            .arg(dir.path().join("state"));
        let output = command
            .args(args)
            .env_remove("NIXACTIONS_STATE_DIR")
            .output()
            .unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{args:?}: {err}");
        assert!(
            err.contains("  because: Permission denied") && err.contains("hint: run as root"),
            "{err}"
        );
    }
}

#[test]
fn help_is_as_reviewed() {
    let dir = tempfile::tempdir().unwrap();
    let (code, out, _) = told(dir.path(), &["--help"]);
    assert_eq!(code, 0);
    insta::assert_snapshot!("help", out);
    insta::assert_snapshot!("help_run", told(dir.path(), &["run", "--help"]).1);
    let (code, _, err) = told(dir.path(), &["lst"]);
    assert_eq!(code, 2);
    assert!(err.contains("a similar subcommand exists: 'list'"), "{err}");
}

#[test]
fn completions_and_manual_pages_are_made() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, out, _) = told(dir.path(), &["completions", shell]);
        assert!(
            code == 0
                && out.contains("attach")
                && out.contains("state-dir")
                && !out.contains("supervise"),
            "{shell}: {out}"
        );
    }
    let (code, out, _) = told(dir.path(), &["man"]);
    assert!(
        code == 0 && out.contains(".TH nixactions 1") && out.contains("EXTRA"),
        "{out}"
    );
    let pages = dir.path().join("man1");
    assert_eq!(
        told(dir.path(), &["man", "--dir", pages.to_str().unwrap()]).0,
        0
    );
    assert!(pages.join("nixactions-logs.1").exists());
    assert!(
        !pages.join("nixactions-supervise.1").exists(),
        "a program that only units call is not a command"
    );
}

#[test]
fn nothing_of_arguments_and_plans_is_obeyed_by_a_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let state = state(dir.path());
    let finished = finished_run(&state, 0, Conclusion::Success);
    let run = finished.id().as_str();
    let odd = "x\x1b[2J\rok\nhint: no";
    let shown = r"x\x1b[2J\x0dok\x0ahint: no";
    let plan = dir.path().join("pl\x1ban.json");
    let condition = "[ $A = '\x1b[2J' ]";
    let text = serde_json::json!({ "version": 1, "name": "odd", "inputs": { "level": { "type": "number" } },
        "jobs": { "j": { "condition": condition, "steps": [{ "bash": "true", "condition": condition }] } } });
    std::fs::write(&plan, text.to_string()).unwrap();
    let bad = dir.path().join("bad.json");
    std::fs::write(
        &bad,
        serde_json::json!({ "version": 1, "name": odd, "jobs": { odd: { "executor": odd, odd: odd, "steps": [{}] } } }).to_string(),
    )
    .unwrap();
    let (plan, bad) = (plan.to_str().unwrap(), bad.to_str().unwrap());
    let of_a_run = [
        &["show", odd][..],
        &["logs", run, odd],
        &["cancel", odd],
        &["clean", "--older-than", odd],
    ];
    let of_a_plan = [
        &["run", odd][..],
        &["check", odd],
        &["run", plan, "--env", odd],
        &["run", plan, "--input", &format!("{odd}=1")],
    ];
    let of_clap = [
        &["show", run, odd][..],
        &["run", "--manager", odd],
        &["show", &format!("--{odd}")],
        &[odd],
    ];
    for args in of_a_run.into_iter().chain(of_a_plan).chain(of_clap) {
        let (code, out, complaint) = told(dir.path(), args);
        assert!(
            code != 0 && out.is_empty() && complaint.contains(shown),
            "{args:?}: {code} {out:?} {complaint:?}"
        );
        assert!(
            !complaint.contains(|c: char| c.is_control() && c != '\n'),
            "{args:?}: {complaint:?}"
        );
        assert!(!complaint.contains("\nhint: no"), "{args:?}: {complaint:?}");
    }
    for args in [
        &["check", bad][..],
        &["check", plan],
        &["graph", plan],
        &["graph", plan, "--format", "dot"],
    ] {
        let (_, out, complaint) = told(dir.path(), args);
        assert!(
            format!("{out}{complaint}").contains(r"\"),
            "{args:?}: {out:?} {complaint:?}"
        );
        assert!(
            !format!("{out}{complaint}").contains(|c: char| c.is_control() && c != '\n'),
            "{args:?}: {out:?} {complaint:?}"
        );
    }
}
