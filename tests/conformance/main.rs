//! The conformance suite: numbered cases, each a plan and what its run must leave, for the rules of
//! `docs/contract.md`.
//!
//! Each case is a test on each manager: `012-failed-need-skips-dependents::system_252`. On one of
//! them, it is one more test, whose jobs have a root file system of their own:
//! `012-failed-need-skips-dependents::embedded_root`. On another one, the jobs run in containers of
//! systemd-nspawn: `012-failed-need-skips-dependents::system_252_nspawn`. They share one machine
//! per version, and run several at once on it. `README.md` beside it tells how a case is written;
//! `docs/conformance.md` is the index of rules, made here.

mod case;
mod expect;
mod index;
mod place;
mod play;

use std::{
    path::Path,
    process::ExitCode,
    sync::{Arc, OnceLock},
};

use case::{Container, File, Way};
use libtest_mimic::{Arguments, Trial};
use nixactions_harness::{Manager, Skip};

/// The number of cases that run at once: most of a case's time is waiting.
const THREADS: usize = 8;

/// The managers on which the cases are played again by jobs with a root file system of their own.
const ROOTED: [&str; 4] = ["embedded", "system_252", "system_257", "system_262"];

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

/// Returns whether a case is played on a manager in this way. Jobs with a root file system of their
/// own play it on one of the managers in turn, by the case's number, or on all of them with
/// `NIXACTIONS_TEST_ALL=1`.
fn is_due(file: &File, place: &str, way: Way) -> bool {
    let is_of_host = || file.case(Path::new("/case")).not_in_a_root.is_some();
    let shift = match way {
        Way::Host => return true,
        Way::Root | Way::Nspawn if is_of_host() => return false,
        Way::Root => 0,
        Way::Nspawn => 1,
    };
    let number: usize = file.name[..3].parse().unwrap_or_default();
    let is_all = std::env::var_os("NIXACTIONS_TEST_ALL").is_some();
    let turn = ROOTED.iter().position(|name| *name == place);
    turn.is_some_and(|turn| is_all || (number + shift) % ROOTED.len() == turn)
}

/// Returns the test of a case on a manager.
fn trial(file: &File, place: &Arc<Place>, way: Way) -> Trial {
    let (file, place) = (file.clone(), Arc::clone(place));
    let suffix = match way {
        Way::Host => "",
        Way::Root => "_root",
        Way::Nspawn => "_nspawn",
    };
    let name = format!("{}::{}{suffix}", file.name, place.name);
    Trial::test(name.clone(), move || {
        let is_needed = way != Way::Host || file.needs_image();
        let image = |manager: &Manager| is_needed.then(|| manager.image()).transpose();
        let ready = match place.get() {
            Ok(manager) => image(manager).map(|image| (manager, image)),
            Err(skip) => Err(skip.clone()),
        };
        match ready {
            Ok((manager, image)) => {
                let image = image.as_deref();
                let file =
                    image.map_or_else(|| file.clone(), |image| file.clone().with_image(image));
                let image = image.filter(|_| way != Way::Host);
                let container = image.map(|image| Container { image, way });
                return play::play(&file, manager, container, &name);
            }
            Err(skip) => skip.report_for(&name),
        }
        Ok(())
    })
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
            let ways = [Way::Host, Way::Root, Way::Nspawn].into_iter();
            let due = ways.filter(|way| is_due(&file, place.name, *way));
            trials.extend(due.map(|way| trial(&file, place, way)));
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
