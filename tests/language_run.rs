//! Workflows that are written in Nix: a real Nix builds them, and a real systemd runs them with the
//! store paths that Nix made.

use nixactions_harness::{
    CommandExt as _, Manager, REPOSITORY, RUN_DEADLINE, on_managers, or_skip,
};

on_managers!(a_workflow_runs_as_it_is_written on system_252, system_257, system_262, user_262);
on_managers!(other_shells_defaults_and_clean_ups_work on system_252, system_262, user_262);
on_managers!(the_command_of_a_workflow_passes_arguments_on on system_262);
on_managers!(unchanged_steps_are_not_built_anew on system_262);
on_managers!(a_faulty_script_is_an_error_of_its_build on system_262);
on_managers!(an_action_is_built_by_itself on system_262);

/// Returns an expression of a workflow with one job, of these steps, and more settings of the job.
fn workflow(steps: &str, settings: &str) -> String {
    format!(
        "(import {REPOSITORY}/nix {{ pkgs = import <nixpkgs> {{ }}; }}).mkWorkflow {{
            name = \"ci\"; inputs.release.default = \"dev\"; jobs.test = {{ steps = [ {steps} ]; {settings} }};
        }}"
    )
}

fn a_workflow_runs_as_it_is_written(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let expression = format!(
        "import {REPOSITORY}/tests/nix/evaluate.nix {{ workflow = {REPOSITORY}/tests/nix/everything.nix; }}"
    );
    let run = nix.run(&[nix.build(&expression)]).exits(0);

    let said =
        ["arguments", "LEVEL", "FLAG", "COUNT", "RELEASE"].map(|name| run.value("build", name));
    assert_eq!(said, ["a b", "action", "true", "3", "dev"], "{run}");
    assert!(
        run.value("build", "git").starts_with("/nix/store/"),
        "{run}"
    );
    assert!(run.value("build", "there").ends_with("/sub"), "{run}");
    // The values of a provider are masked.
    assert_eq!(run.value("build", "GIVEN"), "***", "{run}");
    assert_eq!(
        run.steps("build"),
        [
            "mkdir dist sub && echo built > dist/file success/success",
            "say success/success",
            "say more skipped/skipped: condition `failure()` was false",
            "unset variables are errors failure/success: exit status 1",
            "pipes fail with any of their commands failure/success: exit status 1",
            "second time success/success",
            "too long failure/success: timeout: took longer than 0.2 s",
        ],
        "{run}"
    );
    assert_eq!(run.value("test-linux", "os"), "linux linux", "{run}");
    assert_eq!(run.value("test-bsd", "os"), "bsd bsd", "{run}");
    assert_eq!(run.value("all", "file"), "built", "{run}");
    let hooks = "setupWorkspace setupJob restoreArtifact-dist executeJob saveArtifact-other";
    assert_eq!(run.value("hooked", "log").trim(), hooks, "{run}");
    run.leaves_nothing(manager);
}

