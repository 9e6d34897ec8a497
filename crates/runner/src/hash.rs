//! `hashFiles`: a digest of files of the workspace, by which caches are told apart
//! (<https://docs.github.com/en/actions/reference/workflows-and-actions/expressions#hashfiles>).
//!
//! Files may be those of a step that means harm: links are not followed, and nothing but plain
//! files is opened.

use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    rc::Rc,
    time::{Duration, Instant},
};

use glob::{MatchOptions, Pattern};
use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

/// The longest it may take, as on GitHub.
const TIME_MAX: Duration = Duration::from_secs(120);

/// `*` and `?` match no `/`, and files may begin with a dot.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// One pattern: files that match it count, or do not after all (`!`).
struct Rule {
    is_excluded: bool,
    text: String,
    pattern: Pattern,
}

/// Returns the SHA-256 of the SHA-256s of all files that match the patterns, in the order of their
/// paths; an empty text where there are none.
pub fn files(workspace: &Path, patterns: &[Rc<str>]) -> Result<String, String> {
    let rules = patterns
        .iter()
        .flat_map(|pattern| pattern.lines())
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| rule(workspace, line))
        .collect::<Result<Vec<_>, _>>()?;
    let mut walk = Walk {
        rules,
        all: Sha256::new(),
        found: false,
        until: Instant::now() + TIME_MAX,
    };
    walk.directory(workspace, "")?;
    if !walk.found {
        return Ok(String::new());
    }
    let digest = walk.all.finalize();
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn rule(workspace: &Path, line: &str) -> Result<Rule, String> {
    let bad = |what: &str| Err(format!("`hashFiles`: pattern `{line}`: {what}"));
    let is_excluded = line.starts_with('!');
    let text = line.trim_start_matches('!').trim_start();
    let text = match Path::new(text).strip_prefix(workspace) {
        Ok(below) => below.to_str().unwrap_or(text),
        Err(_) if text.starts_with('/') => return bad("it leads out of the workspace"),
        Err(_) => text,
    };
    let mut parts = Vec::new();
    for part in text.split('/').filter(|part| !matches!(*part, "" | ".")) {
        if part != ".." {
            parts.push(part);
        } else {
            match parts.pop() {
                None => return bad("it leads out of the workspace"),
                Some(above) if above.contains(['*', '?', '[']) => {
                    return bad("`..` follows a wildcard");
                }
                Some(_) => {}
            }
        }
    }
    // The workspace itself holds all files.
    if parts.is_empty() {
        parts.push("**");
    }
    let text = parts.join("/");
    match Pattern::new(&text) {
        Ok(pattern) => Ok(Rule {
            is_excluded,
            text,
            pattern,
        }),
        Err(error) => bad(error.msg),
    }
}

struct Walk {
    rules: Vec<Rule>,
    all: Sha256,
    found: bool,
    until: Instant,
}

impl Walk {
    fn directory(&mut self, directory: &Path, below: &str) -> Result<(), String> {
        let failed = |what: &str, error: io::Error| {
            let place = if below.is_empty() { "." } else { below };
            format!("`hashFiles`: `{place}` {what}: {error}")
        };
        let entries = fs::read_dir(directory)
            .and_then(Iterator::collect::<io::Result<Vec<_>>>)
            .map_err(|error| failed("cannot be read", error))?;
        let mut names: Vec<_> = entries
            .iter()
            .filter_map(|entry| {
                let kind = entry.file_type().ok()?;
                // A pattern is a text.
                Some((entry.file_name().into_string().ok()?, kind))
            })
            .collect();
        names.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (name, kind) in names {
            if Instant::now() >= self.until {
                return Err(too_slow());
            }
            let path = if below.is_empty() {
                name.clone()
            } else {
                format!("{below}/{name}")
            };
            let place = directory.join(&name);
            if kind.is_dir() {
                if self.may_match_below(&path) {
                    self.directory(&place, &path)?;
                }
            } else if kind.is_file() && self.matches(&path) {
                let digest = digest(&place, self.until).map_err(|error| {
                    if error.kind() == io::ErrorKind::TimedOut {
                        return too_slow();
                    }
                    format!("`hashFiles`: `{path}` cannot be read: {error}")
                })?;
                if let Some(digest) = digest {
                    self.all.update(digest);
                    self.found = true;
                }
            }
        }
        Ok(())
    }

    /// Returns whether a file counts: the last rule that matches it, or a directory that it lies
    /// in, decides.
    fn matches(&self, path: &str) -> bool {
        let is_of = |rule: &&Rule| {
            let places = path.match_indices('/').map(|(at, _)| &path[..at]);
            places
                .chain([path])
                .any(|place| rule.pattern.matches_with(place, OPTIONS))
        };
        let last = self.rules.iter().rev().find(is_of);
        last.is_some_and(|rule| !rule.is_excluded)
    }

