//! Reads from a repository what is checked out, and where the repository comes from. It reads
//! git's files and starts no process (gitrepository-layout(5), git-config(1)).
//!
//! The repository may be hostile. No link in it is followed, and a value that does not have the
//! expected form counts as absent.

use std::{io::Read as _, path::Path};

use super::place::Place;
use crate::store;

/// The longest file with a name or an id, in bytes.
const NAME_MAX: u64 = 4 << 10;
/// The longest list of packed references or configuration, in bytes.
const FILE_MAX: u64 = 64 << 20;
/// The longest address of a repository, in bytes.
const ADDRESS_MAX: usize = 2 << 10;

/// The state of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// The address of the remote `origin`, without credentials.
    pub repository: Option<String>,
    /// The branch that is checked out. Absent if no branch is.
    pub git_ref: Option<String>,
    /// The commit that is checked out.
    pub commit: Option<String>,
}

/// Returns the state of a repository. A linked worktree has a `HEAD` of its own, and
/// has the rest in the `shared` one.
pub(super) fn of(repository: &Place, shared: &Place) -> Head {
    let head = text(repository, "HEAD", NAME_MAX).unwrap_or_default();
    let head = head.trim_ascii_end();
    let git_ref = head.strip_prefix(b"ref: ").and_then(reference);
    let commit = match &git_ref {
        Some(name) => commit_of(repository, shared, name),
        None => id(head),
    };
    let config = text(shared, "config", FILE_MAX).unwrap_or_default();
    let repository = origin(&String::from_utf8_lossy(&config)).and_then(|url| address(&url));
    Head {
        repository,
        git_ref,
        commit,
    }
}

/// Returns the content of a plain file of a repository that is not too long.
fn text(repository: &Place, file: &str, max: u64) -> Option<Vec<u8>> {
    let path = Path::new(file);
    let directory = repository.below(path.parent()?).ok()?;
    let path = directory.open_path().join(path.file_name()?);
    let mut file = store::open_untrusted(&path).ok()??.take(max + 1);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= max).then_some(bytes)
}

/// Returns the name of a reference if it is one that stays in the repository.
fn reference(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    // A repository in the format reftable has `refs/heads/.invalid` here.
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.');
    let is_good = name.starts_with("refs/")
        && name.split('/').all(is_part)
        && !name.contains(|c: char| c.is_control() || c == ' ');
    is_good.then(|| name.to_owned())
}

/// Returns the id of a commit if the text is one.
fn id(text: &[u8]) -> Option<String> {
    let is_id = matches!(text.len(), 40 | 64) && text.iter().all(u8::is_ascii_hexdigit);
    is_id.then(|| String::from_utf8_lossy(text).into_owned())
}

/// Returns the commit of a reference: from its own file, or from the list of packed ones.
fn commit_of(repository: &Place, shared: &Place, name: &str) -> Option<String> {
    let loose = |place: &Place| {
        let text = text(place, name, NAME_MAX)?;
        id(text.trim_ascii_end())
    };
    let packed = || {
        let list = text(shared, "packed-refs", FILE_MAX)?;
        let ends = [b" ", name.as_bytes()].concat();
        let mut lines = list.split(|byte| *byte == b'\n');
        lines.find_map(|line| id(line.strip_suffix(&*ends)?))
    };
    loose(repository).or_else(|| loose(shared)).or_else(packed)
}

/// Returns the first address of the remote `origin` in a configuration. It follows no `include`.
fn origin(config: &str) -> Option<String> {
    let mut is_origin = false;
    for line in config.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.split(']').next().unwrap_or_default();
            let (kind, name) = section.split_once(' ').unwrap_or((section, ""));
            is_origin = kind.eq_ignore_ascii_case("remote") && name.trim() == "\"origin\"";
        } else if is_origin
            && let Some((key, value)) = line.split_once('=')
            && key.trim().eq_ignore_ascii_case("url")
        {
            return Some(value.trim().trim_matches('"').to_owned());
        }
    }
    None
}

