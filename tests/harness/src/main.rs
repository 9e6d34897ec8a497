//! A shell, or one command, in a freshly booted machine that sees this repository as
//! /srv/nixactions: `cargo run -p nixactions-harness -- forky [COMMAND...]`.

use std::process::ExitCode;

use nixactions_harness::{Machine, Root, Suite};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let Some(suite) = Suite::ALL.into_iter().find(|suite| suite.as_str() == name) else {
        eprintln!(
            "usage: machine SUITE [COMMAND...], of the suites {}",
            Suite::ALL.map(Suite::as_str).join(", ")
        );
        return ExitCode::from(2);
    };
    let root = match Root::get(suite) {
        Ok(root) => root,
        Err(skip) => {
            eprintln!("error: {skip}");
            return ExitCode::FAILURE;
        }
    };
    let machine = Machine::of(&root).language().boot();
    let mut command: Vec<String> = arguments.collect();
    if command.is_empty() {
        command = vec!["bash".into(), "-i".into()];
    }
    let status = machine
        .command(&command)
        .status()
        .expect("a command can be started inside");
    ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
}
