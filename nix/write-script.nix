# Builds one script, like nixpkgs' writeShellApplication: bash stops at the first error, programs
# are in PATH, and shellcheck checks the script if `pkgs` has it. A script for another shell is a
# file that a small script of bash hands to it.
{ lib, pkgs, ... }:
let
  older = import ./bash-compiler.nix { inherit lib; };
  shellcheck = pkgs.shellcheck-minimal or pkgs.shellcheck or null;

  # The shells that have a name: their programs and arguments.
  named = {
    sh = [
      pkgs.runtimeShell
      "--posix"
      "-e"
      "{0}"
    ];
    python = [
      (lib.getExe (pkgs.python3 or (throw "shell `python`: these `pkgs` have no `python3`")))
      "{0}"
    ];
  };
in
{
  # The executable's name. Characters that are not allowed in a store path become dashes.
  name,
  text,
  deps ? [ ],
  # A name, or a program and its arguments with `{0}` for the script's file.
  shell ? "bash",
}:
let
  program = lib.strings.sanitizeDerivationName name;
  isBash = shell == "bash";
  isSh = shell == "sh";
  argv = if builtins.isList shell then shell else named.${shell};
  script = pkgs.writeTextFile {
    name = "${program}-script";
    text = if isSh then older.adapt name text else text;
  };
  command = map (lib.replaceStrings [ "{0}" ] [ "${script}" ]) argv;
  interpreter = lib.head command;
  # bash would tell this by the exit status alone.
  isThere = lib.optionalString (!lib.hasPrefix "/" interpreter) ''
    if ! command -v ${lib.escapeShellArg interpreter} >/dev/null; then
      echo "::error::its shell \`${interpreter}\` was not found in PATH: add a package that has it to \`deps\`"
      exit 127
    fi
  '';
in
pkgs.writeTextFile {
  name = program;
  executable = true;
  destination = "/bin/${program}";
  meta.mainProgram = program;
  text = ''
    #!${pkgs.runtimeShell}
  ''
  + lib.optionalString isBash ''
    set -o errexit
    set -o nounset
    set -o pipefail
  ''
  + lib.optionalString (deps != [ ]) ''

    export PATH="${lib.makeBinPath deps}:$PATH"
  ''
  + (
    if isBash then
      ''

        ${older.adapt name text}
      ''
    else
      ''

        ${isThere}exec ${lib.escapeShellArgs command} "$@"
      ''
  );
  checkPhase = ''
    ${pkgs.stdenv.shellDryRun} "$target"
  ''
  + lib.optionalString isSh ''
    ${pkgs.runtimeShell} --posix -n ${script}
  ''
  + lib.optionalString (shellcheck != null) ''
    ${lib.getExe shellcheck} ${if isSh then "--shell=sh ${script}" else "\"$target\""}
  '';
}
