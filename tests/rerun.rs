//! Runs that are run again: whole, what failed, or one job; what they take over and what they do
//! not.

use std::fs;

use nixactions_harness::{
    CommandExt as _, Finished, Manager, RUN_DEADLINE, Run, bash, on_managers, on_shared_managers,
    with,
};
use serde_json::{Value, json};

on_shared_managers!(
    rerun_failed_reuses_results_outputs_and_artifacts,
    rerun_of_a_job_runs_it_and_what_needs_it,
    rerun_has_the_plan_source_inputs_and_variables_of_the_old_run,
    a_rerun_that_cannot_work_is_refused,
    a_rerun_has_the_notes_of_a_run,
);
on_managers!(a_rerun_can_be_rerun on embedded, system_262);

fn rerun<'a>(manager: &'a Manager, arguments: &[&str]) -> Run<'a> {
    let mut argv = vec!["rerun", "--output=json"];
    argv.extend(arguments);
    manager.start_command(manager.nixactions(&argv))
}

/// Returns a plan whose `test` fails unless `FIX` is set.
fn plan(name: &str) -> Value {
    let test = json!({ "needs": ["build"], "inputs": ["dist"], "steps": [
        { "name": "it", "bash": "echo \"artifact=$(cat dist/stamp)\"; echo \"version=$NEEDS_BUILD_VERSION\"; [ -n \"${FIX-}\" ]" },
    ] });
    json!({ "version": 1, "name": name, "maxParallel": 3, "jobs": {
        "build": { "outputs": { "dist": "dist" }, "steps": [
            { "bash": "mkdir dist; echo $EPOCHREALTIME | tee dist/stamp; echo version=1.2.$RANDOM >> $NIXACTIONS_OUTPUT" },
        ] },
        "lint": bash("echo linted"),
        "test": test,
        "after": with(bash("echo after"), json!({ "needs": ["test"] })),
        "report": with(bash("echo $NEEDS_TEST_RESULT"), json!({ "needs": ["test", "lint"], "condition": "always()" })),
    } })
}

fn reused_from<'a>(run: &'a Finished, job: &str) -> Option<&'a str> {
    run.job(job)["reusedFrom"].as_str()
}

fn rerun_failed_reuses_results_outputs_and_artifacts(manager: &Manager) {
    let old = manager.run(&plan("again"), &[""; 0]).exits(1);
    assert_eq!(
        (old.verdict("after"), old.lines("report")),
        ("skipped/skipped".to_owned(), vec!["failure"]),
        "{old}"
    );
    let new = rerun(manager, &["--failed", "--env=FIX=1", &old.id])
        .end()
        .exits(0);
    assert_eq!(
        (
            new.record["rerunOf"].as_str(),
            new.record["conclusion"].as_str()
        ),
        (Some(old.id.as_str()), Some("success")),
        "{new}"
    );
    for job in ["build", "lint"] {
        assert_eq!(
            (reused_from(&new, job), new.verdict(job)),
            (Some(old.id.as_str()), "success/success".to_owned()),
            "{new}"
        );
        assert_eq!(
            (&new.job(job)["outputs"], &new.job(job)["startedAt"]),
            (&old.job(job)["outputs"], &old.job(job)["startedAt"])
        );
        assert!(new.lines(job).is_empty(), "{new}");
    }
    for job in ["test", "after", "report"] {
        assert_eq!(
            (reused_from(&new, job), new.verdict(job)),
            (None, "success/success".to_owned()),
            "{job} in {new}"
        );
    }
    assert_eq!(
        new.value("test", "artifact"),
        old.lines("build")[0],
        "{new}"
    );
    assert_eq!(
        new.value("test", "version"),
        old.job("build")["outputs"]["version"]
            .as_str()
            .expect("it has one")
    );
    assert_eq!(new.lines("report"), ["success"], "{new}");
    let shown = manager.nixactions(&["show", &new.id]).ok();
    assert!(
        shown.contains(&format!("rerun of  {}", old.id))
            && shown.contains(&format!("reused from {}", old.id)),
        "{shown}"
    );
    new.leaves_nothing(manager);
}

