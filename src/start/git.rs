//! Asks git about a source tree: its files, and the place of its repository.
//!
//! Submodules and repositories in the tree are listed by their own rules. The repository of a
//! linked worktree, and of a submodule in one, lies outside of the tree. The copy gets a repository
//! of its own instead.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
};

use super::{
    command::Reader,
    repository::{self, Repository},
    source::SourceError,
};
use crate::{
    interrupts::Mark,
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
        listed.add(root, Path::new(""), Reader::Caller)?;
        Ok(listed)
    }

    /// Adds a tree. Its git runs as the given user, or as the first other user than root who can
    /// change the tree.
    fn add(&mut self, root: &Path, tree: &Path, above: Reader) -> Result<(), SourceError> {
        let directory = root.join(tree);
        let reader = match above {
            Reader::Caller => Reader::of(&directory),
            Reader::Owner(..) => above,
        };
        let repository = Repository::of(&directory, reader, &self.mark)?;
        if let Repository::Foreign(found) = &repository {
            return self.add_plainly(root, tree, found);
        }
        let output = reader.git(
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
            .filter(|name| !name.is_empty())
            .map(|name| Path::new(OsStr::from_bytes(name)));
        // The owner of the tree may have changed git's output.
        let mut paths: Vec<PathBuf> = names
            .map(|name| match is_beneath(name) {
                true => Ok(tree.join(name)),
                false => Err(SourceError::Git {
                    directory: directory.clone(),
                    message: "git listed a path outside of the tree".to_owned(),
                }),
            })
            .collect::<Result<_, _>>()?;
        paths.dedup();
        for path in paths {
            // git lists a directory only if it holds another repository.
            if fs::symlink_metadata(root.join(&path)).is_ok_and(|meta| meta.is_dir())
                && root.join(&path).join(GIT).exists()
            {
                self.add(root, &path, reader)?;
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

/// Returns whether a path leads only downwards.
fn is_beneath(path: &Path) -> bool {
    path.components()
        .all(|part| matches!(part, Component::Normal(name) if name != GIT))
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
    // The repository of a submodule is complete.
    let shared = repository::shared(worktree);
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
    let meta = fs::symlink_metadata(&config).map_err(|error| failed("read", &config, error))?;
    if !meta.is_file() {
        // git would write through a link.
        return Err(failed(
            "change",
            &config,
            io::ErrorKind::InvalidInput.into(),
        ));
    }
    for arguments in [
        &["core.bare", "false"][..],
        &["--unset-all", "core.worktree"],
    ] {
        let status = Reader::Caller
            .config(mark, &config, arguments)
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

/// Returns whether a repository borrows objects from another one, which jobs may not see
/// (gitrepository-layout(5)).
pub(super) fn borrows(root: &Path) -> bool {
    let list = root.join(GIT).join("objects/info/alternates");
    fs::symlink_metadata(list).is_ok_and(|meta| meta.len() > 0)
}
