//! Workspaces over a large source tree: mounted where the manager and the file system can, and each
//! the job's own.

use std::fs;

use nixactions_harness::{
    CommandExt as _, Finished, Kind, Manager, bash, on_shared_managers, with,
};
use serde_json::{Value, json};

on_shared_managers!(
    a_large_source_tree_is_each_jobs_own,
    a_workspace_is_fresh_for_each_attempt,
    artifacts_leave_and_enter_a_mounted_workspace,
    a_workspace_that_a_step_has_shut_holds_up_nothing,
);

const NONE: [&str; 0] = [];

/// Makes a repository of more files than a job copies, and a state directory on a file system that
/// workspaces can be mounted over: a machine's own root is itself an overlay.
fn large(manager: &Manager, name: &str) -> String {
    let make = "
        export GIT_CONFIG_GLOBAL=/dev/null; umask 022; mkdir $1 && cd $1 && git init -q -b main .
        git config user.name tester && git config user.email tester@example.org
        for d in $(seq 10); do mkdir -p dir$d/deep; for f in $(seq 30); do echo $d $f > dir$d/deep/file$f; done; done
        echo '*.o' > .gitignore && echo old > dirty && ln -s dir1 link && printf '#!/bin/sh\\necho ran\\n' > tool && chmod 755 tool
        git add . && git commit -qm first && echo new > dirty && echo here > untracked && echo no > ignored.o && echo private > secret && chmod 600 secret";
    manager.command(&["bash", "-ec", make, "make", name]).ok();
    if manager.machine().is_some() && manager.kind() != Kind::User {
        let state = manager.state_dir().display().to_string();
        let mount = "mkdir -p $1; exec 9<$1/..; flock 9; mountpoint -q $1 || mount -t tmpfs -o mode=755 tmpfs $1";
        manager
            .command(&["bash", "-ec", mount, "mount", &state])
            .ok();
    }
    format!("--source={name}")
}

/// Returns whether workspaces are expected to be mounted: a user's own manager may not.
fn is_mounted(manager: &Manager) -> bool {
    manager.kind() != Kind::User
}

/// Panics when something of a run is still mounted.
fn nothing_is_mounted(manager: &Manager, run: &Finished) {
    let mounts = manager.command(&["cat", "/proc/1/mountinfo"]).ok();
    let left: Vec<_> = mounts
        .lines()
        .filter(|line| line.contains(&format!("runs/{}/jobs", run.id)))
        .collect();
    assert_eq!(left, NONE, "{run}");
}

fn levels() -> Value {
    json!({ "relaxed": { "type": "systemd", "sandbox": "relaxed" }, "none": { "type": "systemd", "sandbox": "none" } })
}

