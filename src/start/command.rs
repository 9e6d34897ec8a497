//! Runs git on a source tree that may be hostile.
//!
//! A repository can name programs in its configuration, and git may execute them whatever it is
//! asked: `ls-files` fetches an object that a partial clone lacks, and the fetch executes
//! `remote.<name>.uploadpack`. So git has no transport here, and root runs git with the rights of
//! the tree's owner: nothing of a repository runs as root.

use std::{
    env,
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read},
    os::{
        fd::AsFd,
        unix::{
            ffi::OsStrExt,
            fs::MetadataExt,
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    unistd::{Uid, User, geteuid},
};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::{place::Place, source_error::SourceError};
use crate::{interrupts::Mark, programs, store};

/// The name of a repository in its tree: a directory, or a file that names one.
pub(super) const GIT: &str = ".git";

/// Settings that override those of a repository. Each of them could make git execute a program, or
/// refuse a tree of another user.
const SETTINGS: [&str; 7] = [
    "safe.directory=*",
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.sshCommand=false",
    "core.alternateRefsCommand=false",
    "protocol.allow=never",
    "credential.helper=",
];
/// Variables for the same. git before 2.44 does not know `GIT_NO_LAZY_FETCH`; the list of allowed
/// protocols overrides all settings in every version.
const VARIABLES: [(&str, &str); 5] = [
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_ALLOW_PROTOCOL", "none"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
];
/// The group of a user without a record, which has no rights.
const NOGROUP: u32 = 65534;
/// The id that an owner outside of the user namespace appears to have (user_namespaces(7)).
const UNMAPPED: u32 = 65534;
/// The longest output of git.
const OUTPUT_MAX: usize = 256 << 20;
/// The time between two checks for a signal.
const LOOK: Duration = Duration::from_millis(20);
/// The longest time for git. A named pipe in place of an ignore file stops git for ever.
const DEADLINE: Duration = Duration::from_secs(600);

/// The user who runs git on a tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Reader {
    /// The caller.
    #[default]
    Caller,
    /// A user and group that own the tree. The caller is root.
    Owner(u32, u32),
}

impl Reader {
    /// Returns the user for a tree. For root, this is the first other user who can change the tree:
    /// the owner of a directory that leads to it, of the tree, or of its repository.
    pub fn of(tree: &Place) -> Self {
        let repository = tree.open_path().join(GIT);
        let config = repository.join("config");
        Self::first_of(
            owners_above(tree.path())
                .chain([Some(tree.owner())])
                .chain([&repository, &config].map(|path| owner(path)))
                .chain([&repository, &config].map(|path| owner_behind(path))),
        )
    }

    /// Returns the user who could change where an absolute path leads, by a link on the way to its
    /// end.
    pub fn of_links(path: &Path, end: &Path) -> Self {
        match store::look_up(path) {
            Ok(found) if found.end == end => Self::first_of(found.owners.into_iter().map(Some)),
            // It has changed since the end was found.
            _ => Self::first_of(owners_above(path)),
        }
    }

    fn first_of(mut owners: impl Iterator<Item = Option<u32>>) -> Self {
        if !geteuid().is_root() {
            return Self::Caller;
        }
        let all_mapped = fs::read_to_string("/proc/self/uid_map")
            .is_ok_and(|map| map.split_ascii_whitespace().eq(["0", "0", "4294967295"]));
        let is_other = |uid: &u32| *uid != 0 && (all_mapped || *uid != UNMAPPED);
        let other = owners.find_map(|owner| owner.filter(is_other));
        other.map_or(Self::Caller, |uid| {
            let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
            Self::Owner(uid, user.map_or(NOGROUP, |user| user.gid.as_raw()))
        })
    }

    /// Returns a git command that ignores the repository of the caller. A git hook names that one
    /// in `GIT_DIR` and similar variables.
    fn command(self) -> Command {
        let mut command = Command::new(programs::program("git"));
        for (name, _) in env::vars_os() {
            if name.as_bytes().starts_with(b"GIT_") {
                command.env_remove(name);
            }
        }
        if let Self::Owner(uid, gid) = self {
            // The owner may read the variables of the process, and not the caller's files. With
            // `uid`, the standard library drops all other groups of root.
            command.env_clear();
            command.envs(env::var_os("PATH").map(|path| ("PATH", path)));
            command.env("HOME", "/nonexistent").uid(uid).gid(gid);
        }
        command.envs(VARIABLES).current_dir("/");
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command
    }

