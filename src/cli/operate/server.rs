//! The machine's end of the socket: a service of root's, one for each call (`Accept=yes`,
//! systemd.socket(5)), with the connection as its standard input.

use std::{
    env,
    ffi::{CString, OsString},
    io::{self, BufReader, Read},
    os::{fd::AsFd as _, unix::net::UnixStream},
    path::Path,
    process::{Command as Process, Stdio},
    sync::mpsc::{SyncSender, sync_channel},
    thread,
    time::Duration,
};

use clap::Parser as _;
use nix::{
    sys::{
        signal::{Signal, kill},
        socket::{getsockopt, sockopt::PeerCredentials},
    },
    unistd::{Gid, Group, Pid, Uid, User, getgrouplist},
};

use super::{
    OperateError, check,
    protocol::{Frame, Request, VERSION},
    rerun_with,
};
use crate::cli::{
    CliError, Exit,
    args::{Cli, Command},
    output::say,
    tell,
};

/// The longest wait for the request of an operator.
const REQUEST: Duration = Duration::from_secs(10);

/// Answers one call. A rerun has its images from a unit that the program of `images_by` starts.
pub(in crate::cli) fn main(
    state: &Path,
    images_by: [&str; 2],
    operators: &[OsString],
) -> Result<Exit, CliError> {
    let socket = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map(UnixStream::from)
        .map_err(CliError::Runtime)?;
    let last = match answer(&socket, state, images_by, operators) {
        Ok(frame) => frame,
        Err(error) => {
            let text = tell(&error, error.hint().as_deref());
            say(&text);
            let _ = Frame::Stderr((text + "\n").into_bytes()).write(&mut &socket);
            Frame::Exit(error.exit() as u8)
        }
    };
    // A caller that is gone needs no answer.
    let _ = last.write(&mut &socket);
    Ok(Exit::Success)
}

fn answer(
    socket: &UnixStream,
    state: &Path,
    images_by: [&str; 2],
    operators: &[OsString],
) -> Result<Frame, CliError> {
    let user = caller(socket, operators)?;
    socket
        .set_read_timeout(Some(REQUEST))
        .map_err(CliError::Runtime)?;
    let request = Request::read(&mut BufReader::new(socket)).map_err(|_| OperateError::Broken)?;
    socket.set_read_timeout(None).map_err(CliError::Runtime)?;
    if request.version != VERSION {
        return Err(OperateError::Version.into());
    }
    let words = ["nixactions"].into_iter();
    let cli = match Cli::try_parse_from(words.chain(request.arguments.iter().map(String::as_str))) {
        Ok(cli) => cli,
        Err(error) => {
            Frame::Stderr(error.to_string().into_bytes())
                .write(&mut &*socket)
                .map_err(CliError::Output)?;
            return Ok(Frame::Exit(Exit::Usage as u8));
        }
    };
    check(&cli)?;
    say(&format!(
        "{user}: {}",
        request.arguments.join(" ").escape_debug()
    ));
    let [first, images] = images_by;
    let arguments = match cli.command {
        Command::Rerun(_) => {
            // Absent without `RuntimeDirectory=` (systemd.exec(5)).
            let directory = env::var("RUNTIME_DIRECTORY").map_err(|_| OperateError::NoDirectory)?;
            let options = ["--images-by", first, images, &directory];
            rerun_with(&request.arguments, &options)
        }
        _ => request.arguments,
    };
    let mut command = Process::new(env::current_exe().map_err(CliError::Runtime)?);
    command.arg("--state-dir").arg(state).args(arguments);
    match request.log_format {
        Some(format) => command.env("NIXACTIONS_LOG_FORMAT", format),
        None => command.env_remove("NIXACTIONS_LOG_FORMAT"),
    };
    run(socket, command, &user).map_err(CliError::Runtime)
}

/// Returns the name of the calling user.
///
/// Fails if the user is not an operator.
fn caller(socket: &UnixStream, operators: &[OsString]) -> Result<String, CliError> {
    let peer =
        getsockopt(socket, PeerCredentials).map_err(|errno| CliError::Runtime(errno.into()))?;
    let uid = Uid::from_raw(peer.uid());
    let user = User::from_uid(uid).ok().flatten();
    let Some(User { name, gid, .. }) = user else {
        let user = format!("user {uid} without a name");
        return Err(OperateError::Stranger { user }.into());
    };
    let named = |option: &str, name: &str| operators.contains(&format!("--{option}={name}").into());
    let is_member = || groups(&name, gid).iter().any(|group| named("group", group));
    if uid.is_root() || named("user", &name) || is_member() {
        return Ok(name);
    }
    let user = format!("user `{name}`");
    Err(OperateError::Stranger { user }.into())
}

/// Returns the names of a user's groups.
fn groups(name: &str, gid: Gid) -> Vec<String> {
    let name = CString::new(name).unwrap_or_default();
    let ids = getgrouplist(&name, gid).unwrap_or_default();
    ids.into_iter()
        .filter_map(|gid| Some(Group::from_gid(gid).ok()??.name))
        .collect()
}

enum Message {
    Frame(Frame),
    /// An output of the command has ended.
    Ended,
    /// The caller is gone.
    Gone,
}

/// Runs the command, and passes on its output. Ends the command, and no run, when the caller is
/// gone.
fn run(socket: &UnixStream, mut command: Process, user: &str) -> io::Result<Frame> {
    command
        // The actor in the record of a new run.
        .env("SUDO_USER", user)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // The variables that systemd sets for this service alone.
    for name in [
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "NOTIFY_SOCKET",
        "JOURNAL_STREAM",
    ] {
        command.env_remove(name);
    }
    let mut child = command.spawn()?;
    let pid = Pid::from_raw(child.id().try_into().map_err(io::Error::other)?);

    let (sender, messages) = sync_channel(16);
    let mut outputs = 0;
    if let Some(output) = child.stdout.take() {
        outputs += 1;
        pass_on(output, Frame::Stdout, sender.clone());
    }
    if let Some(output) = child.stderr.take() {
        outputs += 1;
        pass_on(output, Frame::Stderr, sender.clone());
    }
    let mut caller = socket.try_clone()?;
    thread::spawn(move || {
        while matches!(caller.read(&mut [0; 64]), Ok(1..)) {}
        let _ = sender.send(Message::Gone);
    });

    let mut is_gone = false;
    while outputs > 0 {
        let gone = match messages.recv() {
            Ok(Message::Frame(frame)) => frame.write(&mut &*socket).is_err(),
            Ok(Message::Ended) => {
                outputs -= 1;
                false
            }
            Ok(Message::Gone) => true,
            Err(_) => break,
        };
        if gone && !is_gone {
            is_gone = true;
            let _ = kill(pid, Signal::SIGINT);
        }
    }
    let status = child.wait()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(Frame::Exit(code.unwrap_or(Exit::Trouble as u8)))
}

fn pass_on(
    mut output: impl Read + Send + 'static,
    frame: fn(Vec<u8>) -> Frame,
    to: SyncSender<Message>,
) {
    thread::spawn(move || {
        let mut bytes = vec![0; 32 << 10];
        while let Ok(length @ 1..) = output.read(&mut bytes) {
            if to
                .send(Message::Frame(frame(bytes[..length].to_vec())))
                .is_err()
            {
                return;
            }
        }
        let _ = to.send(Message::Ended);
    });
}