fn a_large_source_tree_is_each_jobs_own(manager: &Manager) {
    let source = large(manager, "large");
    let work = "
        if mountpoint -q .; then echo TYPE=mount; else echo TYPE=copy; fi; echo FOREIGN=$(find . ! -user $(id -u) | wc -l); echo COUNT=$(find . -path ./.git -prune -o -type f -print | wc -l)
        echo STATUS=$(git status --porcelain); echo MODES=$(stat -c %a secret tool dirty dir1); echo LINK=$(readlink link)
        echo changed > dirty; chmod 755 secret; touch -d 2001-02-03 dir2/deep/file1; mv dir3 moved; mv moved/deep/file1 .; rm -r dir4; mkdir dir4; echo x > dir4/new
        ln dir5/deep/file1 dir5/deep/linked; ./tool; rm .gitignore; git add -A; git -c user.name=x -c user.email=x@x commit -qm second
        echo AFTER=$(stat -c %a secret) $(date -r dir2/deep/file1 +%F) $(ls moved/deep | wc -l) $(ls dir4) $(stat -c %h dir5/deep/linked) $(git log --format=%s | wc -l)";
    // Root may change the run's copy.
    let leak = "touch ../../../../shared/source/tree/dirty 2>/dev/null && echo LEAK; true";
    let confined = bash(&format!("{work}; {leak}"));
    let jobs = json!({
        "first": confined,
        "second": confined,
        "third": with(confined.clone(), json!({ "needs": ["first", "second"], "executor": "relaxed" })),
        "root": with(bash(work), json!({ "needs": ["third"], "executor": "none" })),
        "last": with(confined.clone(), json!({ "needs": ["root"] })),
        "failed": with(bash("rm -r dir1; echo mine > mine; exit 3"), json!({ "needs": ["first"] })),
    });
    let plan = json!({ "version": 1, "name": "large", "maxParallel": 2, "executors": levels(), "jobs": jobs });
    let run = manager.run(&plan, &[&source]).exits(1);
    for job in ["first", "second", "third", "root", "last"] {
        assert_eq!(run.verdict(job), "success/success", "{job} of {run}");
        let value = |name: &str| run.value(job, name);
        assert_eq!(
            value("TYPE"),
            if is_mounted(manager) { "mount" } else { "copy" },
            "{job} of {run}"
        );
        assert_eq!(
            (value("FOREIGN"), value("COUNT")),
            ("0", "305"),
            "{job} of {run}"
        );
        assert_eq!(
            (value("STATUS"), value("LINK")),
            (" M dirty ?? secret ?? untracked", "dir1"),
            "{job} of {run}"
        );
        assert_eq!(
            (value("MODES"), value("AFTER")),
            ("600 755 644 755", "755 2001-02-03 29 new 2 2"),
            "{job} of {run}"
        );
        assert!(!run.lines(job).contains(&"LEAK"), "{job} of {run}");
    }
    assert_eq!(run.reason("failed"), "step it: exit status 3");
    let dir = manager.run_dir(&run.id);
    if is_mounted(manager) {
        let kept = fs::read_to_string(dir.join("jobs/failed/work/changes/mine"))
            .expect("what a failed job changed is kept");
        assert_eq!(kept, "mine\n");
    }
    assert!(
        fs::read_dir(dir.join("jobs/first/work/workspace"))
            .expect("it is there")
            .next()
            .is_none()
    );
    nothing_is_mounted(manager, &run);
    // The source, and the run's copy of it, are as they were.
    let same = "[ $(cat $1/dirty) = new ] && [ ! -e $1/moved ] && diff -r --exclude=.git --exclude=ignored.o $1 $2/tree && cd $1 && git status --porcelain | wc -l";
    let copy = manager
        .state_dir()
        .join("runs")
        .join(&run.id)
        .join("shared/source")
        .display()
        .to_string();
    assert_eq!(
        manager
            .command(&["bash", "-ec", same, "same", "large", &copy])
            .ok()
            .trim(),
        "3",
        "{run}"
    );
}

fn a_workspace_is_fresh_for_each_attempt(manager: &Manager) {
    let source = large(manager, "again");
    let script = "echo COUNT$NIXACTIONS_ATTEMPT=$(find . -path ./.git -prune -o -type f -print | wc -l); echo STATUS$NIXACTIONS_ATTEMPT=$(git status --porcelain)
        rm -r dir1 .git/index; echo x > x; echo changed > dirty; [ $NIXACTIONS_ATTEMPT = 3 ]";
    let plan = json!({ "version": 1, "name": "again", "jobs": { "j": with(bash(script), json!({ "retry": { "maxAttempts": 3, "minTime": 0.1 } })) } });
    let run = manager.run(&plan, &[&source]).exits(0);
    for attempt in ["1", "2", "3"] {
        assert_eq!(run.value("j", &format!("COUNT{attempt}")), "305", "{run}");
        assert_eq!(
            run.value("j", &format!("STATUS{attempt}")),
            " M dirty ?? secret ?? untracked",
            "{run}"
        );
    }
    nothing_is_mounted(manager, &run);
}

