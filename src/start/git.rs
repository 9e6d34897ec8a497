//! Asks git about a source tree: its files, and the place of its repository.
//!
//! Submodules and repositories in the tree are listed by their own rules. The repository of a
//! linked worktree, and of a submodule in one, lies outside of the tree. The copy gets a repository
//! of its own instead.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use super::{repository::Repository, source::SourceError};
use crate::{
    interrupts::Mark,
    programs,
    store::{ModePolicy, Modes, StoreError, TreeCopy},
};

/// The name of a repository in its tree: a directory, or a file that names one.
pub(super) const GIT: &str = ".git";

/// The files of one worktree, beside the shared repository (gitrepository-layout(5)).
const OF_WORKTREE: [&str; 6] = [
    "HEAD",
    "ORIG_HEAD",
    "FETCH_HEAD",
    "index",
    "modules",
    "worktrees",
];
/// The files that tie a linked worktree to its place.
const TIES: [&str; 4] = ["commondir", "gitdir", "locked", "modules"];

/// The contents of a source tree to copy.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// Paths relative to the root. A directory stands for everything below it.
    pub paths: Vec<PathBuf>,
    /// The trees whose repository lies outside, relative to the root, each with the path of the
    /// repository.
    pub outside: Vec<(PathBuf, PathBuf)>,
    /// The files that name a repository in the root, each with that repository's path relative to
    /// the file's directory.
    pub inside: Vec<(PathBuf, PathBuf)>,
    /// The links in the tree's repositories that lead out of the tree. The copy gets their targets
    /// instead.
    pub links: Vec<(PathBuf, PathBuf)>,
    /// Notes for the caller.
    pub notes: Vec<String>,
    /// The mark of a signal, which ends git.
    mark: Mark,
}

impl Listed {
    /// Lists the tree at a root, with the repositories in it.
    pub fn of(root: &Path, mark: &Mark) -> Result<Self, SourceError> {
        let mut listed = Self {
            mark: mark.clone(),
            ..Self::default()
        };
        listed.add(root, Path::new(""))?;
        Ok(listed)
    }

    fn add(&mut self, root: &Path, tree: &Path) -> Result<(), SourceError> {
        let directory = root.join(tree);
        let repository = Repository::of(&directory)?;
        if let Repository::Foreign(found) = &repository {
            return self.add_plainly(root, tree, found);
        }
        let output = git(
            &self.mark,
            &directory,
            &[
                "ls-files",
                "-z",
                "--cached",
                "--others",
                "--exclude-standard",
            ],
        )?;
        let names = output
            .stdout
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty());
        let mut paths: Vec<PathBuf> = names
            .map(|name| tree.join(OsStr::from_bytes(name)))
            .collect();
        paths.dedup();
        for path in paths {
            // git lists a directory only if it holds another repository.
            if fs::symlink_metadata(root.join(&path)).is_ok_and(|meta| meta.is_dir())
                && root.join(&path).join(GIT).exists()
            {
                self.add(root, &path)?;
            } else {
                self.paths.push(path);
            }
        }
        self.add_repository(root, tree, repository)
    }

    /// Adds the repository of a tree.
    fn add_repository(
        &mut self,
        root: &Path,
        tree: &Path,
        repository: Repository,
    ) -> Result<(), SourceError> {
        let place = tree.join(GIT);
        match repository {
            Repository::None | Repository::Foreign(_) => {}
            Repository::Here(links) => {
                self.paths.push(place);
                let links = links.into_iter();
                self.links
                    .extend(links.map(|(link, found)| (tree.join(link), found)));
            }
            Repository::At(found) => {
                let canonical = root
                    .canonicalize()
                    .map_err(|error| SourceError::Copy(StoreError::io("find", root, error)))?;
                let is_link = fs::symlink_metadata(root.join(&place))
                    .is_ok_and(|meta| meta.file_type().is_symlink());
                match found.strip_prefix(canonical) {
                    Ok(inside) if !is_link => {
                        let up = tree
                            .components()
                            .map(|_| Component::ParentDir)
                            .collect::<PathBuf>();
                        self.inside.push((place, up.join(inside)));
                    }
                    _ => self.outside.push((tree.to_owned(), found)),
                }
            }
        }
        Ok(())
    }

    /// Adds all files of a tree whose `.git` names a foreign repository, with a note about it.
    fn add_plainly(&mut self, root: &Path, tree: &Path, foreign: &Path) -> Result<(), SourceError> {
        let directory = root.join(tree);
        let entries = fs::read_dir(&directory)
            .map_err(|error| SourceError::Copy(StoreError::io("read", &directory, error)))?;
        let names = entries.flatten().map(|entry| entry.file_name());
        self.paths
            .extend(names.filter(|name| name != GIT).map(|name| tree.join(name)));
        self.notes.push(format!(
            "`{}` names the repository `{}`, which is not its own, so jobs do not see it",
            directory.join(GIT).display(),
            foreign.display()
        ));
        Ok(())
    }

    /// Adds the repositories to a copy of the tree that need more than a plain copy.
    pub fn complete(&self, copy: &Path, modes: &mut Modes, mark: &Mark) -> Result<(), SourceError> {
        for (file, target) in &self.inside {
            let text = [b"gitdir: ", target.as_os_str().as_bytes(), b"\n"].concat();
            let path = copy.join(file);
            fs::write(&path, text).map_err(|source| {
                SourceError::Copy(StoreError::Io {
                    action: "write",
                    path,
                    source,
                })
            })?;
        }
        for (link, found) in &self.links {
            replace_link(found, copy, link, modes, mark)?;
        }
        for (tree, repository) in &self.outside {
            let place = tree.join(GIT);
            put_together(repository, &copy.join(&place), &place, modes, mark)?;
        }
        Ok(())
    }
}

