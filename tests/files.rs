//! The files of jobs: the copy of the source tree, and artifacts.

use std::{fs, path::PathBuf};

use nixactions_harness::{CommandExt as _, Kind, Manager, bash, on_shared_managers, with};
use serde_json::json;

on_shared_managers!(
    artifacts_with_parts_that_their_owner_may_not_read_survive,
    a_job_has_the_source_tree_for_itself,
    artifacts_reach_the_jobs_that_take_them_in,
    artifacts_cannot_be_made_to_leak,
    artifacts_keep_what_files_are,
    files_that_cannot_be_saved_are_told,
    a_full_disk_fails_the_job_that_saves,
    submodules_and_linked_worktrees_are_whole_repositories,
    pipes_stay_out_of_the_source_tree,
    files_of_a_step_in_place_of_the_runners_are_replaced,
);

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
    let print = |more: &str| {
        bash(&format!(
            "{LIST}; echo dirty: $(cat dirty), secret: $(cat secret); ./tool; {more}"
        ))
    };
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
    assert_eq!(
        run.lines("first")[12..],
        [" D deleted", " M dirty", "?? secret", "?? untracked"],
        "{run}"
    );
    assert_eq!(
        run.lines("second")[..12],
        listed,
        "another job's changes are seen: {run}"
    );
    assert_eq!(run.lines("second")[12..], ["first"], "{run}");
    assert_eq!(run.lines("bare"), NONE, "{run}");
    let source = manager.file("source");
    assert_eq!(
        fs::read_to_string(source.join("dirty")).expect("it is there"),
        "new\n"
    );
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
        "later": with(bash("cat deep/file; cat */events.jsonl ../../../make/out/events.jsonl || true"), json!({ "needs": ["take"], "inputs": ["one"] })),
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
    taken.extend([
        "d 755 in ",
        "d 755 in/put ",
        "d 755 in/put/deep ",
        "f 644 in/put/deep/file ",
    ]);
    // The manager's umask decides the modes of other files.
    let lines: Vec<_> = run
        .lines("take")
        .into_iter()
        .map(|line| line.replace("d 775 in", "d 755 in"))
        .collect();
    assert_eq!(lines, taken, "{run}");
    assert_eq!(run.lines("none"), NONE, "{run}");
    assert_eq!(run.lines("later")[0], "one", "{run}");
    assert_eq!(run.verdict("missing"), "failure/failure");
    assert_eq!(
        run.reason("missing"),
        "artifact `nothing`: `not/there` does not exist in the workspace",
        "{run}"
    );
    assert_eq!(run.reason("failed"), "step it: exit status 5", "{run}");
    assert_eq!(
        (run.verdict("report"), run.lines("report")),
        ("success/success".to_owned(), vec!["saved"]),
        "{run}"
    );
    assert_eq!(
        run.reason("hopeless"),
        "artifact `lost` was not saved by job `failed`",
        "{run}"
    );
    // The user of the run finds the artifacts there afterwards.
    let kept = manager
        .run_dir(&run.id)
        .join("jobs/make/artifacts/one/tree/deep/file");
    assert_eq!(fs::read_to_string(kept).expect("it is kept"), "one\n");
}

