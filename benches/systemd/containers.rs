//! Jobs in root file systems of their own, against jobs on the host and a container by hand.

use std::{path::Path, process::Command};

use crate::{
    measure::{in_turns, millis, report, run, timed},
    plans,
};

const ROUNDS: usize = 21;
/// The root file system: a program with its libraries, in memory.
const ROOT: &str = "/srv/box";
/// The program podman, which a root file system of the benchmark may have (`chroot ROOT apt-get
/// install podman`).
const PODMAN: &str = "/usr/bin/podman";
/// Makes it.
const MAKE: &str = "mkdir -p $0; mount -t tmpfs -o mode=755 tmpfs $0; mkdir -p $0/{bin,usr,dev,etc,proc,root,run,sys,tmp,var}
    cp -L /bin/true $0/bin/
    ldd /bin/true | grep -o '/[^ ]*' | while read -r library; do mkdir -p $0${library%/*}; cp -L $library $0$library; done";
/// The number of jobs side by side, and of those that run at once.
const JOBS: usize = 50;
const AT_ONCE: usize = 4;

/// Measures a job in each type of container, and many of them. Prints the lines of the table.
pub fn main() {
    timed(Command::new("bash").args(["-ec", MAKE, ROOT]));
    let host = plans::one("strict", &["/bin/true"]);
    for (kind, bound) in [("systemd", 1.3), ("nspawn", 3.0)] {
        let plan = plans::in_root(kind, ROOT, 1, 2);
        let (ours, other, ratio) = in_turns(ROUNDS, || run(&plan), || run(&host));
        let what = format!("one job in a root by {kind}, against a host job");
        report(&what, millis(ours), millis(other), ratio, bound);
    }
    let by_hand = || {
        let mut command = Command::new("systemd-run");
        command.args(["--quiet", "--wait", "--property=Delegate=yes"]);
        command.args(["systemd-nspawn", "--quiet", "--keep-unit", "--register=no"]);
        command.args(["--console=pipe", "--settings=no", "--link-journal=no"]);
        command.args(["--private-users=1879048192:65536", "--read-only"]);
        command.args([&format!("--directory={ROOT}"), "/bin/true"]);
        timed(&mut command)
    };
    let plan = plans::in_root("nspawn", ROOT, 1, 2);
    let (ours, other, ratio) = in_turns(ROUNDS, || run(&plan), by_hand);
    let what = "one job by nspawn, against systemd-nspawn by hand";
    report(what, millis(ours), millis(other), ratio, 1.2);
    against_podman();
    let mut host = plans::layers(JOBS, JOBS, "strict");
    host["maxParallel"] = AT_ONCE.into();
    for kind in ["systemd", "nspawn"] {
        let plan = plans::in_root(kind, ROOT, JOBS, AT_ONCE);
        let (ours, other, ratio) = in_turns(3, || run(&plan), || run(&host));
        println!(
            "{JOBS} jobs in roots by {kind}, {AT_ONCE} at once, against host jobs\t{}\t{}\t{ratio:.2}\t",
            millis(ours),
            millis(other)
        );
    }
}

/// Measures one job in each type of container against the same root file system by podman.
fn against_podman() {
    if !Path::new(PODMAN).exists() {
        println!("SKIP `podman`: it is not installed in the machine of the benchmark ({PODMAN})");
        return;
    }
    // It cannot use the machine's own root, which is an overlay, for an overlay.
    let storage = "mkdir -p /var/lib/containers; mount -t tmpfs tmpfs /var/lib/containers";
    timed(Command::new("sh").args(["-ec", storage]));
    let podman = || {
        let mut command = Command::new(PODMAN);
        command.args(["run", "--rm", "--network=host"]);
        // The machines of the benchmark have no controllers that its runtime could use.
        command.args(["--cgroups=disabled", "--rootfs"]);
        command.args([&format!("{ROOT}:O"), "/bin/true"]);
        timed(&mut command)
    };
    for kind in ["systemd", "nspawn"] {
        let plan = plans::in_root(kind, ROOT, 1, 2);
        let (ours, other, ratio) = in_turns(ROUNDS, || run(&plan), podman);
        let what = format!("one job in a root by {kind}, against podman run");
        report(&what, millis(ours), millis(other), ratio, 0.5);
    }
}
