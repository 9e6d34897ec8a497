//! Jobs in the root file system of a disk image, which a loop device holds as long as the job
//! lives.

use std::{
    fs,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use nixactions_harness::{
    CommandExt as _, Manager, SOON, Signal, Skip, bash, on_managers, or_skip, wait_for, with,
};
use serde_json::{Value, json};

on_managers!(each_file_system_is_a_root on embedded, embedded_262, system_252, system_257, system_262);
on_managers!(a_disk_image_needs_no_more_devices_than_the_plan_allows on system_252, system_257, system_262);
on_managers!(an_image_of_a_disk_that_was_in_use_is_a_root on embedded, system_252, system_262);
on_managers!(a_loop_device_goes_with_its_job on embedded, system_252, system_257, system_262);
on_managers!(a_disk_image_that_cannot_be_mounted_is_the_reason on embedded, system_252, system_262);

const NONE: [&str; 0] = [];

/// Makes a small root file system of this machine's programs in `root`, and disk images of it.
const MAKE: &str = "mkdir -p root/bin root/etc
    for program in sh cat ls; do
        cp -L /bin/$program root/bin/
        ldd /bin/$program | grep -o '/[^ ]*' | while read -r library; do mkdir -p root${library%/*}; cp -L $library root$library; done
    done
    echo of-image >root/etc/mark
    mksquashfs root squashfs -quiet -no-progress -no-xattrs >/dev/null
    mkfs.erofs -x-1 erofs root >/dev/null 2>&1
    truncate -s 32M ext4; mkfs.ext4 -q -d root ext4";

/// Makes a disk image for a manager, and returns its path inside.
fn disk(manager: &Manager, name: &str) -> Result<String, Skip> {
    for program in ["mksquashfs", "mkfs.erofs", "mkfs.ext4"] {
        let found = Command::new("sh")
            .args(["-c", "command -v \"$1\"", "sh", program])
            .output();
        if !found.is_ok_and(|output| output.status.success()) {
            return Err(Skip::new(format!("no program `{program}`")));
        }
    }
    let place = tempfile::tempdir().expect("a directory can be made");
    let script = format!("set -eu; {MAKE}");
    let mut make = Command::new("bash");
    make.args(["-c", &script]).current_dir(place.path()).ok();
    let image = fs::read(place.path().join(name)).expect("it was made");
    let path = manager.write(format!("{name}.img"), image);
    Ok(path.display().to_string())
}

fn plan(executor: Value, job: Value) -> Value {
    json!({ "version": 1, "name": "disk",
        "executors": { "box": with(json!({ "type": "systemd" }), executor) },
        "jobs": { "j": with(job, json!({ "executor": "box" })) } })
}

/// Returns the loop devices that hold this file.
fn devices_of(name: &str) -> Vec<String> {
    let entries = fs::read_dir("/sys/block").expect("it is there").flatten();
    let is_of = |path: &std::path::Path| {
        fs::read_to_string(path.join("loop/backing_file")).is_ok_and(|file| file.contains(name))
    };
    let devices = entries.filter(|entry| is_of(&entry.path()));
    devices
        .map(|entry| entry.file_name().display().to_string())
        .collect()
}

fn each_file_system_is_a_root(manager: &Manager) {
    for name in ["squashfs", "erofs", "ext4"] {
        let path = or_skip!(disk(manager, name));
        let script = "cat /etc/mark; echo changed >/etc/mark; echo new >/etc/new; cat /etc/new
            for node in /dev/loop*; do if [ -e $node ]; then echo LEAK $node; fi; done";
        for kind in ["systemd", "systemd", "nspawn"] {
            let plan = plan(json!({ "type": kind, "root": path }), bash(script));
            let finished = manager.run(&plan, &NONE).exits(0);
            assert_eq!(finished.lines("j"), ["of-image", "new"], "{name} {kind}");
            finished.leaves_nothing(manager);
        }
    }
}

fn a_disk_image_needs_no_more_devices_than_the_plan_allows(manager: &Manager) {
    let path = or_skip!(disk(manager, "squashfs"));
    let properties = json!({ "DevicePolicy": "closed" });
    let executor = json!({ "type": "nspawn", "root": path, "properties": properties });
    let finished = manager
        .run(&plan(executor, bash("cat /etc/mark")), &NONE)
        .exits(0);
    assert_eq!(finished.lines("j"), ["of-image"]);
}

/// Its journal has not been replayed, and nothing may write to the image.
fn an_image_of_a_disk_that_was_in_use_is_a_root(manager: &Manager) {
    let path = or_skip!(disk(manager, "ext4"));
    let file = manager.file(&path);
    let request = "feature needs_recovery";
    Command::new("debugfs")
        .args(["-w", "-R", request])
        .arg(&file)
        .ok();
    let before = fs::read(&file).expect("it is there");
    let plan = plan(json!({ "root": path }), bash("cat /etc/mark"));
    let finished = manager.run(&plan, &NONE).exits(0);
    assert_eq!(finished.lines("j"), ["of-image"], "{finished}");
    assert!(
        fs::read(&file).expect("it is there") == before,
        "it was changed"
    );
}

fn a_loop_device_goes_with_its_job(manager: &Manager) {
    let path = or_skip!(disk(manager, "squashfs"));
    // Other managers use the same kernel at the same time.
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::SeqCst);
    let name = format!("squashfs-{}-{number}.img", std::process::id());
    let own = manager.dir().join(&name).display().to_string();
    manager.command(&["mv", &path, &own]).ok();
    let wait = "echo >here; while [ ! -e /end ]; do ls /proc >/dev/null; done";
    let plan = plan(json!({ "root": own }), bash(wait));
    let begin = || {
        let run = manager.start(&plan, &NONE);
        run.wait_for_file("j", "here");
        assert_eq!(devices_of(&name).len(), 1);
        run
    };
    let is_gone = || {
        wait_for(SOON, "the device to be freed", || {
            devices_of(&name).is_empty().then_some(())
        })
    };
    let run = begin();
    run.signal_client(Signal::SIGINT);
    run.end().exits(130);
    is_gone();
    let run = begin();
    assert!(run.kill_runner("j"));
    run.end().exits(1);
    is_gone();
    let run = begin();
    manager.nixactions(&["cancel", "--kill", run.id()]).ok();
    run.end().exits(130);
    is_gone();
}

fn a_disk_image_that_cannot_be_mounted_is_the_reason(manager: &Manager) {
    let path = or_skip!(disk(manager, "ext4"));
    // Its superblock has the right magic number, and nothing else.
    manager
        .command(&[
            "sh",
            "-ec",
            "head -c 1100 /dev/urandom | dd of=$1 bs=1 seek=1084 conv=notrunc status=none",
            "spoil",
            &path,
        ])
        .ok();
    let plan = plan(json!({ "root": path }), bash("true"));
    let finished = manager.run(&plan, &NONE).exits(1);
    let reason = finished.reason("j");
    assert!(
        reason.starts_with("its root file system: ")
            && reason.contains("mount the ext4 file system"),
        "{reason}"
    );
    finished.leaves_nothing(manager);
}
