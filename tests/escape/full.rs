//! Jobs and services that write until nothing more fits.
//!
//! The state directory lies on a small disk, and so do the host's /var/tmp and the workspace, the
//! `$HOME`, the artifacts and the writable layer of each job.

use std::fs;

use nixactions_harness::{
    CommandExt as _, Finished, Kind, Manager, RUN_DEADLINE, Suite, bash, on_managers, or_skip,
    wait_for, with,
};
use serde_json::{Value, json};

use super::NONE;

on_managers!(a_job_fills_no_more_than_its_disk on embedded_257, embedded_262, system_252, system_257, system_262);
on_managers!(an_artifact_that_does_not_fit_fails_its_job on embedded_262, system_252, system_257, system_262);
on_managers!(a_service_that_fills_its_layer_is_told on embedded_257, embedded_262, system_252, system_257, system_262);

/// The small disk, and its size in MiB.
const STATE: &str = "/srv/full";
const SIZE: u64 = 64;
/// The size of /var/tmp in MiB.
const TMP_SIZE: u64 = 8;

/// Fills each place until nothing more fits, and tells how much it took.
const FILL: &str = r#"
    set +e
    for place in "$@"; do
        dd if=/dev/zero of=$place/fill bs=64k 2>&1 | grep -o 'No space left on device' | sed "s|^|$place: |"
        echo "$place=$(($(stat -c %s $place/fill) >> 20)) MiB"
        rm -f $place/fill
    done"#;

/// Names each place in memory that takes more than a fifth of it, and each that it looked at.
const MEMORY: &str = r#"
    total=$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)
    while read -r _ _ _ _ place rest; do
        [[ $rest == *" - tmpfs "* && -d $place ]] && touch $place/probe 2>/dev/null || continue
        rm $place/probe
        size=$(($(stat -f -c '%b * %S' $place) / 1024))
        if [ $size = 0 ] || [ $size -gt $((total / 4)) ]; then echo "TOO LARGE $place: $size of $total KiB"; fi
        echo "in memory: $place"
    done </proc/self/mountinfo"#;

/// Mounts the small disk, and another one at /var/tmp.
fn mount(manager: &Manager) {
    let script = format!(
        "mkdir -p {STATE}; mount -t tmpfs -o size={SIZE}m,mode=755 tmpfs {STATE}
        mount -t tmpfs -o size={TMP_SIZE}m,mode=1777 tmpfs /var/tmp"
    );
    manager.command(&["sh", "-ec", &script]).ok();
}

fn unmount(manager: &Manager) {
    let script = format!("umount --lazy {STATE}; umount --lazy /var/tmp");
    manager.command(&["sh", "-ec", &script]).ok();
}

/// Runs a plan on the small disk, lets the job `beside` end when the job `fills` has ended, and
/// returns the run and its record.
fn run(manager: &Manager, plan: &Value) -> (Finished, Value) {
    let path = manager.plan(plan).display().to_string();
    let state = format!("--state-dir={STATE}");
    let run = manager.start_command(manager.nixactions(&["run", &path, "--output=json", &state]));
    let id = run.id().to_owned();
    let directory = manager.file(format!("{STATE}/runs/{id}"));
    wait_for(RUN_DEADLINE, "the job that fills the disk", || {
        let events = fs::read_to_string(directory.join("events.jsonl")).ok()?;
        let mut lines = events.lines();
        lines
            .any(|line| line.contains(r#""jobFinished","job":"fills""#))
            .then_some(())
    });
    // An empty file takes no room.
    let stop = directory.join("jobs/beside/work/workspace/stop");
    fs::write(stop, "").expect("the run directory is ours");
    let run = run.end();
    let record = manager.nixactions(&["show", &id, "--json", &state]).json();
    (run, record)
}

/// Checks that nothing of a run is left, and removes it.
fn clean(manager: &Manager, run: &Finished) {
    run.leaves_nothing(manager);
    let mounts = format!("! grep '{STATE}/' /proc/[0-9]*/mounts");
    manager.command(&["sh", "-c", &mounts]).ok();
    let clean = ["clean", "--keep=0", "--state-dir", STATE];
    manager.nixactions(&clean).ok();
}

/// Returns the output of a job.
fn printed<'a>(run: &'a Finished, job: &str) -> Vec<&'a str> {
    let events = run.events.iter().map(|event| &event["event"]);
    let lines = events.filter(|event| event["job"] == job && event["stream"] == "stdout");
    lines
        .filter_map(|event| event["message"].as_str())
        .collect()
}

