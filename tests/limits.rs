//! The default limits that leave the host its share, and the limit of core dumps.

use nixactions_harness::{
    CommandExt as _, Manager, SOON, bash, on_managers, on_shared_managers, with,
};
use serde_json::json;

on_shared_managers!(
    the_kernel_takes_a_job_before_the_services_of_the_host,
    processes_that_know_secrets_may_leave_no_core,
);
// Of several embedded managers `systemctl` asks the latest.
on_managers!(a_run_leaves_the_host_its_share on system_252, system_257, system_262, user_262);
on_managers!(a_drop_in_changes_the_limits_of_all_runs on system_252, system_257, system_262);

const NONE: [&str; 0] = [];

fn the_kernel_takes_a_job_before_the_services_of_the_host(manager: &Manager) {
    let score = "cat /proc/self/oom_score_adj";
    let plan = json!({ "version": 1, "name": "score", "jobs": {
        "default": bash(score),
        "own": with(bash(score), json!({ "properties": { "OOMScoreAdjust": "700" } })),
    } });
    let run = manager.run(&plan, &NONE).exits(0);
    assert_eq!(run.lines("default"), ["500"], "{run}");
    assert_eq!(run.lines("own"), ["700"], "{run}");
}

/// Returns the memory and the tasks that the slice of a run may have.
fn limits_of_a_run(manager: &Manager) -> (u64, u64) {
    let wait = "touch started; until [ -e stop ]; do sleep 0.05; done";
    let plan = json!({ "version": 1, "name": "share", "jobs": { "j": bash(wait) } });
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("j", "started");
    let slice = format!("nixactions-{}.slice", run.id().replace('-', "\\x2d"));
    let shown = ["show", "--property=MemoryMax,TasksMax", slice.as_str()];
    let text =
        String::from_utf8_lossy(&manager.systemctl(&shown).output_within(SOON).stdout).into_owned();
    run.release("j", "stop");
    run.end().exits(0);
    let value = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|value| value.strip_prefix('='));
        value
            .and_then(|value| value.parse().ok())
            .unwrap_or_else(|| panic!("{name}: {text}"))
    };
    (value("MemoryMax"), value("TasksMax"))
}

fn a_run_leaves_the_host_its_share(manager: &Manager) {
    let (memory, tasks) = limits_of_a_run(manager);
    let total = std::fs::read_to_string("/proc/meminfo").expect("it is a Linux");
    let total: u64 = total
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .trim()
                .strip_suffix(" kB")?
                .parse()
                .ok()
        })
        .expect("it says how much there is");
    // The machine may have less than its kernel says.
    assert!(memory <= total * 1024 / 100 * 91, "{memory} of {total} KiB");
    assert!((1_000..4_000_000).contains(&tasks), "{tasks}");
}

fn a_drop_in_changes_the_limits_of_all_runs(manager: &Manager) {
    let write = "mkdir -p /run/systemd/system/nixactions-.slice.d
        printf '[Slice]\\nTasksMax=12345\\nMemoryMax=64M\\n' > /run/systemd/system/nixactions-.slice.d/limits.conf
        systemctl daemon-reload";
    manager.command(&["sh", "-c", write]).ok();
    assert_eq!(limits_of_a_run(manager), (64 << 20, 12345));
}

/// A limit of 1: the kernel starts no program for the dump, whatever its pattern (core(5)). A limit
/// of 0 lets systemd-coredump(8) log the variables of the process. A step cannot raise it.
fn processes_that_know_secrets_may_leave_no_core(manager: &Manager) {
    let is_one = "grep -q '^Max core file size  *1  *1  *bytes' /proc/self/limits";
    let provider = format!("{is_one} && echo export A=from-the-provider");
    let script = format!(
        "grep '^Max core' /proc/self/limits | tr -s ' '
        ulimit -Hc 2 2>/dev/null || echo hard held; ulimit -Sc 2 2>/dev/null || echo soft held
        {is_one} && echo still"
    );
    let plan = json!({ "version": 1, "name": "core", "jobs": {
        "secret": with(bash(&script), json!({ "envFrom": [["sh", "-c", provider]] })),
        "none": bash("ulimit -Hc"),
        "zero": with(bash("grep '^Max core' /proc/self/limits | tr -s ' '"), json!({ "properties": { "LimitCORE": "0" } })),
        "soft": with(bash("grep '^Max core' /proc/self/limits | tr -s ' '"), json!({ "properties": { "LimitCORE": "0:8" } })),
    } });
    let run = manager.run(&plan, &NONE).exits(0);
    let limit = "Max core file size 1 1 bytes ";
    assert_eq!(
        run.lines("secret"),
        [limit, "hard held", "soft held", "still"],
        "{run}"
    );
    assert_ne!(run.lines("none"), ["1"], "{run}");
    assert_eq!(run.lines("zero"), [limit], "{run}");
    assert_eq!(
        run.lines("soft"),
        ["Max core file size 1 8 bytes "],
        "{run}"
    );
}
