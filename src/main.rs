//! The `nixactions` program.

fn main() {}