    /// Runs git in a directory, and kills it if a signal comes.
    pub fn git(
        self,
        mark: &Mark,
        directory: &Place,
        arguments: &[&str],
    ) -> Result<Output, SourceError> {
        let mut command = self.command();
        command.current_dir(directory.open_path()).args(arguments);
        let output = output(command, Stdio::null(), mark).map_err(SourceError::NoGit)?;
        if output.status.success() {
            return Ok(output);
        }
        let mut message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if let Self::Owner(uid, _) = self {
            message += &format!(" (git runs as user {uid}, who can change the tree)");
        }
        Err(SourceError::Git {
            directory: directory.path().to_owned(),
            message,
        })
    }

    /// Returns the path that a configuration has for a setting, if it has one.
    pub fn path_setting(self, mark: &Mark, config: File, name: &str) -> Option<PathBuf> {
        let mut command = self.command();
        command.args(["config", "--file", "-", "--path", name]);
        let output = output(command, config.into(), mark).ok()?;
        let path = OsStr::from_bytes(output.stdout.trim_ascii_end());
        output.status.success().then(|| path.into())
    }

    /// Runs `git config` on the file `config` of a directory. If the directory is a repository, git
    /// does not use it: its `core.worktree` may name a directory that does not exist here.
    pub fn configure(
        self,
        mark: &Mark,
        directory: &Place,
        arguments: &[&str],
    ) -> io::Result<ExitStatus> {
        let mut command = self.command();
        command
            .current_dir(directory.open_path())
            .env("GIT_DIR", "/dev/null")
            .args(["config", "--file", "config"])
            .args(arguments);
        output(command, Stdio::null(), mark).map(|output| output.status)
    }
}

fn owner(path: &Path) -> Option<u32> {
    fs::symlink_metadata(path).ok().map(|meta| meta.uid())
}

fn owner_behind(path: &Path) -> Option<u32> {
    fs::metadata(path).ok().map(|meta| meta.uid())
}

/// Returns the owners of all parts of a path, from the root down.
fn owners_above(path: &Path) -> impl Iterator<Item = Option<u32>> {
    let mut above: Vec<&Path> = path.ancestors().collect();
    above.reverse();
    above.into_iter().map(owner)
}

/// Returns a command's output. Kills the command if a signal comes. Does not wait for processes
/// that the command leaves behind.
fn output(mut command: Command, stdin: Stdio, mark: &Mark) -> io::Result<Output> {
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut output = Output {
        status: ExitStatus::from_raw(0),
        stdout: Vec::new(),
        stderr: Vec::new(),
    };
    let collected = collect(&mut child, mark, &mut output);
    if collected.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    collected.map(|()| output)
}

fn collect(child: &mut Child, mark: &Mark, output: &mut Output) -> io::Result<()> {
    let stdout = child
        .stdout
        .take()
        .map(|pipe| File::from(std::os::fd::OwnedFd::from(pipe)));
    let stderr = child
        .stderr
        .take()
        .map(|pipe| File::from(std::os::fd::OwnedFd::from(pipe)));
    let mut pipes = [stdout, stderr];
    for pipe in pipes.iter().flatten() {
        fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
    }
    let started = Instant::now();
    loop {
        let ended = child.try_wait()?;
        let texts = [&mut output.stdout, &mut output.stderr];
        for (pipe, text) in pipes.iter_mut().zip(texts) {
            drain(pipe, text)?;
        }
        if let Some(status) = ended {
            output.status = status;
            return Ok(());
        }
        if mark.check().is_err() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if started.elapsed() > DEADLINE {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut open: Vec<PollFd> = pipes
            .iter()
            .flatten()
            .map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN))
            .collect();
        let wait = if open.is_empty() {
            Duration::from_millis(1)
        } else {
            LOOK
        };
        match poll(
            &mut open,
            PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO),
        ) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reads all that a pipe holds. Forgets the pipe at its end.
fn drain(pipe: &mut Option<File>, text: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    while let Some(open) = pipe {
        match open.read(&mut buffer) {
            Ok(0) => *pipe = None,
            Ok(count) => text.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if text.len() > OUTPUT_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
    Ok(())
}
