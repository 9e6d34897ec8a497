//! The terminal of a shell: one of its own, which this process copies to and from the caller's
//! terminal (pty(7)). On the caller's own terminal, other processes of the job's user could type
//! commands for the caller.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    process::{Child, Command, ExitStatus},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr},
};
use pty_process::blocking::{Pts, Pty, open};
use rustix::termios::{isatty, tcgetwinsize};

/// The time between two looks at the size of the caller's terminal and at the program's end, in
/// milliseconds.
const LOOK: u16 = 100;

/// The terminal of a program.
pub(super) enum Terminal {
    /// The caller has none, and the program gets the caller's files.
    None,
    /// The two ends of the program's own terminal.
    Own(Pty, Pts),
}

impl Terminal {
    /// Makes a terminal if the caller has one.
    pub fn open() -> io::Result<Self> {
        if !isatty(io::stdin()) || !isatty(io::stdout()) {
            return Ok(Self::None);
        }
        let (pty, pts) = open().map_err(io::Error::other)?;
        Ok(Self::Own(pty, pts))
    }

    /// Starts a program on the terminal, as the leader of a session.
    pub fn spawn(&self, mut command: Command) -> io::Result<Child> {
        match self {
            Self::None => command.spawn(),
            Self::Own(_, pts) => pty_process::blocking::Command::from(command)
                .spawn_borrowed(pts)
                .map_err(|error| match error {
                    pty_process::Error::Io(error) => error,
                    other => io::Error::other(other),
                }),
        }
    }

    /// Copies between the two terminals until the program has ended.
    pub fn follow(self, mut child: Child) -> io::Result<ExitStatus> {
        match self {
            Self::None => child.wait(),
            Self::Own(pty, pts) => {
                // The end of the last process on the terminal shows as its end.
                drop(pts);
                let raw = Raw::new()?;
                let copied = copy(File::from(OwnedFd::from(pty)), &mut child);
                drop(raw);
                // The program gets SIGHUP with its terminal.
                copied?;
                child.wait()
            }
        }
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

fn copy(mut pty: File, child: &mut Child) -> io::Result<()> {
    let mut buffer = [0; 8192];
    let mut size = None;
    loop {
        let now = tcgetwinsize(io::stdout())?;
        if size.replace((now.ws_row, now.ws_col)) != Some((now.ws_row, now.ws_col)) {
            rustix::termios::tcsetwinsize(&pty, now)?;
        }
        let (stdin, own) = (io::stdin(), pty.as_fd());
        let mut ready = [
            PollFd::new(stdin.as_fd(), PollFlags::POLLIN),
            PollFd::new(own, PollFlags::POLLIN),
        ];
        match poll(&mut ready, PollTimeout::from(LOOK)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [typed, printed] = ready.map(|fd| fd.any() == Some(true));
        if printed {
            match pty.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    io::stdout().write_all(&buffer[..count])?;
                    io::stdout().flush()?;
                }
                // Linux tells the end of a terminal this way.
                Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) => return Ok(()),
                Err(error) => return Err(error),
            }
        } else if child.try_wait()?.is_some() {
            // Processes that it left behind may hold the terminal open.
            return Ok(());
        }
        if typed {
            match rustix::io::read(io::stdin(), &mut buffer)? {
                0 => return Ok(()),
                count => pty.write_all(&buffer[..count])?,
            }
        }
    }
}
