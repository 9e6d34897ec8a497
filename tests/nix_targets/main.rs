//! `run`, `check` and `graph` take .nix files, flakes and results of Nix besides plans: tested with
//! a real Nix in machines.

mod interrupted;

use std::{fs, path::Path};

use nixactions_harness::{CommandExt as _, Manager, Nix, REPOSITORY, on_managers, or_skip};

/// A set of workflows, with arguments, as a user without flakes keeps it.
const FILE: &str = r#"
{ pkgs ? import <nixpkgs> { }, greeting ? "hello", times ? 1 }:
let
  inherit (import /srv/nixactions/nix { inherit pkgs; }) mkWorkflow;
in
{
  ci = mkWorkflow {
    name = "ci";
    inputs.release.default = "dev";
    jobs.build = {
      outputs.dist = "dist/";
      steps = [ { name = "compile"; deps = [ pkgs.coreutils ]; bash = "mkdir dist; echo made >dist/it"; } ];
    };
    jobs.test = {
      needs = [ "build" ];
      inputs = [ "dist" ];
      steps = [ { name = "say"; bash = "echo ${greeting} ${toString times} $INPUT_RELEASE $(cat dist/it) by $0"; } ];
    };
  };
  nightly = mkWorkflow { name = "nightly"; jobs.a.steps = [ { bash = "echo night"; } ]; };
  typo = mkWorkflow { name = "typo"; jobs.a.stepz = [ ]; };
  unbuildable = mkWorkflow { name = "unbuildable"; jobs.a.steps = [ { name = "wrong"; bash = "if"; } ]; };
  slow = pkgs.runCommand "slow" { } "echo building >/tmp/slow; exec sleep 1000";
  tool = pkgs.bash;
}
"#;

/// The same as a flake that needs no network; in a pure evaluation nothing outside of its inputs is
/// seen.
const FLAKE: &str = r#"
{
  inputs.nixactions = { url = "path:/srv/nixactions/nix"; flake = false; };
  inputs.lib = { url = "path:/srv/nixpkgs/lib"; flake = false; };
  inputs.stand-in = { url = "path:/srv/nixactions/tests/nix"; flake = false; };
  outputs = { nixactions, lib, stand-in, ... }:
    let
      inherit (import lib) genAttrs;
      workflows = system:
        let
          pkgs = import "${stand-in}/pkgs.nix" { inherit system; lib = import lib; };
          inherit (import nixactions { inherit pkgs; }) mkWorkflow;
          workflow = name: mkWorkflow { inherit name; jobs.a.steps = [ { name = "say"; bash = "echo ${name} by $0"; } ]; };
        in
        { ci = workflow "ci"; nightly = workflow "nightly"; tool = pkgs.bash; };
    in
    {
      packages = genAttrs [ "x86_64-linux" "aarch64-linux" ] workflows;
      legacyPackages = genAttrs [ "x86_64-linux" "aarch64-linux" ] (system: { hidden = (workflows system).ci; });
    };
}
"#;

/// Runs a command that is to be refused, and returns its exit status and standard error; panics if
/// it has started a run.
fn refused(manager: &Manager, nix: &Nix<'_>, arguments: &[&str]) -> (i32, String) {
    let before = manager.runs();
    let output = nix.output(|| nix.nixactions(arguments));
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        !output.status.success(),
        "it was not refused: {stdout}{stderr}"
    );
    assert_eq!(manager.runs(), before, "{stderr}");
    (output.status.code().unwrap_or(-1), stderr.into_owned())
}

/// Panics unless `text` has each of the `parts`.
fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
}

on_managers!(a_workflow_is_evaluated_built_and_run on system_252, system_257, system_262, user_262, embedded_262);

fn a_workflow_is_evaluated_built_and_run(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    manager.write("ci.nix", FILE);
    let arguments = [
        "ci.nix",
        "-A",
        "ci",
        "--argstr",
        "greeting",
        "good morning",
        "--arg",
        "times",
        "1 + 1",
        "--input",
        "release=1.0",
    ];
    let run = nix.run(&arguments).exits(0);
    let lines = run.lines("test");
    assert!(
        lines.iter().any(
            |line| line.starts_with("good morning 2 1.0 made by /nix/store/")
                && line.ends_with("/bin/say")
        ),
        "{run}"
    );
    assert_eq!(run.steps("test"), ["say success/success"]);
    // Nothing changed, so nothing is built.
    let again = nix.run(&arguments).exits(0);
    assert!(!again.stderr.contains("building"), "{again}");
    // Where it was built there is nothing left.
    assert_eq!(
        fs::read_dir(manager.file(manager.state_dir()).join("building"))
            .expect("it is there")
            .count(),
        0
    );
}

