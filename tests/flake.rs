//! The flake, and what there is without flakes, on real Nix: with a stand-in for nixpkgs as its
//! input (`tests/nix/flake.nix`).
//!
//! The package's build, the checks and the virtual machine need the real nixpkgs: these tests
//! evaluate them as far as the stand-in goes.

use nixactions_harness::{CommandExt as _, Manager, Nix, REPOSITORY, on_managers, or_skip};
use serde_json::{Value, json};

// Nix 2.8 and 2.34.
on_managers!(the_outputs_of_the_flake_are_those_that_are_documented on system_252, system_262);
on_managers!(nix_flake_check_finds_no_fault on system_262);
on_managers!(an_example_is_run_by_its_name on system_252, system_262);
// `lib.fileset` needs Nix 2.14, as all of today's nixpkgs does a newer one.
on_managers!(the_package_is_made_of_the_lock_file_and_little_else on system_262);
on_managers!(the_package_brings_its_manual_completions_and_schema on system_262);
on_managers!(the_parts_of_the_flake_exist_without_flakes on system_252, system_262);
on_managers!(the_template_is_a_project_that_runs on system_252, system_262);

/// Copies the flake to where Nix may have it, and locks it with the stand-in as its input; returns
/// the references of both.
fn flakes(manager: &Manager, nix: &Nix<'_>) -> [String; 2] {
    let dir = manager.dir().display().to_string();
    let copy = format!(
        "mkdir {dir}/nixactions {dir}/nixpkgs && cd {REPOSITORY} &&
         cp -r flake.nix default.nix shell.nix Cargo.toml Cargo.lock build.rs clippy.toml statix.toml nix nixos home examples templates vm-tests crates src benches tests fuzz docs {dir}/nixactions/ &&
         cp -rL /srv/nixpkgs/lib tests/nix/flake.nix tests/nix/pkgs.nix {dir}/nixpkgs/"
    );
    manager.command(&["sh", "-c", &copy]).ok();
    let flakes = ["nixactions", "nixpkgs"].map(|name| format!("path:{dir}/{name}"));
    succeeds(
        nix,
        &[
            "nix",
            "flake",
            "lock",
            &flakes[0],
            "--override-input",
            "nixpkgs",
            &flakes[1],
        ],
    );
    flakes
}

/// Runs a command to its end, and returns what it printed.
fn succeeds(nix: &Nix<'_>, argv: &[&str]) -> String {
    let output = nix.output(|| nix.command(argv));
    assert!(
        output.status.success(),
        "{argv:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("it is text")
}

/// Returns the value of an output of a flake, to which a function is applied.
fn output(nix: &Nix<'_>, flake: &str, name: &str, apply: &str) -> Value {
    let printed = succeeds(
        nix,
        &[
            "nix",
            "eval",
            "--json",
            &format!("{flake}#{name}"),
            "--apply",
            apply,
        ],
    );
    serde_json::from_str(&printed).expect("it is JSON")
}

fn the_outputs_of_the_flake_are_those_that_are_documented(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let [flake, _] = flakes(manager, &nix);
    let names = |name: &str| output(&nix, &flake, name, "builtins.attrNames");
    let systems = json!(["aarch64-linux", "x86_64-linux"]);
    for per_system in ["packages", "apps", "checks", "devShells", "formatter"] {
        assert_eq!(names(per_system), systems, "{per_system}");
    }
    assert_eq!(
        names("lib"),
        json!(["aarch64-linux", "withPkgs", "x86_64-linux"])
    );
    assert_eq!(
        names("packages.aarch64-linux"),
        json!(["default", "nixactions"])
    );
    assert_eq!(
        (names("overlays"), names("nixosModules"), names("templates")),
        (json!(["default"]), json!(["default"]), json!(["default"]))
    );

    let functions = names("lib.x86_64-linux");
    assert!(
        functions
            .as_array()
            .is_some_and(|names| names.contains(&json!("mkWorkflow"))),
        "{functions}"
    );
    assert_eq!(
        output(&nix, &flake, "apps.x86_64-linux.default", "app: app.type"),
        "app"
    );
    assert_eq!(
        output(
            &nix,
            &flake,
            "devShells.x86_64-linux.default",
            "shell: shell.name"
        ),
        "shell"
    );
    let checks = names("checks.x86_64-linux");
    let checks = checks.as_array().expect("they are names");
    for name in [
        "package",
        "nix-formatting",
        "nix-lints",
        "template",
        "vm-limits",
        "vm-module",
        "vm-recovery",
        "example-simple",
    ] {
        assert!(checks.contains(&json!(name)), "{checks:?}");
    }
    assert_eq!(
        output(
            &nix,
            &flake,
            "legacyPackages.x86_64-linux.examples.simple",
            "example: example.plan.name"
        ),
        "simple"
    );
    for modules in ["nixosModules", "homeManagerModules"] {
        let module = format!("{modules}.default");
        assert_eq!(output(&nix, &flake, &module, "builtins.pathExists"), true);
    }
}

fn nix_flake_check_finds_no_fault(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let [flake, _] = flakes(manager, &nix);
    succeeds(
        &nix,
        &[
            "nix",
            "flake",
            "check",
            "--no-build",
            "--all-systems",
            &flake,
        ],
    );
}

fn the_package_is_made_of_the_lock_file_and_little_else(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let [flake, _] = flakes(manager, &nix);
    let package = output(
        &nix,
        &flake,
        "packages.x86_64-linux.default",
        "{ pname, version, meta, src, cargoLock, ... }: {
        inherit pname version; inherit (meta) mainProgram; lock = builtins.pathExists cargoLock.lockFile;
        src = builtins.attrNames (builtins.readDir src); docs = builtins.attrNames (builtins.readDir (src + \"/docs\")); }",
    );
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        package,
        json!({ "pname": "nixactions", "version": version, "mainProgram": "nixactions", "lock": true, "docs": ["plan.schema.json", "properties.md"],
                "src": ["Cargo.lock", "Cargo.toml", "benches", "build.rs", "clippy.toml", "crates", "docs", "fuzz", "src", "tests"] })
    );
}

fn the_package_brings_its_manual_completions_and_schema(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let [flake, _] = flakes(manager, &nix);
    let result = manager.dir().join("result").display().to_string();
    succeeds(
        &nix,
        &[
            "nix",
            "build",
            "--out-link",
            &result,
            &format!("{flake}#nixactions"),
        ],
    );
    let read = |path: &str| {
        manager
            .command(&["cat", &format!("{result}/share/{path}")])
            .ok()
    };
    assert!(read("man/man1/nixactions.1").contains(".TH nixactions"));
    assert!(read("man/man1/nixactions-run.1").contains("TARGET"));
    assert!(read("bash-completion/completions/nixactions.bash").contains("complete -F"));
    assert!(read("fish/vendor_completions.d/nixactions.fish").contains("complete -c nixactions"));
    assert!(read("zsh/site-functions/_nixactions").starts_with("#compdef nixactions"));
    let schema = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/docs/plan.schema.json"
    ))
    .expect("it is there");
    assert_eq!(read("nixactions/plan.schema.json"), schema);
    let version = succeeds(&nix, &["nix", "run", &flake, "--", "--version"]);
    assert_eq!(
        version.trim(),
        concat!("nixactions ", env!("CARGO_PKG_VERSION"))
    );
}

