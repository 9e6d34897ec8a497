//! What jobs find and leave as files: the copy of the source tree, and artifacts.

use std::{fs, path::PathBuf};

use nixactions_harness::{CommandExt as _, Manager, bash, on_shared_managers, with};
use serde_json::json;

on_shared_managers!(a_job_has_the_source_tree_for_itself, artifacts_reach_the_jobs_that_take_them_in, artifacts_cannot_be_made_to_leak);

const NONE: [&str; 0] = [];

/// Prints type, mode, path and link of all in the workspace but `.git`.
const LIST: &str = "find . -mindepth 1 -path ./.git -prune -o -mindepth 1 -printf '%y %m %P %l\\n' | LC_ALL=C sort -k3";

fn a_job_has_the_source_tree_for_itself(manager: &Manager) {
    let make = "
        umask 022; mkdir source && cd source && git init -q -b main . && export GIT_CONFIG_GLOBAL=/dev/null
        git config user.name tester && git config user.email tester@example.org
        mkdir -p 'a dir/deep' && echo kept > 'a dir/deep/grüße' && echo '*.o' > .gitignore && echo old > dirty && echo gone > deleted
        printf '#!/bin/sh\\necho ran\\n' > tool && chmod 755 tool && ln -s 'a dir' link && ln -s /etc/hostname outside
        git add . && git commit -qm first
        echo new > dirty && rm deleted && echo here > untracked && echo no > ignored.o && echo private > secret && chmod 600 secret
        mkdir empty && mkfifo pipe";
    manager.command(&["bash", "-ec", make]).ok();
    let print = |more: &str| bash(&format!("{LIST}; echo dirty: $(cat dirty), secret: $(cat secret); ./tool; {more}"));
    let plan = json!({ "version": 1, "name": "source",
        "executors": { "bare": { "type": "systemd", "copyRepo": false } },
        "jobs": {
            "first": print("git status --porcelain; echo changed > dirty; rm tool; chmod 777 secret; echo more > 'a dir/deep/new'; git gc -q"),
            "second": with(print("git log --format=%s"), json!({ "needs": ["first"] })),
            "bare": with(bash("ls -A"), json!({ "executor": "bare" })),
        } });
    let run = manager.run(&plan, &["--source=source"]).exits(0);
    let listed = [
        "f 644 .gitignore ",
        "d 755 a dir ",
        "d 755 a dir/deep ",
        "f 644 a dir/deep/grüße ",
        "f 644 dirty ",
        "l 777 link a dir",
        "l 777 outside /etc/hostname",
        "f 600 secret ",
        "f 755 tool ",
        "f 644 untracked ",
        "dirty: new, secret: private",
        "ran",
    ];
    assert_eq!(run.lines("first")[..12], listed, "{run}");
    assert_eq!(run.lines("first")[12..], [" D deleted", " M dirty", "?? secret", "?? untracked"], "{run}");
    assert_eq!(run.lines("second")[..12], listed, "another job's changes are seen: {run}");
    assert_eq!(run.lines("second")[12..], ["first"], "{run}");
    assert_eq!(run.lines("bare"), NONE, "{run}");
    let source = manager.file("source");
    assert_eq!(fs::read_to_string(source.join("dirty")).expect("it is there"), "new\n");
    assert!(source.join("tool").exists() && !source.join("a dir/deep/new").exists());
    fs::remove_dir_all(source).expect("it is ours");
}

