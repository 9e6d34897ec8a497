# An artifact that a job takes in.
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
      description = "The directory below which it is restored, relative to the workspace.";
    };
  };
}
