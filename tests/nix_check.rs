//! `check` and `graph` build nothing, not even for an evaluation that imports what it has built.

use std::fs;

use nixactions_harness::{Manager, on_managers, or_skip};

/// A workflow whose script is the output of a derivation, as a flake that needs no network, and as
/// a file.
const FLAKE: &str = r#"
{
  inputs.nixactions = { url = "path:/srv/nixactions/nix"; flake = false; };
  inputs.lib = { url = "path:/srv/nixpkgs/lib"; flake = false; };
  inputs.stand-in = { url = "path:/srv/nixactions/tests/nix"; flake = false; };
  outputs = { nixactions, lib, stand-in, ... }:
    let
      workflow = system:
        let pkgs = import "${stand-in}/pkgs.nix" { inherit system; lib = import lib; }; in
        import ./ci.nix { inherit pkgs; nixactions = import nixactions { inherit pkgs; }; };
    in
    { packages = (import lib).genAttrs [ "x86_64-linux" "aarch64-linux" ] (system: { ci = workflow system; }); };
}
"#;
const FILE: &str = r#"
{
  pkgs ? import <nixpkgs> { },
  nixactions ? import /srv/nixactions/nix { inherit pkgs; },
}:
nixactions.mkWorkflow {
  name = "ci";
  jobs.a.steps = [ { name = "say"; bash = builtins.readFile (pkgs.runCommand "made-first" { } "echo 'echo said' > $out"); } ];
}
"#;

on_managers!(check_refuses_what_needs_a_build_to_be_evaluated on system_252, system_262);

fn check_refuses_what_needs_a_build_to_be_evaluated(manager: &Manager) {
    let nix = or_skip!(manager.nix());
    manager.write("flake.nix", FLAKE);
    manager.write("ci.nix", FILE);
    let built = || {
        let names = fs::read_dir(manager.file("/nix/store")).expect("there is a store");
        names
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().ends_with("-made-first"))
    };
    for target in [".#ci", "ci.nix"] {
        for command in ["check", "graph"] {
            let output = nix.output(|| nix.nixactions(&[command, target]));
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{command} {target}: {said}");
            for part in [
                "needs something to be built first (import from derivation)",
                "hint: `nixactions run ",
            ] {
                assert!(said.contains(part), "{command} {target}: {said}");
            }
            assert!(!built(), "{command} {target} has built");
        }
    }
    for target in [".#ci", "ci.nix"] {
        let run = nix.run(&[target]).exits(0);
        assert!(run.lines("a").contains(&"said"), "{target}: {run}");
    }
    assert!(built(), "the run has built nothing");
}