on_managers!(a_built_workflow_runs_by_its_path_its_link_and_its_command on system_252, system_262);

fn a_built_workflow_runs_by_its_path_its_link_and_its_command(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let file = manager.write("ci.nix", FILE);
    let path = nix.build(&format!("(import {} {{ }}).ci", file.display()));
    manager
        .command(&[
            "ln".as_ref(),
            "-s".as_ref(),
            path.as_os_str(),
            "result".as_ref(),
        ])
        .ok();
    for target in [
        path.clone(),
        path.join("plan.json"),
        "result".into(),
        "result/plan.json".into(),
    ] {
        let run = nix.run(&[&target]).exits(0);
        assert_eq!(run.steps("test"), ["say success/success"]);
        assert_eq!(
            fs::read_link(manager.run_dir(&run.id).join("workflow")).expect("it is kept"),
            path,
            "{run}"
        );
    }
    let command = path.join("bin/ci");
    manager
        .command(&[
            command.as_os_str(),
            "--manager=system".as_ref(),
            "--input=release=7".as_ref(),
        ])
        .ok();
    assert!(
        manager
            .nixactions(&["logs", "ci-5", "test"])
            .ok()
            .contains("hello 1 7 made")
    );
}

on_managers!(a_flake_is_run_by_reference_by_directory_and_by_path on system_252, system_257, system_262);

fn a_flake_is_run_by_reference_by_directory_and_by_path(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let flake = manager.write("flake.nix", FLAKE);
    let directory = flake
        .parent()
        .expect("it is in a directory")
        .display()
        .to_string();
    for target in [
        ".#ci",
        "#ci",
        &format!("path:{directory}#ci"),
        &format!("{directory}#ci"),
        ".#hidden",
    ] {
        let run = nix.run(&[target]).exits(0);
        assert!(
            run.lines("a")
                .iter()
                .any(|line| line.starts_with("ci by /nix/store/")),
            "{target}: {run}"
        );
    }
    // The user's own configuration does not matter here.
    let run = manager.finished(&nix.output(|| {
        let mut command = nix.nixactions(&["run", ".#nightly", "--output=json"]);
        command.env("NIX_CONFIG", "experimental-features =");
        command
    }));
    assert!(
        run.exits(0)
            .lines("a")
            .iter()
            .any(|line| line.starts_with("nightly by"))
    );

    for target in [".#nope", ".", &directory] {
        let (code, stderr) = refused(manager, &nix, &["run", target]);
        assert_eq!(code, 2, "{stderr}");
        says(
            &stderr,
            &[
                "is not a workflow; known: `ci`, `nightly`\n",
                "hint: name a workflow, as in `",
                "#ci`",
            ],
        );
        // Nix's own words stand before it.
        assert!(stderr.contains("does not provide attribute"), "{stderr}");
    }
    for target in [".#nope", ".#tool"] {
        let (code, stderr) = refused(manager, &nix, &["check", target]);
        assert!(
            code == 2 && stderr.contains("is not a workflow; known: `ci`, `nightly`\n"),
            "{stderr}"
        );
    }
    let (code, stderr) = refused(manager, &nix, &["run", ".#tool"]);
    assert_eq!(code, 2, "{stderr}");
    says(
        &stderr,
        &[
            "`.#tool` is not a workflow: `/nix/store/",
            "has no plan.json",
            "hint: make a workflow by `nixactions.mkWorkflow",
        ],
    );
    let system = format!("packages.{}-linux", std::env::consts::ARCH);
    for command in ["run", "check"] {
        let (code, stderr) = refused(manager, &nix, &[command, &format!(".#{system}.zz")]);
        assert_eq!(code, 2, "{stderr}");
        says(
            &stderr,
            &[&format!(
                "`.#{system}.zz` is not a workflow; known: `{system}.ci`, `{system}.nightly`\n"
            )],
        );
        let (code, stderr) = refused(manager, &nix, &[command, ".#a.b"]);
        assert!(
            code == 2 && stderr.contains("`.#a.b` is not a workflow; known: `ci`, `nightly`\n"),
            "{stderr}"
        );
    }
    let (code, stderr) = refused(manager, &nix, &["run", ".#ci", "-A", "ci"]);
    assert!(
        code == 2 && stderr.contains("`.#ci` is a flake reference: `--attr`"),
        "{stderr}"
    );
}

on_managers!(check_and_graph_evaluate_and_build_nothing on system_252, system_262);

