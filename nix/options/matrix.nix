# The place of a job in a matrix.
{ lib, types }:
{
  options = {
    group = lib.mkOption {
      type = types.name;
      example = "test";
      description = "The matrix' name.";
    };
    values = lib.mkOption {
      type = types.attrsOf types.name types.matrixValue;
      default = { };
      example = {
        os = "linux";
      };
      description = "The values of this job.";
    };
    failFast = lib.mkOption {
      type = lib.types.bool;
      default = true;
      example = false;
      description = "Whether a failed job cancels the others of the matrix.";
    };
    maxParallel = lib.mkOption {
      type = lib.types.nullOr types.count;
      default = null;
      example = 2;
      description = ''
        How many jobs of the matrix run at once. The default is the limit of the workflow.
      '';
    };
  };
}