fn an_example_is_run_by_its_name(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let [flake, _] = flakes(manager, &nix);
    succeeds(&nix, &["nix", "run", &format!("{flake}#examples.simple")]);
    assert_eq!(manager.run_of("simple-1").record()["conclusion"], "success");
}

fn the_parts_of_the_flake_exist_without_flakes(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    flakes(manager, &nix);
    let dir = manager.dir().display();
    let found = nix.eval(&format!(
        "let
           nixpkgs = (import {dir}/nixpkgs/flake.nix).outputs {{ }};
           pkgs = nixpkgs.legacyPackages.${{builtins.currentSystem}};
           project = import {dir}/nixactions {{ inherit pkgs; }};
           overlaid = import {dir}/nixpkgs/pkgs.nix {{ overlays = [ nixpkgs.packaging project.overlay ]; }};
         in {{
           names = builtins.attrNames project;
           overlay = overlaid.nixactions.pname;
           withPkgs = ((import {dir}/nixactions/flake.nix).outputs {{ inherit nixpkgs; }}).lib.withPkgs pkgs ? mkWorkflow;
           workflow = (project.lib.mkWorkflow {{ name = \"ci\"; jobs.a.steps = [ {{ bash = \"true\"; }} ]; }}).plan.name;
         }}"
    ));
    assert_eq!(
        found,
        json!({ "names": ["checks", "examples", "formatter", "homeManagerModule", "lib", "nixosModule", "overlay", "package", "shell"], "overlay": "nixactions", "withPkgs": true, "workflow": "ci" })
    );
}

fn the_template_is_a_project_that_runs(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let [flake, nixpkgs] = flakes(manager, &nix);
    let project = manager.dir().join("project").display().to_string();
    let run = |script: &str| {
        succeeds(
            &nix,
            &["sh", "-c", &format!("set -e; cd {project}; {script}")],
        )
    };
    manager.command(&["git", "init", "--quiet", &project]).ok();
    run(&format!("nix flake init --template {flake}; git add ."));
    // As its welcome says; and with the stand-in.
    run(&format!(
        "nix flake lock --override-input nixactions {flake} --override-input nixpkgs {nixpkgs}; git add flake.lock"
    ));
    let shown = run("nix run .#ci");
    assert!(
        shown.contains("Hello from nixactions") && shown.contains("ci-1: success"),
        "{shown}"
    );
    assert_eq!(manager.run_of("ci-1").record()["conclusion"], "success");
}
