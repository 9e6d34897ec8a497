//! The examples in Nix: all of them are evaluated and built by each suite's Nix, and run on systemd
//! 262, where each does what its head says.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod containers;
#[path = "../services/image.rs"]
mod image;
mod upload;
mod world;

use std::{collections::BTreeSet, fs, path::Path};

use nixactions_harness::{CommandExt as _, Kind, REPOSITORY, Suite, or_skip};
use serde_json::Value;

use self::{upload::upload_server, world::*};

#[test]
fn every_file_is_listed_and_described() {
    let list = fs::read_to_string(examples().join("default.nix")).unwrap();
    let listed: BTreeSet<_> = list
        .lines()
        .filter_map(|line| line.trim().split_once(" = ./"))
        .map(|(name, file)| (file.trim_end_matches(';').to_owned(), name.to_owned()))
        .collect();
    let there: BTreeSet<_> = files()
        .into_iter()
        .map(|file| (file.clone(), name(&file).to_owned()))
        .collect();
    assert_eq!(listed, there);
    let readme = fs::read_to_string(examples().join("README.md")).unwrap();
    for file in files() {
        let row = format!("| [{}]({file}) | ", name(&file));
        assert!(readme.contains(&row), "README.md has no row `{row}`");
        let text = fs::read_to_string(examples().join(&file)).unwrap();
        assert!(
            text.starts_with("# ") && text.contains("\n# Look at: "),
            "{file} does not say what it shows, and what to look at"
        );
        assert!(
            text.contains(&format!("name = \"{}\";", name(&file))),
            "{file} is not called as its file is"
        );
    }
}

/// Evaluates and builds all examples with the Nix of a suite.
fn builds_all(suite: Suite) {
    let manager = or_skip!(machine(suite, Kind::Embedded));
    let nix = or_skip!(manager.nix()).with_nixpkgs(NIXPKGS);
    let plans = nix.eval(&format!(
        "builtins.mapAttrs (_: workflow: workflow.plan) (import {REPOSITORY}/examples {{ }})"
    ));
    for file in files() {
        assert_eq!(plans[name(&file)]["name"], name(&file), "{file}");
    }
    let built = nix.build(&format!(
        "builtins.attrValues (import {REPOSITORY}/examples {{ }})"
    ));
    let built: Vec<_> = built
        .to_str()
        .expect("a path in the store is ASCII")
        .lines()
        .collect();
    assert_eq!(built.len(), files().len());
    for path in built {
        manager.nixactions(&["check", path]).ok();
    }
}

#[test]
fn nix_2_8_builds_all() {
    builds_all(Suite::Bookworm);
}

#[test]
fn nix_2_26_builds_all() {
    builds_all(Suite::Trixie);
}

#[test]
fn nix_2_34_builds_all() {
    builds_all(Suite::Forky);
}

#[test]
fn the_guide_begins_with_a_file_that_can_be_run() {
    or_skip!(host_has(&["make"]));
    let manager = or_skip!(systemd_262());
    let nix = or_skip!(manager.nix()).with_nixpkgs(NIXPKGS);
    let guide =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/language.md")).unwrap();
    let (file, _) = guide
        .split_once("```nix\n# ci.nix\n")
        .and_then(|(_, rest)| rest.split_once("```"))
        .expect("it begins with ci.nix");
    let file = manager
        .write("guide/ci.nix", file)
        .to_string_lossy()
        .into_owned();
    manager.write("guide/Makefile", "check:\n\techo checked\n");
    let language = format!("(import {REPOSITORY} {{ }}).lib");
    let finished = nix
        .run(&[&file, "--arg", "nixactions", &language, "--source", "guide"])
        .exits(0);
    prints(&finished, "test", "checked");
}

#[test]
fn simple_checks_the_repository() {
    let finished = or_skip!(run("simple", &[])).exits(0);
    assert_eq!(
        finished.steps("check"),
        [
            "no conflict markers success/success",
            "size success/success"
        ]
    );
    prints(&finished, "check", "2 files, 1 commits");

    let manager = or_skip!(systemd_262());
    manager.write(
        "unmerged/file",
        "<<<<<<< HEAD\none\n=======\nother\n>>>>>>> branch\n",
    );
    commit(manager, "unmerged");
    let finished = or_skip!(run("simple", &["--source", "unmerged"])).exits(1);
    prints(&finished, "check", "file:1:<<<<<<< HEAD");
    assert_eq!(
        finished.steps("check"),
        [
            "no conflict markers failure/failure: exit status 1",
            "size skipped/skipped: an earlier step failed"
        ]
    );
}

