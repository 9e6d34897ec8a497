//! The caller's end of the socket.

use std::{
    env,
    io::{self, BufReader, Write as _},
    os::unix::net::UnixStream,
};

use clap::ValueEnum as _;

use super::{
    OperateError, check,
    error::SOCKET,
    protocol::{Frame, Request, VERSION},
    rerun_with,
};
use crate::cli::{
    CliError, Exit,
    args::{Cli, Command},
};

/// Has the machine run the command that this program was called with.
pub(in crate::cli) fn call(cli: &Cli) -> Result<Exit, CliError> {
    check(cli)?;
    let arguments: Vec<String> = env::args_os()
        .skip(1)
        .filter(|argument| argument != "--system")
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let Command::Rerun(args) = &cli.command else {
        return ask(arguments, None);
    };
    if args.detach {
        return ask(arguments, None);
    }
    // The run goes on when this program ends, as any run that was started elsewhere.
    let mut id = Vec::new();
    let started = ask(rerun_with(&arguments, &["--detach"]), Some(&mut id))?;
    let id = String::from_utf8_lossy(&id);
    let form = args.output.output.to_possible_value();
    let form = form.map(|form| format!("--output={}", form.get_name()));
    let mut attach = vec!["attach".to_owned(), id.trim().to_owned()];
    attach.extend(form);
    match started {
        Exit::Success => ask(attach, None),
        other => Ok(other),
    }
}

/// Sends one request, and passes on what comes back. `kept` takes the output instead.
fn ask(arguments: Vec<String>, mut kept: Option<&mut Vec<u8>>) -> Result<Exit, CliError> {
    let mut socket = UnixStream::connect(SOCKET).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => OperateError::NoSocket,
        _ => OperateError::Unreachable(error),
    })?;
    let request = Request {
        version: VERSION,
        arguments,
        log_format: env::var("NIXACTIONS_LOG_FORMAT").ok(),
    };
    // A stranger is refused before the request is read: the answer counts, not this error.
    let _ = request.write(&mut socket);
    let mut answer = BufReader::new(socket);
    loop {
        match Frame::read(&mut answer).map_err(|_| OperateError::Broken)? {
            Frame::Stdout(bytes) => match &mut kept {
                Some(kept) => kept.extend(bytes),
                None => {
                    let mut out = io::stdout().lock();
                    out.write_all(&bytes)
                        .and_then(|()| out.flush())
                        .map_err(CliError::Output)?;
                }
            },
            Frame::Stderr(bytes) => {
                let _ = io::stderr().write_all(&bytes);
            }
            Frame::Exit(status) => {
                return Ok(match status {
                    0 => Exit::Success,
                    1 => Exit::Failure,
                    2 => Exit::Usage,
                    130 => Exit::Cancelled,
                    _ => Exit::Trouble,
                });
            }
        }
    }
}