fn artifacts_cannot_be_made_to_leak(manager: &Manager) {
    let victim = manager.open_directory("victim");
    let inside = victim.display().to_string();
    let plan = json!({ "version": 1, "name": "leaks", "executors": { "open": { "type": "systemd", "sandbox": "none", "copyRepo": false } }, "jobs": {
        "through": with(bash("ln -s /etc link"), json!({ "outputs": { "through": "link/hostname" } })),
        "last": with(bash("ln -s /etc/hostname link"), json!({ "outputs": { "last": "link" } })),
        "take-last": with(bash("readlink link"), json!({ "needs": ["last"], "inputs": ["last"] })),
        // A link of one job must not lead what is restored next out of the workspace of another,
        // least of all of one that is not confined.
        "trap": with(bash(&format!("ln -s {inside} lib; mkdir -p lib2; ln -s {inside} lib2/deep")), json!({ "outputs": { "trap": "lib", "trap2": "lib2" } })),
        "data": with(bash("mkdir deep; echo data > deep/data"), json!({ "outputs": { "data": "deep", "other": "deep/data" } })),
        "caught": with(bash("true"), json!({ "executor": "open", "needs": ["trap", "data"], "inputs": ["trap", { "name": "other", "path": "lib" }] })),
        "caught-deeper": with(bash("true"),
            json!({ "executor": "open", "needs": ["trap", "data"], "inputs": ["trap2", { "name": "data", "path": "lib2" }] })),
    } });
    let run = manager.run(&plan, &NONE).exits(1);
    assert_eq!(
        run.reason("through"),
        "artifact `through`: `link/hostname` leads through a link",
        "{run}"
    );
    assert_eq!(run.lines("take-last"), ["/etc/hostname"], "{run}");
    let leaked: Vec<_> = fs::read_dir(manager.file(&victim))
        .expect("it is there")
        .flatten()
        .map(|entry| entry.path())
        .collect();
    assert_eq!(
        leaked,
        Vec::<PathBuf>::new(),
        "written through a link: {run}"
    );
    assert_eq!(
        run.reason("caught"),
        "artifact `other`: `lib` leads through a link",
        "{run}"
    );
    assert!(
        run.reason("caught-deeper")
            .starts_with("failed to restore artifact `data`"),
        "{run}"
    );
    for path in ["/etc", "../up", "a/../../up"] {
        let plan = manager
            .plan(&json!({ "version": 1, "name": "leaks", "jobs": { "j": with(bash("true"), json!({ "outputs": { "o": path } })) } }));
        let (code, stderr) = manager.refused(&["run", &plan.display().to_string()]);
        assert_eq!(code, 2);
        assert!(stderr.contains("$.jobs.j.outputs.o"), "{stderr}");
    }
}

fn artifacts_keep_what_files_are(manager: &Manager) {
    let long = "n".repeat(255);
    let make = format!(
        "umask 022; mkdir -p a/b a/empty 'a/line
feed'; echo one > a/one; ln a/one a/b/two; ln a/one left; echo dash > a/-rf; echo bytes > $'a/\\xff\\xfe'; chmod 600 $'a/\\xff\\xfe'
        echo long > a/{long}; truncate -s 100M a/sparse; echo data | dd of=a/sparse bs=1 seek=50M conv=notrunc status=none; touch -d 2001-02-03 a/old"
    );
    let take = format!(
        "stat -c 'two %h' a/b/two; [ a/one -ef a/b/two ] && echo same; stat -c 'bytes %a' $'a/\\xff\\xfe'; cat a/-rf a/{long}
        ls -d 'a/line
feed' | wc -l; [ $(stat -c '%b' a/sparse) -lt 2000 ] && stat -c 'sparse %s' a/sparse; dd if=a/sparse bs=1 skip=50M count=4 status=none; echo
        date -r a/old +%F; ls -A a/empty; echo changed >> a/one"
    );
    let both = json!({ "ReadWritePaths": manager.open_directory("both").display().to_string() });
    // Each waits for the other, so that both have their copy at the same time.
    let meet = |me: &str, other: &str| {
        let place = manager.open_directory("both");
        let script = format!(
            "touch {place}/{me}; {take}; until [ -e {place}/{other} ]; do sleep 0.05; done",
            place = place.display()
        );
        with(
            bash(&script),
            json!({ "needs": ["make"], "inputs": ["a"], "timeout": 60, "properties": both }),
        )
    };
    let plan = json!({ "version": 1, "name": "kept", "maxParallel": 2, "jobs": {
        "make": with(bash(&make), json!({ "outputs": { "a": "a", "none": "a/empty" } })),
        "first": meet("first", "second"),
        "second": meet("second", "first"),
        "none": with(bash("find . -mindepth 1"), json!({ "needs": ["make"], "inputs": ["none"] })),
    } });
    let run = manager.run(&plan, &NONE).exits(0);
    for job in ["first", "second"] {
        assert_eq!(
            run.lines(job),
            [
                "two 2",
                "same",
                "bytes 600",
                "dash",
                "long",
                "2",
                "sparse 104857600",
                "data",
                "2001-02-03"
            ],
            "{run}"
        );
    }
    assert_eq!(run.lines("none"), ["./a", "./a/empty"], "{run}");
    let saved = manager
        .run_dir(&run.id)
        .join("jobs/make/artifacts/a/tree/a");
    assert_eq!(
        fs::read_to_string(saved.join("one")).expect("it is kept"),
        "one\n",
        "a consumer has changed it"
    );
}

