//! How the programs are linked.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // What unwinds the stack is linked in: as a library of its own it takes a tenth of the time in
    // which a runner starts.
    if env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "gnu") {
        for argument in [
            "-Wl,--push-state,--whole-archive,-Bstatic",
            "-lgcc_eh",
            "-Wl,--pop-state",
        ] {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
}
