//! Jobs in the root file system of an image or of a tar archive: unpacked once before anything
//! starts, with the image's variables and user, and kept as long as a run uses it.

#[path = "../images/layout.rs"]
mod layout;
mod users;

use std::{process::Stdio, time::Instant};

use layout::{LAYOUT, ROOT, architecture};
use nixactions_harness::{
    CommandExt as _, Manager, SOON, Signal, bash, ended_within, on_managers, wait_for, with,
};
use serde_json::{Value, json};

on_managers!(an_image_is_unpacked_once_and_gives_its_variables on embedded, embedded_262, system_252, system_257, system_262);
on_managers!(a_tar_archive_is_a_root on embedded, system_252, system_257, system_262);
on_managers!(an_image_that_a_run_uses_is_not_removed on embedded, system_252, system_257, system_262);
on_managers!(an_image_that_cannot_be_used_is_refused on embedded, system_252, system_262);
on_managers!(a_signal_during_unpacking_leaves_nothing on embedded, system_252, system_262);
on_managers!(a_signal_while_an_image_is_obtained_leaves_nothing on embedded, embedded_262, system_252, system_262);
on_managers!(an_image_that_two_executors_name_is_obtained_once on embedded, system_262);
on_managers!(a_rerun_needs_only_the_images_of_jobs_that_run_again on embedded, system_252, system_262);
on_managers!(a_users_manager_refuses_images on user_262);

const NONE: [&str; 0] = [];

/// The points of a sweep over the unpacking of an image.
const POINTS: usize = 18;

/// The files of a test. A machine's own root is an overlay, whose mounts cannot be id-mapped: the
/// state directory is on a file system of its own there.
struct Place<'a> {
    manager: &'a Manager,
    is_mounted: bool,
}

impl<'a> Place<'a> {
    fn new(manager: &'a Manager) -> Self {
        let is_mounted = manager.machine().is_some();
        let state = manager.state_dir().display().to_string();
        if is_mounted {
            let mount = "mkdir -p $1; mount -t tmpfs -o mode=755 tmpfs $1";
            manager.command(&["sh", "-ec", mount, "mount", &state]).ok();
        }
        Self {
            manager,
            is_mounted,
        }
    }

    fn path(&self, name: &str) -> String {
        self.manager.dir().join(name).display().to_string()
    }

    fn root(&self) -> String {
        let root = self.path("rootfs");
        let script = format!("set -eu; {ROOT}");
        self.manager
            .command(&["bash", "-c", &script, "root", &root])
            .ok();
        root
    }

    /// Makes an image. Returns its path and digest.
    fn layout(&self, name: &str, root: &str, architecture: &str) -> (String, String) {
        self.layout_of(name, root, architecture, "web")
    }

    /// Makes an image whose programs begin as this user. Returns its path and digest.
    fn layout_of(
        &self,
        name: &str,
        root: &str,
        architecture: &str,
        user: &str,
    ) -> (String, String) {
        let path = self.path(name);
        let script = format!("set -eu; {LAYOUT}");
        let argv = ["bash", "-c", &script, "layout", &path, root];
        let argv = [&argv[..], &[architecture, user]].concat();
        let digest = self.manager.command(&argv).ok();
        (path, digest.trim().to_owned())
    }

    fn image(&self) -> (String, String) {
        let root = self.root();
        self.layout("layout", &root, architecture())
    }

    /// Returns the digests of the unpacked images.
    fn digests(&self) -> Vec<String> {
        let list = self.manager.nixactions(&["image", "list", "--json"]).json();
        let images = list.as_array().expect("a list");
        let text = |image: &Value| image["digest"].as_str().expect("a digest").to_owned();
        images.iter().map(text).collect()
    }

    fn has_no_unfinished_image(&self) -> bool {
        let unpacking = self.manager.state_dir().join("images/unpacking");
        let entries = std::fs::read_dir(self.manager.file(unpacking));
        entries.is_ok_and(|mut entries| entries.next().is_none())
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if self.is_mounted {
            let state = self.manager.state_dir().display().to_string();
            // The machine goes with its mounts, if this fails.
            let _ = self.manager.command(&["umount", "--lazy", &state]).output();
        }
    }
}

/// Returns a plan of these jobs, whose executor has these settings.
fn plan(executor: Value, jobs: Value) -> Value {
    let executor = with(json!({ "type": "systemd" }), executor);
    let mut plan =
        json!({ "version": 1, "name": "imaged", "executors": { "box": executor }, "jobs": jobs });
    for job in plan["jobs"].as_object_mut().into_iter().flatten() {
        job.1["executor"] = json!("box");
    }
    plan
}

