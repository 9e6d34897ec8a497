# The shell and the directory of steps that name none.
{ lib, types }:
let
  script = import ./script.nix { inherit lib types; };
in
{
  options = {
    shell = script.shell // {
      description = "The program that runs scripts. The default is `bash`.";
    };
    workdir = script.workdir // {
      description = ''
        The directory in which steps run, relative to the workspace. It may have expressions
        (plan.md#expressions).
      '';
    };
  };
}
