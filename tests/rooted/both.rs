//! Jobs in both ways: the same plan gives the same results.

use std::fs;

use nixactions_harness::{CommandExt as _, Finished, Manager, bash, on_managers, or_skip, with};
use serde_json::{Value, json};

use super::{NONE, WAYS, nothing_is_left, plan};

on_managers!(a_job_lives_as_on_the_host on embedded, embedded_262, system_252, system_257, system_262);
on_managers!(bound_files_are_visible on embedded, system_252, system_262);
on_managers!(a_large_source_is_mounted on system_252, system_262);
on_managers!(a_runner_that_is_killed_is_followed_by_another on system_252, system_257, system_262);
on_managers!(a_users_manager_refuses_roots on user_262);

fn a_job_lives_as_on_the_host(manager: &Manager) {
    let credential = manager.write("token", "hunter2alpha");
    let provider = manager.write_executable("provider", "#!/bin/sh\necho 'export FROM=provider'\n");
    let source = manager.write("source/file", "of the source");
    let build = bash(
        "set -u
        echo home=$HOME; echo workspace=$PWD; echo user=$(id -un); echo shell=$SHELL; echo group=$(id -gn)
        [ $(id -u) = 0 ] || [ \"$(getent passwd $(id -u) | cut -d: -f6)\" = $HOME ]
        [ $PWD = $NIXACTIONS_WORKSPACE ]; [ -w $HOME ]; [ \"$(cat file)\" = 'of the source' ]
        echo lang=$LANG; echo from=$FROM; echo over=$OVER
        [ \"$(cat $CREDENTIALS_DIRECTORY/token)\" = hunter2alpha ]
        echo '::add-mask::swordfish'; echo swordfish; echo to stderr >&2
        mkdir dist; echo artifact >dist/a; echo 'key=value' >>$NIXACTIONS_OUTPUT; echo 'LATER=yes' >>$NIXACTIONS_ENV
        echo '# summary' >>$NIXACTIONS_SUMMARY",
    );
    let mut build = with(
        build,
        json!({
            "credentials": { "token": credential }, "envFrom": [[provider]], "env": { "OVER": "job" },
            "outputs": { "dist": "dist" }
        }),
    );
    let steps = build["steps"].as_array_mut().expect("it has steps");
    steps.push(
        json!({ "bash": "[ $LATER = yes ]; exit 3", "name": "three", "continueOnError": true }),
    );
    steps.push(json!({ "run": ["sh", "-c", "exit 0"], "name": "argv" }));
    let test = with(
        bash(
            "[ $NEEDS_BUILD_RESULT = success ]; echo key=$NEEDS_BUILD_KEY; cat dist/a; jobs=/run/nixactions/jobs; [ ! -e $jobs/build/work ]",
        ),
        json!({ "needs": ["build"], "inputs": ["dist"] }),
    );
    let executor = json!({
        "env": { "LANG": "of.executor", "OVER": "executor" },
        "bind": [{ "source": provider, "readOnly": true }],
    });
    let source = source.parent().expect("it has one").display().to_string();
    let modes = WAYS.map(|way| [(way, "isolated"), (way, "shared")]);
    for (way, mode) in modes.into_iter().flatten() {
        let jobs = json!({ "build": build, "test": test });
        let executor = with(executor.clone(), json!({ "mode": mode }));
        let plan = or_skip!(plan(manager, way, executor, jobs));
        let finished = manager.run(&plan, &["--source", &source]).exits(0);
        lived_as_on_the_host(&finished);
        let [user, group] = ["user", "group"].map(|name| finished.value("build", name));
        if way == "nspawn" {
            assert_eq!((user, group), ("root", "root"));
        } else {
            assert!(user.starts_with("nixactions-"), "{user}");
            assert_eq!(finished.value("build", "shell"), "/usr/bin/bash");
        }
        finished.leaves_nothing(manager);
        nothing_is_left(manager);
    }
}

fn lived_as_on_the_host(finished: &Finished) {
    let value = |name: &str| finished.value("build", name).to_owned();
    assert_eq!(value("home"), "/run/nixactions/job/work/home");
    assert_eq!(value("workspace"), "/run/nixactions/job/work/workspace");
    assert_eq!(value("lang"), "of.executor");
    assert_eq!(value("from"), "***", "what a provider tells is masked");
    assert_eq!(value("over"), "job");
    let lines = finished.lines("build");
    assert!(
        lines.contains(&"***") && lines.contains(&"to stderr"),
        "{lines:?}"
    );
    assert_eq!(finished.steps("build").len(), 3);
    assert_eq!(finished.job("build")["steps"][1]["exitCode"], 3);
    assert_eq!(finished.job("build")["outputs"]["key"], "value");
    assert!(finished.lines("test").contains(&"artifact"));
    assert_eq!(finished.value("test", "key"), "value");
}

fn bound_files_are_visible(manager: &Manager) {
    let open = manager.open_directory("open");
    manager.write("readable/file", "read me");
    let readable = manager.dir().join("readable");
    let colon = manager.write("a:b/file", "colon");
    let executor = json!({ "bind": [
        { "source": open, "target": "/deep/er/open" },
        { "source": readable, "target": "/etc/readable", "readOnly": true },
        { "source": readable.join("file"), "target": "/etc/hostname", "readOnly": true },
        { "source": colon, "target": "/with:colon", "readOnly": true },
    ] });
    let script = "echo written >/deep/er/open/$WAY; [ \"$(cat /etc/readable/file)\" = 'read me' ]; [ \"$(cat /with:colon)\" = colon ]
        if echo x 2>/dev/null >/etc/readable/x; then exit 9; fi; if echo x 2>/dev/null >/etc/readable/file; then exit 8; fi
        [ \"$(cat /etc/hostname)\" = 'read me' ]; cp /usr/bin/id /deep/er/open/id-$WAY; chmod 4755 /deep/er/open/id-$WAY
        findmnt --noheadings --output OPTIONS --target /deep/er/open | grep -w nosuid";
    for way in WAYS {
        let job = with(bash(script), json!({ "env": { "WAY": way } }));
        let plan = or_skip!(plan(manager, way, executor.clone(), json!({ "j": job })));
        manager.run(&plan, &NONE).exits(0);
        let written = fs::read_to_string(manager.file(open.join(way))).expect("it was written");
        assert_eq!(written, "written\n");
        nothing_is_left(manager);
    }
}

fn a_large_source_is_mounted(manager: &Manager) {
    let state = manager.state_dir().display().to_string();
    let mount = "mkdir -p $1; mount -t tmpfs -o mode=755 tmpfs $1";
    manager.command(&["sh", "-ec", mount, "mount", &state]).ok();
    for number in 0..300 {
        manager.write(format!("many/{number}"), "");
    }
    let source = manager.dir().join("many").display().to_string();
    let script =
        "ls | wc -l; echo changed >7; rm 8; findmnt --noheadings --output FSTYPE --target .
        [ \"$(stat -c %u:%g 9)\" = \"$(id -u):$(id -g)\" ]";
    for way in WAYS {
        let jobs = json!({ "j": bash(script) });
        let plan = or_skip!(plan(manager, way, json!({}), jobs));
        let finished = manager.run(&plan, &["--source", &source]).exits(0);
        assert_eq!(finished.lines("j"), ["300", "overlay"], "{way}");
        finished.leaves_nothing(manager);
        nothing_is_left(manager);
    }
}

fn a_runner_that_is_killed_is_followed_by_another(manager: &Manager) {
    let script = "echo attempt $NIXACTIONS_ATTEMPT; (sleep 0.01 &); if [ $NIXACTIONS_ATTEMPT = 1 ]; then touch here; sleep 1000; fi";
    let job = with(
        bash(script),
        json!({ "retry": { "maxAttempts": 2, "minTime": 0 } }),
    );
    for way in WAYS {
        let plan = or_skip!(plan(manager, way, json!({}), json!({ "j": job })));
        let run = manager.start(&plan, &NONE);
        run.wait_for_file("j", "here");
        assert!(run.kill_runner("j"));
        let finished = run.end().exits(0);
        assert_eq!(finished.job("j")["attempts"], 2, "{way}");
        assert!(finished.lines("j").contains(&"attempt 2"), "{way}");
        nothing_is_left(manager);
    }
}

fn a_users_manager_refuses_roots(manager: &Manager) {
    for way in WAYS {
        let jobs: Value = json!({ "j": bash("true") });
        let plan = or_skip!(plan(manager, way, json!({}), jobs));
        let path = manager.plan(&plan).display().to_string();
        let (code, said) = manager.refused(&["run", &path]);
        assert_eq!(code, 2, "{said}");
        let reason = "a user's manager cannot mount a root file system";
        assert!(said.contains(reason), "{said}");
    }
}