fn an_image_is_unpacked_once_and_gives_its_variables(manager: &Manager) {
    let place = Place::new(manager);
    let (path, digest) = place.image();
    let script = "cat /srv/root; echo from=$FROM_IMAGE; echo over=$OVER; echo path=$PATH; echo home=$HOME; echo new >/srv/root; echo pwd=$PWD
        [ $PWD = $NIXACTIONS_WORKSPACE ]";
    let executor =
        json!({ "image": { "oci": path, "digest": digest }, "env": { "OVER": "executor" } });
    let mut plan = plan(
        executor.clone(),
        json!({ "a": bash(script), "b": bash(script) }),
    );
    plan["executors"]["boxed"] = with(executor, json!({ "type": "nspawn" }));
    plan["jobs"]["b"]["executor"] = json!("boxed");
    let finished = manager.run(&plan, &NONE).exits(0);
    for job in ["a", "b"] {
        assert!(finished.lines(job).contains(&"of-root"), "{finished}");
        assert_eq!(finished.value(job, "from"), "yes");
        assert_eq!(finished.value(job, "over"), "executor");
        assert_eq!(finished.value(job, "path"), "/bin:/of-image");
        assert_eq!(finished.value(job, "home"), "/run/nixactions/job/work/home");
    }
    assert_eq!(place.digests(), [digest.as_str()]);
    // The image is not read again, not even its source.
    manager.command(&["rm", "-r", &path]).ok();
    manager.run(&plan, &NONE).exits(0);
    let files = manager
        .state_dir()
        .join("images")
        .join(&digest["sha256:".len()..])
        .join("root/srv/root");
    assert_eq!(
        std::fs::read_to_string(manager.file(files)).expect("it is there"),
        "of-root\n"
    );
    finished.leaves_nothing(manager);
}

fn a_tar_archive_is_a_root(manager: &Manager) {
    let place = Place::new(manager);
    let root = place.root();
    for (name, option) in [
        ("plain.tar", "--no-auto-compress"),
        ("small.tar.gz", "--gzip"),
    ] {
        let path = place.path(name);
        manager
            .command(&[
                "tar",
                "--numeric-owner",
                option,
                "-C",
                &root,
                "-cf",
                &path,
                ".",
            ])
            .ok();
        let plan = plan(
            json!({ "root": path }),
            json!({ "j": bash("cat /srv/root; echo changed >/srv/root") }),
        );
        for _ in 0..2 {
            let finished = manager.run(&plan, &NONE).exits(0);
            assert_eq!(finished.lines("j"), ["of-root"]);
        }
    }
    assert_eq!(place.digests().len(), 2);
    assert!(place.has_no_unfinished_image());
}

fn an_image_that_a_run_uses_is_not_removed(manager: &Manager) {
    let place = Place::new(manager);
    let (path, digest) = place.image();
    let plan = plan(
        json!({ "image": { "oci": path } }),
        json!({ "j": bash("echo >here; while [ ! -e /end ]; do ls /proc >/dev/null; done"), }),
    );
    let run = manager.start(&plan, &NONE);
    run.wait_for_file("j", "here");
    let (code, said) = manager.refused(&["image", "remove", &digest]);
    assert!(
        code == 2 && said.contains("is in use") && said.contains("nixactions list"),
        "{said}"
    );
    manager.nixactions(&["image", "clean"]).ok();
    assert_eq!(place.digests(), [digest.as_str()]);
    let mut clean = manager.nixactions(&["clean", "--keep=9"]);
    clean.env("NIXACTIONS_IMAGES_SIZE", "1").ok();
    assert_eq!(place.digests(), [digest.as_str()]);
    run.signal_client(Signal::SIGINT);
    run.end().exits(130);
    manager.nixactions(&["image", "remove", &digest]).ok();
    assert!(place.digests().is_empty());
}