fn files_that_cannot_be_saved_are_told(manager: &Manager) {
    let plan = json!({ "version": 1, "name": "odd", "jobs": {
        "special": with(bash("mkdir d; mkfifo d/pipe pipe; echo file > d/file"), json!({ "outputs": { "d": "d" } })),
        "take": with(bash("ls -A d"), json!({ "needs": ["special"], "inputs": ["d"] })),
        "pipe": with(bash("mkfifo pipe"), json!({ "outputs": { "pipe": "pipe" } })),
        "gone": with(bash("rm -r $NIXACTIONS_WORKSPACE"), json!({ "outputs": { "e": "d" } })),
        "replaced": with(bash("cd ..; rm -r workspace; ln -s /etc workspace"), json!({ "outputs": { "hostname": "hostname" } })),
        "beside": bash("true"),
    } });
    let run = manager.run(&plan, &NONE).exits(1);
    assert_eq!(run.lines("take"), ["file"], "{run}");
    assert_eq!(run.verdict("special"), "success/success", "{run}");
    let told = run.events.iter().any(|event| {
        event["event"]["job"] == "special"
            && event["event"]["message"] == "artifact `d`: left out `d/pipe`, which is a named pipe"
    });
    assert!(told, "{run}");
    assert!(
        run.reason("pipe")
            .ends_with("pipe` is a named pipe, which cannot be copied"),
        "{run}"
    );
    assert_eq!(
        run.reason("gone"),
        "artifact `e`: `d` does not exist in the workspace",
        "{run}"
    );
    assert_eq!(
        run.reason("replaced"),
        "artifact `hostname`: `hostname` leads through a link",
        "{run}"
    );
    assert_eq!(run.verdict("beside"), "success/success", "{run}");
}

fn a_full_disk_fails_the_job_that_saves(manager: &Manager) {
    // The job itself fills the disk, where it has one of its own: the machine's directory of
    // artifacts.
    if manager.machine().is_none() || manager.kind() != Kind::System {
        return;
    }
    let state = "/srv/small";
    manager
        .command(&[
            "sh",
            "-c",
            &format!("mkdir {state} && mount -t tmpfs -o size=24m,mode=755 tmpfs {state}"),
        ])
        .ok();
    let plan = manager.plan(&json!({ "version": 1, "name": "full", "jobs": {
        "save": with(bash("head -c 9M /dev/zero > a; head -c 9M /dev/urandom > b; ln a c; exit 0"), json!({ "outputs": { "all": ".", "a": "a" } })),
        "take": with(bash("true"), json!({ "needs": ["save"], "inputs": ["all"], "condition": "always()" })),
        "other": with(bash("echo fine > x"), json!({ "needs": ["take"], "condition": "always()", "outputs": { "x": "x" } })),
    } }));
    let run = manager.nixactions(&[
        "run",
        &plan.display().to_string(),
        "--output=json",
        "--state-dir",
        state,
    ]);
    let output = { run }.output_within(nixactions_harness::RUN_DEADLINE);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let record = fs::read_to_string(manager.file(format!("{state}/runs/full-1/record.json")))
        .expect("the record is written");
    let record: serde_json::Value = serde_json::from_str(&record).expect("it is JSON");
    let reason = record["jobs"]["save"]["reason"]
        .as_str()
        .unwrap_or_default();
    assert!(
        reason.starts_with("failed to save artifact `a")
            && reason.contains("No space left on device"),
        "{record:#}"
    );
    assert_eq!(
        record["jobs"]["take"]["reason"], "artifact `all` was not saved by job `save`",
        "{record:#}"
    );
    assert_eq!(
        record["jobs"]["other"]["conclusion"], "success",
        "{record:#}"
    );
    manager.command(&["umount", "-l", state]).ok();
}

