//! The command line: one file for each subcommand, and the only place that connects the layers.

mod amounts;
pub mod args;
mod attach;
mod cancel;
mod check;
mod clean;
mod completions;
mod digest;
mod error;
mod exit;
mod graph;
mod image;
mod list;
mod logs;
mod lost;
mod man;
mod notify;
mod operate;
mod output;
mod rerun;
mod reserve;
mod run;
mod shell;
mod show;
mod summary;
mod supervise;
mod target;

use std::{
    env,
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, error::ContextValue};
use nix::sys::stat::{Mode, umask};

use args::{Cli, Command};
pub use error::{CliError, tell};
pub use exit::Exit;
pub use operate::OperateError;
pub use output::renderer;

use crate::{embedded, error::escaped, interrupts, overlay, shell::ENTER, store::StateDir};

/// Runs the program with its arguments.
pub fn main() -> ExitCode {
    // Subcommands for units are not commands for users. Processes that start by the thousand, or
    // before there is a root file system, skip the command line parser.
    let argv: Vec<OsString> = env::args_os().collect();
    match argv.as_slice() {
        [_, command, directory] if command == "supervise" => {
            return exit_of(supervise::main(Path::new(directory)));
        }
        [_, command, state, first, images, operators @ ..] if command == "operate" => {
            let (first, images) = (first.to_string_lossy(), images.to_string_lossy());
            let images_by = [&*first, &*images];
            return exit_of(operate::main(Path::new(state), images_by, operators));
        }
        [_, enter, unit, run, command @ ..] if enter == ENTER => {
            return exit_of(shell::enter(unit, Path::new(run), command));
        }
        [_, command, directory, options @ ..] if command == "await-room" => {
            return exit_of(reserve::main(Path::new(directory), options));
        }
        [_, command, state, unit, plan] if command == "obtain-images" => {
            return exit_of(image::obtain_for(Path::new(state), unit, Path::new(plan)));
        }
        _ => {}
    }
    if let Some(exit) = embedded::entry(&argv).or_else(|| overlay::entry(&argv)) {
        return exit;
    }
    if let Err(error) = interrupts::reset() {
        return exit_of(Err::<Exit, _>(CliError::Runtime(error)));
    }
    // Some files of a run are read by jobs, which run as other users. All other files lie in a
    // directory that only the caller can enter.
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let error = escaped_arguments(error);
            // If standard error is closed, only the exit status can report the error.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::Usage as u8));
        }
    };
    exit_of(dispatch(&cli))
}

/// Returns clap's error with its arguments escaped. Drops a tip that would repeat such an argument
/// unescaped.
fn escaped_arguments(mut error: clap::Error) -> clap::Error {
    let context: Vec<_> = error
        .context()
        .map(|(kind, value)| (kind, value.clone()))
        .collect();
    let is_odd = |value: &ContextValue| match value {
        ContextValue::String(text) => escaped(text) != *text,
        ContextValue::Strings(texts) => texts.iter().any(|text| escaped(text) != *text),
        _ => false,
    };
    if !context.iter().any(|(_, value)| is_odd(value)) {
        return error;
    }
    for (kind, value) in context {
        let value = match value {
            ContextValue::String(text) => ContextValue::String(escaped(&text).into_owned()),
            ContextValue::Strings(texts) => ContextValue::Strings(
                texts
                    .iter()
                    .map(|text| escaped(text).into_owned())
                    .collect(),
            ),
            ContextValue::StyledStrs(_) => ContextValue::None,
            other => other,
        };
        error.insert(kind, value);
    }
    error
}

/// Reports an error, and returns the exit status.
fn exit_of(result: Result<impl Into<ExitCode>, CliError>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(error) if error.is_broken_pipe() => Exit::Success.into(),
        Err(error) => {
            let _ = writeln!(io::stderr(), "{}", tell(&error, error.hint().as_deref()));
            error.exit().into()
        }
    }
}

fn dispatch(cli: &Cli) -> Result<ExitCode, CliError> {
    if cli.system && !nix::unistd::geteuid().is_root() {
        return operate::call(cli).map(ExitCode::from);
    }
    let state = || StateDir::open(&state_dir(cli)?).map_err(CliError::from);
    let exit = match &cli.command {
        // Its exit status is the shell's.
        Command::Shell(args) => return shell::main(args, &state()?),
        Command::Run(args) => run::main(args, &state_dir(cli)?),
        Command::Rerun(args) => rerun::main(args, &state_dir(cli)?),
        Command::Check(args) => check::main(args),
        Command::Graph(args) => graph::main(args),
        Command::List(args) => list::main(args, &state()?),
        Command::Show(args) => show::main(args, &state()?),
        Command::Logs(args) => logs::main(args, &state()?),
        Command::Attach(args) => attach::main(args, &state()?),
        Command::Cancel(args) => cancel::main(args, &state()?),
        Command::Clean(args) => clean::main(args, &state()?),
        Command::Image(args) => image::main(args, &state_dir(cli)?),
        Command::Completions(args) => completions::main(args),
        Command::Man(args) => man::main(args),
    };
    exit.map(ExitCode::from)
}

/// Returns the state directory from the command line, or the caller's own.
fn state_dir(cli: &Cli) -> Result<PathBuf, CliError> {
    match &cli.state_dir {
        Some(path) if !cli.system => return Ok(path.clone()),
        _ => {}
    }
    if nix::unistd::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/nixactions"));
    }
    default_state_dir(
        env::var_os("XDG_STATE_HOME").as_deref().map(Path::new),
        env::var_os("HOME").as_deref().map(Path::new),
    )
    .ok_or(CliError::NoStateDir)
}

/// Returns a user's state directory (XDG Base Directory Specification: relative paths are ignored).
fn default_state_dir(xdg: Option<&Path>, home: Option<&Path>) -> Option<PathBuf> {
    let absolute = |path: Option<&Path>| {
        path.filter(|path| path.is_absolute())
            .map(Path::to_path_buf)
    };
    let state = absolute(xdg).or_else(|| absolute(home).map(|home| home.join(".local/state")));
    state.map(|state| state.join("nixactions"))
}

/// Runs the client's event loop on one thread, since the client mostly waits.
fn block_on<T>(future: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?
        .block_on(future)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn users_keep_their_runs_below_their_state_home() {
        let dir =
            |xdg: &str, home: &str| default_state_dir(Some(Path::new(xdg)), Some(Path::new(home)));
        assert_eq!(dir("/s", "/h").unwrap(), Path::new("/s/nixactions"));
        assert_eq!(
            dir("", "/h").unwrap(),
            Path::new("/h/.local/state/nixactions")
        );
        assert_eq!(dir("relative", ""), None);
    }
}
