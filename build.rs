//! How the programs are linked. Also the build script of the package `nixactions-runner`.
//!
//! The runner is a static program: it is to start in any root file system, and without a dynamic
//! linker it starts faster. For a GNU target, `+crt-static` would need `--target` on each command
//! line, and would make the other program static as well. So the linker finds linker scripts here
//! in the place of the shared libraries that rustc names, and these lead to the archives.

use std::{
    env, fs, io,
    path::Path,
    process::{Command, Stdio},
};

/// The shared libraries that rustc may name for a GNU target.
const LIBRARIES: [&str; 7] = ["gcc_s", "util", "rt", "pthread", "m", "dl", "c"];
/// The archives in the place of each library. They need one another.
const ARCHIVES: &str = "GROUP ( -l:libc.a -l:libm.a -l:libgcc_eh.a -l:libgcc.a )\n";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=NIX_LDFLAGS");
    // With musl, programs are static by default.
    if env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "gnu") {
        let of_runner = env::var("CARGO_PKG_NAME").is_ok_and(|name| name == "nixactions-runner");
        if !of_runner {
            share_less("nixactions");
        }
        match static_runner() {
            Ok(arguments) => arguments
                .iter()
                .for_each(|argument| pass("nixactions-runner", argument)),
            Err(reason) => {
                println!(
                    "cargo::warning=nixactions-runner is linked dynamically, and runs only where this \
                     machine's C library is: {reason}"
                );
                share_less("nixactions-runner");
            }
        }
    }
}

fn pass(program: &str, argument: &str) {
    println!("cargo::rustc-link-arg-bin={program}={argument}");
}

/// Links the unwinder statically: as a shared library it takes a tenth of the time in which a small
/// program starts.
fn share_less(program: &str) {
    for argument in [
        "-Wl,--push-state,--whole-archive,-Bstatic",
        "-lgcc_eh",
        "-Wl,--pop-state",
    ] {
        pass(program, argument);
    }
}

/// The functions of the C library that Rust's standard library uses if they are there, to start a
/// program by posix_spawn(3). An archive has them only if the linker asks. Without them, Rust forks
/// and calls execvp(3): that takes longer, and gives a file that the kernel cannot execute to the
/// shell.
const SPAWN: [&str; 2] = [
    "gnu_get_libc_version",
    "posix_spawn_file_actions_addchdir_np",
];

/// Returns the linker's arguments for a static program, or why there can be none.
fn static_runner() -> Result<Vec<String>, String> {
    let out = env::var("OUT_DIR").map_err(|error| error.to_string())?;
    let directory = Path::new(&out).join("static");
    make_scripts(&directory).map_err(|error| error.to_string())?;
    probe(Path::new(&out))?;
    let mut arguments = vec![
        "-static-pie".to_owned(),
        format!("-L{}", directory.display()),
    ];
    arguments.extend(SPAWN.map(|function| format!("-Wl,--undefined={function}")));
    Ok(arguments)
}

fn make_scripts(directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    LIBRARIES
        .iter()
        .try_for_each(|name| fs::write(directory.join(format!("lib{name}.so")), ARCHIVES))
}

/// Tries whether the compiler makes static programs: the C library's archive is often not there.
fn probe(out: &Path) -> Result<(), String> {
    let source = out.join("probe.c");
    fs::write(&source, "int main(void) { return 0; }\n").map_err(|error| error.to_string())?;
    // A build for another architecture names its own.
    let linker = env::var_os("RUSTC_LINKER").unwrap_or_else(|| "cc".into());
    let linked = Command::new(&linker)
        .args(["-static-pie", "-o"])
        .arg(out.join("probe"))
        .arg(&source)
        .args(["-lm", "-lgcc_eh"])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("failed to run `{}` ({error})", linker.display()))?;
    if linked.status.success() {
        return Ok(());
    }
    Err("it has no `libc.a` to link statically (Debian's libc6-dev, Fedora's glibc-static and nixpkgs' \
         glibc.static have it)"
        .to_owned())
}
