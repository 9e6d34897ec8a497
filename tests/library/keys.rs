//! Real keys of age, and files that age and sops encrypt with them.

use std::path::PathBuf;

use nixactions_harness::CommandExt as _;

use crate::world::World;

/// Makes a key; returns its file, which only root can read, and the public part.
pub fn key(world: &World, name: &str) -> (PathBuf, String) {
    let file = world.host(name);
    world.command(&["age-keygen", "-o", &file]).ok();
    let public = world.command(&["age-keygen", "-y", &file]).ok();
    (world.path(name), public.trim().to_owned())
}

/// Writes a file as age encrypts this text; returns its path.
pub fn age(world: &World, public: &str, name: &str, text: &str) -> PathBuf {
    world.secret("plain", text);
    world
        .command(&[
            "age",
            "--encrypt",
            "--recipient",
            public,
            "--output",
            &world.host(name),
            &world.host("plain"),
        ])
        .ok();
    world.path(name)
}

/// Writes a file as sops encrypts this text of a format; returns its path.
pub fn sops(world: &World, public: &str, name: &str, format: &str, text: &str) -> PathBuf {
    world.secret("plain", text);
    let plain = world.host("plain");
    let encrypted = world
        .command(&[
            "sops",
            "--encrypt",
            "--age",
            public,
            "--input-type",
            format,
            "--output-type",
            format,
            &plain,
        ])
        .ok();
    assert!(encrypted.contains("ENC["), "{encrypted}");
    world.manager().write(name, encrypted)
}
