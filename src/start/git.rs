//! Asks git about a source tree: its files, and the place of its repository.
//!
//! Submodules and repositories in the tree are listed by their own rules. The repository of a
//! linked worktree, and of a submodule in one, lies outside of the tree. The copy gets a repository
//! of its own instead.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::{
        fd::AsFd as _,
        unix::{
            ffi::OsStrExt,
            fs::{OpenOptionsExt as _, PermissionsExt as _},
        },
    },
    path::{Component, Path, PathBuf},
};

use super::{
    command::{GIT, Reader},
    links::{self, Links},
    place::{Place, Tree},
    repository::{self, Repository},
    source_error::SourceError,
};
use crate::{
    interrupts::Mark,
    store::{Allowed, Copied, ModePolicy, StoreError, TreeCopy},
};

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
/// The size of the buffer between two files, in bytes.
const BUFFER: usize = 128 << 10;

/// The contents of a source tree to copy.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// Paths relative to the root. A directory stands for everything below it.
    pub paths: Vec<PathBuf>,
    /// The trees whose repository lies outside, relative to the root, each with that repository and
    /// its owner.
    pub outside: Vec<Outside>,
    /// The files that name a repository in the root, each with that repository's path relative to
    /// the file's directory.
    pub inside: Vec<(PathBuf, PathBuf)>,
    /// The links out of the tree's repositories. The copy gets their targets instead.
    pub links: Vec<(PathBuf, links::Target)>,
    /// Notes for the caller.
    pub notes: Vec<String>,
    /// The mark of a signal, which ends git.
    mark: Mark,
    /// The directory of nixactions' own state, if it is in the tree. The copy leaves it out.
    own: Option<PathBuf>,
    /// The path of that directory.
    state: PathBuf,
}

/// A tree whose repository lies outside.
#[derive(Debug)]
pub(super) struct Outside {
    /// The path of the tree, relative to the root.
    tree: PathBuf,
    /// Its repository.
    repository: Place,
    /// The files that the copy of the repository may hold.
    allowed: Allowed,
    /// The shared repository, if this one is of a linked worktree.
    shared: Option<Place>,
    /// The links out of these repositories, relative to the copied one.
    links: Vec<(PathBuf, links::Target)>,
}

impl Listed {
    /// Lists the tree at a root, with the repositories in it.
    pub fn of(root: &Place, own: &Place, mark: &Mark) -> Result<Self, SourceError> {
        let below = own.path().strip_prefix(root.path()).ok();
        let mut listed = Self {
            mark: mark.clone(),
            own: below.map(Path::to_owned),
            state: own.path().to_owned(),
            ..Self::default()
        };
        listed.add(root, Path::new(""), Reader::Caller)?;
        Ok(listed)
    }

    /// Adds a tree. Its git runs as the given user, or as the first other user than root who can
    /// change the tree.
    fn add(&mut self, root: &Place, tree: &Path, above: Reader) -> Result<(), SourceError> {
        let directory = root.below(tree).map_err(|error| {
            SourceError::Copy(StoreError::io("open", &root.path().join(tree), error))
        })?;
        let reader = match above {
            Reader::Caller => Reader::of(&directory),
            Reader::Owner(..) => above,
        };
        let links = Tree {
            root: root.path(),
            own: &self.state,
            owner: directory.owner(),
        };
        let repository = Repository::of(&directory, links, reader, &self.mark)?;
        if let Repository::Foreign(found) = &repository {
            return self.add_plainly(&directory, tree, found);
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
        let mut names: Vec<&Path> = names
            .map(|name| match is_beneath(name) {
                true => Ok(name),
                false => Err(SourceError::Git {
                    directory: directory.path().to_owned(),
                    message: "git listed a path outside of the tree".to_owned(),
                }),
            })
            .collect::<Result<_, _>>()?;
        names.dedup();
        for name in names {
            let listed = tree.join(name);
            if let Some(own) = self.own.as_ref().filter(|own| listed.starts_with(own)) {
                // Its runs may have repositories. The copy names it as left out.
                self.paths.push(own.clone());
                continue;
            }
            let path = directory.open_path().join(name);
            // git lists a directory only if it holds another repository.
            if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir())
                && path.join(GIT).exists()
            {
                self.add(root, &listed, reader)?;
            } else {
                self.paths.push(listed);
            }
        }
        self.paths.dedup();
        self.add_repository(root, &directory, tree, repository);
        Ok(())
    }

