//! The machine in which the examples run, and what a test asks of a run.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use nixactions_harness::{
    CommandExt as _, Finished, Kind, Machine, Manager, REPOSITORY, Root, Skip, Suite,
};

/// Where machines see the host's /usr and its Rust: see tests/nix/host.nix.
pub const HOST: &str = "/srv/host";
pub const RUST: &str = "/srv/rust";
pub const NIXPKGS: &str = "tests/nix/host.nix";

pub fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// Returns the files of the examples, relative to their folder.
pub fn files() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for group in ["01-basic", "02-features", "03-real-world"] {
        for entry in fs::read_dir(examples().join(group))
            .unwrap()
            .map(Result::unwrap)
        {
            let name = entry.file_name().into_string().unwrap();
            found.insert(if entry.path().is_dir() {
                format!("{group}/{name}/ci.nix")
            } else {
                format!("{group}/{name}")
            });
        }
    }
    found
}

/// Returns the name of an example's workflow.
pub fn name(file: &str) -> &str {
    let path = file
        .strip_suffix("/ci.nix")
        .or(file.strip_suffix(".nix"))
        .expect("an example is a file of Nix");
    path.rsplit('/').next().expect("a path has a last part")
}

/// Boots a machine that sees the host's programs, with a small repository in the directory where
/// commands run.
pub fn machine(suite: Suite, kind: Kind) -> Result<Manager, Skip> {
    let root = Root::get(suite)?;
    let mut plan = Machine::of(&root)
        .language()
        .bind_read_only(Path::new("/usr"), &format!("{HOST}/usr"));
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).ok();
    plan = plan.bind_read_only(Path::new(sysroot.trim()), RUST);
    let machine = if kind == Kind::Embedded {
        plan.enter()
    } else {
        plan.boot()
    };
    let manager = Manager::of(kind, machine, Path::new(env!("CARGO_BIN_EXE_nixactions")))?;
    for link in ["lib", "lib64"] {
        std::os::unix::fs::symlink(format!("usr/{link}"), manager.file(HOST).join(link))
            .expect("the machine is writable");
    }
    // A root file system may not lie on an overlay, as the machine's own root is one.
    let state = manager.state_dir().display().to_string();
    let mount =
        "mkdir -p /nix $1; for at in /nix $1; do mount -t tmpfs -o mode=755 tmpfs $at; done";
    manager.command(&["sh", "-ec", mount, "mount", &state]).ok();
    manager.write("README.md", "# A project\n");
    manager.write("src/greeting.txt", "Hello\n".repeat(100));
    commit(&manager, ".");
    Ok(manager)
}

/// Makes a repository of a directory.
pub fn commit(manager: &Manager, directory: &str) {
    let script = "git init --quiet && git add . && git -c user.name=Jane -c user.email=jane@example.org commit --quiet --message first";
    manager
        .command_in(&manager.dir().join(directory), &["sh", "-c", script])
        .ok();
}

/// The machine that runs the examples, booted when the first of them is.
pub fn systemd_262() -> Result<&'static Manager, Skip> {
    static MACHINE: OnceLock<Result<Manager, Skip>> = OnceLock::new();
    MACHINE
        .get_or_init(|| machine(Suite::Forky, Kind::System))
        .as_ref()
        .map_err(Clone::clone)
}

/// The host's programs that an example runs.
pub fn needs(example: &str) -> &'static [&'static str] {
    match example {
        "matrix" => &["dash", "jq"],
        "nix-shell" | "hooks-executor" | "extensions" => &["jq"],
        "python-ci" => &["python3"],
        "node-ci" => &["node", "npm"],
        "rust-ci" => &["gcc"],
        "complete" => &["curl", "dash"],
        "containers" => &["bash-static", "busybox"],
        "buildah" => &["buildah", "newgidmap"],
        _ => &[],
    }
}

/// Skips where one of these programs is missing.
pub fn host_has(programs: &[&str]) -> Result<(), Skip> {
    let missing = programs
        .iter()
        .map(|program| Path::new("/usr/bin").join(program))
        .find(|path| !path.exists());
    missing.map_or(Ok(()), |path| {
        Err(Skip::new(format!(
            "there is no `{}` on this machine",
            path.display()
        )))
    })
}

/// Runs an example to its end, on systemd 262: as a user would, but for `<nixpkgs>`.
pub fn run(example: &str, arguments: &[&str]) -> Result<Finished, Skip> {
    let manager = systemd_262()?;
    let nix = manager.nix()?.with_nixpkgs(NIXPKGS);
    host_has(needs(example))?;
    let file = files()
        .into_iter()
        .find(|file| name(file) == example)
        .expect("there is such an example");
    let file = format!("{REPOSITORY}/examples/{file}");
    let mut argv = vec![file.as_str()];
    // A real project is one by itself.
    let project = file.strip_suffix("/ci.nix");
    argv.extend(
        project
            .into_iter()
            .flat_map(|project| ["--source", project]),
    );
    argv.extend(arguments);
    Ok(nix.run(&argv))
}

/// Returns how each job concluded, as in `build=success test=skipped`.
pub fn conclusions(finished: &Finished) -> String {
    let jobs = finished.record["jobs"]
        .as_object()
        .unwrap_or_else(|| panic!("no record: {finished}"));
    let told: Vec<_> = jobs
        .iter()
        .map(|(name, job)| format!("{name}={}", job["conclusion"].as_str().unwrap_or("?")))
        .collect();
    told.join(" ")
}

pub fn time(finished: &Finished, job: &str, key: &str) -> jiff::Timestamp {
    let text = finished.job(job)[key]
        .as_str()
        .unwrap_or_else(|| panic!("`{job}` has no {key} in {finished}"));
    text.parse().expect("it is a time")
}

/// Panics unless two jobs ran at the same time.
pub fn overlap(finished: &Finished, one: &str, other: &str) {
    assert!(
        time(finished, one, "startedAt") < time(finished, other, "finishedAt"),
        "{finished}"
    );
    assert!(
        time(finished, other, "startedAt") < time(finished, one, "finishedAt"),
        "{finished}"
    );
}

/// Panics unless a job printed this line.
pub fn prints(finished: &Finished, job: &str, line: &str) {
    assert!(
        finished.lines(job).contains(&line),
        "`{job}` did not print `{line}`: {finished}"
    );
}

/// Returns the messages of a run in the journal.
pub fn journal(finished: &Finished) -> String {
    let manager = systemd_262().expect("it was run");
    manager
        .command(&[
            "journalctl",
            "--output=cat",
            "--no-pager",
            &format!("NIXACTIONS_RUN={}", finished.id),
        ])
        .ok()
}

/// Returns an artifact's tree.
pub fn artifact(finished: &Finished, job: &str, artifact: &str) -> PathBuf {
    let manager = systemd_262().expect("it was run");
    manager
        .run_dir(&finished.id)
        .join("jobs")
        .join(job)
        .join("artifacts")
        .join(artifact)
        .join("tree")
}