/// Returns a job that ends when the other one has filled the disk.
fn beside() -> Value {
    bash("until [ -e stop ]; do sleep 0.1; done; echo alive")
}

fn a_job_fills_no_more_than_its_disk(manager: &Manager) {
    let image = or_skip!(manager.image());
    mount(manager);
    let machine = manager.machine().expect("there is one");
    let is_252 = machine.root().suite() == Suite::Bookworm;
    // Each with the places that lie on the small disk, and whether /var/tmp is the manager's.
    let executors = [
        (
            json!({ "type": "systemd" }),
            "$PWD $HOME $PWD/../../artifacts/thing",
            true,
        ),
        (
            json!({ "type": "systemd", "root": image }),
            "$PWD $HOME $PWD/../../artifacts/thing /opt",
            true,
        ),
        (
            json!({ "type": "nspawn", "root": image }),
            "$PWD $HOME $PWD/../../artifacts/thing /opt /tmp /var/tmp",
            false,
        ),
        (
            json!({ "type": "systemd", "root": image, "mode": "shared" }),
            "$PWD $HOME $PWD/../../artifacts/thing /opt",
            true,
        ),
        (
            json!({ "type": "nspawn", "root": image, "mode": "shared" }),
            "$PWD $HOME $PWD/../../artifacts/thing /opt /tmp /var/tmp",
            false,
        ),
    ];
    for (executor, places, shares_tmp) in executors {
        let tmp = if shares_tmp { "/var/tmp" } else { "" };
        let script = format!(
            "set -- {places} {tmp}; {FILL}; {MEMORY}
            dd if=/dev/zero of=fill bs=64k; exit 1"
        );
        let plan = json!({ "version": 1, "name": "fills", "maxParallel": 2,
            "executors": { "it": executor },
            "jobs": {
                "fills": with(bash(&script), json!({ "executor": "it", "outputs": { "thing": "thing" } })),
                "beside": with(beside(), json!({ "executor": "it" })),
            } });
        let (run, record) = run(manager, &plan);
        let run = run.exits(1);
        let lines = printed(&run, "fills");
        let large = lines.iter().filter(|line| line.starts_with("TOO LARGE"));
        // systemd 252 lets the job write to the empty directories of `ProtectHome=tmpfs`.
        let of_252 = |line: &&&str| {
            let homes = ["/home:", "/root:", "/run/user:"];
            is_252 && homes.iter().any(|home| line.contains(home))
        };
        let large: Vec<_> = large.filter(|line| !of_252(line)).collect();
        assert!(large.is_empty(), "{executor}: {large:#?}");
        assert!(lines.contains(&"in memory: /dev/shm"), "{executor}: {run}");
        let full = lines
            .iter()
            .filter(|line| line.ends_with(": No space left on device"));
        let count = format!("{places} {tmp}").split_whitespace().count();
        assert_eq!(full.count(), count, "{executor}: {run}");
        for line in lines.iter().filter(|line| line.starts_with('/')) {
            let Some((place, size)) = line.split_once('=') else {
                continue;
            };
            let size = size.trim_end_matches(" MiB");
            let size: u64 = size.parse().expect("it is a number");
            // A private manager has its own in the state directory.
            let is_hosts = shares_tmp && place == "/var/tmp" && manager.kind() != Kind::Embedded;
            let most = if is_hosts { TMP_SIZE } else { SIZE };
            assert!(size > most / 2 && size <= most, "{executor}: {line}: {run}");
        }
        let verdict = |job: &str, key: &str| record["jobs"][job][key].as_str().map(str::to_owned);
        let of = |job: &str| (verdict(job, "conclusion"), verdict(job, "reasonCode"));
        let failed = (Some("failure".to_owned()), Some("stepFailed".to_owned()));
        assert_eq!(of("fills"), failed, "{executor}: {record:#}");
        assert_eq!(
            of("beside"),
            (Some("success".to_owned()), None),
            "{executor}: {record:#}"
        );
        assert_eq!(printed(&run, "beside"), ["alive"], "{executor}: {run}");
        clean(manager, &run);
    }
    unmount(manager);
}