/// Returns an address without credentials.
fn address(url: &str) -> Option<String> {
    if url.is_empty() || url.len() > ADDRESS_MAX || url.contains(char::is_control) {
        return None;
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return Some(url.to_owned());
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = match authority.rsplit_once('@') {
        // The user of ssh is a part of the address. For other schemes it may be a token.
        Some((user, host)) if scheme.contains("ssh") => {
            let user = user.split(':').next().unwrap_or_default();
            format!("{user}@{host}")
        }
        Some((_, host)) => host.to_owned(),
        None => authority.to_owned(),
    };
    Some(format!("{scheme}://{host}{path}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef01234567";
    const OTHER: &str = "fedcba9876543210fedcba9876543210fedcba98";

    /// A repository with these files.
    fn repository(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn of(repository: &Path, shared: &Path) -> Head {
        let place = |path| Place::find(path).unwrap();
        super::of(&place(repository), &place(shared))
    }

    fn head(files: &[(&str, &str)]) -> (Option<String>, Option<String>) {
        let dir = repository(files);
        let head = of(dir.path(), dir.path());
        (head.git_ref, head.commit)
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn the_branch_and_its_commit_are_found() {
        let on_main = ("HEAD", "ref: refs/heads/main\n");
        let line = format!("{ID}\n");
        let main = some("refs/heads/main");
        assert_eq!(
            head(&[on_main, ("refs/heads/main", &line)]),
            (main.clone(), some(ID))
        );
        let packed = format!(
            "# pack-refs with: peeled\n{OTHER} refs/heads/not-main\n{ID} refs/heads/main\n^{OTHER}\n"
        );
        assert_eq!(
            head(&[on_main, ("packed-refs", &packed)]),
            (main.clone(), some(ID))
        );
        assert_eq!(head(&[on_main]), (main, None), "there is no commit yet");
        assert_eq!(head(&[("HEAD", &line)]), (None, some(ID)));
        assert_eq!(head(&[]), (None, None));
        let reftable = ("HEAD", "ref: refs/heads/.invalid\n");
        assert_eq!(head(&[reftable]), (None, None));
    }

    #[test]
    fn a_linked_worktree_has_its_own_branch() {
        let line = format!("{ID}\n");
        let dir = repository(&[
            ("HEAD", "ref: refs/heads/main\n"),
            ("refs/heads/side", &line),
            ("config", "[remote \"origin\"]\n\turl = https://host/a\n"),
            ("worktrees/w/HEAD", "ref: refs/heads/side\n"),
        ]);
        let found = of(&dir.path().join("worktrees/w"), dir.path());
        assert_eq!(found.git_ref, some("refs/heads/side"));
        assert_eq!(found.commit, some(ID));
        assert_eq!(found.repository, some("https://host/a"));
    }

    #[test]
    fn a_hostile_repository_tells_nothing_of_other_files() {
        let dir = repository(&[("secret", ID), ("r/HEAD", "ref: refs/../../secret\n")]);
        assert_eq!(
            of(&dir.path().join("r"), &dir.path().join("r")),
            Head::default()
        );
        // A link on the way to the reference.
        let dir = repository(&[("keys/secret", ID), ("r/HEAD", "ref: refs/heads/secret\n")]);
        fs::create_dir(dir.path().join("r/refs")).unwrap();
        let keys = dir.path().join("keys");
        std::os::unix::fs::symlink(&keys, dir.path().join("r/refs/heads")).unwrap();
        let found = of(&dir.path().join("r"), &dir.path().join("r"));
        assert_eq!(found.commit, None);
        let dir = repository(&[("secret", ID)]);
        std::os::unix::fs::symlink("secret", dir.path().join("HEAD")).unwrap();
        assert_eq!(of(dir.path(), dir.path()), Head::default());
        nix::unistd::mkfifo(&dir.path().join("config"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(
            of(dir.path(), dir.path()),
            Head::default(),
            "it waits for no pipe"
        );
    }

    #[test]
    fn the_origin_is_found_among_other_remotes() {
        let config = "[core]\n\tbare = false\n\turl = no\n[remote \"fork\"]\n\turl = no\n\
                      [Remote \"origin\"]\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n\tURL = git@host:a/b.git\n\
                      [branch \"main\"]\n\tremote = origin\n";
        assert_eq!(origin(config), some("git@host:a/b.git"));
        assert_eq!(origin("[remote \"other\"]\nurl = a\n"), None);
    }

    #[test]
    fn an_address_has_no_credentials() {
        for (url, expected) in [
            ("https://host/a/b.git", "https://host/a/b.git"),
            ("https://token@host/a", "https://host/a"),
            ("https://user:p@ss@host:8080/a", "https://host:8080/a"),
            ("https://host/a?token=x#y", "https://host/a"),
            ("https://host?token=x", "https://host"),
            ("ssh://git:pw@host/a", "ssh://git@host/a"),
            ("git@host:a/b", "git@host:a/b"),
            ("/srv/git/a", "/srv/git/a"),
        ] {
            assert_eq!(address(url), some(expected));
        }
        assert_eq!(address("https://a\u{1b}[2J"), None);
        assert_eq!(address(""), None);
    }
}
