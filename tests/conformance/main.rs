//! The conformance suite: numbered cases, each a plan and what its run must leave, for the rules of
//! `docs/contract.md`.
//!
//! Each case is a test on each manager: `012-failed-need-skips-dependents::system_252`. They share
//! one machine per version, and run several at once on it. `README.md` beside it tells how a case
//! is written; `docs/conformance.md` is the index of rules, made here.

mod case;
mod expect;
mod index;
mod play;

use std::{
    path::Path,
    process::ExitCode,
    sync::{Arc, OnceLock},
};

use case::File;
use libtest_mimic::{Arguments, Trial};
use nixactions_harness::{Manager, Skip};

/// The number of cases that run at once: most of a case's time is waiting.
const THREADS: usize = 8;

/// A constructor of [`Manager`].
type Make = fn(&Path) -> Result<Manager, Skip>;

/// A manager that is made when the first case needs it, and gone when the last is over.
struct Place {
    name: &'static str,
    make: Make,
    manager: OnceLock<Result<Manager, Skip>>,
}

impl Place {
    fn get(&self) -> &Result<Manager, Skip> {
        self.manager
            .get_or_init(|| (self.make)(Path::new(env!("CARGO_BIN_EXE_nixactions"))))
    }
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let makers: [(_, Make); 4] = [
        ("embedded", Manager::embedded),
        ("system_252", Manager::system_252),
        ("system_257", Manager::system_257),
        ("system_262", Manager::system_262),
    ];
    let places = makers.map(|(name, make)| {
        Arc::new(Place {
            name,
            make,
            manager: OnceLock::new(),
        })
    });
    let files = File::all();
    let mut trials = index::trials(&files);
    for file in files {
        for place in &places {
            let (file, place) = (file.clone(), Arc::clone(place));
            let name = format!("{}::{}", file.name, place.name);
            trials.push(Trial::test(name.clone(), move || {
                match place.get() {
                    Ok(manager) => return play::play(&file, manager, &name),
                    Err(skip) => skip.report_for(&name),
                }
                Ok(())
            }));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Each machine takes seconds to come down, on a loaded host.
    std::thread::scope(|scope| {
        places
            .into_iter()
            .for_each(|place| drop(scope.spawn(move || drop(place))))
    });
    conclusion.exit_code()
}