fn other_shells_defaults_and_clean_ups_work(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let steps = r#"
        { name = "make"; bash = "mkdir sub"; workdir = "."; }
        { name = "sh"; bash = "echo \"sh=\${POSIXLY_CORRECT+yes} \${PWD##*/}\"; false; echo never"; continueOnError = true; }
        { name = "bash"; shell = "bash"; bash = "[[ -n $BASH ]]; echo \"bash=\${PWD##*/}\"";
          post = { name = "clean"; script = "echo \"clean=$A \${PWD##*/}\""; env.A = 3; deps = [ pkgs.git ]; }; }
        { name = "perl"; shell = [ "perl" "-w" "{0}" ]; script = "print \"perl=@ARGV\\n\";"; args = [ "a b" ]; }
        { name = "package"; shell = pkgs.bash; script = "echo \"package=\${BASH_VERSION:+yes}\""; }
        { name = "none"; shell = [ "no-such-shell" "{0}" ]; script = "x"; continueOnError = true; }
        (mkAction { name = "action"; bash = "[[ -d sub ]]; echo action=here"; })
    "#;
    let expression = format!(
        "let pkgs = import <nixpkgs> {{ }}; nixactions = import {REPOSITORY}/nix {{ inherit pkgs; }};
             inherit (nixactions) mkAction mkWorkflow; in
         mkWorkflow {{ name = \"ci\"; defaults.shell = \"sh\";
             jobs.test = {{ defaults.workdir = \"sub\"; steps = [ {steps} ]; }}; }}"
    );
    let run = nix.run(&[nix.build(&expression)]).exits(0);
    let said =
        ["sh", "bash", "perl", "package", "action", "clean"].map(|name| run.value("test", name));
    assert_eq!(
        said,
        ["yes sub", "sub", "a b", "yes", "here", "3 sub"],
        "{run}"
    );
    assert_eq!(
        run.steps("test"),
        [
            "make success/success",
            "sh failure/success: exit status 1",
            "bash success/success",
            "perl success/success",
            "package success/success",
            "none failure/success: exit status 127",
            "action success/success",
            "clean success/success",
        ],
        "{run}"
    );
    let annotations = run.job("test")["annotations"].to_string();
    assert!(
        annotations.contains("its shell `no-such-shell` was not found in PATH"),
        "{run}"
    );
    run.leaves_nothing(manager);
}

fn the_command_of_a_workflow_passes_arguments_on(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let built = nix.build(&workflow(
        "{ bash = ''echo \"RELEASE=$INPUT_RELEASE\"''; }",
        "",
    ));
    let command = built.join("bin/ci").display().to_string();
    let arguments = [
        command.as_str(),
        "--output=json",
        "--manager=system",
        "--input",
        "release=two words",
    ];
    let run = manager
        .finished(&nix.command(&arguments).output_within(RUN_DEADLINE))
        .exits(0);
    assert_eq!(run.id, "ci-1");
    assert_eq!(run.value("test", "RELEASE"), "two words");
}

fn unchanged_steps_are_not_built_anew(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let steps = "{ name = \"check\"; bash = \"true\"; }";
    nix.build(&workflow(steps, ""));
    let missing = |expression: &str| {
        let output = nix
            .command(&[
                "nix-build",
                "--no-out-link",
                "--dry-run",
                "--expr",
                expression,
            ])
            .output_within(RUN_DEADLINE);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let derivations = said.lines().filter_map(|line| {
            Some(
                line.trim()
                    .strip_prefix("/nix/store/")?
                    .split_once('-')?
                    .1
                    .to_owned(),
            )
        });
        derivations.collect::<Vec<_>>()
    };
    assert_eq!(missing(&workflow(steps, "")), [""; 0]);
    assert_eq!(
        missing(&workflow(
            steps,
            "env.LEVEL = 3; timeout = \"5m\"; condition = \"always()\";"
        )),
        ["ci.drv"]
    );
    let mut two = missing(&workflow(
        &format!("{steps} {{ name = \"say\"; bash = \"echo\"; }}"),
        "",
    ));
    two.sort();
    assert_eq!(two, ["ci.drv", "say.drv"]);
}

fn a_faulty_script_is_an_error_of_its_build(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let fails = |expression: &str| {
        nix.command(&["nix-build", "--no-out-link", "--expr", expression])
            .fails()
    };
    let said = fails(&workflow("{ name = \"half\"; bash = \"if true\"; }", ""));
    assert!(
        said.contains("half: line ") && said.contains("syntax error"),
        "{said}"
    );
    // A stand-in for shellcheck that likes nothing.
    let shellcheck = "import <nixpkgs> { overlays = [ (final: _: { shellcheck = final.runCommand \"shellcheck\" { meta.mainProgram = \"shellcheck\"; } ''
        mkdir -p $out/bin; printf '#!/bin/sh\\ncat \"$1\"; echo SC2086; exit 1' > $out/bin/shellcheck; chmod +x $out/bin/shellcheck
    ''; }) ]; }";
    let said = fails(
        &workflow("{ bash = \"echo $UNQUOTED\"; }", "").replace("import <nixpkgs> { }", shellcheck),
    );
    assert!(
        said.contains("SC2086") && said.contains("echo $UNQUOTED"),
        "{said}"
    );
}

fn an_action_is_built_by_itself(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    let action = "mkAction { name = \"say it\"; bash = ''echo \"said $1\"''; }";
    let built = nix.build(&format!(
        "(import {REPOSITORY}/nix {{ pkgs = import <nixpkgs> {{ }}; }}).{action}"
    ));
    assert_eq!(
        manager
            .command(&[built.join("bin/say-it"), "this".into()])
            .ok(),
        "said this\n"
    );
}
