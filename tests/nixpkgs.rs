//! Claims about nixpkgs that only a real evaluation shows.
//!
//! A whole nixpkgs, named by `NIXACTIONS_TEST_NIXPKGS`, evaluates the package, the shell, all
//! checks of the flake and a NixOS system with the module, and builds the package's sources as
//! nixpkgs would. With nixpkgs' `lib` alone, as CI has it, these tests are skipped; the package's
//! tests run in its sources all the same.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nixactions_harness::{CommandExt as _, Evaluator, Skip, Suite, or_skip};
use serde_json::Value;
use tempfile::TempDir;

/// Nix' evaluation of a system, and rustc's compilation of everything.
const LONG: Duration = Duration::from_secs(1800);

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the value of an expression over `pkgs`, the whole nixpkgs, and `project`, what
/// default.nix has.
fn eval_whole(evaluator: &Evaluator, nixpkgs: &Path, expression: &str) -> Value {
    let found = evaluator.eval(&format!(
        "let nixpkgs = {}; pkgs = import nixpkgs {{ system = \"x86_64-linux\"; config = {{ }}; }}; \
         project = import {} {{ inherit pkgs; }}; in {expression}",
        nixpkgs.display(),
        repository().display()
    ));
    found.result.unwrap_or_else(|error| panic!("{error}"))
}

fn is_derivation(path: &Value) -> bool {
    path.as_str()
        .is_some_and(|path| path.starts_with("/nix/store/") && path.ends_with(".drv"))
}

#[test]
fn the_package_the_shell_and_all_checks_have_derivations() {
    let evaluator = or_skip!(Evaluator::get(Suite::Forky));
    let nixpkgs = or_skip!(evaluator.nixpkgs());
    let found = eval_whole(
        &evaluator,
        nixpkgs,
        "builtins.mapAttrs (_: value: value.drvPath) \
         ({ inherit (project) package shell; } // project.checks)",
    );
    let found = found.as_object().unwrap();
    assert!(found.len() > 20, "{found:?}");
    assert!(found.values().all(is_derivation), "{found:?}");
    // No test in a virtual machine is left out.
    for entry in fs::read_dir(repository().join("vm-tests")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "nix") {
            continue;
        }
        let name = format!("vm-{}", path.file_stem().unwrap().to_string_lossy());
        assert!(found.contains_key(&name), "`{name}` is not a check");
    }
}

#[test]
fn a_whole_system_evaluates_with_the_module() {
    let evaluator = or_skip!(Evaluator::get(Suite::Forky));
    let nixpkgs = or_skip!(evaluator.nixpkgs());
    let system =
        "import (nixpkgs + \"/nixos\") { system = \"x86_64-linux\"; configuration = MODULE; }";
    let module = format!(
        "{{ imports = [ {}/nixos ]; boot.loader.grub.enable = false; documentation.nixos.includeAllModules = true; \
           fileSystems.\"/\" = {{ device = \"none\"; fsType = \"tmpfs\"; }}; system.stateVersion = \"24.05\"; \
           services.nixactions = {{ enable = true; workflows.nightly = {{ \
             schedule = \"daily\"; source = \"/srv/project\"; settings.jobs.a.steps = [ {{ bash = \"true\"; }} ]; }}; }}; }}",
        repository().display()
    );
    let found = eval_whole(
        &evaluator,
        nixpkgs,
        &format!(
            "let inherit ({}) config; in {{ system = config.system.build.toplevel.drvPath; \
             service = config.systemd.units.\"nixactions@nightly.service\".text; \
             timer = config.systemd.units.\"nixactions@nightly.timer\".text; \
             commands = map (package: package.name) config.environment.systemPackages; }}",
            system.replace("MODULE", &module)
        ),
    );
    assert!(is_derivation(&found["system"]), "{found}");
    let text = |name: &str| found[name].as_str().unwrap();
    assert!(text("service").contains("--source=/srv/project"), "{found}");
    assert!(text("timer").contains("OnCalendar=daily"), "{found}");
    assert!(
        found["commands"].to_string().contains("nixactions-"),
        "{found}"
    );
}

/// Returns the settings of a unit under their sections: without the environment that NixOS gives to
/// all services, the names of packages, and a setting that only NixOS reads.
fn settings(text: &str) -> Vec<String> {
    const OF_NIXOS: [&str; 4] = [
        "Environment=\"PATH=",
        "Environment=\"LOCALE_ARCHIVE=",
        "Environment=\"TZDIR=",
        "X-Restart-Triggers=",
    ];
    let mut section = "";
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if line.starts_with('[') {
            section = line;
        } else if !OF_NIXOS.iter().any(|setting| line.starts_with(setting)) {
            let mut parts = line.split("/nix/store/");
            let mut named = format!("{section} {}", parts.next().unwrap_or_default());
            for part in parts {
                let end = part.find(['/', ' ', '"', ':']).unwrap_or(part.len());
                named += "STORE";
                named += &part[end..];
            }
            found.push(named);
        }
    }
    found.sort_by(|a, b| a.split('=').next().cmp(&b.split('=').next()));
    found
}

