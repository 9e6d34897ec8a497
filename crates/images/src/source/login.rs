//! The logins to registries that `podman login` and its like have stored (containers-auth.json(5)).

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;

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
    pub(crate) fn find(&self, host: &str, name: &str) -> Option<String> {
        self.files.iter().find_map(|path| {
            let meta = std::fs::metadata(path).ok()?;
            if !meta.is_file() || meta.len() > FILE_MAX {
                return None;
            }
            let file: File = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
            let whole = format!("{host}/{name}");
            let docker = (host == "docker.io").then_some(DOCKER);
            // From `host/a/b` up to `host`.
            let keys = std::iter::successors(Some(whole.as_str()), |key| {
                key.rsplit_once('/').map(|(above, _)| above)
            });
            let entry = keys.chain(docker).find_map(|key| file.auths.get(key))?;
            let bytes = STANDARD.decode(entry.auth.as_deref()?).ok()?;
            String::from_utf8(bytes)
                .ok()
                .filter(|text| text.contains(':'))
        })
    }
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
        assert_eq!(login.find("quay.io", "other/a").unwrap(), "all:1");
        assert_eq!(login.find("quay.io", "team/a").unwrap(), "team:2");
        assert_eq!(login.find("docker.io", "library/a").unwrap(), "docker:3");
        assert_eq!(login.find("empty.io", "a"), None);
        assert_eq!(login.find("other.io", "a"), None);
    }
}
