//! The logins to registries that `podman login` and its like have stored (containers-auth.json(5)).

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;

use crate::ImageError;

/// The largest file of logins, in bytes.
const FILE_MAX: u64 = 1 << 20;
/// The key of Docker's own registry in older files.
const DOCKER: &str = "https://index.docker.io/v1/";

/// The files that may hold logins, the first of them first.
#[derive(Debug, Clone, Default)]
pub struct Login {
    files: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    /// The name, a colon and the password, in base64.
    #[serde(default)]
    auth: Option<String>,
}

impl Login {
    /// Returns the files of the caller: `$REGISTRY_AUTH_FILE` alone, or those of containers and of
    /// Docker.
    pub fn from_environment() -> Self {
        if let Some(file) = env::var_os("REGISTRY_AUTH_FILE") {
            return Self {
                files: vec![file.into()],
            };
        }
        let below = |variable: &str, path: &str| {
            env::var_os(variable).map(|dir| Path::new(&dir).join(path))
        };
        let config = below("XDG_CONFIG_HOME", "containers/auth.json")
            .or_else(|| below("HOME", ".config/containers/auth.json"));
        let files = [
            below("XDG_RUNTIME_DIR", "containers/auth.json"),
            config,
            below("HOME", ".docker/config.json"),
        ];
        Self {
            files: files.into_iter().flatten().collect(),
        }
    }

    /// Returns the login for a name in a registry, as `user:password`, and the most specific one if
    /// there are several.
    ///
    /// # Errors
    /// A file that is read up to the login cannot be read or is malformed. A missing file has no
    /// logins.
    pub(crate) fn find(&self, host: &str, name: &str) -> Result<Option<String>, ImageError> {
        for path in &self.files {
            if let Some(login) = find_in(path, host, name)? {
                return Ok(Some(login));
            }
        }
        Ok(None)
    }
}

fn find_in(path: &Path, host: &str, name: &str) -> Result<Option<String>, ImageError> {
    let malformed = |fault: String| ImageError::Logins {
        path: path.to_owned(),
        fault,
    };
    let Some(bytes) = read(path)? else {
        return Ok(None);
    };
    if bytes.len() as u64 > FILE_MAX {
        return Err(malformed(format!("has more than {FILE_MAX} bytes")));
    }
    let file: File = serde_json::from_slice(&bytes).map_err(|error| {
        // The parser's own text may have a password in it.
        let place = format!("line {}, column {}", error.line(), error.column());
        malformed(if error.is_data() {
            format!("has a value of a wrong type before {place}")
        } else {
            format!("is not valid JSON at {place}")
        })
    })?;
    let whole = format!("{host}/{name}");
    let docker = (host == "docker.io").then_some(DOCKER);
    // From `host/a/b` up to `host`.
    let keys = std::iter::successors(Some(whole.as_str()), |key| {
        key.rsplit_once('/').map(|(above, _)| above)
    });
    let entry = keys
        .chain(docker)
        .find_map(|key| Some((key, file.auths.get(key)?)));
    let Some((key, auth)) = entry.and_then(|(key, entry)| Some((key, entry.auth.as_deref()?)))
    else {
        return Ok(None);
    };
    // A helper has the password.
    if auth.is_empty() {
        return Ok(None);
    }
    let text = STANDARD.decode(auth).ok().map(String::from_utf8);
    match text {
        Some(Ok(text)) if text.contains(':') => Ok(Some(text)),
        _ => Err(malformed(format!(
            "has an `auth` of `{key}` that is not `user:password` in base64"
        ))),
    }
}

/// Reads a file, and one byte more than it may have. Returns `None` if it does not exist.
fn read(path: &Path) -> Result<Option<Vec<u8>>, ImageError> {
    let fail = |error: io::Error| ImageError::io("read the logins in", path, error);
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() => {}
        Ok(_) => {
            return Err(ImageError::Logins {
                path: path.to_owned(),
                fault: "is not a regular file".to_owned(),
            });
        }
        // `NotADirectory`: a file stands where a directory would have it.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(fail(error)),
    }
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes))
        .map_err(fail)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_login_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth.json");
        let auth = |text: &str| STANDARD.encode(text);
        let file = serde_json::json!({ "auths": {
            "quay.io": { "auth": auth("all:1") },
            "quay.io/team": { "auth": auth("team:2") },
            "https://index.docker.io/v1/": { "auth": auth("docker:3") },
            "empty.io": {},
        }, "credHelpers": {} });
        std::fs::write(&path, file.to_string()).unwrap();
        let login = Login {
            files: vec!["/nowhere".into(), path],
        };
        let found = |host, name| login.find(host, name).unwrap();
        assert_eq!(found("quay.io", "other/a").unwrap(), "all:1");
        assert_eq!(found("quay.io", "team/a").unwrap(), "team:2");
        assert_eq!(found("docker.io", "library/a").unwrap(), "docker:3");
        assert_eq!(found("empty.io", "a"), None);
        assert_eq!(found("other.io", "a"), None);
    }

    #[test]
    fn a_malformed_file_of_logins_is_told_with_its_fault_and_no_password() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth.json");
        let login = Login {
            files: vec![path.clone()],
        };
        let no_login = STANDARD.encode("hidden");
        for (text, fault) in [
            (String::new(), "is not valid JSON at line 1, column 0"),
            (
                "{\n  \"auths\": }".to_owned(),
                "is not valid JSON at line 2, column 12",
            ),
            (
                r#"{ "auths": { "quay.io": "me:hidden" } }"#.to_owned(),
                "has a value of a wrong type before line 1, column 35",
            ),
            (
                format!(r#"{{ "auths": {{ "quay.io": {{ "auth": "{no_login}" }} }} }}"#),
                "has an `auth` of `quay.io` that is not `user:password` in base64",
            ),
            (
                r#"{ "auths": { "quay.io": { "auth": "me:hidden" } } }"#.to_owned(),
                "has an `auth` of `quay.io` that is not `user:password` in base64",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = login.find("quay.io", "team/a").unwrap_err();
            let told = error.to_string();
            assert_eq!(
                told,
                format!("the file of logins `{}` {fault}", path.display())
            );
            assert!(error.hint().is_some());
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let told = login.find("quay.io", "team/a").unwrap_err().to_string();
        assert!(told.ends_with("is not a regular file"), "{told}");
    }
}
