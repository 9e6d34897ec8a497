# The derivations that must build before a merge.
{
  pkgs,
  package,
  nixactions,
  examples,
}:
let
  inherit (pkgs) lib;
  # All files of Nix code, and none that is built.
  sources = lib.fileset.toSource {
    root = ../.;
    fileset =
      lib.fileset.difference
        (lib.fileset.unions [
          ../statix.toml
          (lib.fileset.fileFilter (file: file.hasExt "nix") ../.)
        ])
        (
          lib.fileset.unions [
            (lib.fileset.maybeMissing ../target)
            (lib.fileset.maybeMissing ../fuzz/target)
          ]
        );
  };
  # Succeeds if its command does.
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
    deadnix --fail .
    statix check
  '';

  # The template's workflow, as `nix flake init -t` creates it.
  template = import ../templates/default/ci.nix { inherit pkgs nixactions; };

}
# The NixOS module on virtual machines: a file of vm-tests/ for each behaviour.
// lib.mapAttrs' (
  file: _:
  lib.nameValuePair "vm-${lib.removeSuffix ".nix" file}" (
    import (../vm-tests + "/${file}") { inherit pkgs; }
  )
) (lib.filterAttrs (file: _: lib.hasSuffix ".nix" file) (builtins.readDir ../vm-tests))
// lib.mapAttrs' (name: lib.nameValuePair "example-${name}") examples
