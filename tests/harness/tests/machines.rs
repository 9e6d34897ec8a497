//! Machines are what tests of nixactions take them for: real, apart from each other and from the
//! host, and gone afterwards.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nixactions_harness::{CommandExt as _, Machine, Root, SOON, Signal, Suite, or_skip, wait_for};

/// Makes a test per suite.
macro_rules! on_suites {
    ($($name:ident),+) => {$(
        mod $name {
            use super::{Root, Suite, or_skip};
            #[test]
            fn bookworm() {
                super::$name(&or_skip!(Root::get(Suite::Bookworm)));
            }
            #[test]
            fn trixie() {
                super::$name(&or_skip!(Root::get(Suite::Trixie)));
            }
            #[test]
            fn forky() {
                super::$name(&or_skip!(Root::get(Suite::Forky)));
            }
        }
    )+};
}

on_suites!(
    boots_without_a_failed_unit,
    entered_machine_has_no_systemd,
    leaves_the_root_as_it_was,
    leaves_nothing_when_dropped
);

fn boots_without_a_failed_unit(root: &Root) {
    let start = Instant::now();
    let machine = Machine::boot(root);
    let up = start.elapsed();
    assert_eq!(
        machine
            .command(&["systemctl", "--failed", "--no-legend", "--plain"])
            .ok(),
        ""
    );
    assert_eq!(
        machine.command(&["systemctl", "is-system-running"]).ok(),
        "running\n"
    );
    let version = machine.command(&["systemctl", "--version"]).ok();
    let version: u32 = version
        .split_whitespace()
        .nth(1)
        .and_then(|text| text.split(['.', '~']).next()?.parse().ok())
        .expect("a version");
    match root.suite() {
        Suite::Forky => assert!(version >= 262, "{version}"),
        suite => assert_eq!(version, suite.systemd()),
    }
    assert_eq!(
        fs::read_to_string(machine.file("/proc/1/comm")).expect("inside has a /proc"),
        "systemd\n"
    );
    eprintln!(
        "{} ({version}) is up after {} ms",
        root.suite(),
        up.as_millis()
    );
}

fn entered_machine_has_no_systemd(root: &Root) {
    let machine = Machine::enter(root);
    assert_eq!(
        machine.run(&["systemctl", "is-system-running"]).stdout,
        b"offline\n"
    );
    // PID 1, what it sleeps in, and ps itself.
    let processes = machine.command(&["ps", "-e", "-o", "comm="]).ok();
    assert_eq!(
        processes.split_whitespace().collect::<BTreeSet<_>>(),
        BTreeSet::from(["bash", "sleep", "ps"])
    );
    assert!(
        machine
            .command(&["ip", "-brief", "address", "show", "lo"])
            .ok()
            .contains("127.0.0.1")
    );
}

fn leaves_the_root_as_it_was(root: &Root) {
    let machine = Machine::boot(root);
    for dir in ["/etc", "/tmp", "/var/lib", "/usr/bin"] {
        let name = format!("soil-{}", machine.name());
        machine.command(&["touch", &format!("{dir}/{name}")]).ok();
        assert!(machine.file(dir).join(&name).exists());
        assert!(!root.path().join(&dir[1..]).join(&name).exists());
    }
    machine.command(&["rm", "/etc/os-release"]).ok();
    assert!(fs::symlink_metadata(root.path().join("etc/os-release")).is_ok());
}

fn leaves_nothing_when_dropped(root: &Root) {
    let machine = Machine::boot(root);
    machine
        .command(&["systemd-run", "--quiet", "sleep", "1000"])
        .ok();
    machine.command(&["sh", "-c", "setsid sleep 1000 &"]).ok();
    let (name, cgroup) = (machine.name().to_owned(), cgroup_on_host(&machine));
    assert!(processes_of(&name).len() > 5, "{:?}", processes_of(&name));
    assert!(cgroup.exists());
    drop(machine);
    assert_eq!(processes_of(&name), Vec::<String>::new());
    assert!(!cgroup.exists());
}