fn check_and_graph_evaluate_and_build_nothing(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let file = manager.write("ci.nix", FILE);
    let flake = manager.write("flake.nix", FLAKE);
    for (target, job) in [
        (&["ci.nix", "-A", "unbuildable"][..], "a"),
        (&["ci.nix", "-A", "ci"], "test"),
        (&[".#ci"], "a"),
    ] {
        for command in ["check", "graph"] {
            let argv = [&[command], target].concat();
            assert!(
                nix.nixactions(&argv)
                    .ok()
                    .lines()
                    .any(|line| line.contains(job)),
                "{argv:?}"
            );
        }
    }
    let built = || {
        let names = fs::read_dir(manager.file("/nix/store"))
            .expect("there is a store")
            .flatten();
        let mut names: Vec<_> = names
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.retain(|name| {
            ["-ci", "-unbuildable", "-say", "-wrong"]
                .iter()
                .any(|end| name.ends_with(end))
        });
        names
    };
    assert_eq!(built(), [""; 0]);
    // The plan is the very one that is built.
    let path = nix.build(&format!("(import {} {{ }}).ci", file.display()));
    assert!(built().iter().any(|name| name.ends_with("-ci")));
    let path = path.display().to_string();
    assert_eq!(
        manager.nixactions(&["check", &path]).ok(),
        nix.nixactions(&["check", "ci.nix", "-A", "ci"]).ok()
    );
    drop(flake);
}

on_managers!(errors_of_nix_are_shown_in_its_own_words on system_252, system_257, system_262);

fn errors_of_nix_are_shown_in_its_own_words(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    manager.write("ci.nix", FILE);
    manager.write("broken.nix", "{ pkgs ? import <nixpkgs> { } }:\n{ ci = ; }");
    let cases: [(&[&str], i32, &[&str]); 9] = [
        (
            &["run", "ci.nix", "-A", "typo"],
            2,
            &[
                "stepz",
                "error: Nix did not evaluate `ci.nix -A typo`, exit status: 1; nothing was started",
            ],
        ),
        (
            &["check", "ci.nix", "-A", "typo"],
            2,
            &[
                "stepz",
                "error: Nix did not evaluate `ci.nix -A typo`, exit status: 1; nothing was started",
            ],
        ),
        (
            &["run", "broken.nix"],
            2,
            &["syntax error", "broken.nix:2", "nothing was started"],
        ),
        (
            &["run", "ci.nix", "-A", "unbuildable"],
            2,
            &[
                "syntax error",
                "error: Nix did not build `ci.nix -A unbuildable`, exit status: 100; nothing was started",
            ],
        ),
        (
            &["run", "ci.nix", "-A", "nope"],
            2,
            &[
                "`ci.nix -A nope` is not a workflow; known: `ci`, `nightly`",
                "as in `ci.nix -A ci`",
            ],
        ),
        (
            &["check", "ci.nix"],
            2,
            &[
                "`ci.nix` is not a workflow; known: `ci`, `nightly`",
                "as in `ci.nix -A ci`",
            ],
        ),
        (
            &["run", "ci.nix", "-A", "tool"],
            2,
            &[
                "`ci.nix -A tool` is not a workflow: `/nix/store/",
                "has no plan.json",
            ],
        ),
        (
            &["run", "nope"],
            2,
            &[
                "found nothing to run named `nope`",
                "no such file or directory",
                "as a flake reference: no `#`",
            ],
        ),
        (
            &["run", "/srv"],
            2,
            &["nothing to run in the directory `/srv`: no plan.json, no flake.nix, no default.nix"],
        ),
    ];
    for (arguments, code, said) in cases {
        let (found, stderr) = refused(manager, &nix, arguments);
        assert_eq!(found, code, "{arguments:?}: {stderr}");
        says(&stderr, said);
    }
}

