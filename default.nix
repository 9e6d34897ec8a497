# All that is here, without flakes: `nix-build -A package`, `(import ./. { }).lib.mkWorkflow { … }`,
# `imports = [ (import ./. { }).nixosModule ]`.
{
  pkgs ? import <nixpkgs> { },
}:
let
  package = pkgs.callPackage ./nix/package.nix { };
  # The language (nix/default.nix).
  lib = import ./nix {
    inherit pkgs;
    nixactions = package;
  };
  examples = import ./examples {
    inherit pkgs;
    nixactions = lib;
  };
in
{
  inherit package lib examples;

  overlay = import ./nix/overlay.nix;
  nixosModule = ./nixos;
  homeManagerModule = ./home;

  # What must build before anything is merged; `nix-build -A checks`.
  checks = import ./nix/checks.nix {
    inherit pkgs package examples;
    nixactions = lib;
  };
  shell = import ./nix/shell.nix { inherit pkgs package; };
  formatter = pkgs.nixfmt-tree;
}