#[test]
fn parallel_compresses_at_once_and_compares_afterwards() {
    let finished = or_skip!(run("parallel", &[])).exits(0);
    overlap(&finished, "normal", "best");
    for job in ["fast", "normal", "best"] {
        assert!(
            time(&finished, job, "finishedAt") <= time(&finished, "compare", "startedAt"),
            "{finished}"
        );
        let bytes = finished.job(job)["outputs"]["bytes"].as_str().unwrap();
        prints(&finished, "compare", &format!("{job:6} {bytes:>8} bytes"));
    }
}

#[test]
fn env_sharing_tells_steps_and_jobs_what_they_are_to_know() {
    let finished = or_skip!(run("env-sharing", &[])).exits(0);
    assert_eq!(
        finished.lines("version"),
        ["computed by the job", "example 1.1, used by the step"]
    );
    assert_eq!(
        finished.lines("announce"),
        ["example 1.1, announced by the workflow"]
    );
    let finished = or_skip!(run("env-sharing", &["--env", "LEVEL=you"])).exits(0);
    prints(&finished, "version", "example 1.1, used by the you");
}

#[test]
fn artifacts_reach_a_job_without_the_repository() {
    let finished = or_skip!(run("artifacts", &[])).exits(0);
    assert_eq!(
        finished.lines("verify"),
        ["source.tar.gz: OK", "README.md", "src/", "src/greeting.txt"]
    );
    assert!(
        artifact(&finished, "pack", "source")
            .join("dist/SHA256SUMS")
            .is_file()
    );
}

#[test]
fn artifacts_paths_puts_reports_side_by_side() {
    let finished = or_skip!(run("artifacts-paths", &[])).exits(0);
    let site = artifact(&finished, "collect", "site").join("site");
    assert_eq!(
        fs::read_to_string(site.join("authors/report.txt")).unwrap(),
        "     1\tJane\n"
    );
    assert!(
        fs::read_to_string(site.join("largest/report.txt"))
            .unwrap()
            .contains("\tsrc/greeting.txt\n")
    );
    assert!(
        fs::read_to_string(site.join("index.txt"))
            .unwrap()
            .contains("==> ./authors/report.txt <==")
    );
}

#[test]
fn conditions_decide_which_jobs_run_after_a_success_and_after_a_failure() {
    let finished = or_skip!(run("conditions", &[])).exits(0);
    assert_eq!(
        conclusions(&finished),
        "announce=success deploy=success node=skipped report=success rollback=skipped"
    );
    assert_eq!(
        finished.reason("node"),
        "condition `[ -e package.json ]` was false"
    );
    let finished = or_skip!(run("conditions", &["--input", "healthy=false"])).exits(1);
    assert_eq!(
        conclusions(&finished),
        "announce=skipped deploy=failure node=skipped report=success rollback=success"
    );
    let steps = finished.steps("deploy").join("\n");
    for step in [
        "switch success/success",
        "health failure/failure",
        "diagnose success/success",
        "clean success/success",
    ] {
        assert!(steps.contains(step), "{finished}");
    }
    prints(&finished, "report", "announce: skipped, rollback: success");
}

#[test]
fn cleanup_stops_the_server_after_a_success_and_after_a_failure() {
    let finished = or_skip!(run("cleanup", &[])).exits(0);
    assert_eq!(
        finished.steps("test"),
        ["make", "start", "tests", "report", "stop"].map(|step| format!("{step} success/success")),
        "{finished}"
    );
    prints(&finished, "test", "stopped, the job was a success");
    let finished = or_skip!(run("cleanup", &["--input", "broken=true"])).exits(1);
    assert_eq!(
        finished.reason("test"),
        "step tests: exit status 1",
        "{finished}"
    );
    prints(&finished, "test", "stopped, the job was a failure");
}

#[test]
fn retry_repeats_steps_and_jobs() {
    let finished = or_skip!(run("retry", &[])).exits(0);
    assert!(
        finished.job("service")["steps"][1]["attempts"].as_u64() > Some(1),
        "{finished}"
    );
    assert_eq!(finished.job("fresh")["attempts"], 2);
    assert_eq!(finished.job("once")["attempts"], 1);
    assert_eq!(finished.verdict("once"), "failure/success");
}

#[test]
fn timeout_ends_a_hanging_process() {
    let finished = or_skip!(run("timeout", &[])).exits(0);
    prints(&finished, "step", "told to end");
    prints(&finished, "step", "goes on");
    assert!(finished.steps("step")[0].contains("timeout"), "{finished}");
    assert_eq!(finished.verdict("job"), "failure/success");
    assert_eq!(
        finished.reason("job"),
        "timeout: the job took longer than 3 s"
    );
    assert_eq!(finished.lines("job"), ["cleans up"]);
}

