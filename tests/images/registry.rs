//! A real registry on this machine (Debian's docker-registry), gone with its test.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nixactions_harness::{CommandExt as _, SOON, wait_for};

/// A registry process.
pub struct Registry {
    child: Child,
    /// Its host and port.
    pub host: String,
}

impl Registry {
    /// Starts a registry that keeps its files in a directory, with a login or without.
    pub fn start(directory: &Path, login: Option<(&str, &str)>) -> Self {
        // The port is free now. Nothing else here takes ports by number.
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let host = format!("127.0.0.1:{port}");
        let config = configure(directory, &host, login);
        let child = spawn(Command::new("docker-registry").arg("serve").arg(config));
        let registry = Self { child, host };
        wait_for(SOON, "the registry", || {
            TcpStream::connect(&registry.host).ok()
        });
        registry
    }
}

/// Writes the settings of a registry. Returns their file.
pub fn configure(directory: &Path, host: &str, login: Option<(&str, &str)>) -> PathBuf {
    let auth = match login {
        Some((user, password)) => {
            let line = Command::new("htpasswd").args(["-nbB", user, password]).ok();
            let path = directory.join("htpasswd");
            fs::write(&path, line).unwrap();
            format!(
                "auth:\n  htpasswd:\n    realm: test\n    path: {}\n",
                path.display()
            )
        }
        None => String::new(),
    };
    let config = format!(
        "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {host}\n{auth}",
        directory.join("registry").display()
    );
    let path = directory.join("registry.yml");
    fs::write(&path, config).unwrap();
    path
}

/// Starts a process whose output nobody reads.
pub fn spawn(command: &mut Command) -> Child {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
