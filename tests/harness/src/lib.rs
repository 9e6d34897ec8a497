//! Boots real systemds for the tests: Debian 12, 13 and testing, in namespaces, each gone with its test.
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
//! [`on_managers!`] runs one test on every kind of manager. The roots are made by `.ci/roots`; where one is missing, or a machine
//! cannot be had at all, tests skip and say why. The crate knows of nixactions only where its commands are given their flags
//! (`manager.rs`); it is used by integration tests and benchmarks, and by `cargo run -p nixactions-harness`, a shell in a machine.

mod canary;
mod machine;
mod manager;
mod process;
mod root;
mod skip;
mod wait;

pub use canary::{Canaries, Snapshot};
pub use machine::{Machine, Plan};
pub use manager::{Kind, Manager};
pub use nix::sys::signal::Signal;
pub use root::{Root, Suite};
pub use skip::Skip;
pub use wait::{CommandExt, SOON, ended_within, wait_for};

/// Makes one `#[test]` per manager of functions `fn name(manager: &Manager)`, called `name::system_257` and so on.
///
/// `on_managers!(a, b)` takes the usual managers: embedded on the host, embedded in a machine that is not booted, PID 1 of all
/// three suites, and a user's. `on_managers!(a on system_252, user_262)` names those that make sense for one function, by the
/// constructors of [`Manager`]. The program under test is the calling package's `nixactions`.
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