fn an_image_that_cannot_be_used_is_refused(manager: &Manager) {
    let place = Place::new(manager);
    let root = place.root();
    let (path, _) = place.layout("layout", &root, architecture());
    let (foreign, _) = place.layout("foreign", &root, "s390x");
    manager.command(&["rm", &format!("{root}/bin/sh")]).ok();
    let (bare, _) = place.layout("bare", &root, architecture());
    let broken = place.path("broken");
    manager.command(&["cp", "-r", &path, &broken]).ok();
    let spoil = "for file in $1/blobs/sha256/*; do if [ $(stat -c %s $file) -gt 9999 ]; then echo x >>$file; fi; done";
    manager
        .command(&["sh", "-ec", spoil, "spoil", &broken])
        .ok();
    let garbage = manager
        .write("garbage", vec![7; 4096])
        .display()
        .to_string();
    let refused = |executor: Value, expected: &str| {
        let plan = plan(executor, json!({ "j": bash("true") }));
        let path = manager.plan(&plan).display().to_string();
        let (code, said) = manager.refused(&["run", &path]);
        assert!(code == 2 || code == 3, "{said}");
        assert!(
            said.contains("executor `box`") && said.contains(expected),
            "{expected}: {said}"
        );
    };
    let zeros = format!("sha256:{}", "0".repeat(64));
    refused(
        json!({ "image": { "oci": "/no/such/image" } }),
        "does not exist",
    );
    refused(
        json!({ "image": { "oci": garbage } }),
        "is not an OCI archive",
    );
    refused(json!({ "image": { "oci": path, "digest": zeros } }), &zeros);
    refused(json!({ "image": { "oci": foreign } }), "linux/s390x");
    refused(
        json!({ "image": { "oci": bare } }),
        "neither /bin/bash nor /bin/sh",
    );
    refused(json!({ "image": { "oci": broken } }), "layer 1 of 1");
    refused(
        json!({ "image": { "oci": "docker://127.0.0.1:1/none:1" } }),
        "cannot be reached",
    );
    refused(
        json!({ "root": garbage }),
        "neither a directory, a tar archive nor a file system",
    );
    assert!(place.has_no_unfinished_image());
    assert!(manager.runs().is_empty(), "nothing was started");
}

fn a_signal_during_unpacking_leaves_nothing(manager: &Manager) {
    let place = Place::new(manager);
    let path = place.path("large.tar");
    // A file of 4 GiB of zeros, in many members of gzip, takes long to unpack and little to read.
    let make =
        "mkdir $2; truncate -s 4G $2/large; tar --format=gnu -cf - -C $2 . | head -c 1M | gzip >$1
        head -c 64M /dev/zero | gzip -1 >$2/zeros; for i in $(seq 64); do cat $2/zeros; done >>$1";
    let from = place.path("from");
    let argv = ["sh", "-ec", make, "make", &path, &from];
    manager.command(&argv).ok();
    let plan = plan(
        json!({ "root": path }),
        json!({ "j": { "steps": [{ "run": ["/bin/true"] }] } }),
    );
    let plan = manager.plan(&plan).display().to_string();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut command = manager.nixactions(&["run", &plan]);
        let mut child = command
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("it starts");
        let unpacking = manager.file(manager.state_dir().join("images/unpacking"));
        wait_for(SOON, "the image to be unpacked", || {
            std::fs::read_dir(&unpacking).ok()?.next().map(drop)
        });
        manager.signal(&child, signal);
        let status = wait_for(SOON, "the program to end", || {
            child.try_wait().ok().flatten()
        });
        assert!(!status.success());
        assert!(place.has_no_unfinished_image(), "after {signal}");
        assert!(place.digests().is_empty() && manager.runs().is_empty());
    }
}

