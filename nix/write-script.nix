# Builds one script, like nixpkgs' writeShellApplication: bash stops at the first error, programs
# are in PATH, and shellcheck checks the script if `pkgs` has it.
{ lib, pkgs, ... }:
let
  older = import ./bash-compiler.nix { inherit lib; };
  shellcheck = pkgs.shellcheck-minimal or pkgs.shellcheck or null;
in
{
  # The executable's name. Characters that are not allowed in a store path become dashes.
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
