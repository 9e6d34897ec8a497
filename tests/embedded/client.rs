//! A client of the embedded manager and nothing else, so that it can be killed.
//!
//! `client STATE_DIR RUN_DIR RUN [--keep PATH]… [--stay] -- SUPERVISOR…` prints PID 1's id and how
//! long the call took. With `--stay` it then waits to be killed. `client --check` prints what the
//! manager would be made of. `client --hold` takes all inotify instances that there are, prints
//! their number, and gives them back when its input ends.

use std::{
    ffi::OsString,
    io::{self, Write},
    iter,
    path::PathBuf,
    process::ExitCode,
    time::Instant,
};

use nix::sys::inotify::{InitFlags, Inotify};
use nixactions::{
    embedded::{self, Boot, EmbeddedError},
    unit::{TransientUnit, UnitName, Value},
};

/// Runs the client if the arguments ask for it.
pub fn entry(argv: &[OsString]) -> Option<ExitCode> {
    let arguments = argv
        .get(1)
        .filter(|word| *word == "client")
        .map(|_| &argv[2..])?;
    Some(match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            for hint in error.hints() {
                eprintln!("hint: {hint}");
            }
            ExitCode::from(3)
        }
    })
}

fn run(arguments: &[OsString]) -> Result<(), EmbeddedError> {
    if arguments.first().is_some_and(|word| word == "--check") {
        println!("{:?}", embedded::check()?);
        return Ok(());
    }
    if arguments.first().is_some_and(|word| word == "--hold") {
        let held: Vec<_> = iter::from_fn(|| Inotify::init(InitFlags::IN_CLOEXEC).ok()).collect();
        println!("{}", held.len());
        io::copy(&mut io::stdin(), &mut io::sink()).expect("it is a pipe");
        return Ok(());
    }
    let (state_dir, run_dir) = (PathBuf::from(&arguments[0]), PathBuf::from(&arguments[1]));
    let run = arguments[2]
        .to_str()
        .expect("UTF-8")
        .parse()
        .expect("a run id");
    let (mut extra_paths, mut stay, mut rest) = (Vec::new(), false, arguments[3..].iter());
    while let Some(word) = rest.next().filter(|word| *word != "--") {
        if word == "--keep" {
            extra_paths.push(rest.next().expect("a path").into());
        } else {
            stay = true;
        }
    }
    let argv = rest.map(|word| word.to_str().expect("UTF-8").to_owned());
    let text = |text: &str| Value::Str(text.to_owned());
    let supervisor = TransientUnit {
        name: UnitName::supervisor(&run),
        properties: vec![
            ("StartLimitIntervalUSec", Value::U64(0)),
            ("Type", text("notify")),
            ("NotifyAccess", text("main")),
            ("ExecStart", Value::Exec(argv.collect())),
            ("FileDescriptorStoreMax", Value::U32(1)),
            ("Restart", text("on-failure")),
            ("RestartUSec", Value::U64(100_000)),
            ("Slice", text("nixactions.slice")),
            ("KillMode", text("mixed")),
            (
                "LogExtraFields",
                Value::BytesList(vec![format!("NIXACTIONS_RUN={run}").into_bytes()]),
            ),
        ],
    };
    let started = Instant::now();
    let boot = Boot {
        run: &run,
        state_dir: &state_dir,
        run_dir: &run_dir,
        supervisor: &supervisor,
        extra_paths: &extra_paths,
        private_file: None,
        say: |said| eprintln!("note: {said}"),
    };
    let pid = embedded::boot(&boot)?;
    println!("{pid} {:?}", started.elapsed());
    std::io::stdout().flush().expect("standard output");
    if stay {
        loop {
            std::thread::park();
        }
    }
    Ok(())
}