fn artifacts_leave_and_enter_a_mounted_workspace(manager: &Manager) {
    let source = large(manager, "through");
    let plan = json!({ "version": 1, "name": "through", "jobs": {
        "make": with(bash("mkdir -p out/deep; echo made > out/deep/file; chmod 600 out/deep/file; mv dir1 out/moved; echo more >> dir2/deep/file1; rm dir2/deep/file2; ls -i out/deep/file"),
            json!({ "outputs": { "out": "out", "dir2": "dir2", "tool": "tool" } })),
        "take": with(bash("stat -c %a out/deep/file; cat out/deep/file; ls out/moved/deep | wc -l; cat dir2/deep/file1; ls dir2/deep | wc -l; git status --porcelain dir2 tool; ./sub/tool"),
            json!({ "needs": ["make"], "inputs": ["out", "dir2", { "name": "tool", "path": "sub" }] })),
        "link": with(bash("true"), json!({ "needs": ["make"], "inputs": [{ "name": "tool", "path": "link" }] })),
    } });
    let run = manager.run(&plan, &[&source]).exits(1);
    assert_eq!(
        run.lines("take"),
        [
            "600",
            "made",
            "30",
            "2 1",
            "more",
            "30",
            " M dir2/deep/file1",
            "ran"
        ],
        "{run}"
    );
    assert_eq!(
        run.reason("link"),
        "artifact `tool`: `link` leads through a link",
        "{run}"
    );
    nothing_is_mounted(manager, &run);
}

/// Also `$HOME` and the step's files.
fn a_workspace_that_a_step_has_shut_holds_up_nothing(manager: &Manager) {
    let source = large(manager, "shut");
    manager
        .command(&["bash", "-ec", "mkdir small; echo x > small/x"])
        .ok();
    let shut = "chmod 000 . $HOME";
    let retry = json!({ "retry": { "maxAttempts": 2, "minTime": 0.1 } });
    let plan = json!({ "version": 1, "name": "shut", "jobs": {
        "later": { "steps": [{ "bash": shut }, { "name": "next", "bash": "true" }] },
        "files": { "steps": [
            { "bash": "echo a=1 >> $NIXACTIONS_ENV; chmod 000 $NIXACTIONS_ENV $NIXACTIONS_OUTPUT" },
            { "bash": "[ $a = 1 ]" },
        ] },
        "saves": with(bash(&format!("mkdir -p out/in; echo made > out/in/x; chmod 000 out/in; {shut}")),
            json!({ "outputs": { "out": "out" } })),
        "takes": with(bash("stat -c %a out/in; chmod 755 out/in; cat out/in/x"),
            json!({ "needs": ["saves"], "inputs": ["out"] })),
        "again": with(bash(&format!(
            "ls -A; stat -c %a .; [ $NIXACTIONS_ATTEMPT = 2 ] || {{ touch left $HOME/left; {shut}; exit 1; }}; ls -A $HOME")), retry),
    } });
    for source in [source.as_str(), "--source=small"] {
        let run = manager.run(&plan, &[source]).exits(1);
        assert_eq!(run.verdict("later"), "failure/failure", "{run}");
        let reason = run.reason("later");
        assert!(
            reason.starts_with("step next: its working directory `") && reason.contains("entered"),
            "{run}"
        );
        assert_eq!(run.verdict("files"), "failure/failure", "{run}");
        assert!(
            run.reason("files")
                .contains("NIXACTIONS_ENV: cannot be read"),
            "{run}"
        );
        assert_eq!(run.verdict("saves"), "success/success", "{run}");
        assert_eq!(run.lines("takes"), ["0", "made"], "{run}");
        assert_eq!(run.verdict("again"), "success/success", "{run}");
        let lines = run.lines("again");
        let (first, second) = lines.split_at(lines.len() / 2);
        assert_eq!(first, second, "{run}");
        // Nothing of a successful job stays, as without the change of modes.
        for job in ["saves", "again"] {
            let look =
                "find \"$1\"/workspace \"$1\"/home \"$1\"/changes -mindepth 1 2>/dev/null | head";
            let runs = manager.state_dir().join("runs");
            let work = runs.join(&run.id).join("jobs").join(job).join("work");
            let left = manager
                .command(&[
                    "sh".as_ref(),
                    "-c".as_ref(),
                    look.as_ref(),
                    "sh".as_ref(),
                    work.as_os_str(),
                ])
                .ok();
            assert_eq!(left, "", "{job}: {run}");
        }
        nothing_is_mounted(manager, &run);
        run.leaves_nothing(manager);
        let removed = manager.nixactions(&["clean", "--keep=0"]).ok();
        assert!(removed.contains(&run.id), "{removed}");
    }
}
