//! Finds the parts of a repository that are links out of it, such as a shared `objects`. A job sees
//! only the copy of the source tree, so the copy gets the targets of such links instead.
//!
//! A tree may be hostile, and root may copy it. So a link is followed only to a place that the tree
//! may show ([`Place::shown_by`]). Each target is opened once, and the copy is of the place that
//! was checked. The caller learns of the others.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
    rc::Rc,
};

use rustix::io::Errno;

use super::place::{Place, Tree};
use crate::store::Allowed;

/// The most links that are followed in one repository. Each has a file descriptor until it is
/// copied.
const LINKS_MAX: usize = 128;
/// The most links that lead on from the targets of links.
const CHAIN_MAX: usize = 8;
/// The deepest directory of a repository in which links are found.
const DEPTH_MAX: usize = 40;
/// The most links that are told.
const REFUSED_MAX: usize = 10;

/// The target of a link.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub place: Rc<Place>,
    /// The files that its copy may hold.
    pub allowed: Allowed,
}

/// The links of a repository.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// The links to be replaced, relative to the repository, each with its target. A link in the
    /// target of another one comes after that one.
    pub followed: Vec<(PathBuf, Target)>,
    /// The links that jobs cannot follow, each with the reason.
    pub refused: Vec<String>,
}

/// A directory that is searched for links.
struct Searched<'a> {
    directory: &'a Place,
    /// The repository, or the target of a link: its copy is a whole.
    base: &'a Place,
    /// The path of the directory below the base.
    within: PathBuf,
    /// The path of the directory's copy below the repository's copy.
    copy: PathBuf,
    /// The number of links that led to the base.
    chain: usize,
}

impl Links {
    /// Finds the links of a repository.
    pub fn of(repository: &Place, tree: Tree<'_>) -> Self {
        let mut links = Self::default();
        let searched = Searched {
            directory: repository,
            base: repository,
            within: PathBuf::new(),
            copy: PathBuf::new(),
            chain: 0,
        };
        links.add(&searched, tree);
        links
    }

    fn add(&mut self, searched: &Searched<'_>, tree: Tree<'_>) {
        let entries = fs::read_dir(searched.directory.open_path());
        for entry in entries.into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            let name = PathBuf::from(entry.file_name());
            if kind.is_symlink() {
                self.add_link(searched, &name, tree);
            } else if kind.is_dir()
                && searched.within.components().count() < DEPTH_MAX
                && let Ok(directory) = searched.directory.below(&name)
            {
                let below = Searched {
                    directory: &directory,
                    within: searched.within.join(&name),
                    copy: searched.copy.join(&name),
                    ..*searched
                };
                self.add(&below, tree);
            }
        }
    }

    /// Adds a link, and the links in its target.
    fn add_link(&mut self, searched: &Searched<'_>, name: &Path, tree: Tree<'_>) {
        let path = searched.directory.path().join(name);
        let open = searched.directory.open_path().join(name);
        let found = match Place::find(&open) {
            Ok(found) => Rc::new(found),
            // It leads nowhere, for git as well.
            Err(error) if leads_nowhere(&error) => return,
            Err(error) => return self.refuse(&path, &format!("cannot be followed: {error}")),
        };
        let target = fs::read_link(&open).unwrap_or_default();
        if stays_inside(&searched.within, &target) && found.path().starts_with(searched.base.path())
        {
            return;
        }
        let to = found.path().display();
        if !found.is_directory() && !found.is_file() {
            return self.refuse(
                &path,
                &format!("leads to `{to}`, which is not a plain file"),
            );
        }
        let Some(allowed) = found.shown_by(tree) else {
            let why = format!("leads to `{to}`, which the tree may not show to jobs");
            return self.refuse(&path, &why);
        };
        if searched.base.path().starts_with(found.path()) {
            return self.refuse(&path, &format!("leads to `{to}`, which contains it"));
        }
        if self.followed.len() >= LINKS_MAX || searched.chain >= CHAIN_MAX {
            return self.refuse(
                &path,
                &format!("leads to `{to}`, after too many other links"),
            );
        }
        let copy = searched.copy.join(name);
        let target = Target {
            place: Rc::clone(&found),
            allowed,
        };
        self.followed.push((copy.clone(), target));
        if found.is_directory() {
            let target = Searched {
                directory: &found,
                base: &found,
                within: PathBuf::new(),
                copy,
                chain: searched.chain + 1,
            };
            self.add(&target, tree);
        }
    }

    fn refuse(&mut self, path: &Path, why: &str) {
        match self.refused.len() {
            0..REFUSED_MAX => self.refused.push(format!("`{}` {why}", path.display())),
            REFUSED_MAX => self.refused.push("and more links".to_owned()),
            _ => {}
        }
    }
}