    /// Adds the repository of a tree.
    fn add_repository(
        &mut self,
        root: &Place,
        directory: &Place,
        tree: &Path,
        repository: Repository,
    ) {
        let place = tree.join(GIT);
        match repository {
            Repository::None | Repository::Foreign(_) => {}
            Repository::Here(found) => {
                self.paths.push(place.clone());
                let links = self.links_of(root, &found);
                let in_tree = links
                    .into_iter()
                    .map(|(link, found)| (place.join(link), found));
                self.links.extend(in_tree);
            }
            Repository::At(found) => match found.path().strip_prefix(root.path()) {
                Ok(inside) => {
                    let up = tree
                        .components()
                        .map(|_| Component::ParentDir)
                        .collect::<PathBuf>();
                    self.inside.push((place, up.join(inside)));
                }
                // Its owner has made it name the tree.
                Err(_) => self.add_outside(root, directory, tree, (found.allowed(None), found)),
            },
            Repository::Linked(found, allowed) => {
                self.add_outside(root, directory, tree, (allowed, found));
            }
        }
    }

    /// Adds the repository of a tree that lies outside.
    fn add_outside(
        &mut self,
        root: &Place,
        directory: &Place,
        tree: &Path,
        (allowed, repository): (Allowed, Place),
    ) {
        let shared = repository::shared(&repository);
        // The references of all worktrees are in one stack of tables (git-refs(1)).
        if shared.as_ref().is_some_and(repository::has_tables) {
            self.notes.push(format!(
                "jobs do not see the repository of the linked worktree `{}`: its references have \
                 the format `reftable`, and cannot be copied for one worktree. Name a clone of the \
                 repository (`git clone`) as the source",
                directory.path().display()
            ));
            return;
        }
        let mut links = self.links_of(root, &repository);
        if let Some(shared) = &shared {
            let of_shared = self.links_of(root, shared).into_iter();
            links.extend(of_shared.filter(|(link, _)| !is_one_of(link, &OF_WORKTREE)));
            links.retain(|(link, _)| !is_one_of(link, &TIES));
        }
        self.outside.push(Outside {
            tree: tree.to_owned(),
            repository,
            allowed,
            shared,
            links,
        });
    }

    /// Returns the links out of a repository of a tree. Notes those that jobs do not see.
    fn links_of(&mut self, root: &Place, repository: &Place) -> Vec<(PathBuf, links::Target)> {
        let tree = Tree {
            root: root.path(),
            own: &self.state,
            owner: repository.owner(),
        };
        let links = Links::of(repository, tree);
        self.notes.extend(links.refused.into_iter().map(|refused| {
            format!(
                "a link in a repository {refused}, so jobs do not see it, and git may fail there; \
                 `git clone` makes a repository without links"
            )
        }));
        links.followed
    }

    /// Adds all files of a tree whose `.git` names a foreign repository, with a note about it.
    fn add_plainly(
        &mut self,
        directory: &Place,
        tree: &Path,
        foreign: &Path,
    ) -> Result<(), SourceError> {
        let entries = fs::read_dir(directory.open_path())
            .map_err(|error| SourceError::Copy(StoreError::io("read", directory.path(), error)))?;
        let names = entries.flatten().map(|entry| entry.file_name());
        self.paths
            .extend(names.filter(|name| name != GIT).map(|name| tree.join(name)));
        self.notes.push(format!(
            "`{}` names the repository `{}`, which is not its own, so jobs do not see it",
            directory.path().join(GIT).display(),
            foreign.display()
        ));
        Ok(())
    }

