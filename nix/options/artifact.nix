# An artifact that a job restores.
{ lib, types }:
{
  options = {
    name = lib.mkOption {
      type = types.fileName;
      example = "dist";
      description = "The artifact's name.";
    };
    path = lib.mkOption {
      type = types.workspacePath;
      default = ".";
      example = "lib/";
      description = ''
        The directory below which the job restores the artifact, relative to the workspace.
      '';
    };
  };
}
