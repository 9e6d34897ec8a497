//! Images from real tools and a real registry: unpacked as those tools unpack them, once, whole or
//! not at all, and bounded.
//!
//! Hostile layers are tested in the crate itself.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "images/made.rs"]
mod made;
#[path = "images/registry.rs"]
mod registry;
#[path = "images/tree.rs"]
mod tree;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use made::{Place, sh, tools};
use nixactions_harness::{CommandExt as _, or_skip};
use registry::Registry;
use serde_json::Value;
use tree::{listing, random_tree};

#[test]
fn archives_of_roots_unpack_as_tar_does() {
    or_skip!(tools(&["tar", "gzip", "xz", "zstd", "bzip2", "setfattr"]));
    for (seed, (format, compression)) in [
        ("gnu", "--gzip"),
        ("pax", "--zstd"),
        ("gnu", "--xz"),
        ("pax", "--bzip2"),
        ("ustar", "--gzip"),
        ("pax", "--no-auto-compress"),
    ]
    .into_iter()
    .enumerate()
    {
        let place = Place::new();
        let from = place.path("from");
        random_tree(&from, seed as u64, format != "ustar");
        sh(
            &place,
            &format!(
                "tar --format={format} --numeric-owner {} -C from -cf it.tar {compression} .\n\
                 mkdir to && tar --numeric-owner --xattrs --xattrs-include='user.*' -xpf it.tar -C to",
                if format == "pax" { "--xattrs" } else { "" }
            ),
        );
        let digest = place.pull(&["it.tar"]);
        let ours = listing(&place.root(&digest));
        assert_eq!(ours, listing(&place.path("to")), "{format} {compression}");
        assert!(ours.len() > 30, "{ours:#?}");
        // The digest is that of the file.
        assert_eq!(digest, format!("sha256:{}", sha256(&place.path("it.tar"))));
    }
}

/// Returns the SHA-256 of a file, as coreutils compute it.
fn sha256(path: &Path) -> String {
    let text = Command::new("sha256sum").arg(path).ok();
    text.split(' ').next().unwrap().to_owned()
}

#[test]
fn layers_unpack_as_umoci_does() {
    or_skip!(tools(&["umoci"]));
    for seed in 10..13 {
        let place = Place::new();
        place.layout("oci", seed, 4);
        sh(&place, "umoci unpack --image oci:it bundle");
        let digest = place.pull(&["oci"]);
        let (ours, theirs) = (
            listing(&place.root(&digest)),
            listing(&place.path("bundle/rootfs")),
        );
        assert_eq!(ours, theirs, "seed {seed}");
        // The layers have removed something, or they would prove nothing.
        assert!(
            !ours.contains_key("gone-1") && ours.contains_key("new-3"),
            "{ours:#?}"
        );
    }
}

#[test]
fn every_form_of_an_image_has_the_same_files() {
    or_skip!(tools(&["umoci", "skopeo"]));
    let place = Place::new();
    place.layout("oci", 20, 3);
    sh(
        &place,
        "skopeo --insecure-policy copy oci:oci:it oci-archive:oci.tar:it\n\
         skopeo --insecure-policy copy oci:oci:it docker-archive:docker.tar:example.org/it:1\n\
         gzip -k docker.tar; zstd -q oci.tar -o oci.tar.zst",
    );
    let first = place.pull(&["oci"]);
    let expected = listing(&place.root(&first));
    // The archive has the same manifest: nothing is unpacked.
    assert_eq!(place.pull(&["oci.tar"]), first);
    assert_eq!(place.pull(&["oci.tar.zst"]), first);
    assert_eq!(place.images().len(), 1);
    // A docker-archive has no manifest. Its digest is that of the configuration.
    let docker = place.pull(&["docker.tar"]);
    assert_ne!(docker, first);
    assert_eq!(listing(&place.root(&docker)), expected);
    assert_eq!(place.pull(&["docker.tar.gz"]), docker);
    assert_eq!(place.images().len(), 2);
}