#[test]
fn nixos_makes_the_same_units_as_the_stand_in() {
    let evaluator = or_skip!(Evaluator::get(Suite::Forky));
    let nixpkgs = or_skip!(evaluator.nixpkgs());
    let mut seen = 0;
    for entry in fs::read_dir(repository().join("tests/module")).unwrap() {
        let folder = entry.unwrap().path();
        let expression = format!(
            "let system = import (nixpkgs + \"/nixos\") {{ system = \"x86_64-linux\"; \
             configuration = {{ imports = [ {}/nixos {}/configuration.nix ]; system.stateVersion = \"24.05\"; }}; }}; \
             in pkgs.lib.mapAttrs (_: unit: unit.text) (pkgs.lib.filterAttrs \
             (name: _: pkgs.lib.hasInfix \"nixactions\" name) system.config.systemd.units)",
            repository().display(),
            folder.display()
        );
        let found: BTreeMap<String, String> =
            serde_json::from_value(eval_whole(&evaluator, nixpkgs, &expression)).unwrap();
        assert!(!found.is_empty());
        for (unit, text) in found {
            let written = fs::read_to_string(folder.join(&unit)).unwrap_or_default();
            let place = format!("{} {unit}", folder.display());
            assert_eq!(settings(&text), settings(&written), "{place}");
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}

/// The package as nix/package.nix describes it.
struct Package {
    /// Relative to the repository.
    files: BTreeSet<PathBuf>,
    build: Vec<String>,
    test: Vec<String>,
}

impl Package {
    /// `lib.fileset` needs a newer Nix than the language does.
    fn get() -> Result<Self, Skip> {
        let evaluator = Evaluator::get(Suite::Forky)?;
        let found = evaluator.eval(&format!(
            "removeAttrs (import {}/tests/nix/package.nix) [ \"tooOld\" ]",
            repository().display()
        ));
        let found = found.result.unwrap_or_else(|error| panic!("{error}"));
        let texts =
            |name: &str| -> Vec<String> { serde_json::from_value(found[name].clone()).unwrap() };
        let package = Self {
            files: texts("files").into_iter().map(PathBuf::from).collect(),
            build: texts("build"),
            test: texts("test"),
        };
        assert!(package.files.contains(Path::new("Cargo.lock")));
        assert!(!package.test.is_empty());
        Ok(package)
    }

    /// Makes a directory of exactly its sources.
    fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        for file in &self.files {
            let to = copy.path().join(file);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(repository().join(file), to).unwrap();
        }
        copy
    }
}

fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["--offline", "--frozen"]);
    command
}

