# A step: a script, or a program.
{ lib, types }:
let
  common = import ./common.nix { inherit lib types; };
in
{
  options = {
    inherit (common)
      env
      envFrom
      retry
      timeout
      condition
      continueOnError
      ;
    name = lib.mkOption {
      type = lib.types.nullOr types.label;
      default = null;
      example = "compile";
      description = "What the record and the journal call it; the program's name by default.";
    };
    bash = lib.mkOption {
      type = lib.types.nullOr types.script;
      default = null;
      example = "cargo build --release";
      description = "The script, run by bash with `errexit`, `nounset` and `pipefail`, and checked by shellcheck when it is built.";
    };
    deps = lib.mkOption {
      type = types.listOf types.package;
      default = [ ];
      example = lib.literalExpression "[ pkgs.cargo pkgs.gcc ]";
      description = "Packages whose programs the script finds first in its `PATH`.";
    };
    package = lib.mkOption {
      type = lib.types.nullOr types.package;
      default = null;
      example = lib.literalExpression "pkgs.hello";
      description = ''
        A package whose main program is run, in the place of a script; `steps = [ pkgs.hello ]` is short for it. Of an action, all its
        options are taken that are not set here.
      '';
    };
    args = lib.mkOption {
      type = types.listOf types.argument;
      default = [ ];
      example = [ "--verbose" ];
      description = "Arguments of the script or program.";
    };
    workdir = lib.mkOption {
      type = lib.types.nullOr types.workspacePath;
      default = null;
      example = "frontend";
      description = "The directory where it runs, relative to the workspace.";
    };
  };
}