#[test]
fn the_configuration_of_an_image_is_told() {
    or_skip!(tools(&["umoci"]));
    let place = Place::new();
    place.layout("oci", 30, 1);
    sh(
        &place,
        "umoci config --image oci:it --config.env A=b --config.env 'C=d e' --config.user 1000:100 --config.workingdir /srv",
    );
    place.pull(&["oci"]);
    let image = &place.images()[0];
    assert_eq!(
        image["env"],
        serde_json::json!(["A=b", "C=d e"]),
        "{image:#}"
    );
    assert_eq!(image["user"], "1000:100");
    assert_eq!(image["workingDir"], "/srv");
}

#[test]
fn another_digest_or_architecture_is_refused_and_both_are_told() {
    or_skip!(tools(&["umoci"]));
    let place = Place::new();
    place.layout("oci", 40, 2);
    let wrong = format!("sha256:{}", "0".repeat(64));
    let told = place.refused(&["oci", "--digest", &wrong]);
    let right = place.pull(&["oci"]);
    assert!(told.contains(&wrong) && told.contains(&right), "{told}");
    assert_eq!(place.pull(&["oci", "--digest", &right]), right);
    let told = place.refused(&["oci", "--digest", "sha256:00"]);
    assert!(told.contains("invalid digest `sha256:00`"), "{told}");

    sh(
        &place,
        "umoci config --image oci:it --tag far --architecture s390x && umoci rm --image oci:it",
    );
    let told = place.refused(&["oci"]);
    assert!(
        told.contains("linux/s390x") && told.contains("this machine is linux/"),
        "{told}"
    );
    assert_eq!(place.left(), 0, "nothing is left");
}

#[test]
fn broken_images_are_refused_with_the_reason() {
    or_skip!(tools(&["umoci"]));
    let place = Place::new();
    place.layout("oci", 50, 2);
    // One byte in the middle of the largest blob, which is a layer.
    sh(
        &place,
        "f=$(ls -S oci/blobs/sha256/* | head -1); cp -r oci bad; cp -r oci lost; cp -r oci short; cp -r oci more\n\
         b=$(basename $f)\n\
         printf X | dd of=bad/blobs/sha256/$b bs=1 seek=200 conv=notrunc status=none\n\
         rm lost/blobs/sha256/$b; truncate -s -5 short/blobs/sha256/$b; echo >> more/blobs/sha256/$b\n\
         mkdir empty; cp -r oci words; echo '{' > words/index.json; echo text > text; head -c 100000 /dev/zero > zeros",
    );
    for (image, reason) in [
        ("bad", "has the digest"),
        ("lost", "lacks layer"),
        ("short", "bytes, not"),
        ("more", "bytes, not"),
        ("empty", "is not an OCI archive"),
        ("words", "index.json of the image is malformed"),
        ("text", "is not a tar archive"),
        ("zeros", "is not a tar archive"),
        ("/nowhere", "does not exist"),
    ] {
        let told = place.refused(&[image]);
        assert!(told.contains(reason), "{image}: {told}");
        assert!(place.images().is_empty() && place.left() == 0, "{image}");
    }
    for (image, reason) in [
        ("alpine", "neither an absolute path nor a reference"),
        (
            "docker://alpine",
            "did you mean `docker://docker.io/library/alpine`?",
        ),
    ] {
        let told = place.refused(&[image]);
        assert!(told.contains(reason), "{image}: {told}");
    }
}

#[test]
fn one_of_several_images_is_named_by_its_digest() {
    or_skip!(tools(&["umoci"]));
    let place = Place::new();
    place.layout("oci", 60, 1);
    let first = place.pull(&["oci"]);
    sh(
        &place,
        "umoci config --image oci:it --tag other --config.env A=b",
    );
    let told = place.refused(&["oci"]);
    assert!(
        told.contains("holds 2 images") && told.contains(&first),
        "{told}"
    );
    assert_eq!(place.pull(&["oci", "--digest", &first]), first);
}