/// Replaces a link by its target.
fn replace_link(
    found: &Path,
    root: &Path,
    link: &Path,
    modes: &mut Modes,
    mark: &Mark,
) -> Result<(), SourceError> {
    let target = root.join(link);
    let failed = |error| SourceError::Copy(StoreError::io("replace", &target, error));
    fs::remove_file(&target).map_err(failed)?;
    if !found.is_dir() {
        return fs::copy(found, &target).map(drop).map_err(failed);
    }
    fs::create_dir(&target).map_err(failed)?;
    let copy = TreeCopy {
        from: found,
        to: &target,
        modes: ModePolicy::Open,
        take_from: None,
        stop: Some(mark.raw()),
        unlock: false,
    };
    let copied = copy.all().map_err(SourceError::Copy)?;
    let copied = copied.modes.0.into_iter();
    modes
        .0
        .extend(copied.map(|(path, mode)| (link.join(path), mode)));
    Ok(())
}

/// Makes an independent repository from the shared one of a worktree.
fn put_together(
    worktree: &Path,
    target: &Path,
    place: &Path,
    modes: &mut Modes,
    mark: &Mark,
) -> Result<(), SourceError> {
    let failed = |action, path: &Path, source| {
        SourceError::Copy(StoreError::Io {
            action,
            path: path.to_owned(),
            source,
        })
    };
    fs::create_dir(target).map_err(|error| failed("create", target, error))?;
    let shared = match fs::read(worktree.join("commondir")) {
        Ok(text) => Some(worktree.join(OsStr::from_bytes(text.trim_ascii_end()))),
        // The repository of a submodule is complete.
        Err(_) => None,
    };
    let parts = shared
        .as_deref()
        .map(|shared| (shared, &OF_WORKTREE[..]))
        .into_iter()
        .chain([(worktree, &TIES[..])]);
    for (from, without) in parts {
        let entries = fs::read_dir(from).map_err(|error| failed("read", from, error))?;
        let names = entries
            .flatten()
            .map(|entry| PathBuf::from(entry.file_name()));
        let names: Vec<PathBuf> = names
            .filter(|name| !without.iter().any(|other| name == Path::new(other)))
            .collect();
        let copy = TreeCopy {
            from,
            to: target,
            modes: ModePolicy::Open,
            take_from: None,
            stop: Some(mark.raw()),
            unlock: false,
        };
        let copied = copy.named(&names).map_err(SourceError::Copy)?;
        modes.0.extend(
            copied
                .modes
                .0
                .into_iter()
                .map(|(path, mode)| (place.join(path), mode)),
        );
    }
    // The repository may have been bare, or have named another tree.
    let config = target.join("config");
    for arguments in [
        &["core.bare", "false"][..],
        &["--unset-all", "core.worktree"],
    ] {
        let status = git_command()
            .args(["config", "--file"])
            .arg(&config)
            .args(arguments)
            .output()
            .map_err(SourceError::NoGit)?
            .status;
        // Exit status 5: there was nothing to unset (git-config(1)).
        if !status.success() && status.code() != Some(5) {
            return Err(SourceError::Git {
                directory: target.to_owned(),
                message: format!("`git config` ended with {status}"),
            });
        }
    }
    Ok(())
}

/// Returns a git command that ignores the repository of the caller. A git hook names that one in
/// `GIT_DIR` and similar variables.
pub(super) fn git_command() -> Command {
    let mut command = Command::new(programs::program("git"));
    for (name, _) in env::vars_os() {
        if name.as_bytes().starts_with(b"GIT_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs git, and kills it if a signal comes.
fn git(mark: &Mark, directory: &Path, arguments: &[&str]) -> Result<Output, SourceError> {
    // The repository may belong to another user. It is only read: ls-files executes nothing of its
    // configuration.
    let mut command = git_command();
    command
        .args(["-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-C"])
        .arg(directory)
        .args(arguments);
    let output = output(command, mark).map_err(SourceError::NoGit)?;
    if output.status.success() {
        return Ok(output);
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(SourceError::Git {
        directory: directory.to_owned(),
        message,
    })
}

/// The time between two checks for git's end or a signal.
const LOOK: Duration = Duration::from_millis(1);

/// Returns a command's output. Kills the command if a signal comes.
fn output(mut command: Command, mark: &Mark) -> io::Result<Output> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let pipes = (child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        let stdout = scope.spawn(|| read(pipes.0));
        let stderr = scope.spawn(|| read(pipes.1));
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if mark.check().is_err() {
                child.kill()?;
            }
            thread::sleep(LOOK);
        };
        let text =
            |reader: thread::ScopedJoinHandle<'_, Vec<u8>>| reader.join().unwrap_or_default();
        Ok(Output {
            status,
            stdout: text(stdout),
            stderr: text(stderr),
        })
    })
}

/// Reads a pipe to its end.
fn read(pipe: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Reading may fail; the caller checks the exit status.
    pipe.into_iter()
        .for_each(|mut pipe| _ = pipe.read_to_end(&mut bytes));
    bytes
}

/// Returns the path from which a repository borrows objects, which jobs may not see
/// (gitrepository-layout(5)).
pub(super) fn borrowed(root: &Path) -> Option<PathBuf> {
    let text = fs::read(root.join(GIT).join("objects/info/alternates")).ok()?;
    let line = text
        .split(|byte| *byte == b'\n')
        .find(|line| !line.is_empty())?;
    Some(Path::new(OsStr::from_bytes(line)).to_owned())
}
