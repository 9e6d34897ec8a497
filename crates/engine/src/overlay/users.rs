//! The users of an image: the one whom a job's user stands for, and the lists of users
//! (passwd(5), group(5)).

use std::io;

use super::{At, Ids, OverlayError, beneath::Beneath};

/// The files that list users and groups.
const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";
/// The most bytes of such a file.
const READ_MAX: u64 = 1 << 20;
/// The fields of a line: the name, the id, and the id of a user's group.
const NAME: usize = 0;
const ID: usize = 2;
const USERS_GROUP: usize = 3;

/// Returns the ids of an image's user, written as in an image's configuration: a name or a number,
/// and a group after a colon. Returns `None` for the image's root user.
pub(super) fn ids_in(image: &Beneath, text: &str) -> Result<Option<Ids>, OverlayError> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let (users, groups) = (lines(image, PASSWD)?, lines(image, GROUP)?);
    let absent = |kind: &str, name: &str| OverlayError {
        action: format!("find the {kind} `{name}` of the image"),
        source: io::ErrorKind::NotFound.into(),
    };
    let entry = find(&users, user);
    let uid = number(user, entry).ok_or_else(|| absent("user", user))?;
    let gid = match group {
        Some(group) => number(group, find(&groups, group)).ok_or_else(|| absent("group", group))?,
        None => entry
            .and_then(|line| line.get(USERS_GROUP)?.parse().ok())
            .unwrap_or(0),
    };
    Ok((uid != 0).then_some(Ids {
        user: uid,
        group: gid,
    }))
}

/// Gives the ids of one user to the lines of another in a list of users or groups. `is_users` tells
/// which of the two it is.
pub(super) fn renumber(text: &[u8], from: Ids, to: Ids, is_users: bool) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let changed = text.split_inclusive('\n').map(|line| {
        let (line, end) = match line.strip_suffix('\n') {
            Some(line) => (line, "\n"),
            None => (line, ""),
        };
        let mut fields: Vec<String> = line.split(':').map(str::to_owned).collect();
        let mut put = |field: usize, from: u32, to: u32| {
            if let Some(field) = fields.get_mut(field)
                && field.parse() == Ok(from)
            {
                *field = to.to_string();
            }
        };
        if is_users {
            put(ID, from.user, to.user);
            put(USERS_GROUP, from.group, to.group);
        } else {
            put(ID, from.group, to.group);
        }
        fields.join(":") + end
    });
    changed.collect::<String>().into_bytes()
}

fn lines(image: &Beneath, path: &str) -> Result<Vec<Vec<String>>, OverlayError> {
    let text = match image.read(path, READ_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other.at(format!("read `{path}` of the image"))?,
    };
    let text = String::from_utf8_lossy(&text);
    let split = |line: &str| line.split(':').map(str::to_owned).collect();
    Ok(text.lines().map(split).collect())
}

fn find<'a>(lines: &'a [Vec<String>], name: &str) -> Option<&'a Vec<String>> {
    let has = |field: usize, line: &&Vec<String>| line.get(field).is_some_and(|text| text == name);
    let by_name = lines.iter().find(|line| has(NAME, line));
    by_name.or_else(|| lines.iter().find(|line| has(ID, line)))
}

fn number(name: &str, line: Option<&Vec<String>>) -> Option<u32> {
    match line {
        Some(line) => line.get(ID)?.parse().ok(),
        None => name.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> (tempfile::TempDir, Beneath) {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        let users = "root:x:0:0::/root:/bin/sh\npostgres:x:999:998::/var/lib:/bin/sh\n";
        std::fs::write(root.path().join("etc/passwd"), users).unwrap();
        let groups = "root:x:0:\npostgres:x:998:\nssl:x:101:postgres\n";
        std::fs::write(root.path().join("etc/group"), groups).unwrap();
        let image = Beneath::open(root.path()).unwrap();
        (root, image)
    }

    #[test]
    fn users_are_named_or_numbered() {
        let (_root, image) = image();
        let ids = |user, group| Some(Ids { user, group });
        for (text, expected) in [
            ("postgres", ids(999, 998)),
            ("999", ids(999, 998)),
            ("postgres:ssl", ids(999, 101)),
            ("postgres:5", ids(999, 5)),
            ("1234", ids(1234, 0)),
            ("root", None),
            ("0:5", None),
        ] {
            assert_eq!(ids_in(&image, text).unwrap(), expected, "{text}");
        }
        for bad in ["nobody", "postgres:nobody", "-1"] {
            assert!(ids_in(&image, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_lines_of_a_user_get_other_numbers() {
        let ids = |user, group| Ids { user, group };
        let (from, to) = (ids(999, 998), ids(61000, 61000));
        let users = b"root:x:0:0::/:/bin/sh\nbroken\npg:x:999:998::/:/bin/sh";
        let expected = "root:x:0:0::/:/bin/sh\nbroken\npg:x:61000:61000::/:/bin/sh";
        assert_eq!(renumber(users, from, to, true), expected.as_bytes());
        let groups = renumber(b"pg:x:998:\nother:x:999:\n", from, to, false);
        assert_eq!(groups, b"pg:x:61000:\nother:x:999:\n");
    }
}
