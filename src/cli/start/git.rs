//! What git says of a source tree: which files belong to it, and where its repository is.
//!
//! Submodules and repositories in the tree are listed by their own rules. The repository of a
//! linked worktree, and of a submodule in one, lies outside of the tree; in the copy it becomes one
//! of the copy's own.

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
    cli::interrupts::Mark,
    programs,
    store::{ModePolicy, Modes, StoreError, TreeCopy},
};

/// The name of a repository in its tree, be it a directory or a file that says where it is.
pub(super) const GIT: &str = ".git";

/// What belongs to one worktree alone, beside the repository that it shares
/// (gitrepository-layout(5)).
const OF_WORKTREE: [&str; 6] = [
    "HEAD",
    "ORIG_HEAD",
    "FETCH_HEAD",
    "index",
    "modules",
    "worktrees",
];
/// What ties a linked worktree to its place.
const TIES: [&str; 4] = ["commondir", "gitdir", "locked", "modules"];

/// What there is to copy of a source tree.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// Paths relative to the root; a directory stands for all below it.
    pub paths: Vec<PathBuf>,
    /// The trees whose repository must be put together, relative to the root, each with where the
    /// repository is.
    pub outside: Vec<(PathBuf, PathBuf)>,
    /// The files that say where a repository in the root is, each with where that is relative to
    /// the file's directory.
    pub inside: Vec<(PathBuf, PathBuf)>,
    /// The links in repositories of the tree that are replaced by what they lead to, out of it.
    pub links: Vec<(PathBuf, PathBuf)>,
    /// What the caller should know.
    pub notes: Vec<String>,
    /// Whether a signal has come, which ends git.
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
            // git names a directory only where it holds another repository.
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

    /// Adds all that lies in a tree whose repository is not its own, and says so.
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

    /// Completes a copy of the tree with the repositories that could not be copied as they lie
    /// there.
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

/// Puts what a link leads to in its place.
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

/// Makes a repository of its own of the one that a worktree shares.
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
        // A submodule's: it is whole.
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
    // It may have been bare, or have named another tree as its own.
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
        // 5: there was nothing to unset (git-config(1)).
        if !status.success() && status.code() != Some(5) {
            return Err(SourceError::Git {
                directory: target.to_owned(),
                message: format!("`git config` ended with {status}"),
            });
        }
    }
    Ok(())
}

/// Returns a call of git that knows nothing of a repository that its caller may be working in: a
/// hook names that by `GIT_DIR` and the like.
pub(super) fn git_command() -> Command {
    let mut command = Command::new(programs::program("git"));
    for (name, _) in env::vars_os() {
        if name.as_bytes().starts_with(b"GIT_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs git, unless a signal comes: then git is killed.
fn git(mark: &Mark, directory: &Path, arguments: &[&str]) -> Result<Output, SourceError> {
    // A repository of another user's is read here, and nothing of its configuration is executed by
    // ls-files.
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

/// How often is looked whether git has ended, or a signal has come.
const LOOK: Duration = Duration::from_millis(1);

/// Returns what a command has printed; kills it when a signal has come.
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
    // What cannot be read any more is missed by the caller, who sees the exit status.
    pipe.into_iter()
        .for_each(|mut pipe| _ = pipe.read_to_end(&mut bytes));
    bytes
}

/// Returns where a repository borrows objects from, which jobs may not see
/// (gitrepository-layout(5)).
pub(super) fn borrowed(root: &Path) -> Option<PathBuf> {
    let text = fs::read(root.join(GIT).join("objects/info/alternates")).ok()?;
    let line = text
        .split(|byte| *byte == b'\n')
        .find(|line| !line.is_empty())?;
    Some(Path::new(OsStr::from_bytes(line)).to_owned())
}