fn submodules_and_linked_worktrees_are_whole_repositories(manager: &Manager) {
    let make = "
        export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=x GIT_AUTHOR_EMAIL=x@x GIT_COMMITTER_NAME=x GIT_COMMITTER_EMAIL=x@x; umask 022
        mkdir modules && cd modules
        git init -q -b main lib && (cd lib && echo '*.o' > .gitignore && echo lib > lib && git add . && git commit -qm lib)
        git init -q -b main main && cd main && echo top > top && git -c protocol.file.allow=always submodule -q add ../lib sub/lib && git add . && git commit -qm 'on main'
        echo no > sub/lib/x.o; echo dirty > sub/lib/lib; echo new > sub/lib/new
        git init -q nested && echo nested > nested/file
        git worktree add -q -b other ../linked && cd ../linked && git commit -q --allow-empty -m 'on other'
        git -c protocol.file.allow=always submodule -q update --init && echo staged > staged && git add staged && echo changed > top
        cd .. && git clone -q --bare main bare.git && git -C bare.git worktree add -q ../from-bare main";
    manager.command(&["bash", "-ec", make]).ok();
    let script = "git log --format=%s; git status --porcelain; git -C sub/lib status --porcelain; git -C sub/lib log --format=%s; ls -A sub/lib; if [ -e nested ]; then ls -A nested; fi; git worktree list | wc -l
        git switch -q -c mine && git -c user.name=x -c user.email=x@x commit --allow-empty -qam mine && git log --format=%s | wc -l";
    let plan = json!({ "version": 1, "name": "modules", "jobs": { "j": bash(script) } });
    let run = manager.run(&plan, &["--source=modules/main"]).exits(0);
    let sub = ["lib", ".git", ".gitignore", "lib"];
    let expected = [
        &["on main", " M sub/lib", "?? nested/", " M lib", "?? new"][..],
        &sub,
        &["new", ".git", "file", "2", "2"],
    ]
    .concat();
    assert_eq!(run.lines("j"), expected, "{run}");
    let run = manager.run(&plan, &["--source=modules/linked"]).exits(0);
    assert_eq!(
        run.lines("j"),
        [
            "on other",
            "on main",
            "A  staged",
            " M top",
            "lib",
            ".git",
            ".gitignore",
            "lib",
            "1",
            "3"
        ],
        "{run}"
    );
    let bare = json!({ "version": 1, "name": "bare", "jobs": { "j": bash("git log --format=%s; git status --porcelain; git rev-parse --is-bare-repository") } });
    let run = manager.run(&bare, &["--source=modules/from-bare"]).exits(0);
    assert_eq!(run.lines("j"), ["on main", "false"], "{run}");
    let still = manager
        .command(&[
            "git",
            "-c",
            "safe.directory=*",
            "-C",
            "modules/linked",
            "log",
            "-1",
            "--format=%s",
        ])
        .ok();
    assert_eq!(
        still.trim(),
        "on other",
        "the source's own repository was changed"
    );
}

fn pipes_stay_out_of_the_source_tree(manager: &Manager) {
    manager
        .command(&[
            "bash",
            "-ec",
            "mkdir odd; echo file > odd/file; mkfifo odd/pipe",
        ])
        .ok();
    let plan = json!({ "version": 1, "name": "odd-source", "jobs": { "j": bash("ls -A") } });
    let run = manager.run(&plan, &["--source=odd"]).exits(0);
    assert_eq!(run.lines("j"), ["file"], "{run}");
    assert!(
        run.stderr
            .contains("left out of the source tree: `pipe`, which is a named pipe"),
        "{}",
        run.stderr
    );
}

