//! Every fault in the user's input gets a clear error, and nothing is half-started.

use std::{
    fs,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
};

use nixactions_harness::{
    CommandExt as _, Kind, Manager, SOON, bash, on_managers, on_shared_managers, with,
};
use serde_json::{Value, json};

on_shared_managers!(
    a_bad_plan_starts_nothing,
    bad_arguments_start_nothing,
    a_step_that_cannot_be_executed_fails_its_job_alone,
    odd_names_and_values_work
);
on_managers!(a_state_directory_that_cannot_be_used_is_told_of on system_252, user_262, embedded_262);
on_managers!(without_any_manager_it_says_what_to_do on embedded_262);
on_managers!(a_user_without_rights_to_a_manager_is_told_another_one on system_252, system_262);

const NONE: [&str; 0] = [];

/// Panics unless a command ends with this exit status, says all of this, and leaves no run and no
/// unit.
fn refused(manager: &Manager, arguments: &[&str], code: i32, words: &[&str]) {
    // Others use the manager as well, with plans of other names.
    let runs = || {
        manager
            .runs()
            .into_iter()
            .filter(|run| run.starts_with("bad-"))
            .count()
    };
    let before = runs();
    let (found, stderr) = manager.refused(arguments);
    assert_eq!(found, code, "{arguments:?}: {stderr}");
    assert!(stderr.starts_with("error: "), "{arguments:?}: {stderr}");
    for word in words {
        assert!(
            stderr.contains(word),
            "{arguments:?}: `{word}` is not in {stderr}"
        );
    }
    assert_eq!(runs(), before, "{arguments:?} left a run");
    if manager.kind() != Kind::Embedded {
        assert_eq!(
            manager.units("nixactions-bad*"),
            NONE,
            "{arguments:?} left units"
        );
    }
}

fn a_bad_plan_starts_nothing(manager: &Manager) {
    let refused_file = |contents: &[u8], words: &[&str]| {
        let path = manager
            .write("bad-plan.json", contents)
            .display()
            .to_string();
        refused(manager, &["run", &path], 2, words);
        let (code, stderr) = manager.refused(&["check", &path]);
        assert_eq!(code, 2, "check: {stderr}");
    };
    refused_file(b"", &["an empty file", "/bad-plan.json"]);
    refused_file(b"this is not a plan", &["JSON"]);
    refused_file(b"\xff\xfe{}", &["UTF-8"]);
    refused_file(&vec![b' '; 100_000_000], &["100000000 bytes", "64 MiB"]);
    refused_file(&vec![b'['; 1_000_000], &["$"]);
    refused_file(
        br#"{"version":1,"name":"bad","jobs":{"a":{"steps":[{"bash":"a\u0000b"}],"env":{"X":"a\u0000b"}}}}"#,
        &["NUL", "$.jobs.a"],
    );
    let refused_plan = |jobs: Value, words: &[&str]| {
        refused_file(
            json!({ "version": 1, "name": "bad", "jobs": jobs })
                .to_string()
                .as_bytes(),
            words,
        );
    };
    refused_plan(json!({}), &["$.jobs"]);
    // All faults at once, each with its place.
    refused_plan(
        json!({ "a": with(bash("true"), json!({ "needs": ["b"] })), "b": with(bash("true"), json!({ "needs": ["a", "bild"] })),
                "build": { "steps": [] }, "c": { "steps": [{ "bash": "true", "run": ["true"], "wrkdir": "x" }] } }),
        &[
            "a -> b -> a",
            "$.jobs.b.needs[1]",
            "`build`",
            "$.jobs.build.steps",
            "$.jobs.c.steps[0]",
            "wrkdir",
        ],
    );
    let env = |value: &str| json!({ "a": with(bash("true"), json!({ "env": { "BIG": value } })) });
    refused_plan(
        env(&"x".repeat(200 << 10)),
        &["$.jobs.a.env.BIG", "204800 bytes"],
    );
    refused_plan(
        json!({ "a": with(bash("true"), json!({ "env": { "A=B": "x", "": "y", "C\u{0}": "z" } })) }),
        &["A=B"],
    );
    for name in [
        "two words",
        "quo'te",
        "ünï",
        "-dash",
        "1st",
        "a.b",
        "a/b",
        "",
        &"x".repeat(300),
    ] {
        refused_plan(
            json!({ name: bash("true") }),
            &["$.jobs", &name.chars().take(20).collect::<String>()],
        );
    }
    let long = json!({ "a": { "steps": [{ "bash": "true", "name": "s".repeat(300) }, { "bash": "true", "name": "a\nb" }, { "bash": "true", "name": "" }] } });
    refused_plan(
        long,
        &[
            "$.jobs.a.steps[0].name",
            "300 bytes",
            "$.jobs.a.steps[1].name",
            "$.jobs.a.steps[2].name",
        ],
    );
    // A setting that an executor cannot have is refused by name. The plan does not run without it.
    let box_ = json!({ "version": 1, "name": "bad", "jobs": { "a": with(bash("true"), json!({ "executor": "box" })) },
        "executors": { "box": { "type": "nspawn", "root": "/nix/store/root", "properties": { "PrivateTmp": "yes" } } } });
    refused_file(
        box_.to_string().as_bytes(),
        &["$.executors.box.properties.PrivateTmp", "systemd-nspawn"],
    );
    manager.write("dir-without-plan/file", "");
    refused(
        manager,
        &["run", "dir-without-plan"],
        2,
        &["dir-without-plan"],
    );
    refused(
        manager,
        &["run", "nowhere/plan.json"],
        2,
        &["nowhere/plan.json"],
    );
}