/// An artifact is moved out of the workspace, which needs no room. A copy of it does.
fn an_artifact_that_does_not_fit_fails_its_job(manager: &Manager) {
    let image = or_skip!(manager.image());
    mount(manager);
    for executor in [
        json!({ "type": "systemd" }),
        json!({ "type": "systemd", "root": image }),
        json!({ "type": "nspawn", "root": image }),
    ] {
        let big = format!("head -c {}M /dev/zero >big", SIZE * 2 / 3);
        let makes = json!({ "executor": "it", "outputs": { "big": "big" } });
        let fills = json!({ "executor": "it", "needs": ["makes"], "inputs": ["big"] });
        let plan = json!({ "version": 1, "name": "large", "maxParallel": 2,
            "executors": { "it": executor },
            "jobs": {
                "makes": with(bash(&big), makes),
                "fills": with(bash("echo unreached"), fills),
                "beside": with(beside(), json!({ "executor": "it" })),
            } });
        let (run, record) = run(manager, &plan);
        let run = run.exits(1);
        let of = |job: &str| &record["jobs"][job];
        assert_eq!(
            of("makes")["conclusion"],
            "success",
            "{executor}: {record:#}"
        );
        assert_eq!(
            of("fills")["conclusion"],
            "failure",
            "{executor}: {record:#}"
        );
        let reason = of("fills")["reason"].as_str().unwrap_or_default();
        for part in ["artifact `big`", "No space left on device"] {
            assert!(reason.contains(part), "{executor}: {record:#}");
        }
        assert_eq!(printed(&run, "fills"), NONE, "{executor}: {run}");
        assert_eq!(
            of("beside")["conclusion"],
            "success",
            "{executor}: {record:#}"
        );
        clean(manager, &run);
    }
    unmount(manager);
}

/// One ends by it, and one goes on and is not ready.
fn a_service_that_fills_its_layer_is_told(manager: &Manager) {
    let image = or_skip!(manager.image());
    mount(manager);
    let fill = "dd if=/dev/zero of=/var/lib/fill bs=64k status=none; touch /var/lib/full";
    for (then, told) in [
        ("exit 5", "exit status 5"),
        ("sleep infinity", "it was not ready"),
    ] {
        let health = "[ -e /var/lib/full ] && head -c 1M /dev/zero >/var/lib/ready";
        let service = json!({
            "root": image,
            "run": ["bash", "-c", format!("{fill}; {then}")],
            "health": { "run": ["bash", "-c", health], "interval": 0.2, "retries": 10 },
        });
        let plan = json!({ "version": 1, "name": "served", "maxParallel": 2,
            "jobs": {
                "fills": with(bash("echo unreached"), json!({ "services": { "db": service } })),
                "beside": beside(),
            } });
        let (run, record) = run(manager, &plan);
        let run = run.exits(1);
        let job = &record["jobs"]["fills"];
        assert_eq!(job["reasonCode"], "serviceNotReady", "{record:#}");
        let reason = job["reason"].as_str().unwrap_or_default();
        for part in ["service `db`", told, "No space left on device"] {
            assert!(reason.contains(part), "{part}: {record:#}");
        }
        assert_eq!(
            record["jobs"]["beside"]["conclusion"], "success",
            "{record:#}"
        );
        assert!(!printed(&run, "fills").contains(&"unreached"), "{run}");
        clean(manager, &run);
    }
    unmount(manager);
}
