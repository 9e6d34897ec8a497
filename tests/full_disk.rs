//! Runs on a full disk of the state directory.

use std::{fs, time::Instant};

use nixactions_harness::{
    CommandExt as _, Kind, Manager, RUN_DEADLINE, SOON, bash, on_managers, with,
};
use serde_json::{Value, json};

on_managers!(a_full_disk_is_told_and_recorded on embedded_257, embedded_262, system_252, system_257, system_262);
on_managers!(a_disk_that_a_log_fills_fails_the_run on embedded_257, embedded_262, system_252, system_262);
on_managers!(a_full_disk_that_keeps_back_a_wave_fails_the_run on embedded_262, system_252, system_262, user_262);
on_managers!(a_full_disk_of_users_fails_the_run on embedded_257, embedded_262, system_252, system_262);

fn a_full_disk_is_told_and_recorded(manager: &Manager) {
    manager
        .command(&[
            "sh",
            "-c",
            "mkdir -p /srv/full && mount -t tmpfs -o size=6m,mode=755 tmpfs /srv/full",
        ])
        .ok();
    let plan = json!({ "version": 1, "name": "full", "maxParallel": 1, "jobs": {
        "good": bash("true"),
        "fills": with(bash("dd if=/dev/zero of=fill bs=64k 2>&1 | tail -1; exit 1"), json!({ "needs": ["good"] })),
        "after": with(bash("true"), json!({ "needs": ["fills"] })),
        "always": with(bash("echo x > file"), json!({ "needs": ["fills"], "condition": "always()" })),
    } });
    let path = manager.plan(&plan).display().to_string();
    let run = manager.start_command(manager.nixactions(&[
        "run",
        &path,
        "--output=json",
        "--state-dir=/srv/full",
    ]));
    let id = run.id().to_owned();
    let run = run.end().exits(1);
    let record = manager
        .nixactions(&["show", &id, "--json", "--state-dir=/srv/full"])
        .json();
    assert_eq!(record["conclusion"], "failure", "{record:#}");
    let verdicts = ["good", "fills", "after", "always"]
        .map(|job| record["jobs"][job]["conclusion"].as_str().unwrap_or("none"));
    // The last one has no room to make its file. Its runner has room to say so.
    assert_eq!(
        verdicts,
        ["success", "failure", "skipped", "failure"],
        "{record:#}"
    );
    let always = &record["jobs"]["always"];
    assert_eq!(
        (always["attempts"].as_u64(), always["startedAt"].is_string()),
        (Some(1), true),
        "{record:#}"
    );
    let reason = always["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("step "), "{record:#}");
    run.leaves_nothing(manager);

    let before = fs::read_dir(manager.file("/srv/full/runs"))
        .expect("it is there")
        .count();
    let (code, stderr) = manager.refused(&["run", &path, "--state-dir=/srv/full"]);
    assert_eq!(code, 3, "{stderr}");
    assert!(
        stderr.to_lowercase().contains("no space left") || stderr.contains("storage"),
        "{stderr}"
    );
    assert!(stderr.contains("hint: free some space"), "{stderr}");
    assert_eq!(
        fs::read_dir(manager.file("/srv/full/runs"))
            .expect("it is there")
            .count(),
        before,
        "half a run was left"
    );
    manager.command(&["umount", "--lazy", "/srv/full"]).ok();
}

/// The jobs that PID 1 does not get end by the rules: only those fail that would run.
fn a_full_disk_that_keeps_back_a_wave_fails_the_run(manager: &Manager) {
    let state = manager.open_directory("small").display().to_string();
    manager.machine().expect("there is one").run(&[
        "mount",
        "-t",
        "tmpfs",
        "-o",
        "size=24m,mode=777",
        "tmpfs",
        &state,
    ]);
    let fill = "dd if=/dev/zero of=fill bs=64k 2>&1 | tail -1; exit 1";
    let mut jobs = serde_json::Map::from_iter([("a00".to_owned(), bash(fill))]);
    // The first wave has 65 jobs, so the last five of these are in the second.
    for number in 1..70 {
        let more =
            json!({ "needs": ["a00"], "condition": "always()", "continueOnError": number == 68 });
        jobs.insert(format!("a{number:02}"), with(bash("true"), more));
    }
    for (name, need, condition) in [
        ("after-failure", "a69", "success()"),
        ("after-tolerated", "a68", "success()"),
        ("on-failure", "a69", "failure()"),
        ("on-cancellation", "a69", "cancelled()"),
    ] {
        let more = json!({ "needs": [need], "condition": condition });
        jobs.insert(name.to_owned(), with(bash("true"), more));
    }
    let plan = json!({ "version": 1, "name": "waves", "maxParallel": 1, "jobs": jobs });
    let path = manager.plan(&plan).display().to_string();
    let state_dir = format!("--state-dir={state}");
    let run =
        manager.start_command(manager.nixactions(&["run", &path, "--output=json", &state_dir]));
    let id = run.id().to_owned();
    run.end().exits(1);
    let record = manager
        .nixactions(&["show", &id, "--json", &state_dir])
        .json();
    assert_eq!(record["conclusion"], "failure", "{record:#}");
    let reason = record["reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("disk is full: failed to "), "{record:#}");
    for (job, expected) in [
        ("a00", "failure/failure"),
        ("a68", "failure/success"),
        ("a69", "failure/failure"),
        ("after-failure", "skipped/skipped"),
        ("after-tolerated", "failure/failure"),
        ("on-failure", "failure/failure"),
        ("on-cancellation", "skipped/skipped"),
    ] {
        let of = |key: &str| {
            record["jobs"][job][key]
                .as_str()
                .unwrap_or("none")
                .to_owned()
        };
        let ended = format!("{}/{}", of("outcome"), of("conclusion"));
        assert_eq!(ended, expected, "{job}: {record:#}");
    }
    manager
        .machine()
        .expect("there is one")
        .run(&["umount", "--lazy", &state]);
}

/// The log of a private manager lies on that disk. A run whose log is cut has failed, each time;
/// other logs lie elsewhere.
fn a_disk_that_a_log_fills_fails_the_run(manager: &Manager) {
    let state = manager.open_directory("log").display().to_string();
    let machine = manager.machine().expect("there is one");
    machine.run(&[
        "mount",
        "-t",
        "tmpfs",
        "-o",
        "size=32m,mode=777",
        "tmpfs",
        &state,
    ]);
    let state_dir = format!("--state-dir={state}");
    let text = "a line of a log that is longer than what the disk has room for";
    let print = format!("seq --format='%g: {text}' 300000");
    let plan = json!({ "version": 1, "name": "log", "jobs": { "prints": bash(&print) } });
    let path = manager.plan(&plan).display().to_string();
    for left in [1, 8, 16] {
        let fill = format!(
            "rm -rf {state}/*; head -c {} /dev/zero > {state}/filler",
            (32 - left) << 20
        );
        machine.run(&["sh", "-c", &fill]);
        let run =
            manager.start_command(manager.nixactions(&["run", &path, "--output=json", &state_dir]));
        let id = run.id().to_owned();
        let run = run.end();
        let record = fs::read(manager.file(format!("{state}/runs/{id}/record.json")));
        let record: Value =
            serde_json::from_slice(&record.expect("it is there")).expect("it is JSON");
        let (conclusion, code) = if manager.kind() == Kind::Embedded {
            let reason = record["reason"].as_str().unwrap_or_default();
            assert!(
                reason.starts_with("disk is full: "),
                "{left} MiB: {record:#}"
            );
            ("failure", 1)
        } else {
            ("success", 0)
        };
        assert_eq!(record["conclusion"], conclusion, "{left} MiB: {record:#}");
        assert_eq!(
            run.code,
            Some(code),
            "{left} MiB: {record:#} {}",
            run.stderr
        );
    }
    machine.run(&["umount", "--lazy", &state]);
}

/// The users of jobs are files in /run, which lies on a disk like any other in a container. A user
/// that cannot be made there would end its job with systemd's exit status 217.
fn a_full_disk_of_users_fails_the_run(manager: &Manager) {
    let machine = manager.machine().expect("there is one");
    let setup = "
        mkdir -p /srv/users $0
        mount -t tmpfs -o size=2m,mode=755 tmpfs /srv/users
        for target in /run/userdb $0; do
            mkdir -p $target /srv/users/${target##*/}
            mount --bind /srv/users/${target##*/} $target
        done
    ";
    let locks = match manager.kind() {
        Kind::Embedded => "/run/nixactions/dynamic-uid",
        Kind::System | Kind::User => "/run/systemd/dynamic-uid",
    };
    machine.run(&["sh", "-ec", setup, locks]);
    let fill = "dd if=/dev/zero of=/srv/users/fill bs=4k status=none || true";
    let mut jobs = serde_json::Map::new();
    jobs.insert(
        "fills".to_owned(),
        with(bash(fill), json!({ "executor": "bare" })),
    );
    // The first wave has 65 jobs, so that the last of these are in the second.
    for number in 1..80 {
        let more = json!({ "needs": ["fills"] });
        jobs.insert(format!("j{number:02}"), with(bash("true"), more));
    }
    jobs.insert(
        "always".to_owned(),
        with(
            bash("true"),
            json!({ "needs": ["j79"], "condition": "always()" }),
        ),
    );
    let plan = json!({ "version": 1, "name": "users", "jobs": jobs,
        "executors": { "bare": { "type": "systemd", "sandbox": "none" } } });
    for users in ["of records", "of systemd"] {
        if users == "of systemd" {
            machine.run(&["sed", "-i", "s/ systemd//", "/etc/nsswitch.conf"]);
        }
        machine.run(&["rm", "-f", "/srv/users/fill"]);
        let run = manager.run(&plan, &[] as &[&str]).exits(1);
        let reason = run.record["reason"].as_str().unwrap_or_default();
        assert!(reason.starts_with("disk is full: "), "{users}: {run}");
        assert_eq!(run.verdict("fills"), "success/success", "{users}: {run}");
        let told = run.record.to_string();
        assert!(
            users == "of systemd" || !told.contains("exit status 217"),
            "{users}: {run}"
        );
        run.leaves_nothing(manager);

        // No job can have a user, from the beginning.
        let (file, fill) = ("/srv/users/fill", "dd if=/dev/zero of=$0 bs=4k status=none");
        machine
            .command(&["sh", "-c", fill, file])
            .output_within(SOON);
        let begun = Instant::now();
        let run = manager.run(&plan, &[] as &[&str]).exits(1);
        assert!(begun.elapsed() < RUN_DEADLINE / 4, "{users}: it crawls");
        let reason = run.record["reason"].as_str().unwrap_or_default();
        assert!(reason.starts_with("disk is full: "), "{users}: {run}");
        run.leaves_nothing(manager);
    }
    let records = machine.command(&["ls", "/srv/users/userdb"]).ok();
    assert_eq!(records, "", "records were left");
}