#[test]
fn references_are_pulled_from_a_registry() {
    or_skip!(tools(&["umoci", "skopeo", "docker-registry"]));
    let place = Place::new();
    place.layout("oci", 70, 3);
    let registry = Registry::start(&place.path(""), None);
    let name = format!("{}/team/it", registry.host);
    sh(
        &place,
        &format!(
            "skopeo --insecure-policy copy --dest-tls-verify=false oci:oci:it docker://{name}:1"
        ),
    );
    let digest = place.pull(&[&format!("docker://{name}:1")]);
    let local = place.pull(&["oci"]);
    assert_eq!(listing(&place.root(&digest)), listing(&place.root(&local)));

    // By its digest it is there, with or without the registry.
    let pinned = format!("docker://{name}@{digest}");
    assert_eq!(place.pull(&[&pinned]), digest);
    let wrong = format!("sha256:{}", "1".repeat(64));
    let told = place.refused(&[&format!("docker://{name}:1"), "--digest", &wrong]);
    assert!(told.contains(&wrong) && told.contains(&digest), "{told}");
    let told = place.refused(&[&format!("docker://{name}:none")]);
    assert!(told.contains("answers 404"), "{told}");
    let host = registry.host.clone();
    drop(registry);
    assert_eq!(place.pull(&[&pinned]), digest);
    let told = place.refused(&[&format!("docker://{host}/team/it:1")]);
    assert!(told.contains("cannot be reached"), "{told}");
}

#[test]
fn a_registry_gets_the_login_that_podman_has_stored() {
    or_skip!(tools(&["umoci", "skopeo", "docker-registry"]));
    let place = Place::new();
    place.layout("oci", 80, 1);
    let registry = Registry::start(&place.path(""), Some(("me", "secret")));
    let name = format!("{}/it:1", registry.host);
    sh(
        &place,
        &format!(
            "skopeo --insecure-policy copy --dest-creds me:secret --dest-tls-verify=false oci:oci:it docker://{name}"
        ),
    );
    let reference = format!("docker://{name}");
    let told = place.refused(&[&reference]);
    assert!(
        told.contains("refuses a request without a login") && told.contains("podman login"),
        "{told}"
    );
    for (password, is_right) in [("wrong", false), ("secret", true)] {
        place.log_in(&registry.host, "me", password);
        if is_right {
            place.pull(&[&reference]);
        } else {
            let told = place.refused(&[&reference]);
            assert!(
                told.contains("refuses the login of `me`") && !told.contains("wrong"),
                "{told}"
            );
        }
    }
}

#[test]
fn processes_that_unpack_at_once_make_one_copy() {
    or_skip!(tools(&["tar"]));
    let place = Place::new();
    sh(
        &place,
        "mkdir from && for i in $(seq 400); do head -c 40000 /dev/urandom > from/$i; done; tar -cf it.tar -C from .",
    );
    let all: Vec<_> = (0..5)
        .map(|_| {
            let mut command = place.command(&["image", "pull", "it.tar"]);
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let outputs: Vec<_> = all
        .into_iter()
        .map(|child| child.wait_with_output().unwrap())
        .collect();
    let told: Vec<_> = outputs
        .iter()
        .map(|output| {
            assert!(output.status.success(), "{output:?}");
            String::from_utf8_lossy(&output.stderr).into_owned()
        })
        .collect();
    let unpacked = told
        .iter()
        .filter(|text| text.contains("unpacking layer 1"))
        .count();
    assert_eq!(unpacked, 1, "{told:#?}");
    assert!(
        outputs
            .iter()
            .all(|output| output.stdout == outputs[0].stdout)
    );
    assert_eq!((place.images().len(), place.left()), (1, 0));
}

#[test]
fn a_process_that_is_killed_leaves_only_what_the_next_removes() {
    or_skip!(tools(&["tar"]));
    let place = Place::new();
    sh(
        &place,
        "mkdir from && for i in $(seq 150); do head -c 12000 /dev/urandom > from/$i; done; tar -czf it.tar -C from .\n\
         mkdir other && echo x > other/x && tar -cf other.tar -C other .",
    );
    let expected = listing(&place.path("from"));
    let start = Instant::now();
    let digest = place.pull(&["it.tar"]);
    let whole = start.elapsed();
    place.command(&["image", "remove", &digest]).ok();
    let mut killed = 0;
    const POINTS: u32 = 16;
    for point in 0..POINTS {
        let mut command = place.command(&["image", "pull", "it.tar"]);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The moment is what is tested. There is nothing to wait for.
        std::thread::sleep(whole * point / POINTS);
        child.kill().unwrap();
        killed += usize::from(!child.wait().unwrap().success());
        // It is there whole, or not at all.
        if place.images().len() == 1 {
            assert_eq!(
                listing(&place.root(&digest)),
                expected,
                "killed at point {point}"
            );
            place.command(&["image", "remove", &digest]).ok();
        }
    }
    assert!(killed > POINTS as usize / 2, "{killed}");
    // The next one removes what is left, also when it unpacks another image.
    let other = place.pull(&["other.tar"]);
    assert_eq!((place.left(), place.images().len()), (0, 1));
    assert_ne!(other, digest);
    assert_eq!(place.pull(&["it.tar"]), digest);
    assert_eq!(listing(&place.root(&digest)), expected);
}

#[test]
fn a_full_disk_is_told_and_nothing_is_left_on_it() {
    or_skip!(tools(&["tar", "unshare"]));
    let place = Place::new();
    sh(
        &place,
        "mkdir from && for i in $(seq 100); do head -c 100000 /dev/urandom > from/$i; done; tar -cf it.tar -C from .; mkdir state",
    );
    let script = "mount -t tmpfs -o size=4m tmpfs state && ! \"$1\" --state-dir state image pull it.tar && find state -type f && df --output=used state";
    let program = env!("CARGO_BIN_EXE_nixactions");
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--map-root-user",
        "sh",
        "-ec",
        script,
        "sh",
        program,
    ]);
    let output = command
        .current_dir(place.path(""))
        .output_within(Duration::from_secs(60));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains("No space left") && told.contains("nixactions image clean"),
        "{told}"
    );
    // Only the lock is a file.
    let found = String::from_utf8_lossy(&output.stdout);
    assert!(
        found
            .lines()
            .filter(|line| line.starts_with("state/"))
            .all(|line| line.contains("/locks/")),
        "{found}"
    );
}