fn artifacts_reach_the_jobs_that_take_them_in(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "artifacts", "jobs": {
        "make": with(bash("umask 022; mkdir -p dist/sub/empty deep; echo lib > dist/sub/lib; echo tool > dist/tool; echo one > deep/file
                           chmod 751 dist/tool; chmod 600 dist/sub/lib; chmod 700 dist/sub; ln -s sub/lib dist/link; ln -s /etc/shadow dist/outside
                           ln -s nowhere dangling; echo not taken > rest"),
            json!({ "outputs": { "dist": "dist/", "one": "./deep/file", "link": "dangling" } })),
        "take": with(bash(LIST), json!({ "needs": ["make"], "inputs": ["dist", { "name": "one", "path": "in/put" }, "link"] })),
        "none": with(bash(LIST), json!({ "needs": ["make"] })),
        "later": with(bash("cat deep/file; cat */result.json ../../../make/out/result.json || true"), json!({ "needs": ["take"], "inputs": ["one"] })),
        "missing": with(bash("true"), json!({ "outputs": { "nothing": "not/there" } })),
        "failed": with(bash("echo saved > log; exit 5"), json!({ "outputs": { "log": "log", "lost": "not-there" } })),
        "report": with(bash("cat log"), json!({ "needs": ["failed"], "condition": "always()", "inputs": ["log"] })),
        "hopeless": with(bash("true"), json!({ "needs": ["failed"], "condition": "always()", "inputs": ["lost"] })),
    } });
    let run = manager.run(&plan, &NONE).exits(1);
    let dist = [
        "d 755 dist ",
        "l 777 dist/link sub/lib",
        "l 777 dist/outside /etc/shadow",
        "d 700 dist/sub ",
        "d 755 dist/sub/empty ",
        "f 600 dist/sub/lib ",
        "f 751 dist/tool ",
    ];
    let mut taken = vec!["l 777 dangling nowhere"];
    taken.extend(dist);
    taken.extend(["d 755 in ", "d 755 in/put ", "d 755 in/put/deep ", "f 644 in/put/deep/file "]);
    // What has no mode of its own has what the manager's umask leaves it.
    let lines: Vec<_> = run.lines("take").into_iter().map(|line| line.replace("d 775 in", "d 755 in")).collect();
    assert_eq!(lines, taken, "{run}");
    assert_eq!(run.lines("none"), NONE, "{run}");
    assert_eq!(run.lines("later")[0], "one", "{run}");
    assert_eq!(run.verdict("missing"), "failure/failure");
    assert_eq!(run.reason("missing"), "artifact `nothing`: `not/there` does not exist in the workspace", "{run}");
    assert_eq!(run.reason("failed"), "step it: exit status 5", "{run}");
    assert_eq!((run.verdict("report"), run.lines("report")), ("success/success".to_owned(), vec!["saved"]), "{run}");
    assert_eq!(run.reason("hopeless"), "artifact `lost` was not saved by job `failed`", "{run}");
    // Whoever ran it finds the artifacts there afterwards.
    let kept = manager.run_dir(&run.id).join("jobs/make/artifacts/one/tree/deep/file");
    assert_eq!(fs::read_to_string(kept).expect("it is kept"), "one\n");
}

fn artifacts_cannot_be_made_to_leak(manager: &Manager) {
    let victim = manager.open_directory("victim");
    let inside = victim.display().to_string();
    let plan = json!({ "version": 1, "name": "leaks", "executors": { "open": { "type": "systemd", "sandbox": "none", "copyRepo": false } }, "jobs": {
        "through": with(bash("ln -s /etc link"), json!({ "outputs": { "through": "link/hostname" } })),
        "last": with(bash("ln -s /etc/hostname link"), json!({ "outputs": { "last": "link" } })),
        "take-last": with(bash("readlink link"), json!({ "needs": ["last"], "inputs": ["last"] })),
        // A link of one job must not lead what is restored next out of the workspace of another, least of all of one that is not confined.
        "trap": with(bash(&format!("ln -s {inside} lib; mkdir -p lib2; ln -s {inside} lib2/deep")), json!({ "outputs": { "trap": "lib", "trap2": "lib2" } })),
        "data": with(bash("mkdir deep; echo data > deep/data"), json!({ "outputs": { "data": "deep", "other": "deep/data" } })),
        "caught": with(bash("true"), json!({ "executor": "open", "needs": ["trap", "data"], "inputs": ["trap", { "name": "other", "path": "lib" }] })),
        "caught-deeper": with(bash("true"),
            json!({ "executor": "open", "needs": ["trap", "data"], "inputs": ["trap2", { "name": "data", "path": "lib2" }] })),
    } });
    let run = manager.run(&plan, &NONE).exits(1);
    assert_eq!(run.reason("through"), "artifact `through`: `link/hostname` leads through a link", "{run}");
    assert_eq!(run.lines("take-last"), ["/etc/hostname"], "{run}");
    let leaked: Vec<_> = fs::read_dir(manager.file(&victim)).expect("it is there").flatten().map(|entry| entry.path()).collect();
    assert_eq!(leaked, Vec::<PathBuf>::new(), "written through a link: {run}");
    assert_eq!(run.reason("caught"), "artifact `other`: `lib` leads through a link", "{run}");
    assert!(run.reason("caught-deeper").starts_with("failed to restore artifact `data`"), "{run}");
    for path in ["/etc", "../up", "a/../../up"] {
        let plan = manager
            .plan(&json!({ "version": 1, "name": "leaks", "jobs": { "j": with(bash("true"), json!({ "outputs": { "o": path } })) } }));
        let (code, stderr) = manager.refused(&["run", &plan.display().to_string()]);
        assert_eq!(code, 2);
        assert!(stderr.contains("$.jobs.j.outputs.o"), "{stderr}");
    }
}
