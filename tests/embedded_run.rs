//! A whole run with a manager of its own: the host is left alone, and the run outlives its
//! client.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use nixactions_harness::{
    Canaries, CommandExt as _, Manager, SOON, Snapshot, bash, on_managers, wait_for, with,
};
use serde_json::{Value, json};

on_managers!(the_host_is_left_alone on embedded, embedded_252, embedded_257, embedded_262);
on_managers!(a_run_outlives_its_client_and_its_killed_supervisor on embedded, embedded_262);
on_managers!(auto_brings_a_manager_where_there_is_none on embedded_252, embedded_257, embedded_262);
on_managers!(a_killed_manager_leaves_a_run_that_is_known_to_be_lost on embedded, embedded_262);

on_managers!(a_network_that_cannot_be_made_is_told on embedded_257, embedded_262);

const NONE: [&str; 0] = [];

/// Jobs that leave all that jobs can leave. One of them waits for the test.
fn plan() -> Value {
    json!({ "version": 1, "name": "host", "maxParallel": 2, "executors": { "root": { "type": "systemd", "sandbox": "none" } }, "jobs": {
        "litters": bash("echo x > /tmp/left; echo x > /var/tmp/left; setsid -f sleep 98771; echo done"),
        "as-root": with(bash("for dir in /tmp /var/tmp /run /dev/shm; do echo x > $dir/left; done; mount -t tmpfs none /mnt; setsid -f sleep 98772
            hostname another-name; id -u"), json!({ "executor": "root" })),
        "waits": with(bash("touch started; until [ -e stop ]; do sleep 0.05; done"), json!({ "needs": ["litters", "as-root"] })),
        "broken": with(bash("exit 1"), json!({ "continueOnError": true })),
    } })
}

fn the_host_is_left_alone(manager: &Manager) {
    let canaries = Canaries::put(manager);
    let hostname = || manager.command(&["hostname"]).ok();
    let (before, name) = (Snapshot::take(manager), hostname());
    let run = manager.start(&plan(), &NONE);
    run.wait_for_file("waits", "started");
    canaries.assert_alive();
    assert_eq!(hostname(), name);
    assert_eq!(manager.private_managers().len(), 1);
    for dir in ["/tmp/left", "/var/tmp/left", "/dev/shm/left", "/run/left"] {
        assert!(!manager.file(dir).exists(), "`{dir}` is on the host");
    }
    run.release("waits", "stop");
    let run = run.end().exits(0);
    assert_eq!(
        (run.lines("litters"), run.lines("as-root")),
        (vec!["done"], vec!["0"]),
        "{run}"
    );
    run.leaves_nothing(manager);
    canaries.assert_alive();
    // The run directory is all that is new; it lies below none of the places that are looked at.
    before.assert_restored(manager, &[]);
    // The manager's own clearing up may outlive the client by a moment.
    let private = manager.run_dir(&run.id).join("manager");
    wait_for(SOON, "the private /tmp to go", || {
        (!private.exists()).then_some(())
    });
}

fn a_run_outlives_its_client_and_its_killed_supervisor(manager: &Manager) {
    let before = Snapshot::take(manager);
    let mut run = manager.start(&plan(), &NONE);
    run.wait_for_file("waits", "started");
    run.kill_client();
    assert!(run.kill_supervisor());
    wait_for(SOON, "a new supervisor", || {
        (run.events()
            .iter()
            .filter(|event| event["event"]["type"] == "supervisorStarted")
            .count()
            == 2)
            .then_some(())
    });
    // From another terminal, while it goes on.
    let id = run.id().to_owned();
    assert!(manager.nixactions(&["show", &id]).ok().contains("running"));
    wait_for(SOON, "the lines of a job", || {
        manager
            .nixactions(&["logs", &id, "litters"])
            .ok()
            .contains("done")
            .then_some(())
    });
    let attached = manager.start_command(manager.nixactions(&["attach", &id, "--output=json"]));
    manager.nixactions(&["cancel", &id]).ok();
    let attached = attached.end().exits(130);
    assert_eq!(
        attached.verdict("waits"),
        "cancelled/cancelled",
        "{attached}"
    );
    let run = run.end();
    run.leaves_nothing(manager);
    before.assert_restored(manager, &[]);
    // And when its manager is gone.
    assert_eq!(manager.private_managers(), Vec::<i32>::new());
    assert!(
        manager
            .nixactions(&["logs", &id, "as-root"])
            .ok()
            .contains('0')
    );
    assert_eq!(
        manager.nixactions(&["show", &id, "--json"]).json(),
        run.record
    );
    let again = manager
        .start_command(manager.nixactions(&["attach", &id, "--output=json"]))
        .end()
        .exits(130);
    assert_eq!(again.lines("litters"), ["done"], "{again}");
}

fn auto_brings_a_manager_where_there_is_none(manager: &Manager) {
    let plan =
        manager.plan(&json!({ "version": 1, "name": "auto", "jobs": { "j": bash("true") } }));
    let mut command = manager.command(&[Path::new("/usr/bin/nixactions"), Path::new("run"), &plan]);
    let output = command.output_within(SOON);
    assert!(output.status.success(), "{output:?}");
    let list = manager.nixactions(&["list", "--json"]).json();
    assert_eq!(
        (&list[0]["run"], &list[0]["manager"], &list[0]["state"]),
        (&json!("auto-1"), &json!("embedded"), &json!("success")),
        "{list:#}"
    );
}

fn a_killed_manager_leaves_a_run_that_is_known_to_be_lost(manager: &Manager) {
    let before = Snapshot::take(manager);
    let run = manager.start(&plan(), &NONE);
    run.wait_for_file("waits", "started");
    let pid = *manager.private_managers().first().expect("it has one");
    kill(pid);
    let start = Instant::now();
    // The client notices by itself, and says what to do.
    let run = run.end();
    assert!(start.elapsed() < Duration::from_secs(60));
    assert_eq!(run.code, Some(3), "{run}");
    assert!(
        run.stderr.contains("is lost") && run.stderr.contains("nixactions show"),
        "{run}"
    );
    assert!(
        run.stderr
            .contains("because: the run's private systemd ended: signal: 9"),
        "{run}"
    );
    run.leaves_nothing(manager);
    before.assert_restored(manager, &[]);
    let show = manager.nixactions(&["show", &run.id]).ok();
    assert!(
        show.contains("lost: the run's manager was killed"),
        "{show}"
    );
    let (_, stderr) = manager.refused(&["cancel", &run.id]);
    assert!(stderr.contains("finished"), "{stderr}");
    // A new run is not disturbed.
    manager
        .run(
            &json!({ "version": 1, "name": "host", "jobs": { "j": bash("true") } }),
            &NONE,
        )
        .exits(0);
}

fn a_network_that_cannot_be_made_is_told(manager: &Manager) {
    let job = with(
        bash("readlink /proc/self/ns/net"),
        json!({ "properties": { "PrivateNetwork": "yes" } }),
    );
    let plan = manager
        .plan(&json!({ "version": 1, "name": "network", "jobs": { "j": job } }))
        .display()
        .to_string();
    let own = manager
        .command(&["readlink", "/proc/self/ns/net"])
        .ok()
        .trim()
        .to_owned();
    for (dropped, is_shared) in [("-net_admin", true), ("-net_raw", false)] {
        let mut argv: Vec<String> = [
            "setpriv",
            "--bounding-set",
            dropped,
            "--inh-caps",
            dropped,
            "--",
        ]
        .map(str::to_owned)
        .into();
        argv.extend(
            [
                "/usr/bin/nixactions",
                "run",
                "--manager",
                "embedded",
                &plan,
                "--output=json",
            ]
            .map(str::to_owned),
        );
        let run = manager.start_command(manager.command(&argv)).end().exits(0);
        let warning = run
            .events
            .iter()
            .filter(|event| event["event"]["type"] == "warning")
            .find_map(|event| event["event"]["message"].as_str());
        let said = "the manager lacks CAP_NET_ADMIN; jobs run without `PrivateNetwork`, with the host's network";
        assert_eq!(
            (run.lines("j")[0] == own, warning),
            (is_shared, is_shared.then_some(said)),
            "{run}"
        );
    }
}

/// Kills a process by its PID on the host.
fn kill(pid: i32) {
    let status = std::process::Command::new("kill")
        .args(["-KILL", &pid.to_string()])
        .status()
        .expect("`kill` can be started");
    assert!(status.success());
}