fn bad_arguments_start_nothing(manager: &Manager) {
    let plan = manager.write(
        "bad-arguments.json",
        json!({ "version": 1, "name": "bad", "jobs": { "j": bash("true") } }).to_string(),
    );
    let plan = plan.display().to_string();
    refused(
        manager,
        &["run", &plan, "--env", "NOVALUE"],
        2,
        &["--env NOVALUE", "NAME=value"],
    );
    refused(
        manager,
        &["run", &plan, "--env", "A B=c", "--env", "=x"],
        2,
        &["A B"],
    );
    refused(
        manager,
        &["run", &plan, "--env-file", "nowhere.env"],
        2,
        &["nowhere.env"],
    );
    let file = manager
        .write("bad.env", "A=1\nsecret\n")
        .display()
        .to_string();
    refused(
        manager,
        &["run", &plan, "--env-file", &file],
        2,
        &[&file, "line 2"],
    );
    let huge = manager
        .write("huge.env", format!("BIG={}\n", "x".repeat(200 << 10)))
        .display()
        .to_string();
    refused(
        manager,
        &["run", &plan, "--env-file", &huge],
        2,
        &["BIG", "128 KiB"],
    );
    refused(
        manager,
        &["run", &plan, "--env-file", "/dev/zero"],
        2,
        &["/dev/zero", "16 MiB"],
    );
    refused(
        manager,
        &["run", &plan, "--input", "x=1"],
        2,
        &["no input `x`"],
    );

    let known = manager
        .run(
            &json!({ "version": 1, "name": "known", "jobs": { "j": bash("true") } }),
            &NONE,
        )
        .exits(0);
    let near = format!("{}0", known.id);
    for command in ["show", "logs", "attach", "cancel"] {
        refused(
            manager,
            &[command, &near],
            2,
            &[
                &format!("no run `{near}`"),
                &format!("did you mean `{}`", known.id),
            ],
        );
        refused(
            manager,
            &[command, "zzz-9"],
            2,
            &["no run `zzz-9`", "nixactions list"],
        );
        refused(
            manager,
            &[command, "../../etc"],
            2,
            &["invalid run id `../../etc`"],
        );
        refused(
            manager,
            &[command, "no-number"],
            2,
            &["invalid run id `no-number`", "-<number>"],
        );
    }
    refused(
        manager,
        &["cancel", &known.id],
        2,
        &["already finished: success"],
    );
    let argument = std::ffi::OsStr::from_bytes(b"not-UTF-8-\xff");
    let status = manager
        .nixactions(&[std::ffi::OsStr::new("show"), argument])
        .output_within(SOON)
        .status;
    assert_eq!(status.code(), Some(2));
}

