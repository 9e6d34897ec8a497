//! `--system` for users who are not root: the machine's runs, through a socket of systemd's.
//!
//! The service behind the socket (`nixactions operate`) runs as root, once for each call. It asks
//! the kernel who calls, refuses strangers, and runs one of a few commands for operators. So
//! operators need neither root nor rights to the files of runs, and strangers learn nothing.
//!
//! Knows nothing of what the commands do.

mod client;
mod error;
mod protocol;
mod server;

pub(super) use client::call;
pub use error::OperateError;
pub(super) use server::main;

use super::args::{Cli, Command};

/// Returns the arguments of a rerun with more options. Arguments after `--` are not options.
fn rerun_with(arguments: &[String], options: &[&str]) -> Vec<String> {
    let command = arguments.iter().position(|argument| argument == "rerun");
    let (before, after) = arguments.split_at(command.map_or(arguments.len(), |at| at + 1));
    let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
    [before, &options, after].concat()
}

/// Checks that operators may run this command.
fn check(cli: &Cli) -> Result<(), OperateError> {
    let command = match &cli.command {
        Command::List(_)
        | Command::Show(_)
        | Command::Logs(_)
        | Command::Attach(_)
        | Command::Cancel(_) => return no_state_dir(cli),
        // Variables reach the steps, which hold the workflow's secrets. Files are read by root.
        Command::Rerun(args) => {
            let given = [
                ("--env", !args.env.is_empty()),
                ("--env-file", !args.env_file.is_empty()),
                ("--secret-env-file", !args.secret_env_file.is_empty()),
                ("--manager", args.manager.is_some()),
                ("--images-by", !args.images_by.is_empty()),
            ];
            return match given.iter().find(|(_, is_given)| *is_given) {
                Some((option, _)) => Err(OperateError::Option(option)),
                None => no_state_dir(cli),
            };
        }
        Command::Run(_) => "run",
        Command::Check(_) => "check",
        Command::Graph(_) => "graph",
        Command::Clean(_) => "clean",
        Command::Image(_) => "image",
        Command::Shell(_) => "shell",
        Command::Completions(_) => "completions",
        Command::Man(_) => "man",
    };
    Err(OperateError::Command(command))
}

fn no_state_dir(cli: &Cli) -> Result<(), OperateError> {
    let own = std::env::var_os("NIXACTIONS_STATE_DIR");
    match &cli.state_dir {
        // The variable is for the caller's own runs.
        Some(named) if own.as_deref() != Some(named.as_os_str()) => {
            Err(OperateError::Option("--state-dir"))
        }
        _ => Ok(()),
    }
}