fn leads_nowhere(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.kind() == io::ErrorKind::NotADirectory
        || error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}

/// Returns whether a link leads to the same place in a copy. The link is in a directory at the path
/// `within` the copied one. It must be relative, and stay in the copied directory on its way.
fn stays_inside(within: &Path, target: &Path) -> bool {
    let mut depth = within.components().count();
    target.components().all(|part| match part {
        Component::Normal(_) => {
            depth += 1;
            true
        }
        Component::ParentDir => {
            let has_parent = depth > 0;
            depth = depth.saturating_sub(1);
            has_parent
        }
        Component::CurDir => true,
        Component::RootDir | Component::Prefix(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn links_that_stay_in_a_directory_lead_to_the_same_place_in_its_copy() {
        for (within, target, stays) in [
            ("", "refs/heads/main", true),
            ("refs", "../HEAD", true),
            ("refs/heads", "../../HEAD", true),
            ("refs", "./heads", true),
            ("", "../.git/HEAD", false),
            ("refs", "../../.git/HEAD", false),
            ("", "/srv/tree/.git/HEAD", false),
        ] {
            let found = stays_inside(Path::new(within), Path::new(target));
            assert_eq!(found, stays, "{within} {target}");
        }
    }

    #[test]
    fn links_are_followed_to_places_that_the_tree_may_show_and_the_others_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        let path = |name: &str| root.join(name);
        for name in [
            "tree/.git/refs",
            "tree/kept",
            "store/pack",
            "second",
            "state",
            "cycle",
        ] {
            fs::create_dir_all(path(name)).unwrap();
        }
        let link = |to: &str, at: &str| symlink(path(to), path(at)).unwrap();
        symlink("refs/main", path("tree/.git/HEAD")).unwrap();
        fs::write(path("tree/.git/refs/main"), "").unwrap();
        link("store", "tree/.git/objects");
        link("second", "store/pack/deep");
        symlink("../kept", path("tree/.git/info")).unwrap();
        link("nowhere", "tree/.git/gone");
        link("state", "tree/.git/state");
        link("cycle", "tree/.git/refs/cycle");
        link("cycle", "cycle/again");
        let (repository, state) = (path("tree/.git"), path("state"));
        let repository = Place::find(&repository).unwrap();
        let tree = Tree {
            root: &path("tree"),
            own: &state,
            owner: repository.owner(),
        };
        let links = Links::of(&repository, tree);
        let mut followed: Vec<_> = links
            .followed
            .iter()
            .map(|(at, found)| (at.to_str().unwrap(), found.place.path().to_owned()))
            .collect();
        followed.sort();
        let expected = [
            ("info", path("tree/kept")),
            ("objects", path("store")),
            ("objects/pack/deep", path("second")),
            ("refs/cycle", path("cycle")),
        ];
        assert_eq!(followed, expected);
        assert_eq!(links.refused.len(), 2, "{:?}", links.refused);
        let is_told = |part: &str| links.refused.iter().any(|told| told.contains(part));
        assert!(is_told("/.git/state` leads to"), "{:?}", links.refused);
        assert!(is_told("which contains it"), "{:?}", links.refused);
    }
}
