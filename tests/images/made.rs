//! Images that real tools make for a test, and the program's commands about them.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nixactions_harness::{CommandExt as _, Skip};
use serde_json::{Value, json};

use super::tree::random_tree;

/// The time for tools that copy and compress.
const LONG: Duration = Duration::from_secs(120);

/// Returns a skip that names the first of these programs that is missing.
pub fn tools(names: &[&str]) -> Result<(), Skip> {
    let missing = names.iter().find(|name| {
        let found = Command::new("sh")
            .args(["-c", "command -v \"$1\"", "sh", name])
            .output();
        !found.is_ok_and(|output| output.status.success())
    });
    match missing {
        Some(name) => Err(Skip::new(format!("no program `{name}`"))),
        None => Ok(()),
    }
}

/// Runs a script in the place of a test.
pub fn sh(place: &Place, script: &str) {
    let mut command = Command::new("sh");
    command
        .args(["-ec", script])
        .current_dir(place.path(""))
        .env("XDG_RUNTIME_DIR", place.path(""));
    let output = command.output_within(LONG);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {told}");
}

/// A directory for a test, with a state directory in it.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::set_permissions(place.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nixactions"));
        command
            .args(arguments)
            .current_dir(self.path(""))
            .env("NIXACTIONS_STATE_DIR", self.path("state"))
            .env("REGISTRY_AUTH_FILE", self.path("auth.json"))
            .env_remove("NIXACTIONS_IMAGES_SIZE");
        command
    }

    /// Pulls an image, and returns its digest.
    pub fn pull(&self, arguments: &[&str]) -> String {
        let output = self
            .command(&[&["image", "pull"], arguments].concat())
            .output_within(LONG);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {told}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Pulls an image in vain, and returns the error.
    pub fn refused(&self, arguments: &[&str]) -> String {
        self.command(&[&["image", "pull"], arguments].concat())
            .fails()
    }

    /// Returns the images as `list --json` tells them.
    pub fn images(&self) -> Vec<Value> {
        let list = self.command(&["image", "list", "--json"]).json();
        list.as_array().unwrap().clone()
    }

    pub fn digests(&self) -> Vec<String> {
        let text = |image: &Value| image["digest"].as_str().unwrap().to_owned();
        self.images().iter().map(text).collect()
    }

    /// Returns the directory of an image's files.
    pub fn root(&self, digest: &str) -> PathBuf {
        let hex = digest.trim_start_matches("sha256:");
        self.path("state/images").join(hex).join("root")
    }

    /// Returns the number of unfinished images.
    pub fn left(&self) -> usize {
        fs::read_dir(self.path("state/images/unpacking")).map_or(0, Iterator::count)
    }

    /// Makes an OCI layout with the image `it`. Each layer above the first removes, replaces and
    /// adds files.
    pub fn layout(&self, name: &str, seed: u64, layers: u64) {
        let bundle = self.path("made");
        sh(
            self,
            &format!(
                "umoci init --layout {name} && umoci new --image {name}:it && umoci unpack --image {name}:it made"
            ),
        );
        let root = bundle.join("rootfs");
        for layer in 0..layers {
            change(&root, seed, layer);
            sh(
                self,
                &format!("umoci repack --refresh-bundle --image {name}:it made"),
            );
        }
        sh(self, "rm -rf made");
        // Each repack has left its old manifest.
        sh(self, &format!("umoci gc --layout {name}"));
    }

    /// Stores a login as `podman login` does.
    pub fn log_in(&self, host: &str, user: &str, password: &str) {
        let pair = Command::new("sh")
            .args(["-c", "printf %s \"$1\" | base64 -w0", "sh"])
            .arg(format!("{user}:{password}"))
            .ok();
        let file = json!({ "auths": { host: { "auth": pair } } });
        fs::write(self.path("auth.json"), file.to_string()).unwrap();
    }
}

/// Changes a root for its next layer.
fn change(root: &Path, seed: u64, layer: u64) {
    if layer == 0 {
        random_tree(root, seed, false);
        for kept in ["gone-1", "gone-dir", "opaque", "file-to-dir", "dir-to-file"] {
            fs::create_dir_all(root.join(kept)).unwrap();
            fs::write(root.join(kept).join("old"), kept).unwrap();
        }
        fs::remove_dir_all(root.join("file-to-dir")).unwrap();
        fs::write(root.join("file-to-dir"), "file").unwrap();
        return;
    }
    let remove = |name: &str| {
        let path = root.join(name);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else if path.exists() {
            fs::remove_file(path).unwrap();
        }
    };
    match layer {
        1 => {
            remove("gone-1");
            remove("gone-dir/old");
            remove("file-to-dir");
            fs::create_dir(root.join("file-to-dir")).unwrap();
            fs::write(root.join("file-to-dir/in"), "in").unwrap();
        }
        2 => {
            remove("dir-to-file");
            fs::write(root.join("dir-to-file"), "file").unwrap();
            // A directory that is made anew hides what it had.
            remove("opaque");
            fs::create_dir(root.join("opaque")).unwrap();
            fs::write(root.join("opaque/new"), "new").unwrap();
        }
        _ => {
            remove("gone-dir");
            fs::set_permissions(root.join("opaque"), fs::Permissions::from_mode(0o2750)).unwrap();
        }
    }
    fs::write(root.join(format!("new-{layer}")), layer.to_string()).unwrap();
}
