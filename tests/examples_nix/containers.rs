//! The example with containers: an image, an image that Nix makes, and a closure of the store.

use nixactions_harness::{CommandExt as _, or_skip};

use super::{image::image, world::*};

/// Adds the files of the image to an empty root file system.
const FILES: &str =
    "mkdir bin; cp /srv/host/usr/bin/busybox bin/; ln -s busybox bin/sh; ln -s busybox bin/ls";

#[test]
fn containers_have_roots_of_a_registry_of_nix_and_of_the_store() {
    or_skip!(host_has(needs("containers")));
    let manager = or_skip!(systemd_262());
    let empty = manager.dir().join("empty").display().to_string();
    manager.command(&["mkdir", "-p", &empty]).ok();
    // It stands for the image in a registry.
    let path = image(manager, &empty, FILES, &serde_json::json!({}));
    let images = manager.nixactions(&["image", "list", "--json"]).json();
    let digest = images[0]["digest"]
        .as_str()
        .expect("the image has a digest");
    let arguments = ["--argstr", "image", &path, "--argstr", "digest", digest];
    let finished = or_skip!(run("containers", &arguments)).exits(0);
    prints(&finished, "registry", "/bin/busybox");
    prints(&finished, "built", "hello from an image that Nix made");
    let lines = finished.lines("closure");
    let shell = "the shell is /nix/store/";
    assert!(
        lines.iter().any(|line| line.starts_with(shell)),
        "{lines:?}"
    );

    // The digest decides.
    let other = format!("sha256:{}", "0".repeat(64));
    let arguments = ["--argstr", "image", &path, "--argstr", "digest", &other];
    let refused = or_skip!(run("containers", &arguments)).exits(2);
    assert!(refused.to_string().contains(&other), "{refused}");
}
