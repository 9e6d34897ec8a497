# The options of a step and of its clean-up: what runs, and where.
{ lib, types }:
{
  bash = lib.mkOption {
    type = lib.types.nullOr types.script;
    default = null;
    example = "cargo build --release";
    description = ''
      The script. bash runs it with `errexit`, `nounset` and `pipefail`, unless there is a `shell`.
      shellcheck reads it when Nix builds it.
    '';
  };
  script = lib.mkOption {
    type = lib.types.nullOr types.script;
    default = null;
    example = "print('Hello')";
    description = "Another name for `bash`, for scripts of another `shell`.";
  };
  shell = lib.mkOption {
    type = lib.types.nullOr types.shell;
    default = null;
    example = lib.literalExpression ''[ pkgs.perl "-w" "{0}" ]'';
    description = ''
      The program that runs the script: `bash`, `sh` (`sh -e`), `python` (`pkgs.python3`), a package,
      or a list of a package or program and its arguments, in which `{0}` stands for the script's
      file. The default is the one of `defaults`, or else `bash`. A package gets no options:
      `pkgs.bash` goes on after an error, unlike `bash`. A program given by its name is looked for
      when the step runs; where it is missing, the step fails with exit status 127 as if it had
      started, so its `post` runs.
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
    type = lib.types.nullOr types.workdir;
    default = null;
    example = "frontend";
    description = ''
      The directory in which the step runs, relative to the workspace. It may have expressions
      (plan.md#expressions). The default is the one of `defaults`, or else the workspace.
    '';
  };
}
