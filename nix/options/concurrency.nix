# The group of a workflow's runs.
{ lib, types }:
{
  options = {
    group = lib.mkOption {
      type = types.fileName;
      example = "deploy";
      description = "The group's name.";
    };
    cancelInProgress = lib.mkOption {
      type = lib.types.bool;
      default = false;
      example = true;
      description = "Whether a new run cancels the run that goes on, before it starts.";
    };
  };
}