/// A client is signalled or killed at many points of a start that unpacks an image or an archive.
/// The next start removes the rest of the image, and works.
fn a_signal_while_an_image_is_obtained_leaves_nothing(manager: &Manager) {
    let place = Place::new(manager);
    let root = place.root();
    let fill =
        "mkdir $1/many; for file in $(seq 400); do head -c 60000 /dev/urandom >$1/many/$file; done";
    manager.command(&["sh", "-ec", fill, "fill", &root]).ok();
    let (image, _) = place.layout("layout", &root, architecture());
    let archive = place.path("root.tar");
    manager
        .command(&["tar", "-czf", &archive, "-C", &root, "."])
        .ok();
    let jobs = |script: &str| json!({ "j": bash(script) });
    let executors = [
        json!({ "image": { "oci": image } }),
        json!({ "root": archive }),
    ];
    let forget = || {
        for digest in place.digests() {
            manager.nixactions(&["image", "remove", &digest]).ok();
        }
    };
    let works = |executor: &Value| {
        let whole = plan(
            executor.clone(),
            jobs("cat /srv/root; set -- /many/*; echo $#"),
        );
        let begin = Instant::now();
        let finished = manager.run(&whole, &NONE).exits(0);
        assert_eq!(finished.lines("j"), ["of-root", "400"], "{finished}");
        let took = begin.elapsed();
        finished.leaves_nothing(manager);
        assert!(place.has_no_unfinished_image(), "{finished}");
        took
    };
    // Other tests mount other things meanwhile.
    let look = "grep -F \"$1\" /proc/self/mountinfo || true";
    let here = manager.dir().display().to_string();
    let mounts = || manager.command(&["sh", "-c", look, "look", &here]).ok();
    let whole = works(&executors[0]);
    let before = mounts();
    let signals = [
        Signal::SIGKILL,
        Signal::SIGINT,
        Signal::SIGKILL,
        Signal::SIGTERM,
        Signal::SIGKILL,
        Signal::SIGHUP,
    ];
    let mut unfinished = 0;
    for point in 0..POINTS {
        let executor = &executors[point % executors.len()];
        let signal = signals[point % signals.len()];
        forget();
        let had_none = place.has_no_unfinished_image();
        let endless = plan(executor.clone(), jobs("sleep 98721"));
        let path = manager.plan(&endless);
        let mut child = manager
            .nixactions(&["run".as_ref(), path.as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a command can be started");
        let points = u32::try_from(POINTS).expect("it is small");
        // The moment is what is tested. There is nothing to wait for.
        std::thread::sleep(whole * u32::try_from(point).expect("it is small") / points);
        manager.signal(&child, signal);
        ended_within(&mut child, SOON)
            .unwrap_or_else(|| panic!("{signal} at point {point} was lost"));
        manager.settle(signal);
        let has_none = place.has_no_unfinished_image();
        unfinished += usize::from(had_none && !has_none);
        let may_leave = signal == Signal::SIGKILL || !had_none;
        assert!(has_none || may_leave, "{signal} at point {point}");
        if point % 6 == 5 {
            works(executor);
        }
    }
    assert!(unfinished > 0, "no client was killed while it unpacked");
    forget();
    for executor in &executors {
        works(executor);
    }
    assert_eq!(mounts(), before);
}

fn an_image_that_two_executors_name_is_obtained_once(manager: &Manager) {
    let place = Place::new(manager);
    let root = place.root();
    let archive = place.path("root.tar");
    manager
        .command(&["tar", "-cf", &archive, "-C", &root, "."])
        .ok();
    // The digest of a file from the future is never remembered.
    manager.command(&["touch", "-d", "tomorrow", &archive]).ok();
    let mut plan = plan(
        json!({ "root": archive }),
        json!({ "a": bash("cat /srv/root") }),
    );
    plan["executors"]["other"] = plan["executors"]["box"].clone();
    plan["jobs"]["b"] = with(bash("cat /srv/root"), json!({ "executor": "other" }));
    let finished = manager.run(&plan, &NONE).exits(0);
    for job in ["a", "b"] {
        assert_eq!(finished.lines(job), ["of-root"], "{finished}");
    }
    let read = finished.stderr.matches("computing the digest").count();
    assert_eq!(read, 1, "{finished}");
}

fn a_rerun_needs_only_the_images_of_jobs_that_run_again(manager: &Manager) {
    let place = Place::new(manager);
    let (image, digest) = place.image();
    let mut plan = plan(
        json!({ "image": { "oci": image } }),
        json!({ "inside": bash("cat /srv/root") }),
    );
    plan["jobs"]["here"] = with(bash("[ -n \"${FIX-}\" ]"), json!({ "needs": ["inside"] }));
    let old = manager.run(&plan, &NONE).exits(1);
    assert_eq!(old.lines("inside"), ["of-root"], "{old}");
    manager.nixactions(&["image", "remove", &digest]).ok();
    manager.command(&["rm", "-r", &image]).ok();
    let again = ["rerun", "--output=json", "--env=FIX=1"];
    let failed = manager.nixactions(&[&again[..], &["--failed", &old.id]].concat());
    let new = manager.start_command(failed).end().exits(0);
    assert_eq!(new.job("inside")["reusedFrom"].as_str(), Some(&*old.id));
    let (code, said) = manager.refused(&["rerun", "--env=FIX=1", &new.id]);
    assert!(code == 2 && said.contains("does not exist"), "{said}");
}

fn a_users_manager_refuses_images(manager: &Manager) {
    let plan = plan(
        json!({ "image": { "oci": "/no/such/image" } }),
        json!({ "j": bash("true") }),
    );
    let path = manager.plan(&plan).display().to_string();
    let (code, said) = manager.refused(&["run", &path]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("a user's manager cannot mount"), "{said}");
}