fn a_step_that_cannot_be_executed_fails_its_job_alone(manager: &Manager) {
    let data = manager.open_directory("programs");
    let write = |name: &str, contents: &str, mode: u32| {
        let path = data.join(name);
        fs::write(manager.file(&path), contents).expect("the place is writable");
        fs::set_permissions(manager.file(&path), fs::Permissions::from_mode(mode))
            .expect("it is ours");
        path.display().to_string()
    };
    let (plain, script) = (
        write("plain", "#!/bin/sh\n", 0o644),
        write("script", "#!/nowhere/sh\n", 0o755),
    );
    let (garbage, good) = (
        write("garbage", "\u{1}\u{2}", 0o755),
        write("good", "#!/bin/sh\necho good \"$@\"\n", 0o755),
    );
    let job = |argv: &[&str]| json!({ "steps": [{ "name": "it", "run": argv }, { "bash": "echo after", "condition": "always()" }] });
    let plan = json!({ "version": 1, "name": "unable", "jobs": {
        "missing": job(&["/nowhere/program"]), "unknown": job(&["no-such-program"]), "plain": job(&[&plain]), "directory": job(&["/etc"]),
        "script": job(&[&script]), "garbage": job(&[&garbage]), "good": job(&[&good, "a b", "$HOME", "*", ""]),
        "killed": json!({ "steps": [{ "name": "it", "bash": "kill -SEGV $$" }] }),
    } });
    let run = manager.run(&plan, &NONE).exits(1);
    for (job, reason) in [
        (
            "missing",
            "executable `/nowhere/program` does not exist".to_owned(),
        ),
        (
            "unknown",
            "executable `no-such-program` was not found in PATH".to_owned(),
        ),
        (
            "plain",
            format!("`{plain}` is not executable by the job's user"),
        ),
        (
            "directory",
            "`/etc` is not executable by the job's user".to_owned(),
        ),
        (
            "script",
            format!("the interpreter of `{script}` does not exist"),
        ),
    ] {
        assert_eq!(
            (run.verdict(job), run.reason(job)),
            ("failure/failure".to_owned(), &*format!("step it: {reason}")),
            "{run}"
        );
        assert_eq!(run.lines(job), ["after"], "{run}");
    }
    assert!(
        run.reason("garbage").contains("could not be started")
            && run.reason("garbage").contains(&garbage),
        "{run}"
    );
    assert!(
        run.reason("killed")
            .starts_with("step it: killed by SIGSEGV"),
        "{run}"
    );
    assert_eq!(run.verdict("good"), "success/success");
    assert_eq!(run.lines("good"), ["good a b $HOME * ", "after"], "{run}");
}

fn odd_names_and_values_work(manager: &Manager) {
    let long = "x".repeat(100);
    // The longest there may be together.
    let workflow = format!("w-_{}", "y".repeat(57));
    let names = [
        "two words",
        "quo\"te's",
        "ünï ✓",
        "--help",
        "$HOME `id` %n %%",
        "a\\nb",
        "=",
        &"s".repeat(200),
    ];
    let steps: Vec<Value> = names
        .iter()
        .map(|name| json!({ "name": name, "bash": "echo \"$NIXACTIONS_STEP\"; echo \"$ODD\"", "env": { "ODD": name } }))
        .collect();
    let mut jobs = json!({ "__": { "steps": steps }, "a-b_c": bash("true"), "a-b-c": bash("true"), "A": bash("true"), "a": bash("true") });
    jobs[&long] = with(
        bash("echo $NIXACTIONS_JOB"),
        json!({ "needs": ["__", "a-b_c", "A"], "env": { "EQUALS": "a=b=c" } }),
    );
    let plan = json!({ "version": 1, "name": workflow, "jobs": jobs });
    let run = manager
        .run(&plan, &["--env", "ODD_VALUE=%i $x \"q\" =\\"])
        .exits(0);
    let expected: Vec<&str> = names.iter().flat_map(|name| [*name, *name]).collect();
    assert_eq!(run.lines("__"), expected, "{run}");
    assert_eq!(run.lines(&long), [&long], "{run}");
    let shown: Vec<&str> = run.job("__")["steps"]
        .as_array()
        .expect("they ran")
        .iter()
        .filter_map(|step| step["name"].as_str())
        .collect();
    assert_eq!(shown, names);
    run.leaves_nothing(manager);
}

