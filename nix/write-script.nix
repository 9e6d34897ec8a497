# Builds one script, as nixpkgs' writeShellApplication does: bash that stops at the first error,
# programs in PATH, checked by shellcheck where `pkgs` has it.
{ lib, pkgs, ... }:
let
  older = import ./bash-compiler.nix { inherit lib; };
  shellcheck = pkgs.shellcheck-minimal or pkgs.shellcheck or null;
in
{
  # The executable's name; characters that a store path cannot have become dashes.
  name,
  text,
  deps ? [ ],
}:
let
  program = lib.strings.sanitizeDerivationName name;
in
pkgs.writeTextFile {
  name = program;
  executable = true;
  destination = "/bin/${program}";
  meta.mainProgram = program;
  text = ''
    #!${pkgs.runtimeShell}
    set -o errexit
    set -o nounset
    set -o pipefail
  ''
  + lib.optionalString (deps != [ ]) ''

    export PATH="${lib.makeBinPath deps}:$PATH"
  ''
  + ''

    ${older.adapt name text}
  '';
  checkPhase = ''
    ${pkgs.stdenv.shellDryRun} "$target"
  ''
  + lib.optionalString (shellcheck != null) ''
    ${lib.getExe shellcheck} "$target"
  '';
}
