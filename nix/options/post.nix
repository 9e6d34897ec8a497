# The clean-up of a step.
{ lib, types }:
let
  common = import ./common.nix { inherit lib types; };
  script = import ./script.nix { inherit lib types; };
in
{
  options = {
    inherit (common) timeout continueOnError;
    inherit (script)
      bash
      script
      deps
      args
      ;
    name = lib.mkOption {
      type = lib.types.nullOr types.label;
      default = null;
      example = "stop the server";
      description = ''
        The name in the record and in the journal. The default is `post` and the name of the step.
      '';
    };
    package = script.package // {
      description = "A package whose main program runs instead of a script.";
    };
    shell = script.shell // {
      description = "The program that runs the script. The default is that of the step.";
    };
    workdir = script.workdir // {
      description = ''
        The directory in which it runs, relative to the workspace. The default is that of the step.
      '';
    };
    env = common.env // {
      description = "Variables that are stronger than those of the step.";
    };
  };
}
