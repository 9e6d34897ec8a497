//! The `nixactions-runner` program, which systemd starts for each job.
//!
//! With glibc, the program begins in C's `main`, not in that of Rust's standard library. The
//! library first prepares for an overflow of the stack, and this takes longer than all other work
//! of a runner before its job. The rest of its preparation is not needed: systemd has opened the
//! standard streams, and the runner handles SIGPIPE itself.

#![warn(clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(all(target_env = "gnu", not(test)), no_main)]

use std::{
    env,
    io::{self, Write},
    path::Path,
};

/// The exit status after a call by hand.
const EXIT_USAGE: u8 = 2;

fn run() -> u8 {
    let mut arguments = env::args_os();
    if arguments
        .next()
        .is_some_and(|name| name == nixactions_runner::HOLDER)
    {
        nixactions_runner::hold();
    }
    match (arguments.next(), arguments.next()) {
        (Some(word), None) if word == nixactions_runner::STAND => nixactions_runner::stand(),
        (Some(command), Some(directory)) if command == nixactions_runner::SERVICE_COMMAND => {
            nixactions_runner::service(directory.into())
        }
        (Some(command), first) if command == nixactions_runner::PORTS_COMMAND => {
            nixactions_runner::ports(first.into_iter().chain(arguments))
        }
        (Some(directory), None) if Path::new(&directory).is_absolute() => {
            nixactions_runner::main(directory.into())
        }
        _ => {
            // Where nobody can be told, the exit status says it.
            let _ = writeln!(
                io::stderr(),
                "nixactions-runner: systemd starts this program with the directory of a job; `nixactions run` runs workflows"
            );
            EXIT_USAGE
        }
    }
}

// glibc hands the arguments to the standard library all the same (`std::env::args`).
#[cfg(all(target_env = "gnu", not(test)))]
#[expect(unsafe_code, reason = "C calls it by this name")]
#[unsafe(no_mangle)]
extern "C" fn main(
    _argc: std::ffi::c_int,
    _argv: *const *const std::ffi::c_char,
) -> std::ffi::c_int {
    run().into()
}

#[cfg(any(not(target_env = "gnu"), test))]
fn main() -> std::process::ExitCode {
    run().into()
}
