//! The manifest of an opened tree: the real modes of the files that others may read meanwhile.
//!
//! The name of a file is bytes, but JSON holds text. Bytes that are not UTF-8, and the percent
//! sign, are written as `%XX`.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::{OsStr, OsString},
    fs::{self, Permissions},
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::PermissionsExt,
    },
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::StoreError;

/// The permission bits that survive a copy. The set-user-ID and sticky bits do not. The
/// set-group-ID bit survives only on directories, where it decides on the group of new files.
const PERMISSIONS: u32 = 0o777;
/// The set-group-ID bit.
pub(super) const SETGID: u32 = 0o2000;

/// Returns the part of a mode that survives a copy.
pub(super) fn surviving(mode: u32, is_directory: bool) -> u32 {
    mode & (PERMISSIONS | if is_directory { SETGID } else { 0 })
}

/// The real modes in an opened tree that differ from the modes on disk, by path relative to the
/// tree's root.
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
            D::Error::custom("a path has a `%` without two hexadecimal digits after it")
        })
    }
}

impl Modes {
    /// Restores the real modes in a tree that no other user can change.
    ///
    /// # Errors
    /// A mode cannot be set.
    pub fn set(&self, tree: &Path) -> Result<(), StoreError> {
        // Set the modes of the deepest paths first: a mode may close a directory to us.
        self.0.iter().rev().try_for_each(|(path, mode)| {
            let path = tree.join(path);
            fs::set_permissions(&path, Permissions::from_mode(*mode))
                .map_err(|error| StoreError::io("set the mode of", &path, error))
        })
    }
}

/// The treatment of modes in a copy.
#[derive(Debug, Clone, Copy)]
pub enum ModePolicy<'a> {
    /// Keep the modes.
    Keep,
    /// Open the copy for others to read. The real modes go into the returned manifest.
    Open,
    /// Use the modes of the manifest, and keep the modes of other files.
    Restore(&'a Modes),
}

impl ModePolicy<'_> {
    /// Returns the mode that the copy of a file or directory gets, and whether the real one must be
    /// noted. `listed` is what the manifest says of it.
    pub(super) fn mode(self, listed: Option<u32>, mode: u32, is_directory: bool) -> (u32, bool) {
        let real = surviving(mode, is_directory);
        match self {
            Self::Keep => (real, false),
            Self::Restore(_) => (
                listed.map_or(real, |mode| surviving(mode, is_directory)),
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

    /// Returns the manifest that modes are restored from.
    pub(super) fn listed(self) -> Listed {
        match self {
            Self::Restore(modes) => Listed::new(modes),
            Self::Keep | Self::Open => Listed::default(),
        }
    }
}

/// A manifest as the tree that its paths make, so that the time of a look-up does not grow with the
/// length of the path.
#[derive(Debug, Default)]
pub(super) struct Listed(Vec<Entry>);

#[derive(Debug, Default)]
struct Entry {
    mode: Option<u32>,
    below: HashMap<OsString, usize>,
}

impl Listed {
    fn new(modes: &Modes) -> Self {
        let mut all = Self(Vec::new());
        for (path, mode) in &modes.0 {
            if all.0.is_empty() {
                all.0.push(Entry::default());
            }
            let mut at = 0;
            for name in path {
                let next = all.0.len();
                at = *all.0[at].below.entry(name.to_owned()).or_insert(next);
                if at == next {
                    all.0.push(Entry::default());
                }
            }
            all.0[at].mode = Some(*mode);
        }
        all
    }

    /// Returns the place of the root, if anything is listed.
    pub fn root(&self) -> Option<usize> {
        (!self.0.is_empty()).then_some(0)
    }

    /// Returns the place of something in a directory, if that is listed, or something below it.
    pub fn below(&self, directory: Option<usize>, name: &OsStr) -> Option<usize> {
        self.0[directory?].below.get(name).copied()
    }

    /// Returns the mode that is listed at a place.
    pub fn mode(&self, place: Option<usize>) -> Option<u32> {
        self.0[place?].mode
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
