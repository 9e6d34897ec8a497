//! Measures images: unpacking one of 500 MB against `umoci`, and using the unpacked image again
//! against using a small one.

use std::{fs, io::Read as _, path::Path, process::Command};

use serde_json::json;

use crate::{
    DISK,
    measure::{client, in_turns, millis, report, seconds, timed},
    plans,
    trees::remove,
};

/// The number of times that an image is unpacked, and used.
const UNPACKED: usize = 3;
const USED: usize = 20;
/// The files of a large image. Half of each file is random, so that the layer is half as large as
/// its files.
const LARGE: usize = 10_000;
const FILE_SIZE: usize = 50 << 10;
pub const UMOCI: &str = "/usr/bin/umoci";
/// The state directory, on the same disk as the images.
const STATE: &str = "/srv/disk/state";
/// Makes the OCI layout `$0/oci` with the tag `it`: an image with `/bin/true` and `$0/files`.
const MAKE: &str = "cd $0
    umoci init --layout oci
    umoci new --image oci:it
    umoci unpack --image oci:it bundle
    mkdir -p bundle/rootfs/{bin,usr,dev,etc,proc,root,run,sys,tmp,var}
    cp -L /bin/true bundle/rootfs/bin/
    ldd /bin/true | grep -o '/[^ ]*' | while read -r library; do
        mkdir -p bundle/rootfs${library%/*}; cp -L $library bundle/rootfs$library; done
    mv files bundle/rootfs/
    umoci repack --image oci:it bundle
    rm -r bundle
    umoci gc --layout oci";

/// Measures both. Prints the lines of the table.
pub fn main() {
    if !Path::new(UMOCI).exists() {
        println!("SKIP `umoci`: it is not in the `PATH` of the benchmark");
        return;
    }
    let (large, small) = (image("large", LARGE), image("small", 1));
    let unpacked = || {
        let time = timed(&mut job(&large));
        remove("state");
        time
    };
    let by_umoci = || {
        let image = format!("{DISK}/large/oci:it");
        let target = format!("{DISK}/bundle");
        let time = timed(Command::new(UMOCI).args(["unpack", "--image", &image, &target]));
        remove("bundle");
        time
    };
    let (ours, theirs, ratio) = in_turns(UNPACKED, unpacked, by_umoci);
    let what = "a job that unpacks an image of 500 MB, against umoci unpack";
    report(what, seconds(ours), seconds(theirs), ratio, 1.0);
    for image in [&large, &small] {
        timed(&mut job(image));
    }
    let used = |image| timed(&mut job(image));
    let (ours, theirs, ratio) = in_turns(USED, || used(&large), || used(&small));
    let what = "a job in that image when it is unpacked, against a small one";
    report(what, millis(ours), millis(theirs), ratio, 1.1);
    remove("state");
}

/// Makes an image with that many files besides those of `/bin/true`. Returns its OCI layout.
fn image(name: &str, files: usize) -> String {
    let directory = format!("{DISK}/{name}");
    let mut content = vec![b'x'; FILE_SIZE];
    for file in 0..files {
        let below = format!("{directory}/files/{}", file % 100);
        fs::create_dir_all(&below).expect("the disk is writable");
        randomize(&mut content[..FILE_SIZE / 2]);
        fs::write(format!("{below}/{file}"), &content).expect("the disk has room");
    }
    timed(Command::new("bash").args(["-ec", MAKE, &directory]));
    format!("{directory}/oci")
}

/// Fills these bytes with random ones.
fn randomize(bytes: &mut [u8]) {
    fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(bytes))
        .expect("the kernel has random bytes");
}

/// Returns the command that runs a job in this image.
fn job(image: &str) -> Command {
    let mut plan = plans::in_root("systemd", "", 1, 2);
    let executor = &mut plan["executors"]["e"];
    executor["image"] = json!({ "oci": image });
    executor
        .as_object_mut()
        .expect("an executor")
        .remove("root");
    let mut command = client(&plan);
    command.args(["--state-dir", STATE]);
    command
}