    /// Adds the repositories to a copy of the tree that need more than a plain copy. The tree may
    /// have changed since it was listed, so no link in the copy is followed. What lies in a
    /// directory that the copy does not have is left out with it.
    pub fn complete(
        &self,
        copy: &Place,
        copied: &mut Copied,
        mark: &Mark,
    ) -> Result<(), SourceError> {
        for (file, repository) in &self.inside {
            let Some(target) = Target::of(copy, file)? else {
                continue;
            };
            let text = [b"gitdir: ", repository.as_os_str().as_bytes(), b"\n"].concat();
            target.remove_file()?;
            fs::write(&target.open, text).map_err(|error| target.failed("write", error))?;
        }
        for (link, found) in &self.links {
            replace_link(found, copy, link, copied, mark)?;
        }
        for outside in &self.outside {
            put_together(outside, copy, copied, mark)?;
        }
        Ok(())
    }
}

/// Returns whether a path leads only downwards.
fn is_beneath(path: &Path) -> bool {
    path.components()
        .all(|part| matches!(part, Component::Normal(name) if name != GIT))
}

/// A place in the copy that is to be made. Its directory is in the copy and stays the same, because
/// only this process changes the copy.
struct Target {
    /// The path of this process to it.
    open: PathBuf,
    /// Its path, for messages.
    path: PathBuf,
    _directory: Place,
}

impl Target {
    /// Returns a place in the copy. Returns `None` if its directory does not exist.
    fn of(copy: &Place, relative: &Path) -> Result<Option<Self>, SourceError> {
        let path = copy.path().join(relative);
        let above = relative.parent().unwrap_or(Path::new(""));
        let directory = match copy.below(above) {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(SourceError::Copy(StoreError::io("open", &path, error))),
        };
        let name = relative.file_name().unwrap_or_default();
        Ok(Some(Self {
            open: directory.open_path().join(name),
            path,
            _directory: directory,
        }))
    }

    fn failed(&self, action: &'static str, error: io::Error) -> SourceError {
        SourceError::Copy(StoreError::io(action, &self.path, error))
    }

    /// Removes the file or link at this place, if there is one.
    fn remove_file(&self) -> Result<(), SourceError> {
        match fs::remove_file(&self.open) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.failed("replace", error))
            }
            _ => Ok(()),
        }
    }

    /// Makes a directory at this place.
    fn create_directory(&self) -> Result<Place, SourceError> {
        fs::create_dir(&self.open)
            .and_then(|()| Place::find(&self.open))
            .map_err(|error| self.failed("create", error))
    }
}

/// Replaces a link by its target.
fn replace_link(
    found: &links::Target,
    copy: &Place,
    link: &Path,
    all: &mut Copied,
    mark: &Mark,
) -> Result<(), SourceError> {
    let Some(target) = Target::of(copy, link)? else {
        return Ok(());
    };
    target.remove_file()?;
    if found.place.is_file() {
        let copied = copy_file(&found.place, &target.open, mark)
            .map_err(|error| target.failed("replace", error))?;
        add(all, copied, link);
        return Ok(());
    }
    let directory = target.create_directory()?;
    let copied = TreeCopy {
        stop: Some(mark.raw()),
        opened: Some(found.place.as_fd()),
        allowed: allowed(found.allowed),
        ..TreeCopy::new(found.place.path(), directory.path(), ModePolicy::Open)
    }
    .all()
    .map_err(SourceError::Copy)?;
    add(all, copied, link);
    Ok(())
}

/// Copies a file, so that others can read the copy.
fn copy_file(from: &Place, to: &Path, mark: &Mark) -> io::Result<Copied> {
    let mut from = File::open(from.open_path())?;
    let real = from.metadata()?.permissions().mode() & 0o777;
    let open = real | if real & 0o100 == 0 { 0o444 } else { 0o555 };
    let mut to = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(open)
        .open(to)?;
    let mut copied = Copied {
        entries: 1,
        ..Copied::default()
    };
    let mut buffer = vec![0; BUFFER];
    loop {
        mark.check()
            .map_err(|_| io::Error::from(io::ErrorKind::Interrupted))?;
        let count = from.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        to.write_all(&buffer[..count])?;
        copied.bytes += count as u64;
    }
    // The umask has cut the mode.
    to.set_permissions(fs::Permissions::from_mode(open))?;
    if open != real {
        copied.modes.0.insert(PathBuf::new(), real);
    }
    Ok(copied)
}

