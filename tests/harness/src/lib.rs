//! Boots real systemds for the tests: Debian 12, 13 and testing, in namespaces, each gone with its
//! test.
//!
//! ```no_run
//! use nixactions_harness::{CommandExt as _, Machine, Root, Suite, or_skip};
//!
//! fn the_manager_is_up() {
//!     let root = or_skip!(Root::get(Suite::Forky));
//!     let machine = Machine::boot(&root);
//!     assert_eq!(machine.command(&["systemctl", "is-system-running"]).ok(), "running\n");
//! }
//! ```
//!
//! [`on_managers!`] runs one test on every kind of manager. The roots are made by `.ci/roots`;
//! where one is missing, or a machine cannot be had at all, tests skip and say why. The crate knows
//! of nixactions only where its commands are given their flags (`manager.rs`, `run.rs`); it is used
//! by integration tests and benchmarks, and by `cargo run -p nixactions-harness`, a shell in a
//! machine.

mod canary;
mod evaluator;
mod left;
mod machine;
mod manager;
mod nix_inside;
mod process;
mod root;
mod run;
mod skip;
mod wait;

pub use canary::{Canaries, Snapshot};
pub use evaluator::{Evaluation, Evaluator};
pub use machine::{Machine, Plan};
pub use manager::{Kind, Manager, TellOnPanic};
pub use nix::sys::signal::Signal;
pub use nix_inside::{Nix, REPOSITORY};
pub use root::{Root, Suite};
pub use run::{Finished, RUN_DEADLINE, Run, bash, with};
pub use skip::Skip;
pub use wait::{CommandExt, SOON, ended_within, wait_for};

/// Makes one `#[test]` per manager of functions `fn name(manager: &Manager)`, called
/// `name::system_257` and so on.
///
/// `on_managers!(a, b)` takes the usual managers: embedded on the host, embedded in a machine that
/// is not booted, PID 1 of all three suites, and a user's. `on_managers!(a on system_252,
/// user_262)` names those that make sense for one function, by the constructors of [`Manager`]. The
/// program under test is the calling package's `nixactions`.
#[macro_export]
macro_rules! on_managers {
    ($name:ident on $($manager:ident),+ $(,)?) => {
        mod $name {
            $(
                #[test]
                fn $manager() {
                    let program = ::std::path::Path::new(env!("CARGO_BIN_EXE_nixactions"));
                    super::$name(&$crate::or_skip!($crate::Manager::$manager(program)));
                }
            )+
        }
    };
    ($($name:ident),+ $(,)?) => {
        $($crate::on_managers!($name on embedded, embedded_257, embedded_262, system_252, system_257, system_262, user_262);)+
    };
}

/// As [`on_managers!`] with the usual managers, for tests that can share a machine with others that
/// run at the same time: those that look at nothing but their own runs. Machines are made when they
/// are first needed, and gone with the test program.
#[macro_export]
macro_rules! on_shared_managers {
    (@managers $($manager:ident)+) => {
        mod shared_managers {
            use ::std::{path::Path, sync::OnceLock};
            use $crate::{Manager, Skip};
            $(
                pub fn $manager() -> &'static Result<Manager, Skip> {
                    static MANAGER: OnceLock<Result<Manager, Skip>> = OnceLock::new();
                    MANAGER.get_or_init(|| Manager::$manager(Path::new(env!("CARGO_BIN_EXE_nixactions"))))
                }
            )+
        }
    };
    (@test $name:ident $($manager:ident)+) => {
        mod $name {
            #[test]
            fn embedded() {
                // On the host there is no machine to share, only a directory.
                let program = ::std::path::Path::new(env!("CARGO_BIN_EXE_nixactions"));
                super::$name(&$crate::or_skip!($crate::Manager::embedded(program)));
            }
            $(
                #[test]
                fn $manager() {
                    let manager = $crate::or_skip!(super::shared_managers::$manager().as_ref().map_err(Clone::clone));
                    let _told = $crate::TellOnPanic(manager);
                    super::$name(manager);
                }
            )+
        }
    };
    ($($name:ident),+ $(,)?) => {
        $crate::on_shared_managers!(@managers embedded_257 embedded_262 system_252 system_257 system_262 user_262);
        $($crate::on_shared_managers!(@test $name embedded_257 embedded_262 system_252 system_257 system_262 user_262);)+
    };
}
