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
      description = "The name in the record and in the journal. The default is the program's name.";
    };
    bash = lib.mkOption {
      type = lib.types.nullOr types.script;
      default = null;
      example = "cargo build --release";
      description = ''
        The script. bash runs it with `errexit`, `nounset` and `pipefail`. shellcheck reads it when
        Nix builds it.
      '';
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
        A package whose main program runs instead of a script. `steps = [ pkgs.hello ]` is a short
        form. If the package is an action, the step has the action's options, except for those that
        are set here.
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
      description = "The directory in which the step runs, relative to the workspace.";
    };
  };
}
