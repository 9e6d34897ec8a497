//! A real registry on this machine (Debian's docker-registry), gone with its test.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
};

use nixactions_harness::{CommandExt as _, SOON, wait_for};

use super::made::Place;

/// A registry process.
pub struct Registry {
    child: Child,
    /// Its host and port.
    pub host: String,
}

impl Registry {
    /// Starts a registry that keeps its images in a test's place, with a login or without.
    pub fn start(place: &Place, login: Option<(&str, &str)>) -> Self {
        // The port is free now. Nothing else here takes ports by number.
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap()
            .port();
        let host = format!("127.0.0.1:{port}");
        let auth = match login {
            Some((user, password)) => {
                let line = Command::new("htpasswd").args(["-nbB", user, password]).ok();
                fs::write(place.path("htpasswd"), line).unwrap();
                let path = place.path("htpasswd");
                format!(
                    "auth:\n  htpasswd:\n    realm: test\n    path: {}\n",
                    path.display()
                )
            }
            None => String::new(),
        };
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {host}\n{auth}",
            place.path("registry").display()
        );
        let path = place.path("registry.yml");
        fs::write(&path, config).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self { child, host };
        wait_for(SOON, "the registry", || {
            TcpStream::connect(&registry.host).ok()
        });
        registry
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
