//! The terminal of a shell: one of its own, which this process copies to and from the caller's
//! terminal (pty(7)). On the caller's own terminal, other processes of the job's user could type
//! commands for the caller. So the shell has a session of its own in any case, and files of the
//! caller only where they are not terminals.

use std::{
    fs::File,
    io::{self, Read as _, Write},
    os::fd::{AsFd, OwnedFd},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::Signal,
        termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr},
    },
};
use pty_process::blocking::{Pts, Pty, open};
use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    termios::{isatty, tcgetwinsize},
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::{LOOK, wait};

/// The terminal of a program.
pub(super) struct Terminal {
    pty: Pty,
    pts: Pts,
    /// Whether the caller's standard input, output and error are terminals.
    input: bool,
    output: bool,
    error: bool,
}

impl Terminal {
    /// Makes a terminal.
    pub fn open() -> io::Result<Self> {
        let (pty, pts) = open().map_err(plain)?;
        Ok(Self {
            pty,
            pts,
            input: isatty(io::stdin()),
            output: isatty(io::stdout()),
            error: isatty(io::stderr()),
        })
    }

    /// Returns whether people use it.
    pub fn is_used(&self) -> bool {
        self.input || self.output || self.error
    }

    /// Starts a program on the terminal, as the leader of a session.
    pub fn spawn(&self, command: Command) -> io::Result<Child> {
        let mut command = pty_process::blocking::Command::from(command);
        if !self.input {
            command = command.stdin(Stdio::inherit());
        }
        if !self.output {
            command = command.stdout(Stdio::inherit());
        }
        if !self.error {
            command = command.stderr(Stdio::inherit());
        }
        command.spawn_borrowed(&self.pts).map_err(plain)
    }

    /// Copies between the two terminals until the program has ended.
    pub fn follow(self, mut child: Child) -> io::Result<ExitStatus> {
        // The end of the last process on the terminal shows as its end.
        drop(self.pts);
        if !(self.input || self.output || self.error) {
            // The program has a session of its own, so keys on a terminal do not reach it.
            let asked = flag(&[SIGINT, SIGTERM, SIGHUP])?;
            return wait(&mut child, &asked, Signal::SIGTERM);
        }
        let raw = self.input.then(Raw::new).transpose()?;
        let copy = Copy {
            pty: File::from(OwnedFd::from(self.pty)),
            reads: self.input,
            to_error: !self.output,
            typed: Vec::new(),
        };
        let copied = copy.until_end(&mut child);
        drop(raw);
        // The program has got SIGHUP with its terminal.
        copied?;
        child.wait()
    }
}

/// Returns a flag that these signals set from now on.
fn flag(signals: &[i32]) -> io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in signals {
        signal_hook::flag::register(*signal, Arc::clone(&flag))?;
    }
    Ok(flag)
}

fn plain(error: pty_process::Error) -> io::Error {
    match error {
        pty_process::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}

/// The caller's terminal without its own line editing and signals: the keys are for the program.
struct Raw(Termios);

impl Raw {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.0);
    }
}

/// The two directions between the terminals.
struct Copy {
    pty: File,
    /// Whether the caller types.
    reads: bool,
    /// Whether the caller sees the program on standard error.
    to_error: bool,
    /// The keys that the program has not taken yet. A program may wait until its output is read
    /// before it reads more.
    typed: Vec<u8>,
}

impl Copy {
    fn until_end(mut self, child: &mut Child) -> io::Result<()> {
        // Without this, a signal would leave the caller's terminal without its line editing.
        let ended = flag(&[SIGTERM, SIGHUP])?;
        fcntl_setfl(&self.pty, fcntl_getfl(&self.pty)? | OFlags::NONBLOCK)?;
        let mut size = None;
        while !ended.load(Ordering::Relaxed) {
            self.resize(&mut size);
            let (can_type, has_printed) = self.wait(LOOK)?;
            if has_printed {
                if !self.print()? {
                    return Ok(());
                }
            } else if child.try_wait()?.is_some() {
                // Processes that it left behind may hold the terminal open.
                while self.wait(0)?.1 && self.print()? {}
                return Ok(());
            }
            if can_type && !self.read_keys()? {
                return Ok(());
            }
            self.send_keys()?;
        }
        Ok(())
    }

    /// Gives the program's terminal the size of the caller's.
    fn resize(&self, last: &mut Option<(u16, u16)>) {
        let size = match self.to_error {
            true => tcgetwinsize(io::stderr()),
            false => tcgetwinsize(io::stdout()),
        };
        if let Ok(size) = size
            && last.replace((size.ws_row, size.ws_col)) != Some((size.ws_row, size.ws_col))
        {
            let _ = rustix::termios::tcsetwinsize(&self.pty, size);
        }
    }

    /// Waits for either terminal, at most some milliseconds. Returns whether the caller has typed,
    /// and whether the program has printed.
    fn wait(&self, longest: u16) -> io::Result<(bool, bool)> {
        let stdin = io::stdin();
        let own = match self.typed.is_empty() {
            true => PollFlags::POLLIN,
            false => PollFlags::POLLIN | PollFlags::POLLOUT,
        };
        let mut ready = vec![PollFd::new(self.pty.as_fd(), own)];
        if self.reads && self.typed.is_empty() {
            ready.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut ready, PollTimeout::from(longest)) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok((false, false)),
            Err(error) => return Err(error.into()),
        }
        let is_ready = |fd: &PollFd<'_>, flags: PollFlags| {
            fd.revents().is_some_and(|found| found.intersects(flags))
        };
        let readable = PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR;
        let can_type = ready.get(1).is_some_and(|fd| is_ready(fd, readable));
        Ok((can_type, is_ready(&ready[0], readable)))
    }

    /// Shows what the program has printed. Returns whether the terminal still has a program.
    fn print(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 8192];
        let count = match self.pty.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            // Linux tells the end of a terminal this way.
            Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) => return Ok(false),
            Err(error) => return Err(error),
        };
        let show = |out: &mut dyn Write| out.write_all(&buffer[..count]).and_then(|()| out.flush());
        match self.to_error {
            true => show(&mut io::stderr()),
            false => show(&mut io::stdout()),
        }?;
        Ok(true)
    }

    /// Takes keys from the caller. Returns whether the caller's terminal is still there.
    fn read_keys(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 8192];
        let count = rustix::io::read(io::stdin(), &mut buffer)?;
        self.typed.extend(&buffer[..count]);
        Ok(count > 0)
    }

    fn send_keys(&mut self) -> io::Result<()> {
        if self.typed.is_empty() {
            return Ok(());
        }
        match self.pty.write(&self.typed) {
            Ok(count) => {
                self.typed.drain(..count);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }
}