/// Refused by all three commands in the same words.
const NO_WORKFLOWS: [(&str, &[&str], &[&str]); 10] = [
    (
        "{ only = WORKFLOW; }",
        &[],
        &[
            "`x.nix` is not a workflow; known: `only`\n",
            "as in `x.nix -A only`",
        ],
    ),
    (
        "{ a = WORKFLOW; b = throw \"not evaluated\"; }",
        &[],
        &["`x.nix` is not a workflow; known: `a`\n"],
    ),
    (
        "{ a = import <nowhere> WORKFLOW; b.c = 1; }",
        &[],
        &[
            "`x.nix` is not a workflow; known: `a`\n",
            "as in `x.nix -A a`",
        ],
    ),
    (
        "[ WORKFLOW ]",
        &[],
        &[
            "`x.nix` is not a workflow, and not a set of workflows either\n",
            "hint: make a workflow by `nixactions.mkWorkflow",
        ],
    ),
    (
        "{ name = \"ci\"; jobs.a.steps = [ { bash = \"true\"; } ]; }",
        &[],
        &[
            "and not a set of workflows either\n",
            "`nixactions.mkWorkflow { … }`",
        ],
    ),
    (
        "{ x.name = \"ci\"; }",
        &["-A", "x"],
        &[
            "is not a workflow; there are no others in its place\n",
            "`nixactions.mkWorkflow { … }`",
        ],
    ),
    (
        "WORKFLOW",
        &["-A", "x"],
        &[
            "`x.nix -A x` is not a workflow; known: `x.nix`\n",
            "as in `x.nix`\n",
        ],
    ),
    (
        "{ a.b = WORKFLOW; }",
        &["-A", "a.c"],
        &["`x.nix -A a.c` is not a workflow; known: `a.b`\n"],
    ),
    (
        "{ \"a.b\" = WORKFLOW; }",
        &["-A", "a"],
        &["known: `\"a.b\"`\n", "as in `x.nix -A '\"a.b\"'`"],
    ),
    (
        "{ plan = WORKFLOW; }",
        &[],
        &["`x.nix` is not a workflow; known: `plan`\n"],
    ),
];

on_managers!(a_file_is_the_same_to_all_commands on system_252, system_262);

fn a_file_is_the_same_to_all_commands(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let workflow = "((import /srv/nixactions/nix { pkgs = import <nixpkgs> { }; }).mkWorkflow { name = \"it\"; jobs.a.steps = [ { bash = \"true\"; } ]; })";
    let write = |text: &str| manager.write("x.nix", text.replace("WORKFLOW", workflow));
    for (text, attribute, said) in NO_WORKFLOWS {
        write(text);
        for command in ["run", "check", "graph"] {
            let (code, stderr) = refused(manager, &nix, &[&[command, "x.nix"], attribute].concat());
            assert_eq!(code, 2, "{command} {text}: {stderr}");
            says(&stderr, said);
        }
    }
    // And what is one, by a name with a dot, of a list, and of a function.
    for (text, attribute) in [
        ("{ \"a.b\" = WORKFLOW; }", "\"a.b\""),
        ("[ WORKFLOW ]", "0"),
        ("{ a = { }: { b = WORKFLOW; }; }", "a.b"),
    ] {
        write(text);
        for command in ["check", "graph", "run"] {
            nix.output(|| nix.nixactions(&[command, "x.nix", "-A", attribute]))
                .status
                .success()
                .then_some(())
                .expect(text);
        }
    }
    let (code, stderr) = refused_without_path(manager, &nix);
    assert_eq!(code, 3, "{stderr}");
    says(
        &stderr,
        &[
            "Nix is missing: found `nix-instantiate` neither in PATH (PATH is not set) nor in",
            "hint: set PATH",
        ],
    );
}

/// Runs a file where PATH is not set, and returns the exit status and standard error.
fn refused_without_path(manager: &Manager, nix: &Nix<'_>) -> (i32, String) {
    let script = "program=$(command -v nixactions); unset PATH; exec \"$program\" run x.nix";
    let output = nix.output(|| nix.command(&["bash", "-c", script]));
    assert_eq!(manager.runs().len(), 3);
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

on_managers!(without_nix_a_plan_runs_all_the_same on system_262);

fn without_nix_a_plan_runs_all_the_same(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let file = manager.write("ci.nix", FILE);
    let path = nix.build(&format!("(import {} {{ }}).nightly", file.display()));
    manager
        .command(&["sh", "-c", "rm /usr/bin/nix /usr/bin/nix-*"])
        .ok();
    for target in [&["ci.nix", "-A", "ci"][..], &[".#ci"]] {
        let (code, stderr) = refused(manager, &nix, &[&["run"], target].concat());
        assert_eq!(code, 3, "{stderr}");
        says(
            &stderr,
            &[
                "error: Nix is missing: found `nix",
                "` neither in PATH nor in /run/current-system/sw/bin",
                "hint: install Nix",
                "`nixactions run plan.json`",
            ],
        );
    }
    // The path in the store is then not kept, and a warning says so.
    let run = nix.run(&[&path]).exits(0);
    says(
        &run.stderr,
        &[
            "warning: failed to protect `/nix/store/",
            "from Nix's garbage collector",
            "jobs that have not begun and a rerun will fail",
        ],
    );
}

#[test]
fn the_repository_is_where_machines_see_it() {
    assert!(
        FILE.contains(&format!("{REPOSITORY}/nix")) && FLAKE.contains(&format!("{REPOSITORY}/nix"))
    );
    assert!(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/nix/pkgs.nix")
            .exists()
    );
}