#[test]
fn two_are_apart() {
    let root = or_skip!(Root::get(Suite::Trixie));
    let (one, two) = (Machine::boot(&root), Machine::boot(&root));
    one.command(&["systemd-run", "--quiet", "--unit=only-one", "sleep", "1000"])
        .ok();
    one.command(&["touch", "/tmp/only-one"]).ok();
    assert_eq!(
        one.command(&["systemctl", "is-active", "only-one"]).ok(),
        "active\n"
    );
    two.command(&["systemctl", "is-active", "only-one"]).fails();
    assert!(!two.file("/tmp/only-one").exists());
    let id = |machine: &Machine| {
        fs::read_to_string(machine.file("/etc/machine-id")).expect("it has an id")
    };
    assert_ne!(id(&one), id(&two));
}

#[test]
fn cannot_reach_the_host() {
    let root = or_skip!(Root::get(Suite::Forky));
    let machine = Machine::boot(&root);
    machine
        .command(&["sh", "-c", "echo 1 > /proc/sys/kernel/sysrq"])
        .fails();
    machine.command(&["date", "--set", "2000-01-01"]).fails();
    let links = machine.command(&["ip", "-brief", "link"]).ok();
    assert!(
        links
            .lines()
            .all(|line| ["lo ", "sit0", "tunl0", "ip6tnl0", "gre"]
                .iter()
                .any(|name| line.starts_with(name))),
        "{links}"
    );
}

#[test]
fn runs_commands_with_their_environment_and_exit_status() {
    let root = or_skip!(Root::get(Suite::Bookworm));
    let machine = Machine::enter(&root);
    assert_eq!(
        machine
            .command(&["printenv", "GIVEN"])
            .env("GIVEN", "a b")
            .ok(),
        "a b\n"
    );
    assert_eq!(machine.run(&["sh", "-c", "exit 7"]).status.code(), Some(7));
    assert_eq!(
        machine
            .command_as(
                Some(1000),
                Path::new("/home/tester"),
                &["sh", "-c", "id -un; pwd"]
            )
            .ok(),
        "tester\n/home/tester\n"
    );
    // Nothing of the test's own environment reaches it.
    assert!(!machine.command(&["env"]).ok().contains("CARGO"));
}

#[test]
fn program_that_is_too_new_for_a_machine_is_a_skip() {
    let (old, new) = (
        or_skip!(Root::get(Suite::Bookworm)),
        or_skip!(Root::get(Suite::Forky)),
    );
    let machine = Machine::enter(&old);
    let skip = machine
        .install(&new.path().join("usr/bin/bash"), "/usr/bin/program")
        .expect_err("Debian 12 lacks its C library");
    assert!(skip.to_string().contains("GLIBC_"), "{skip}");
    machine
        .install(&old.path().join("usr/bin/bash"), "/usr/bin/program")
        .expect("it is the machine's own");
    assert_eq!(
        machine.command(&["program", "-c", "echo runs"]).ok(),
        "runs\n"
    );
}

#[test]
fn killed_or_signalled_command_ends_inside() {
    let root = or_skip!(Root::get(Suite::Bookworm));
    let machine = Machine::enter(&root);
    let script = [
        "bash",
        "-c",
        "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.05; done",
    ];
    let mut child = ready(machine.command(&script));
    machine.signal(&child, Signal::SIGINT);
    assert_eq!(child.wait().expect("it can be waited for").code(), Some(3));

    let mut child = ready(machine.command(&script));
    child.kill().expect("it can be killed");
    child.wait().expect("it can be waited for");
    wait_for(SOON, "the killed command to be gone", || {
        (!machine
            .command(&["ps", "-e", "-o", "args="])
            .ok()
            .contains("caught"))
        .then_some(())
    });
}