#[test]
fn secrets_are_printed_nowhere() {
    let finished = or_skip!(run("secrets", &[])).exits(0);
    assert_eq!(
        conclusions(&finished),
        "caller=skipped credential=success provider=success"
    );
    prints(
        &finished,
        "provider",
        "the token is ***, also in the middle: x***x",
    );
    prints(&finished, "credential", "***");
    let manager = systemd_262().expect("it was run");
    let id = fs::read_to_string(manager.file("/etc/machine-id")).unwrap();
    assert!(!journal(&finished).contains(id.trim()));

    let file = manager.write("token.env", "API_TOKEN=not-to-be-seen\n");
    let finished = or_skip!(run(
        "secrets",
        &["--secret-env-file", &file.to_string_lossy()]
    ))
    .exits(0);
    prints(&finished, "caller", "Authorization: Bearer ***");
    let journal = journal(&finished);
    assert!(
        journal.contains("Authorization: Bearer ***") && !journal.contains("not-to-be-seen"),
        "{journal}"
    );
    assert!(!finished.to_string().contains("not-to-be-seen"));
}

#[test]
fn matrix_runs_what_include_and_exclude_leave() {
    let finished = or_skip!(run("matrix", &[])).exits(0);
    let jobs: Vec<_> = finished.record["jobs"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert_eq!(
        jobs,
        [
            "length-C-bash",
            "length-C-dash",
            "length-C_UTF-8-bash-1",
            "length-POSIX-dash",
            "summary"
        ]
    );
    prints(
        &finished,
        "length-C_UTF-8-bash-1",
        "bash takes é for 1 characters in C.UTF-8",
    );
    assert_eq!(finished.lines("summary").len(), 4);
    prints(&finished, "summary", "length-C-dash: success");
}

#[test]
fn nix_shell_adds_programs_to_one_job() {
    let finished = or_skip!(run("nix-shell", &[])).exits(0);
    prints(&finished, "describe", r#"  "author": "Jane""#);
}

#[test]
fn isolation_keeps_jobs_from_each_other_and_from_the_host() {
    let manager = or_skip!(systemd_262());
    for place in ["/root", "/home"] {
        fs::write(manager.file(place).join("private"), "").unwrap();
    }
    let finished = or_skip!(run("isolation", &[])).exits(0);
    overlap(&finished, "left", "right");
    let user = |job: &str| {
        finished
            .lines(job)
            .into_iter()
            .find(|line| line.ends_with(", processes of others: 0"))
            .map(str::to_owned)
    };
    assert!(
        user("left").is_some() && user("right").is_some() && user("left") != user("right"),
        "{finished}"
    );
    assert_eq!(
        finished
            .lines("left")
            .iter()
            .filter(|line| line.ends_with("/trace-of-left"))
            .count(),
        2,
        "{finished}"
    );

    // Where nothing keeps them apart, they find each other.
    let nix = or_skip!(manager.nix()).with_nixpkgs(NIXPKGS);
    let open = format!(
        "(import {REPOSITORY}/examples {{ }}).isolation.extend (workflow: workflow // {{
           executor = (import {REPOSITORY} {{ }}).lib.executors.systemd {{ sandbox = \"none\"; }};
         }})"
    );
    let finished = nix.run(&[nix.build(&open)]).exits(1);
    for job in ["left", "right"] {
        assert_eq!(
            finished.reason(job),
            "step look for the other's: exit status 1",
            "{finished}"
        );
    }
}

#[test]
fn logging_annotates_masks_and_summarises() {
    let finished = or_skip!(run("logging", &[])).exits(0);
    let annotations: Vec<Value> = finished.job("sizes")["annotations"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    assert_eq!(annotations.len(), 2, "{finished}");
    assert_eq!(annotations[0]["file"], "src/greeting.txt");
    prints(&finished, "sizes", "logged in with ***");
    let manager = or_skip!(systemd_262());
    let summary = manager
        .nixactions(&["show", &finished.id, "--summary"])
        .ok();
    assert!(summary.contains("| src/greeting.txt | 600 |"), "{summary}");
    let shown = manager.nixactions(&["show", &finished.id]).ok();
    assert!(shown.contains("has 600 bytes"), "{shown}");
    let logged = manager.nixactions(&["logs", &finished.id, "sizes"]).ok();
    assert!(
        logged.contains("  notice: README.md: has 12 bytes"),
        "{logged}"
    );
    let kept = manager
        .command(&[
            "journalctl",
            "--output=cat",
            "--no-pager",
            "NIXACTIONS_JOB=sizes",
        ])
        .ok();
    assert!(kept.contains("logged in with ***"), "{kept}");
}

#[test]
fn hooks_executor_runs_steps_in_namespaces_of_its_own() {
    let finished = or_skip!(run("hooks-executor", &[])).exits(0);
    assert_eq!(conclusions(&finished), "alone=success pack=success");
    prints(&finished, "alone", "/proc/1");
    let journal = journal(&finished);
    assert!(
        journal.contains("processes: ") && journal.contains("pack: "),
        "{journal}"
    );
    assert!(artifact(&finished, "pack", "file").join("file").is_file());
}

#[test]
fn extensions_add_to_every_job_and_one_more() {
    let finished = or_skip!(run("extensions", &[])).exits(0);
    assert_eq!(
        finished.lines("report"),
        ["- clock: success", "- local: success"]
    );
    let nix = or_skip!(or_skip!(systemd_262()).nix()).with_nixpkgs(NIXPKGS);
    let graph = nix
        .nixactions(&[
            "graph",
            &format!("{REPOSITORY}/examples/02-features/extensions.nix"),
        ])
        .ok();
    assert!(
        graph.contains("report  (also after clock)  if always()"),
        "{graph}"
    );
    let plan = nix.eval(&format!(
        "(import {REPOSITORY}/examples {{ }}).extensions.plan.jobs"
    ));
    assert_eq!(
        (&plan["clock"]["timeout"], &plan["report"]["timeout"]),
        (&300.into(), &300.into())
    );
}

#[test]
fn python_ci_tests_packs_and_tries() {
    let finished = or_skip!(run("python-ci", &[])).exits(0);
    assert!(
        finished
            .lines("test")
            .iter()
            .any(|line| line.starts_with("Ran 3 tests")),
        "{finished}"
    );
    assert!(
        artifact(&finished, "package", "package")
            .join("roman.pyz")
            .is_file()
    );
}

#[test]
fn node_ci_tests_packs_and_installs() {
    let finished = or_skip!(run("node-ci", &[])).exits(0);
    assert!(
        finished
            .lines("test")
            .iter()
            .any(|line| line.ends_with("pass 2")),
        "{finished}"
    );
    assert!(
        artifact(&finished, "pack", "package")
            .join("roman-1.0.0.tgz")
            .is_file()
    );
}

#[test]
fn rust_ci_checks_builds_and_tries() {
    let finished = or_skip!(run("rust-ci", &[])).exits(0);
    assert_eq!(
        conclusions(&finished),
        "build=success format=success lint=success test=success try=success"
    );
    let passed = finished
        .lines("test")
        .iter()
        .filter(|line| line.starts_with("test result: ok. "))
        .count();
    assert_eq!(passed, 4, "{finished}");
    assert!(
        artifact(&finished, "build", "program")
            .join("target/release/roman")
            .is_file()
    );
}

#[test]
fn complete_publishes_a_release_and_reports() {
    let finished = or_skip!(run("complete", &[])).exits(0);
    assert_eq!(
        conclusions(&finished),
        "package=success publish=skipped report=success test-bash=success test-dash=success try=success"
    );

    let manager = or_skip!(systemd_262());
    let (port, server) = upload_server(manager);
    let token = manager
        .write("publish.env", "PUBLISH_TOKEN=not-to-be-seen\n")
        .to_string_lossy()
        .into_owned();
    let to = format!("publish-to=http://127.0.0.1:{port}/releases/");
    let arguments = [
        "--input",
        "release=1.2",
        "--input",
        &to,
        "--secret-env-file",
        &token,
    ];
    let finished = or_skip!(run("complete", &arguments)).exits(0);
    assert_eq!(finished.job("publish")["attempts"], 2);
    let (head, body) = server.join().unwrap();
    assert_eq!(head[0], "PUT /releases/roman-1.2.tar.gz HTTP/1.1");
    assert!(
        head.contains(&"Authorization: Bearer not-to-be-seen".to_owned()),
        "{head:?}"
    );
    assert_eq!(
        body,
        fs::read(artifact(&finished, "package", "package").join("dist/roman-1.2.tar.gz")).unwrap()
    );
    assert!(
        !journal(&finished).contains("not-to-be-seen")
            && !finished.to_string().contains("not-to-be-seen")
    );
    let summary = manager
        .nixactions(&["show", &finished.id, "--summary"])
        .ok();
    assert!(
        summary.contains("## Release 1.2") && summary.contains("- published: success"),
        "{summary}"
    );
}

#[test]
fn buildah_builds_an_image() {
    let manager = or_skip!(systemd_262());
    // The requirements of image tools on a host.
    fs::create_dir_all(manager.file("/etc/containers")).unwrap();
    fs::write(
        manager.file("/etc/containers/policy.json"),
        r#"{ "default": [{ "type": "insecureAcceptAnything" }] }"#,
    )
    .unwrap();
    let finished = or_skip!(run("buildah", &[])).exits(0);
    assert!(
        finished.lines("report")[0].starts_with("FROM roman/site@sha256:"),
        "{finished}"
    );
}
