//! Measures the cost of runs as ratios to a floor or a peer. Both are measured in the same run, on
//! the same machine, in turns.
//!
//! `cargo bench --bench systemd` boots systemd 252 and 262 from Debian's packages (`.ci/roots`
//! makes them) and prints a table. `cargo bench --bench systemd -- dag one 262` measures only those
//! groups, on that systemd. These are not tests: times depend on the machine, but ratios hardly do.
//!
//! The same program also runs inside the machines (`inside`), so that the same code submits the
//! floor.

mod containers;
mod images;
mod inside;
mod measure;
mod peers;
mod plans;
mod trees;

use std::{
    env,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
};

use nixactions_harness::{Machine, Root, Suite};

/// The groups of measurements, for the command line.
const GROUPS: [&str; 14] = [
    "dag",
    "size",
    "one",
    "memory",
    "lines",
    "matrix",
    "mask",
    "workspace",
    "artifact",
    "large",
    "rights",
    "containers",
    "images",
    "peers",
];
/// The systems whose systemd is measured: the oldest and the newest tested one.
const SUITES: [Suite; 2] = [Suite::Bookworm, Suite::Forky];
/// The paths of this program and of the measured programs inside a machine.
const BENCH: &str = "/usr/bin/nixactions-bench";
const PROGRAM: &str = "/usr/bin/nixactions";
const RUNNER: &str = "/usr/bin/nixactions-runner";
/// The state directory, in memory. On disks, the cost of a new file differs between file systems
/// more than anything else that is measured.
const STATE: &str = "/var/lib/nixactions";
/// A directory on the host's disk, for measurements on a disk.
const DISK: &str = "/srv/disk";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    if let Some((first, rest)) = arguments.split_first()
        && first == "inside"
    {
        return inside::main(rest);
    }
    let (versions, names): (Vec<String>, Vec<String>) = arguments
        .into_iter()
        .partition(|argument| argument.parse::<u32>().is_ok());
    let groups: Vec<&str> = GROUPS
        .into_iter()
        .filter(|group| names.is_empty() || names.iter().any(|name| name == group))
        .collect();
    let is_wanted =
        |suite: &Suite| versions.is_empty() || versions.contains(&suite.systemd().to_string());
    if groups.is_empty() || !SUITES.iter().any(is_wanted) {
        eprintln!(
            "known groups: {}; systemd {} are measured",
            GROUPS.join(", "),
            SUITES
                .map(|suite| suite.systemd().to_string())
                .join(" and ")
        );
        return ExitCode::from(2);
    }
    println!(
        "{:<9} {:<58} {:>12} {:>12} {:>7} {:>7}",
        "systemd", "measurement", "ours", "floor/peer", "ratio", "bound"
    );
    let mut held = true;
    for suite in SUITES.into_iter().filter(is_wanted) {
        match Root::get(suite) {
            Ok(root) => held &= measure(&root, &groups),
            Err(skip) => println!("SKIP systemd {}: {skip:?}", suite.systemd()),
        }
    }
    if held {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Returns the programs to compare with that this host has and the machines lack, each with its
/// place in a machine.
fn peers_at_hand() -> Vec<(PathBuf, &'static str)> {
    let path = env::var_os("PATH").unwrap_or_default();
    let find = |name: &str| {
        env::split_paths(&path)
            .map(|dir| dir.join(name))
            .find(|file| file.is_file())
    };
    [
        ("act", peers::ACT),
        ("make", peers::MAKE),
        ("umoci", images::UMOCI),
    ]
    .into_iter()
    .filter_map(|(name, inside)| Some((find(name)?, inside)))
    .collect()
}

fn measure(root: &Root, groups: &[&str]) -> bool {
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("the target directory is writable");
    let machine = Machine::of(root).bind(disk.path(), DISK).boot();
    let mounted = machine.run(&["mount", "--mkdir", "-t", "tmpfs", "tmpfs", STATE]);
    assert!(mounted.status.success(), "{mounted:?}");
    let own = env::current_exe().expect("invariant: this program has a file");
    let programs = [
        (own.as_path(), BENCH),
        (Path::new(env!("CARGO_BIN_EXE_nixactions")), PROGRAM),
        (Path::new(env!("CARGO_BIN_EXE_nixactions-runner")), RUNNER),
    ];
    for (program, inside) in programs {
        if let Err(skip) = machine.install(program, inside) {
            println!("SKIP systemd {}: {skip:?}", root.suite().systemd());
            return true;
        }
    }
    for (program, inside) in peers_at_hand() {
        if let Err(skip) = machine.install(&program, inside) {
            println!("SKIP `{}`: {skip:?}", program.display());
        }
    }
    let version = root.suite().systemd();
    let mut held = true;
    for group in groups {
        // Measurements have no time limit.
        let output = machine
            .command(&[BENCH, "inside", group])
            .stderr(Stdio::inherit())
            .output()
            .expect("the machine runs commands");
        assert!(
            output.status.success(),
            "measuring `{group}`: {}",
            output.status
        );
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            // Inside, each result is a line of tab-separated columns.
            let columns: Vec<&str> = line.split('\t').collect();
            let [what, ours, floor, ratio, bound] = columns.as_slice() else {
                println!("{version:<9} {line}");
                continue;
            };
            let holds = match (ratio.parse::<f64>(), bound.parse::<f64>()) {
                (Ok(ratio), Ok(bound)) if what.contains("rate") => ratio >= bound,
                (Ok(ratio), Ok(bound)) => ratio <= bound,
                _ => true,
            };
            held &= holds;
            println!(
                "{version:<9} {what:<58} {ours:>12} {floor:>12} {ratio:>7} {bound:>7}{}",
                if holds { "" } else { "  NOT HELD" }
            );
        }
    }
    held
}