/// Makes an independent repository from one that lies outside, or from that of a worktree and the
/// shared one, in the copy.
fn put_together(
    outside: &Outside,
    copy: &Place,
    all: &mut Copied,
    mark: &Mark,
) -> Result<(), SourceError> {
    let place = &outside.tree.join(GIT);
    let Some(target) = Target::of(copy, place)? else {
        return Ok(());
    };
    let target = target.create_directory()?;
    let failed =
        |action, path: &Path, error| SourceError::Copy(StoreError::io(action, path, error));
    // The repository of a submodule is complete.
    let shared = outside.shared.as_ref();
    let parts = shared
        .map(|shared| (shared, shared.allowed(None), &OF_WORKTREE[..]))
        .into_iter()
        .chain([(&outside.repository, outside.allowed, &TIES[..])]);
    for (from, may_hold, without) in parts {
        let entries =
            fs::read_dir(from.open_path()).map_err(|error| failed("read", from.path(), error))?;
        let names = entries
            .flatten()
            .map(|entry| PathBuf::from(entry.file_name()));
        let names: Vec<PathBuf> = names.filter(|name| !is_one_of(name, without)).collect();
        let copied = TreeCopy {
            stop: Some(mark.raw()),
            opened: Some(from.as_fd()),
            allowed: allowed(may_hold),
            ..TreeCopy::new(from.path(), target.path(), ModePolicy::Open)
        }
        .named(&names)
        .map_err(SourceError::Copy)?;
        add(all, copied, place);
    }
    for (link, found) in &outside.links {
        replace_link(found, copy, &place.join(link), all, mark)?;
    }
    // The repository may have been bare, or have named another tree. git would write through a
    // link.
    let config = target.path().join("config");
    target
        .below(Path::new("config"))
        .and_then(|config| match config.is_file() {
            true => Ok(()),
            false => Err(io::ErrorKind::InvalidInput.into()),
        })
        .map_err(|error| failed("change", &config, error))?;
    for arguments in [
        &["core.bare", "false"][..],
        &["--unset-all", "core.worktree"],
    ] {
        let status = Reader::Caller
            .configure(mark, &target, arguments)
            .map_err(SourceError::NoGit)?;
        // Exit status 5: there was nothing to unset (git-config(1)).
        if !status.success() && status.code() != Some(5) {
            return Err(SourceError::Git {
                directory: target.path().to_owned(),
                message: format!("`git config` ended with {status}"),
            });
        }
    }
    Ok(())
}

/// Returns whether a path in a repository is, or is below, one of these files of the repository.
fn is_one_of(path: &Path, names: &[&str]) -> bool {
    let first = path.components().next();
    names
        .iter()
        .any(|name| first == Some(Component::Normal(OsStr::new(name))))
}

/// Adds a copied part of the tree.
fn add(all: &mut Copied, part: Copied, place: &Path) {
    let place = |path: PathBuf| match path.as_os_str().is_empty() {
        true => place.to_owned(),
        false => place.join(path),
    };
    let modes = part.modes.0.into_iter();
    all.modes
        .0
        .extend(modes.map(|(path, mode)| (place(path), mode)));
    let skipped = part.skipped.into_iter();
    all.skipped
        .extend(skipped.map(|(path, kind)| (place(path), kind)));
    all.withheld.extend(part.withheld.into_iter().map(place));
    all.entries += part.entries;
    all.bytes += part.bytes;
}

/// Returns the files that a copy may hold. Root can read all. Another user sees only what that user
/// may see.
pub(super) fn allowed(allowed: Allowed) -> Option<Allowed> {
    nix::unistd::geteuid().is_root().then_some(allowed)
}

/// Returns whether a repository borrows objects from another one, which jobs may not see
/// (gitrepository-layout(5)). Takes the copy, which holds the repository wherever it was.
pub(super) fn borrows(copy: &Place) -> bool {
    let list = copy.open_path().join(GIT).join("objects/info/alternates");
    fs::symlink_metadata(list).is_ok_and(|meta| meta.len() > 0)
}
