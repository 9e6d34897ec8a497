//! The `nixactions-runner` program, which systemd starts for each job.
//!
//! Entered by C's `main`: what the standard library does before its own, to tell of a stack that overflows, takes longer than all else
//! that a runner does before its job. systemd gives it what else that does: open standard streams, SIGPIPE ignored (systemd.exec(5)).

#![no_main]

use std::{
    env,
    ffi::{c_char, c_int},
};

/// The exit status of one who calls it by hand.
const EXIT_USAGE: u8 = 2;

#[expect(unsafe_code, reason = "C calls it by this name")]
#[unsafe(no_mangle)]
extern "C" fn main(_argc: c_int, _argv: *const *const c_char) -> c_int {
    let mut arguments = env::args_os().skip(1);
    let (Some(directory), None) = (arguments.next(), arguments.next()) else {
        eprintln!("nixactions-runner: systemd starts it, with the directory of a job; `nixactions run` runs workflows");
        return EXIT_USAGE.into();
    };
    nixactions::runner::main(directory.into()).into()
}
