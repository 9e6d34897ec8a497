//! The rights of the supervisor, which runs as root and reads files of jobs.

use std::process::Command;

use nixactions_harness::{
    CommandExt as _, Kind, Manager, Run, SOON, Signal, bash, on_managers, wait_for,
};
use serde_json::json;

on_managers!(the_supervisor_is_little_exposed on embedded, embedded_257, embedded_262, system_252, system_257, system_262);
on_managers!(the_supervisors_unit_is_the_same_everywhere on embedded, embedded_262, system_252, system_262);
on_managers!(a_supervisor_over_mounted_workspaces_is_little_exposed_and_unmounts_them on system_252, system_257, system_262);
on_managers!(an_embedded_supervisor_that_hangs_is_replaced on embedded, embedded_262);

const NONE: [&str; 0] = [];

/// The most that `systemd-analyze security` may say, in tenths.
const EXPOSURE: &str = "40";

/// Waits in a step until the test lets it go on.
const WAIT: &str = "touch here; until [ -e go ]; do sleep 0.05; done";

/// Starts a run of one job and returns it when the job runs.
fn started<'a>(manager: &'a Manager, name: &str, arguments: &[&str]) -> Run<'a> {
    let plan = json!({ "version": 1, "name": name, "jobs": { "j": bash(WAIT) } });
    let run = manager.start(&plan, arguments);
    run.wait_for_event("jobStarted", Some("j"));
    run.wait_for_file("j", "here");
    run
}

fn end(run: Run<'_>) {
    run.release("j", "go");
    run.end().exits(0);
}

fn supervisor(run: &Run<'_>) -> String {
    format!("nixactions-{}.service", run.id())
}

/// Returns a command that asks the manager itself.
fn inside(manager: &Manager, argv: &[&str]) -> Command {
    if manager.kind() != Kind::Embedded {
        return manager.command(argv);
    }
    let managers = manager.private_managers();
    let pid = managers.last().expect("its manager is alive").to_string();
    let mut command = Command::new("nsenter");
    command.args(["--target", &pid, "--all"]).args(argv);
    command
}

fn is_little_exposed(manager: &Manager, run: &Run<'_>) {
    let threshold = format!("--threshold={EXPOSURE}");
    let unit = supervisor(run);
    let argv = [
        "systemd-analyze",
        "security",
        "--no-pager",
        &threshold,
        &unit,
    ];
    let output = inside(manager, &argv).output_within(SOON);
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn the_supervisor_is_little_exposed(manager: &Manager) {
    let run = started(manager, "exposed", &NONE);
    is_little_exposed(manager, &run);
    end(run);
}

fn the_supervisors_unit_is_the_same_everywhere(manager: &Manager) {
    let run = started(manager, "same", &NONE);
    let expected = [
        ("WatchdogUSec", "2min"),
        ("WatchdogSignal", "9"),
        ("NoNewPrivileges", "yes"),
        ("OOMScoreAdjust", "-500"),
        ("TimeoutStopUSec", "6min 10s"),
        ("RestartUSec", "100ms"),
        ("FileDescriptorStoreMax", "1"),
        ("MemoryDenyWriteExecute", "yes"),
        ("RestrictAddressFamilies", "AF_UNIX"),
        (
            "CapabilityBoundingSet",
            "cap_dac_override cap_dac_read_search cap_fowner",
        ),
    ];
    for (name, value) in expected {
        let unit = supervisor(&run);
        let shown = manager.systemctl(&["show", "--property", name, &unit]).ok();
        assert_eq!(shown.trim(), format!("{name}={value}"));
    }
    end(run);
}

/// No process may have the workspace among its mounts when the run is over.
fn a_supervisor_over_mounted_workspaces_is_little_exposed_and_unmounts_them(manager: &Manager) {
    if manager.machine().is_some() {
        // A machine's own root is an overlay, which cannot be the lower layer of another.
        let state = manager.state_dir().display().to_string();
        let mount = "mkdir -p $1; mount -t tmpfs -o mode=755 tmpfs $1";
        manager.command(&["sh", "-ec", mount, "mount", &state]).ok();
    }
    let source = manager.dir().join("many");
    for number in 0..300 {
        manager.write(source.join(format!("{number}")), "");
    }
    let source = source.to_str().expect("it is text");
    let run = started(manager, "mounted", &["--source", source]);
    is_little_exposed(manager, &run);
    let mounted = || {
        let mounts = inside(manager, &["cat", "/proc/1/mounts"]).ok();
        mounts.contains("/mounted-1/jobs/j/work")
    };
    assert!(mounted());
    end(run);
    wait_for(SOON, "the workspace to be unmounted", || {
        (!mounted()).then_some(())
    });
}

fn an_embedded_supervisor_that_hangs_is_replaced(manager: &Manager) {
    let run = started(manager, "hung", &NONE);
    // The manager has its own /run, and its own 2 minutes.
    let unit = supervisor(&run);
    let script = format!(
        "mkdir -p /run/systemd/system/{unit}.d\n\
         printf '[Service]\\nWatchdogSec=2s\\n' >/run/systemd/system/{unit}.d/99-test.conf"
    );
    inside(manager, &["sh", "-c", &script]).ok();
    manager.systemctl(&["daemon-reload"]).ok();
    let starts = |count| {
        let started = |event: &&serde_json::Value| event["event"]["type"] == "supervisorStarted";
        wait_for(SOON, "another supervisor", || {
            (run.events().iter().filter(started).count() >= count).then_some(())
        });
    };
    // The next one is given the new time.
    assert!(run.kill_supervisor(), "there is none");
    starts(2);
    assert!(run.signal_supervisor(Signal::SIGSTOP), "there is none");
    starts(3);
    end(run);
}