#[test]
fn disk_and_bound_directories_are_used_and_cleaned() {
    let root = or_skip!(Root::get(Suite::Forky));
    let [disk, bound] =
        [(); 2].map(|()| tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory"));
    let machine = Machine::of(&root)
        .disk(disk.path())
        .bind(bound.path(), "/srv/bound")
        .boot();
    machine
        .command(&[
            "sh",
            "-c",
            "echo here > /srv/bound/file; echo here > /var/file",
        ])
        .ok();
    assert_eq!(
        fs::read_to_string(bound.path().join("file")).expect("it came through"),
        "here\n"
    );
    assert_eq!(
        fs::read_to_string(disk.path().join(machine.name()).join("upper/var/file"))
            .expect("it is on disk"),
        "here\n"
    );
    drop(machine);
    assert_eq!(fs::read_dir(disk.path()).expect("it is there").count(), 0);
}

#[test]
fn nothing_is_left_when_the_owner_is_killed() {
    or_skip!(Root::get(Suite::Forky));
    let mut owner = owner("forky");
    let name = format!("nixactions-test-{}-1", owner.id());
    assert!(processes_of(&name).len() > 5, "{:?}", processes_of(&name));
    owner.kill().expect("it can be killed");
    owner.wait().expect("it can be waited for");
    wait_for(Duration::from_secs(10), "all processes to be gone", || {
        processes_of(&name).is_empty().then_some(())
    });
    for mount in cgroup_mounts() {
        assert!(!Path::new(&mount).join(&name).exists());
    }
}

#[test]
fn no_process_is_left_when_the_watcher_is_killed() {
    or_skip!(Root::get(Suite::Forky));
    let mut owner = owner("forky");
    let name = format!("nixactions-test-{}-1", owner.id());
    let is_watcher = |pid: &i32| {
        let argv = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        argv.contains(&format!("watch\0{name}\0"))
    };
    let watcher = processes()
        .into_iter()
        .find(is_watcher)
        .expect("it has a watcher");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(watcher), Signal::SIGKILL)
        .expect("it can be killed");
    wait_for(Duration::from_secs(10), "all processes to be gone", || {
        processes_of(&name).is_empty().then_some(())
    });
    owner.wait().expect("it can be waited for");
    for mount in cgroup_mounts() {
        let _ = fs::remove_dir_all(Path::new(&mount).join(&name));
        let depth_first = ["-depth", "-type", "d", "-exec", "rmdir", "{}", "+"];
        let _ = Command::new("find")
            .arg(Path::new(&mount).join(&name))
            .args(depth_first)
            .stderr(Stdio::null())
            .status();
    }
}

/// Starts a process that boots a machine, and returns when it is up and runs a command there.
fn owner(suite: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_machine"));
    command.args([suite, "sh", "-c", "echo ready; sleep 1000"]);
    ready(command)
}

/// Starts a command that prints a line when it is ready, and waits for that line.
fn ready(mut command: Command) -> Child {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("it can be started");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("it is piped"))
        .read_line(&mut line)
        .expect("it can be read");
    assert_eq!(line, "ready\n");
    child
}

fn processes() -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc can be listed");
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Returns the processes in a machine's control group, and its watcher.
fn processes_of(name: &str) -> Vec<String> {
    let field = |pid: i32, field: &str| {
        fs::read(format!("/proc/{pid}/{field}"))
            .map(|text| String::from_utf8_lossy(&text).into_owned())
    };
    let is_its = |pid: &i32| {
        let cgroup = field(*pid, "cgroup").unwrap_or_default();
        cgroup
            .lines()
            .any(|line| line.split('/').any(|part| part == name))
            || field(*pid, "cmdline")
                .unwrap_or_default()
                .split('\0')
                .any(|part| part == name)
    };
    processes()
        .into_iter()
        .filter(is_its)
        .map(|pid| format!("{pid} {}", field(pid, "cmdline").unwrap_or_default()))
        .collect()
}

fn cgroup_mounts() -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("/proc is mounted");
    mounts
        .lines()
        .filter(|line| line.split(' ').nth(2) == Some("cgroup2"))
        .filter_map(|line| line.split(' ').nth(1))
        .map(Into::into)
        .collect()
}

/// Returns the machine's control group by a path that stays valid after its end.
fn cgroup_on_host(machine: &Machine) -> std::path::PathBuf {
    let candidates = cgroup_mounts()
        .into_iter()
        .map(|mount| Path::new(&mount).join(machine.name()));
    candidates
        .into_iter()
        .find(|path| path.exists())
        .unwrap_or_else(|| machine.cgroup())
}