fn a_state_directory_that_cannot_be_used_is_told_of(manager: &Manager) {
    let plan = manager
        .plan(&json!({ "version": 1, "name": "bad", "jobs": { "j": bash("true") } }))
        .display()
        .to_string();
    // Written by a newer program.
    manager.write("newer/version", "99\n");
    for command in [&["run", &plan][..], &["list"], &["show", "ci-1"]] {
        refused(
            manager,
            &[command, &["--state-dir=newer"]].concat(),
            3,
            &["version 99", "newer program"],
        );
    }
    // Damaged.
    manager.write("damaged/version", "");
    refused(
        manager,
        &["list", "--state-dir=damaged"],
        3,
        &["`version` is damaged"],
    );
    // Where a job's results would not last.
    refused(
        manager,
        &["run", &plan, "--state-dir=/dev/shm/bad"],
        3,
        &["/dev/shm", "--state-dir"],
    );
    // Not a directory at all.
    manager.write("a-file", "");
    refused(
        manager,
        &["run", &plan, "--state-dir=a-file"],
        3,
        &["a-file"],
    );
    // Somebody else's: by an unprivileged user of the machine.
    let machine = manager.machine().expect("it is in a machine");
    let as_user = |arguments: &[&str]| {
        let mut argv = vec!["/usr/bin/nixactions"];
        argv.extend(arguments);
        let output = machine
            .command_as(Some(1000), manager.dir(), &argv)
            .output_within(SOON);
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    machine
        .command(&["mkdir", "-p", "--mode=700", "/srv/private"])
        .ok();
    for arguments in [
        &["list", "--state-dir=/srv/private"][..],
        &["show", "ci-1", "--state-dir=/srv/private"],
    ] {
        let (code, stderr) = as_user(arguments);
        assert_eq!(code, Some(3), "{stderr}");
        assert!(
            stderr.contains("/srv/private")
                && stderr.contains("Permission denied")
                && stderr.contains("hint: run as root"),
            "{stderr}"
        );
    }
    if manager.kind() == Kind::User {
        refused(
            manager,
            &["run", &plan, "--state-dir=/srv/private"],
            3,
            &["/srv/private", "Permission denied", "--state-dir"],
        );
    }
}

fn a_user_without_rights_to_a_manager_is_told_another_one(manager: &Manager) {
    let plan = manager
        .plan(&json!({ "version": 1, "name": "bad", "jobs": { "j": bash("true") } }))
        .display()
        .to_string();
    let argv = [
        "/usr/bin/nixactions",
        "run",
        &plan,
        "--state-dir=/tmp/state",
        "--manager=system",
    ];
    let mut command =
        manager
            .machine()
            .expect("it is a machine's")
            .command_as(Some(1000), manager.dir(), &argv);
    let output = command.env("HOME", "/home/tester").output_within(SOON);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(
        stderr.ends_with("\nhint: run as root, or use `--manager user`\n"),
        "{stderr}"
    );
    assert_eq!(manager.units("nixactions-bad*"), NONE, "{stderr}");
    let left = manager.command(&["ls", "/tmp/state/runs"]).ok();
    assert_eq!(left, "", "{stderr}");
}

fn without_any_manager_it_says_what_to_do(manager: &Manager) {
    let plan = manager
        .plan(&json!({ "version": 1, "name": "bad", "jobs": { "j": bash("true") } }))
        .display()
        .to_string();
    let machine = manager.machine().expect("it is in a machine");
    // No user's manager runs there, and no system's.
    let run = |arguments: &[&str]| {
        let argv = [
            &[
                "/usr/bin/nixactions",
                "run",
                &plan,
                "--state-dir=/tmp/state",
            ],
            arguments,
        ]
        .concat();
        let mut command = machine.command_as(Some(1000), manager.dir(), &argv);
        let output = command.env("HOME", "/home/tester").output_within(SOON);
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, stderr) = run(&[]);
    assert_eq!(code, Some(3), "{stderr}");
    for word in [
        "system",
        "user",
        "embedded",
        "root",
        "loginctl enable-linger",
    ] {
        assert!(stderr.contains(word), "`{word}` is not in {stderr}");
    }
    for (kind, words) in [
        ("system", ["system", "bus"]),
        ("user", ["user", "bus"]),
        ("embedded", ["embedded", "root"]),
    ] {
        let (code, stderr) = run(&["--manager", kind]);
        assert_eq!(code, Some(3), "{stderr}");
        for word in words {
            assert!(stderr.contains(word), "{kind}: `{word}` is not in {stderr}");
        }
    }
    assert!(
        !manager.file("/tmp/state/runs").exists()
            || fs::read_dir(manager.file("/tmp/state/runs"))
                .expect("it is there")
                .count()
                == 0
    );
}