/// The notes of `run` on a plan hold for its rerun.
fn a_rerun_has_the_notes_of_a_run(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "noted", "jobs": { "j": bash(r#"echo "${{ env.A }}" 2>/dev/null || true"#) } });
    let told = |output: &std::process::Output| {
        let said = String::from_utf8_lossy(&output.stderr);
        said.contains("`${{` means nothing in a script")
    };
    let path = manager.plan(&plan).display().to_string();
    let output = manager
        .nixactions(&["run", "--output=json", &path])
        .output_within(RUN_DEADLINE);
    let old = manager.finished(&output);
    assert!(told(&output), "{old}");
    let output = manager
        .nixactions(&["rerun", "--output=json", &old.id])
        .output_within(RUN_DEADLINE);
    assert!(told(&output), "{output:?}");
}

fn rerun_of_a_job_runs_it_and_what_needs_it(manager: &Manager) {
    let old = manager.run(&plan("onejob"), &[""; 0]).exits(1);
    // The test is not run again, and its failure stays.
    let new = rerun(manager, &["--job=lint", &old.id]).end().exits(1);
    let again: Vec<&str> = ["build", "lint", "test", "after", "report"]
        .into_iter()
        .filter(|job| reused_from(&new, job).is_none())
        .collect();
    assert_eq!(again, ["lint", "report"], "{new}");
    assert_eq!(
        (new.verdict("test"), new.reason("test")),
        ("failure/failure".to_owned(), "step it: exit status 1"),
        "{new}"
    );
    assert_eq!(
        (new.lines("lint"), new.lines("report")),
        (vec!["linted"], vec!["failure"]),
        "{new}"
    );
}

fn rerun_has_the_plan_source_inputs_and_variables_of_the_old_run(manager: &Manager) {
    let job = bash("cat file; echo $INPUT_RELEASE $TOKEN $LEVEL");
    let plan = json!({ "version": 1, "name": "same", "inputs": { "release": { "type": "string", "required": true } }, "jobs": { "j": job } });
    let file = manager.write("same-source/file", "old\n");
    let source = file
        .parent()
        .expect("it lies in a directory")
        .display()
        .to_string();
    let old = manager
        .run(
            &plan,
            &[
                "--input=release=2.0",
                "--env=TOKEN=t",
                "--env=LEVEL=info",
                &format!("--source={source}"),
            ],
        )
        .exits(0);
    manager.write("same-source/file", "new\n");
    let new = rerun(manager, &["--env=LEVEL=debug", &old.id])
        .end()
        .exits(0);
    assert_eq!(
        (old.lines("j"), new.lines("j")),
        (vec!["old", "2.0 t info"], vec!["old", "2.0 t debug"]),
        "{new}"
    );
    // The conclusion of the old run does not matter any more.
    fs::remove_dir_all(manager.run_dir(&old.id)).expect("it is ours");
    let newer = rerun(manager, &[&new.id]).end().exits(0);
    assert_eq!(newer.lines("j"), ["old", "2.0 t debug"], "{newer}");
}

fn a_rerun_that_cannot_work_is_refused(manager: &Manager) {
    let run = manager.start(
        &json!({ "version": 1, "name": "refused", "jobs": { "j": bash("touch started; until [ -e go ]; do sleep 0.05; done") } }),
        &[""; 0],
    );
    run.wait_for_file("j", "started");
    let (code, stderr) = manager.refused(&["rerun", run.id()]);
    assert_eq!(code, 2, "{stderr}");
    assert!(
        stderr.contains(&format!("run `{}` is still going on", run.id())),
        "{stderr}"
    );
    run.release("j", "go");
    let run = run.end().exits(0);
    let before = manager
        .runs()
        .iter()
        .filter(|id| id.starts_with("refused-"))
        .count();
    for (arguments, said) in [
        (
            vec!["rerun", "--failed", &run.id],
            format!(
                "no job of run `{}` failed or was cancelled: each succeeded or was skipped",
                run.id
            ),
        ),
        (
            vec!["rerun", "--job=jj", &run.id],
            format!("run `{}` has no job `jj`", run.id),
        ),
        (
            vec!["rerun", "refused-4711"],
            "no run `refused-4711`".to_owned(),
        ),
        (
            vec!["rerun", "--failed", "--job=j", &run.id],
            "cannot be used with".to_owned(),
        ),
    ] {
        let (code, stderr) = manager.refused(&arguments);
        assert_eq!(code, 2, "{arguments:?}: {stderr}");
        assert!(stderr.contains(&said), "{arguments:?}: {stderr}");
    }
    assert_eq!(
        manager
            .runs()
            .iter()
            .filter(|id| id.starts_with("refused-"))
            .count(),
        before,
        "a run was made"
    );
}

fn a_rerun_can_be_rerun(manager: &Manager) {
    let first = manager.run(&plan("twice"), &[""; 0]).exits(1);
    let second = rerun(manager, &["--failed", &first.id]).end().exits(1);
    let third = rerun(manager, &["--failed", "--env=FIX=1", &second.id])
        .end()
        .exits(0);
    assert_eq!(
        (reused_from(&second, "build"), reused_from(&third, "build")),
        (Some(first.id.as_str()), Some(first.id.as_str()))
    );
    assert_eq!(
        third.value("test", "artifact"),
        first.lines("build")[0],
        "{third}"
    );
    let text = manager
        .nixactions(&["rerun", "--job=after", &third.id])
        .ok();
    assert!(
        text.contains(&format!("build : success, reused from {}", first.id)),
        "{text}"
    );
}