/// Compiles everything once more, from sources that lie elsewhere.
#[test]
fn the_package_builds_and_passes_its_tests_in_exactly_its_sources() {
    let evaluator = or_skip!(Evaluator::get(Suite::Forky));
    or_skip!(evaluator.nixpkgs());
    let package = or_skip!(Package::get());
    let copy = package.copy();
    let target = repository().join("target/package");
    let run = |command: &str, arguments: &[String]| {
        let output = cargo()
            .arg(command)
            .args(arguments)
            .current_dir(&copy)
            .env("CARGO_TARGET_DIR", &target)
            .output_within(LONG);
        assert!(
            output.status.success(),
            "cargo {command} {arguments:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    };
    for program in ["nixactions", "nixactions-runner"] {
        _ = fs::remove_file(target.join("debug").join(program));
    }
    run("build", &package.build);
    for program in ["nixactions", "nixactions-runner"] {
        assert!(
            target.join("debug").join(program).exists(),
            "`{program}` is not built"
        );
    }
    run("test", &package.test);
}

/// The programs of the package's tests, compiled from this repository, run where it consists of
/// the package's sources alone; and they were compiled of no other file.
#[test]
fn the_packages_tests_need_no_file_but_its_sources() {
    let package = or_skip!(Package::get());
    let target = repository().join("target");
    let is_ours =
        fs::metadata(&target).is_ok_and(|target| target.uid() == nix::unistd::geteuid().as_raw());
    if !is_ours {
        return Skip::new("another user has compiled the tests").report();
    }
    let programs = test_programs(&package);
    for program in &programs {
        let stray: Vec<_> = compiled_of(program)
            .into_iter()
            .filter(|file| !file.starts_with("target") && !package.files.contains(file))
            .collect();
        assert!(stray.is_empty(), "{}: {stray:?}", program.display());
    }

    let copy = package.copy();
    fs::create_dir(copy.path().join("target")).unwrap();
    let in_their_place = format!(
        "set -e; mount --bind {repository}/target target; mount --rbind . {repository}; \
         cd {repository}; test ! -e nixos; for program in \"$@\"; do \"$program\"; done",
        repository = repository().display()
    );
    let output = Command::new("unshare")
        .args([
            "--mount",
            "--map-root-user",
            "sh",
            "-c",
            &in_their_place,
            "sh",
        ])
        .args(&programs)
        .current_dir(&copy)
        .output_within(LONG);
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("unshare failed") {
        return Skip::new("no namespaces for this user").report();
    }
    assert!(
        output.status.success(),
        "{}{said}",
        String::from_utf8_lossy(&output.stdout)
    );
}

/// Returns the compiled programs of the package's tests.
fn test_programs(package: &Package) -> Vec<PathBuf> {
    // With all packages, as tests/run compiles them, so that there is nothing to do.
    let output = cargo()
        .args(["test", "--workspace", "--no-run", "--message-format=json"])
        .args(
            package
                .test
                .iter()
                .filter(|flag| *flag != "--workspace" && !flag.starts_with("--exclude")),
        )
        .current_dir(repository())
        .output_within(LONG);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines = String::from_utf8(output.stdout).unwrap();
    let programs: Vec<_> = lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["profile"]["test"] == true)
        .filter(|message| {
            // The harness is not the package's.
            !message["manifest_path"]
                .as_str()
                .is_some_and(|path| path.contains("/tests/harness/"))
        })
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .collect();
    assert!(programs.len() > 4, "{programs:?}");
    programs
}

/// Returns the files of the repository that a program was compiled of, as rustc noted them beside
/// it.
fn compiled_of(program: &Path) -> Vec<PathBuf> {
    let notes = fs::read_to_string(program.with_extension("d")).unwrap();
    let files: Vec<_> = notes
        .lines()
        // Each file once more, as a rule of its own.
        .filter_map(|line| line.strip_suffix(':'))
        .filter_map(|file| repository().join(file).canonicalize().ok())
        .filter_map(|file| Some(file.strip_prefix(repository()).ok()?.to_owned()))
        .collect();
    assert!(!files.is_empty(), "{}: {notes}", program.display());
    files
}

#[test]
fn a_rust_that_is_too_old_is_refused_with_the_one_that_is_needed() {
    let evaluator = or_skip!(Evaluator::get(Suite::Forky));
    let found = evaluator.eval(&format!(
        "(import {}/tests/nix/package.nix).tooOld",
        repository().display()
    ));
    let error = found.result.unwrap_err();
    let needed = format!("Rust {} or newer", env!("CARGO_PKG_RUST_VERSION"));
    assert!(error.contains(&needed), "{error}");
    assert!(error.contains("have 1.60.0"), "{error}");
    for page in ["README.md", "docs/language.md"] {
        let text = fs::read_to_string(repository().join(page)).unwrap();
        let rust = format!("Rust {}", env!("CARGO_PKG_RUST_VERSION"));
        assert!(text.contains(&rust), "{page} does not say `{rust}`");
    }
}

#[test]
fn the_language_needs_no_newer_nixpkgs_than_the_guide_says() {
    let guide = fs::read_to_string(repository().join("docs/language.md")).unwrap();
    let evaluator = or_skip!(Evaluator::get(Suite::Bookworm));
    let evaluator = or_skip!(evaluator.with_oldest_lib());
    let version = fs::read_to_string(evaluator.lib().join(".version")).unwrap();
    let claim = format!("nixpkgs {},", version.trim());
    assert!(
        guide.replace('\n', " ").contains(&claim),
        "the guide does not say {version}"
    );
    let mut seen = 0;
    for entry in fs::read_dir(repository().join("tests/nix/workflows")).unwrap() {
        let folder = entry.unwrap().path();
        let Ok(plan) = fs::read_to_string(folder.join("plan.json")) else {
            continue;
        };
        let found = evaluator.eval(&format!(
            "(import {}/tests/nix/evaluate.nix {{ workflow = {}/workflow.nix; }}).plan.jobs",
            repository().display(),
            folder.display()
        ));
        let found = found
            .result
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let jobs = |value: &Value| {
            value
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect::<Vec<_>>()
        };
        let plan: Value = serde_json::from_str(&plan).unwrap();
        assert_eq!(jobs(&found), jobs(&plan["jobs"]), "{}", folder.display());
        seen += 1;
    }
    assert!(seen > 15, "the fixtures are gone");
}
