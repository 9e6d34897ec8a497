//! The manifest of an opened tree: the real modes of what was given others to read.
//!
//! A file's name is bytes, and JSON holds text: what is not UTF-8, and the percent sign, is written
//! as `%XX`.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, Permissions},
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::PermissionsExt,
    },
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::StoreError;

/// The permissions that survive a copy: the set-user-ID and sticky bits do not, and the
/// set-group-ID bit only of a directory, where it says whose group new files get.
const PERMISSIONS: u32 = 0o777;
/// The set-group-ID bit.
pub(super) const SETGID: u32 = 0o2000;

/// Returns the mode of a file or directory as far as it survives a copy.
pub(super) fn surviving(mode: u32, is_directory: bool) -> u32 {
    mode & (PERMISSIONS | if is_directory { SETGID } else { 0 })
}

/// The modes of an opened tree that differ from what lies on disk, by path relative to the tree's
/// root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Modes(pub BTreeMap<PathBuf, u32>);

impl Serialize for Modes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(path, mode)| (encode(path), mode)))
    }
}

impl<'de> Deserialize<'de> for Modes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = BTreeMap::<String, u32>::deserialize(deserializer)?;
        let decoded = texts
            .into_iter()
            .map(|(text, mode)| Some((decode(&text)?, mode)))
            .collect::<Option<_>>();
        decoded.map(Self).ok_or_else(|| {
            D::Error::custom("a path has a `%` that no two hexadecimal digits follow")
        })
    }
}

impl Modes {
    /// Gives what was opened its real modes back, in a tree that nobody else can change.
    ///
    /// # Errors
    /// Fails at the first mode that cannot be set.
    pub fn set(&self, tree: &Path) -> Result<(), StoreError> {
        // The deepest first: a directory may end up closed to us.
        self.0.iter().rev().try_for_each(|(path, mode)| {
            let path = tree.join(path);
            fs::set_permissions(&path, Permissions::from_mode(*mode))
                .map_err(|error| StoreError::io("set the mode of", &path, error))
        })
    }
}

/// How modes are treated by a copy.
#[derive(Debug, Clone, Copy)]
pub enum ModePolicy<'a> {
    /// As they are.
    Keep,
    /// Opened for others to read; the real ones go into the manifest that the copy returns.
    Open,
    /// As the manifest says, else as they are.
    Restore(&'a Modes),
}

impl ModePolicy<'_> {
    /// Returns the mode that the copy of a file or directory gets, and whether the real one must be
    /// noted.
    pub(super) fn mode(self, relative: &Path, mode: u32, is_directory: bool) -> (u32, bool) {
        let real = surviving(mode, is_directory);
        match self {
            Self::Keep => (real, false),
            Self::Restore(modes) => (
                modes
                    .0
                    .get(relative)
                    .map_or(real, |mode| surviving(*mode, is_directory)),
                false,
            ),
            Self::Open => {
                let opened = real & PERMISSIONS
                    | if is_directory || real & 0o100 != 0 {
                        0o555
                    } else {
                        0o444
                    };
                (opened, opened != real)
            }
        }
    }
}

fn encode(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        text.push_str(&chunk.valid().replace('%', "%25"));
        chunk
            .invalid()
            .iter()
            .for_each(|byte| text.push_str(&format!("%{byte:02X}")));
    }
    text
}

fn decode(text: &str) -> Option<PathBuf> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(part.get(2..)?.as_bytes());
    }
    Some(OsString::from_vec(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_any_bytes_survive_the_manifest() {
        for bytes in [
            &b"plain/path"[..],
            b"100%",
            b"%25",
            b"not\xffutf8\xc3",
            b"line\nfeed",
            "gr\u{fc}\u{df}e".as_bytes(),
            b"%zz",
        ] {
            let path = PathBuf::from(OsString::from_vec(bytes.to_vec()));
            let modes = Modes([(path, 0o600)].into());
            let text = serde_json::to_string(&modes).unwrap();
            assert_eq!(
                serde_json::from_str::<Modes>(&text).unwrap(),
                modes,
                "{text}"
            );
        }
        for text in [
            "{\"%\": 1}",
            "{\"%4\": 1}",
            "{\"%g0\": 1}",
            "{\"a%\u{20ac}\": 1}",
        ] {
            assert!(serde_json::from_str::<Modes>(text).is_err(), "{text}");
        }
    }
}
