# What must build before anything is merged; each is a derivation.
{ pkgs, package }:
let
  inherit (pkgs) lib;
  sources = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.fileFilter (file: file.hasExt "nix") ../.;
  };
  # Succeeds where its command does.
  check =
    name: tools: command:
    pkgs.runCommand name { nativeBuildInputs = tools; } ''
      cd ${sources}
      ${command}
      touch "$out"
    '';
in
{
  inherit package;

  nix-formatting = check "nix-formatting" [ pkgs.nixfmt ] ''
    find . -name '*.nix' -exec nixfmt --check {} +
  '';
  nix-lints = check "nix-lints" [ pkgs.deadnix pkgs.statix ] ''
    deadnix --fail --no-lambda-pattern-names .
    statix check
  '';

  # The template's workflow, as `nix flake init -t` gives it.
  template = import ../templates/default/ci.nix {
    inherit pkgs;
    nixactions = import ./. {
      inherit pkgs;
      nixactions = package;
    };
  };

  # The NixOS module on a machine of its own.
  vm-module = import ../vm-tests/module.nix { inherit pkgs; };
}
