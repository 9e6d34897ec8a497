# A step: a script, or a program.
{ lib, types }:
let
  common = import ./common.nix { inherit lib types; };
in
{
  options = {
    inherit (common)
      envFrom
      retry
      timeout
      condition
      continueOnError
      ;
    env = common.env // {
      description = ''
        Variables of the step, stronger than those of its job. Their values may have
        [expressions](plan.md#expressions). They are in the plan and in the store, where everybody
        can read them. Use `envFrom` for secrets.
      '';
    };
    id = lib.mkOption {
      type = lib.types.nullOr types.name;
      default = null;
      example = "list";
      description = ''
        The id by which later steps of the job see this step: its outputs as `STEPS_<ID>_<KEY>`, and
        how it ended as `STEPS_<ID>_OUTCOME` and `STEPS_<ID>_CONCLUSION`.
      '';
    };
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