#[test]
fn images_are_bounded_and_the_least_recently_used_goes_first() {
    or_skip!(tools(&["tar"]));
    let place = Place::new();
    sh(
        &place,
        "for i in 1 2 3 4; do mkdir $i; head -c 1000000 /dev/urandom > $i/x; tar -cf $i.tar -C $i .; done; head -c 9000000 /dev/urandom > 1/y; tar -cf big.tar -C 1 .",
    );
    let pull = |name: &str| {
        let mut command = place.command(&["image", "pull", name]);
        command
            .env("NIXACTIONS_IMAGES_SIZE", "3500K")
            .ok()
            .trim()
            .to_owned()
    };
    let [first, second, third] = ["1.tar", "2.tar", "3.tar"].map(pull);
    // It is used again, so that the second one is the oldest.
    assert_eq!(pull("1.tar"), first);
    let fourth = pull("4.tar");
    let mut there = place.digests();
    there.sort();
    let mut expected = [first.clone(), third.clone(), fourth.clone()];
    expected.sort();
    assert_eq!(there, expected);
    assert!(!place.root(&second).exists());
    // One that is larger than all may be is refused, and removes nothing.
    let mut command = place.command(&["image", "pull", "big.tar"]);
    let told = command.env("NIXACTIONS_IMAGES_SIZE", "3500K").fails();
    assert!(
        told.contains("more than 3584000 bytes") && told.contains("NIXACTIONS_IMAGES_SIZE"),
        "{told}"
    );
    assert_eq!(place.digests().len(), 3);

    // Along with runs, when the size is smaller.
    let mut command = place.command(&["clean", "--keep=1"]);
    command.env("NIXACTIONS_IMAGES_SIZE", "2500K").ok();
    assert_eq!(place.digests().len(), 2);
    assert!(!place.root(&third).exists(), "the first was used after it");
    let mut command = place.command(&["image", "pull", "3.tar"]);
    assert_eq!(command.ok().trim(), third);

    // By hand.
    let hex = fourth.trim_start_matches("sha256:");
    place.command(&["image", "remove", &hex[..10]]).ok();
    let told = place.command(&["image", "remove", &hex[..10]]).fails();
    assert!(told.contains("no image"), "{told}");
    let removed = place
        .command(&["image", "clean", "--keep-size", "1500K"])
        .ok();
    assert_eq!(removed.trim(), first, "the third was made anew");
    place.command(&["image", "clean"]).ok();
    assert!(place.images().is_empty());
    assert_eq!(
        fs::read_dir(place.path("state/images/known"))
            .unwrap()
            .count(),
        0
    );
    assert_eq!(
        fs::read_dir(place.path("state/images/locks"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn an_image_that_a_process_holds_is_not_removed() {
    use nixactions::images::{ImageError, Images};
    or_skip!(tools(&["tar"]));
    let place = Place::new();
    sh(
        &place,
        "mkdir from; echo x > from/x; tar -cf it.tar -C from .",
    );
    let images = Images::new(&place.path("state"));
    let free = |_: &_| false;
    let held = images
        .obtain_archive(&place.path("it.tar"), None, &free, &mut |_| {})
        .unwrap();
    assert!(held.is_new);
    let told = place
        .command(&["image", "remove", held.image.digest.hex()])
        .fails();
    assert!(told.contains("is in use"), "{told}");
    place.command(&["image", "clean"]).ok();
    assert!(held.image.root.join("x").exists());
    let again = images
        .obtain_archive(&place.path("it.tar"), None, &free, &mut |_| {})
        .unwrap();
    assert!(!again.is_new && again.image.digest == held.image.digest);
    // A run that has taken note of the image keeps it as well.
    let digest = held.image.digest.clone();
    drop((held, again));
    let error = images
        .remove(digest.hex(), &|other| *other == digest)
        .unwrap_err();
    assert!(matches!(error, ImageError::InUse { .. }), "{error}");
    place.command(&["image", "clean"]).ok();
    assert!(place.images().is_empty());
}

#[test]
fn nobody_else_reaches_a_set_user_id_file_of_an_image() {
    or_skip!(tools(&["tar"]));
    let place = Place::new();
    sh(
        &place,
        "mkdir from; cp /bin/true from/true; chmod 4755 from/true; tar -cf it.tar -C from .; chmod 755 .",
    );
    let digest = place.pull(&["it.tar"]);
    let program = place.root(&digest).join("true");
    Command::new(&program).ok();
    if nix::unistd::geteuid().is_root() {
        // The state directory itself may be open to all.
        sh(&place, "chmod 755 state");
        // setpriv keeps its capabilities until it executes another program.
        let mut other = Command::new("setpriv");
        other
            .args([
                "--reuid=12345",
                "--clear-groups",
                "sh",
                "-c",
                // The state directory is open, so the images' own directory forbids it.
                "ls state >/dev/null && \"$1\"",
                "sh",
            ])
            .current_dir(place.path(""))
            .arg(&program);
        let told = other.fails();
        assert!(told.contains("true: Permission denied"), "{told}");
    }
}

#[test]
fn a_changed_archive_is_another_image() {
    or_skip!(tools(&["tar"]));
    let place = Place::new();
    let pack = |text: &str| {
        sh(
            &place,
            &format!("mkdir -p from; echo {text} > from/x; tar -cf it.tar -C from ."),
        );
        // The same size, and a time that a program has set back.
        sh(&place, "touch -d 2001-01-01 it.tar");
        place.pull(&["it.tar"])
    };
    let [first, second] = ["one", "two"].map(pack);
    assert_ne!(first, second);
    assert_eq!(
        fs::read_to_string(place.root(&second).join("x")).unwrap(),
        "two\n"
    );
}

#[test]
fn images_are_listed_as_a_table_and_as_json() {
    or_skip!(tools(&["tar"]));
    let place = Place::new();
    assert_eq!(place.command(&["image", "list"]).ok(), "");
    assert_eq!(
        place.command(&["image", "list", "--json"]).json(),
        Value::Array(Vec::new())
    );
    sh(
        &place,
        "mkdir from; echo x > from/x; tar -cf it.tar -C from .",
    );
    let digest = place.pull(&["it.tar"]);
    let table = place.command(&["image", "list"]).ok();
    let hex = digest.trim_start_matches("sha256:");
    assert!(
        table.contains(&hex[..12]) && table.contains("it.tar"),
        "{table}"
    );
    let image = &place.images()[0];
    assert_eq!(image["digest"], digest.as_str());
    assert_eq!(
        Path::new(image["root"].as_str().unwrap()),
        place.root(&digest)
    );
    assert_eq!(image["bytes"], 2);
}