fn files_of_a_step_in_place_of_the_runners_are_replaced(manager: &Manager) {
    let plant = "d=$(dirname $NIXACTIONS_ENV); echo precious > kept
        mkfifo $d/1-1.env $d/1.sh; ln -s $PWD/kept $d/1-1.output; ln -s $PWD/kept $d/2.sh; echo IT=planted > $d/2-1.env";
    let steps = json!([
        { "name": "plant", "bash": plant },
        { "name": "next", "bash": "echo OUT=1 >> $NIXACTIONS_OUTPUT; echo OWN=2 >> $NIXACTIONS_ENV" },
        { "name": "last", "bash": "echo $OWN, ${IT-none}, $(cat kept)" },
    ]);
    let plan = json!({ "version": 1, "name": "planted", "jobs": { "j": { "timeout": 60, "steps": steps } } });
    let run = manager.run(&plan, &NONE).exits(0);
    assert_eq!(run.lines("j"), ["2, none, precious"], "{run}");
    assert_eq!(run.job("j")["outputs"], json!({ "OUT": "1" }), "{run}");
}

fn artifacts_with_parts_that_their_owner_may_not_read_survive(manager: &Manager) {
    let make = "umask 022; mkdir -p made/closed/inner made/writable made/listed made/deep/a/b; cd made
        for f in none closed/inner/x writable/x listed/x deep/a/b/x; do echo $f > $f; done; echo hidden > unread; ln none twin
        chmod 000 none closed/inner closed; chmod 200 unread; chmod 300 writable; chmod 400 listed; chmod 000 deep/a/b deep/a";
    let see = "stat -c '%a %n' made/none made/twin made/unread made/closed made/writable made/listed made/deep/a
        chmod -R u+rwX made; stat -c %h made/none; cat made/none made/unread made/*/x made/closed/inner/x made/deep/a/b/x";
    let output = |path: &str| json!({ "outputs": { "made": path } });
    let needs = json!({ "needs": ["make"], "inputs": ["made"] });
    for executor in ["strict", "none"] {
        let plan = json!({ "version": 1, "name": "closed", "executors": { "it": { "type": "systemd", "sandbox": executor } }, "jobs": {
            "make": with(with(bash(make), output("made")), json!({ "executor": "it" })),
            "see": with(with(bash(see), needs.clone()), json!({ "executor": "it" })) } });
        let run = manager.run(&plan, &[""; 0]).exits(0);
        let expected = [
            "0 made/none",
            "0 made/twin",
            "200 made/unread",
            "0 made/closed",
            "300 made/writable",
            "400 made/listed",
            "0 made/deep/a",
            "2",
            "none",
            "hidden",
            "listed/x",
            "writable/x",
            "closed/inner/x",
            "deep/a/b/x",
        ];
        assert_eq!(run.lines("see"), expected, "{executor}: {run}");
    }
    // A path that leads through closed directories of a failed job, whose workspace stays.
    let plan = json!({ "version": 1, "name": "through", "jobs": {
        "make": with(with(bash(&format!("{make}; exit 3")), output("made/deep/a/b/x")), json!({ "continueOnError": true })),
        "see": with(bash("stat -c %a made/deep/a; chmod -R u+rwX made; cat made/deep/a/b/x"), needs) } });
    let run = manager.run(&plan, &[""; 0]).exits(0);
    assert_eq!(run.lines("see"), ["0", "deep/a/b/x"], "{run}");
    if manager.kind() != Kind::Embedded || manager.machine().is_some() {
        let path = manager
            .run_dir(&run.id)
            .join("jobs/make/work/workspace/made/deep/a");
        let mode = std::fs::metadata(path).expect("it stays").permissions();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0);
    }
}