    /// Returns whether a file below a directory may match: what no pattern asks for need not be
    /// readable.
    fn may_match_below(&self, directory: &str) -> bool {
        self.rules
            .iter()
            .filter(|rule| !rule.is_excluded)
            .any(|rule| {
                let parts = rule.text.split('/').zip(directory.split('/'));
                for (wanted, part) in parts {
                    if wanted.contains(['*', '?', '[']) {
                        return true;
                    }
                    if wanted != part {
                        return false;
                    }
                }
                true
            })
    }
}

fn too_slow() -> String {
    format!("`hashFiles`: it took longer than {} s", TIME_MAX.as_secs())
}

/// Returns a file's digest, unless it has become something else since it was listed. A sparse file
/// may have any length.
///
/// # Errors
/// The file cannot be read, or the time is over (`TimedOut`).
fn digest(path: &Path, until: Instant) -> io::Result<Option<[u8; 32]>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    if !opened.metadata()?.is_file() {
        return Ok(None);
    }
    let mut hasher = Sha256::new();
    let mut reader = io::BufReader::with_capacity(64 << 10, opened);
    loop {
        if Instant::now() >= until {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let bytes = io::BufRead::fill_buf(&mut reader)?;
        if bytes.is_empty() {
            return Ok(Some(hasher.finalize().into()));
        }
        hasher.update(bytes);
        let length = bytes.len();
        io::BufRead::consume(&mut reader, length);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn hash(workspace: &Path, patterns: &[&str]) -> Result<String, String> {
        let patterns: Vec<Rc<str>> = patterns.iter().map(|text| Rc::from(*text)).collect();
        files(workspace, &patterns)
    }

    fn workspace() -> tempfile::TempDir {
        let workspace = tempfile::tempdir().unwrap();
        for file in [
            "Cargo.lock",
            "a/Cargo.lock",
            "a/b/x.rs",
            "a/.hidden/y.rs",
            "z.rs",
        ] {
            let path = workspace.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        workspace
    }

    /// The SHA-256 of the SHA-256s of these texts, which the files of the fixture hold.
    fn of(texts: &[&str]) -> String {
        let mut all = Sha256::new();
        texts
            .iter()
            .for_each(|text| all.update(Sha256::digest(text)));
        all.finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    #[test]
    fn files_match_as_on_github() {
        let workspace = workspace();
        let hash = |patterns: &[&str]| hash(workspace.path(), patterns).unwrap();
        assert_eq!(hash(&["Cargo.lock"]), of(&["Cargo.lock"]));
        assert_eq!(
            hash(&["**/Cargo.lock"]),
            of(&["Cargo.lock", "a/Cargo.lock"])
        );
        assert_eq!(hash(&["*/*.lock", "./z.rs"]), of(&["a/Cargo.lock", "z.rs"]));
        assert_eq!(
            hash(&["**/*.rs", "!a/b/**"]),
            of(&["a/.hidden/y.rs", "z.rs"])
        );
        assert_eq!(
            hash(&["a/"]),
            of(&["a/.hidden/y.rs", "a/Cargo.lock", "a/b/x.rs"])
        );
        let root = workspace.path().display();
        for all in [
            ".",
            "./",
            "./.",
            "a/..",
            &root.to_string(),
            &format!("{root}/**"),
        ] {
            assert_eq!(hash(&[all]), hash(&["**"]), "{all}");
        }
        for one in [
            "a/../z.rs",
            ".//z.rs",
            "./a/./b/../../z.rs",
            &format!("{root}/z.rs"),
        ] {
            assert_eq!(hash(&[one]), of(&["z.rs"]), "{one}");
        }
        assert_eq!(hash(&["**", "!."]), "");
        assert_eq!(hash(&["# all\n*.rs\n\n"]), of(&["z.rs"]));
        assert_eq!(hash(&["none"]), "");
        assert_eq!(hash(&["*.rs", "!z.rs"]), "");
        assert_ne!(hash(&["z.rs"]), hash(&["Cargo.lock"]));
    }

    #[test]
    fn a_pattern_does_not_lead_out_of_the_workspace() {
        let workspace = workspace();
        for pattern in ["/etc/passwd", "../x", "a/../../x", "/"] {
            let error = hash(workspace.path(), &[pattern]).unwrap_err();
            assert!(error.ends_with("it leads out of the workspace"), "{error}");
        }
        assert!(hash(workspace.path(), &["a***"]).is_err());
        let error = hash(workspace.path(), &["a/*/../x"]).unwrap_err();
        assert!(error.ends_with("`..` follows a wildcard"), "{error}");
    }

    #[test]
    fn links_and_pipes_are_not_read() {
        let workspace = workspace();
        let before = hash(workspace.path(), &["**"]).unwrap();
        symlink("/etc/passwd", workspace.path().join("link")).unwrap();
        symlink("/etc", workspace.path().join("directory")).unwrap();
        nix::unistd::mkfifo(
            &workspace.path().join("pipe"),
            nix::sys::stat::Mode::from_bits_truncate(0o600),
        )
        .unwrap();
        assert_eq!(hash(workspace.path(), &["**"]).unwrap(), before);
    }
}
